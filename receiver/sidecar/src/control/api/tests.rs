//! The paths, asked without a socket.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::*;
use crate::investigate::plan::{Mode, Rung, Target};
use crate::investigate::report::{Report, StackEvidence};

/// Takes down what is asked, and answers as it is told to.
#[derive(Default)]
struct Clerk {
    refusal: Option<OrderError>,
    started: Mutex<Vec<Order>>,
    released: Mutex<Vec<Origin>>,
}

impl Orders for Clerk {
    fn start(&self, order: Order) -> Result<Status, OrderError> {
        self.started.lock().unwrap().push(order);
        self.refusal.clone().map_or_else(|| Ok(self.status()), Err)
    }

    fn release(&self, origin: Origin) -> Result<Status, OrderError> {
        self.released.lock().unwrap().push(origin);
        self.refusal.clone().map_or_else(|| Ok(Status::default()), Err)
    }

    fn status(&self) -> Status {
        let stack = StackEvidence { live_bytes: 4096, operation: "malloc", ..StackEvidence::default() };
        let report = Report {
            lasted: Duration::from_secs(3),
            stacks: vec![stack],
            not_seen: vec!["the Go heap".to_owned()],
            ..Report::default()
        };
        Status {
            mode: Mode::Investigating(Rung::Debug),
            target: Some("pid 7".to_owned()),
            remaining: Some(Duration::from_millis(1500)),
            report: Some(report),
            ..Status::default()
        }
    }
}

