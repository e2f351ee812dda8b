use super::*;
use crate::component::ComponentId;
use crate::testing::{Board, complaints, configure_extension, context, http_get};

fn check(path: &str) -> (HealthCheck, Arc<Board>) {
    let (context, _, board) = context("health_check");
    let endpoint = Endpoint { host: "localhost".to_owned(), port: 0 };
    let reporter = Reporter::new(&context);
    (HealthCheck { endpoint, path: path.to_owned(), host: context.host, reporter, server: None }, board)
}

/// Guarantees: the defaults, and a refusal of paths that mean something else to the router.
#[test]
fn settings() {
    let shown = Settings::of_text("", |settings| Factory.configure(settings)).unwrap().1;
    assert_eq!((&shown["endpoint"], &shown["path"]), (&"localhost:13134".into(), &"/".into()));
    for path in ["health", "'/{all}'", "/a?b"] {
        let complaint = complaints(configure_extension(&Factory, &format!("path: {path}")));
        assert!(complaint.contains("a path such as / or /healthz"), "{complaint}");
    }
}

/// Guarantees: 200 while every component is well, 503 with those that are not, each with its state and reason;
/// only at the configured path.
/// Needs: the loopback network.
#[tokio::test]
async fn answers() {
    let (mut check, board) = check("/healthz");
    let address = check.serve().await.unwrap();
    let id = |text: &str| ComponentId::parse(text).unwrap();
    *board.shown.lock().unwrap() = vec![(id("debug"), Status::Ok, None), (id("batch"), Status::Ok, None)];
    let (status, headers, body) = http_get(address, "/healthz", "").await;
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", r#"{"components":{},"status":"ok"}"#));
    assert!(headers.contains("content-type: application/json"));
    board.shown.lock().unwrap()[0] = (id("otlp_grpc/b"), Status::RecoverableError, Some("down".to_owned()));
    let (status, _, body) = http_get(address, "/healthz", "").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let expected = r#"{"components":{"otlp_grpc/b":{"reason":"down","status":"StatusRecoverableError"}},"status":"failing"}"#;
    assert_eq!(body, expected);
    assert_eq!(http_get(address, "/", "").await.0, "HTTP/1.1 404 Not Found");
    check.shutdown().await.unwrap();
    check.shutdown().await.unwrap();
}

/// Guarantees: a port in use is an error that names the key to change; shutdown without a start is safe.
/// Needs: the loopback network.
#[tokio::test]
async fn port_in_use() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = format!("endpoint: {}", taken.local_addr().unwrap());
    let mut built =
        configure_extension(&Factory, &yaml).ok().unwrap().build(context("health_check").0).unwrap();
    let error = built.start().await.unwrap_err().to_string();
    assert!(error.contains("choose another port in extensions::health_check::endpoint"), "{error}");
    built.shutdown().await.unwrap();
}