async fn send(router: Router, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    // a router never fails
    let Ok(answer) = Service::call(&TowerToHyperService::new(router), request).await;
    let status = answer.status().as_u16();
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn ask(clerk: &Arc<Clerk>, method: &str, path: &str, body: &str) -> (u16, Value) {
    let api = Api::new(Arc::<Clerk>::clone(clerk), Arc::default());
    send(api.router(Peer { uid: 1000 }), method, path, body).await
}

/// Guarantees: an order reaches the desk whole, with who gave it; the answer is the status.
#[tokio::test]
async fn orders_reach_the_desk() {
    let clerk = Arc::<Clerk>::default();
    let body = r#"{"pid":7,"duration":"5m","min_allocation_size":"1KiB","mode":"debug"}"#;
    let (code, status) = ask(&clerk, "POST", "/v1/target", body).await;
    assert_eq!((code, &status["target"]), (200, &json!("pid 7")));
    let origin = Origin::Control { uid: 1000 };
    let expected = Order {
        target: Target::Pid(7),
        rung: Some(Rung::Debug),
        duration: Some(Duration::from_secs(300)),
        min_allocation_size: Some(1024),
        origin: origin.clone(),
    };
    assert_eq!(clerk.started.lock().unwrap().first(), Some(&expected));
    ask(&clerk, "POST", "/v1/target", r#"{"container":"4f1e","min_allocation_size":0}"#).await;
    let bare = Order {
        target: Target::Container("4f1e".to_owned()),
        rung: None,
        duration: None,
        min_allocation_size: Some(0),
        ..expected
    };
    assert_eq!(clerk.started.lock().unwrap()[1], bare);
    let (code, status) = ask(&clerk, "DELETE", "/v1/target", "").await;
    assert_eq!((code, &status["mode"]), (200, &json!("growth_detection")));
    assert_eq!(*clerk.released.lock().unwrap(), [origin]);
}

/// Guarantees: the status tells mode, target, what is left of its time, and what has been seen; findings are a list.
#[tokio::test]
async fn what_is_answered() {
    let clerk = Arc::<Clerk>::default();
    let (code, status) = ask(&clerk, "GET", "/v1/status", "").await;
    assert_eq!(code, 200);
    assert_eq!((&status["mode"], &status["remaining_s"]), (&json!("debug"), &json!(1.5)));
    assert_eq!(
        (&status["stacks"][0]["live_bytes"], &status["stacks"][0]["operation"]),
        (&json!(4096), &json!("malloc"))
    );
    assert_eq!((&status["not_seen"], &status["lasted_s"]), (&json!(["the Go heap"]), &json!(3.0)));
    assert!(status["totals"].is_object() && status["cost"].is_object() && status["members"].is_array());
    let again: StatusMessage = serde_json::from_value(status).unwrap();
    assert_eq!(again, StatusMessage::from(clerk.status()));
    let bare: StatusMessage = serde_json::from_value(json!({"version": "9", "mode": "targeted"})).unwrap();
    assert_eq!(bare.mode, "targeted");
    assert_eq!(ask(&clerk, "GET", "/v1/findings", "").await, (200, json!({"findings": [], "leaks": []})));
}

/// Guarantees: an order that makes no sense is refused with 400 and what is allowed, and reaches nobody; so is a path that
/// is none, a method that is not served, and a body that is too large.
#[tokio::test]
async fn nonsense_is_refused() {
    let clerk = Arc::<Clerk>::default();
    for (body, said) in [
        ("", "EOF"),
        ("[]", "expected struct"),
        ("{}", "exactly one of pid, cgroup_id and container"),
        (r#"{"pid":7,"cgroup_id":8}"#, "exactly one of"),
        (r#"{"pid":0}"#, "pid: expected 1 to 4194304"),
        (r#"{"pid":-1}"#, "invalid value"),
        (r#"{"cgroup_id":0}"#, "cgroup_id: expected 1 or more"),
        (r#"{"container":"my-app"}"#, "container: expected a container's id"),
        (r#"{"pid":7,"duration":"0s"}"#, "duration: expected 1s to 168h"),
        (r#"{"pid":7,"duration":5}"#, "duration: expected a duration such as 30s"),
        (r#"{"pid":7,"min_allocation_size":"1 potato"}"#, "min_allocation_size: expected a size"),
        (
            r#"{"pid":7,"min_allocation_size":"1KiB","mode":"growth_stacks"}"#,
            "min_allocation_size: it chooses among allocations",
        ),
        (r#"{"pid":7,"min_allocation_size":"2TiB"}"#, "min_allocation_size: expected at most 1TiB"),
        (r#"{"pid":7,"mode":"fast"}"#, "mode: expected one of"),
        (r#"{"pid":7,"mode":"growth_detection"}"#, "mode: expected targeted or debug or growth_stacks"),
        (r#"{"pid":7,"colour":"red"}"#, "unknown field `colour`"),
    ] {
        let (code, answer) = ask(&clerk, "POST", "/v1/target", body).await;
        let reason = answer["error"].as_str().unwrap_or_default();
        assert!(code == 400 && reason.contains(said), "{body}: {code} {answer}");
    }
    for (method, path, code) in [("GET", "/", 404), ("GET", "/v1/target", 405), ("PUT", "/v1/status", 405)] {
        let (found, answer) = ask(&clerk, method, path, "").await;
        assert_eq!(found, code, "{method} {path}");
        assert!(answer["error"].as_str().unwrap().contains("GET /v1/status"), "{answer}");
    }
    let (code, answer) = ask(&clerk, "POST", "/v1/target", &" ".repeat(LARGEST_BODY + 1)).await;
    assert!(code == 413 && answer["error"].is_string(), "{code} {answer}");
    assert!(clerk.started.lock().unwrap().is_empty());
}

/// Guarantees: each reason for which an order is not carried out has its own code, and is told.
#[tokio::test]
async fn refusals_have_codes() {
    for (refusal, code) in [
        (OrderError::NobodyHome, 503),
        (OrderError::Target("there is no pid 7".to_owned()), 404),
        (OrderError::NoTarget, 409),
    ] {
        let said = json!({"error": refusal.to_string()});
        let clerk = Arc::new(Clerk { refusal: Some(refusal), ..Clerk::default() });
        assert_eq!(ask(&clerk, "POST", "/v1/target", r#"{"pid":7}"#).await, (code, said.clone()));
        assert_eq!(ask(&clerk, "DELETE", "/v1/target", "").await, (code, said));
    }
}

/// Guarantees: root and the sidecar's own user may give orders; whoever else is told so on every path, and by whom.
#[tokio::test]
async fn strangers_are_refused() {
    assert!(Peer { uid: 0 }.may_order(1000) && Peer { uid: 1000 }.may_order(1000));
    assert!(!Peer { uid: 1001 }.may_order(1000) && !Peer { uid: 1000 }.may_order(0));
    for (method, path) in [("GET", "/v1/status"), ("POST", "/v1/target"), ("GET", "/")] {
        let (code, answer) = send(Api::refusal(Peer { uid: 1001 }, 1000), method, path, "{}").await;
        assert_eq!(code, 403);
        let reason = answer["error"].as_str().unwrap();
        assert!(reason.contains("user 1001 may not") && reason.contains("root and user 1000"), "{reason}");
    }
}

/// Guarantees: orders that nobody waits for any more cannot pile up: beyond so many the next is told to come again.
#[tokio::test]
async fn orders_do_not_pile_up() {
    let clerk = Arc::<Clerk>::default();
    let api = Api::new(Arc::<Clerk>::clone(&clerk), Arc::default());
    let held =
        Arc::clone(&api.under_way).acquire_many_owned(u32::try_from(MOST_ORDERS).unwrap()).await.unwrap();
    let router = || api.router(Peer { uid: 0 });
    let (code, answer) = send(router(), "POST", "/v1/target", r#"{"pid":7}"#).await;
    assert!(code == 503 && answer["error"].as_str().unwrap().contains("try again"), "{code} {answer}");
    drop(held);
    assert_eq!(send(router(), "GET", "/v1/status", "").await.0, 200);
}
