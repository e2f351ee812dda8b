mod page;
mod store;

use std::net::SocketAddr;

use super::name::{Kind, family, label};
use super::*;
use crate::component::Status;
use crate::testing::{
    Ledger, complaints, configure_exporter, context, gauge, http_get, logs, metrics_of, resource,
};

/// An exporter on a port of its own, built by hand so that the port can be learnt.
async fn serving() -> (Arc<dyn Consumer>, Exporter, SocketAddr, Arc<Ledger>) {
    let (context, ledger, _) = context("prometheus");
    let reporter = Arc::new(Reporter::new(&context));
    let store = Arc::new(Mutex::new(Store::default()));
    let keeper = Keeper {
        store: Arc::clone(&store),
        telemetry: context.telemetry,
        reporter: Arc::clone(&reporter),
        losses: LogGate::default(),
    };
    let endpoint = Endpoint { host: "localhost".to_owned(), port: 0 };
    let mut exporter = Exporter { endpoint, store, reporter, server: None };
    let address = exporter.serve().await.unwrap();
    (Arc::new(keeper), exporter, address, ledger)
}

/// Guarantees: names become what Prometheus makes of them when they are pushed to it by OTLP.
#[test]
fn names() {
    for (name, unit, kind, expected) in [
        ("hunter.events.processed", "{event}", Kind::Counter, "hunter_events_processed"),
        ("hunter_events_total", "", Kind::Counter, "hunter_events"),
        ("unfreed_memory_bytes", "By", Kind::Gauge, "unfreed_memory_bytes"),
        ("unfreed_memory", "By", Kind::Gauge, "unfreed_memory_bytes"),
        ("sent", "By", Kind::Counter, "sent_bytes"),
        ("processing_duration_ms", "", Kind::Histogram, "processing_duration_ms"),
        ("processing_duration", "ms", Kind::Histogram, "processing_duration_milliseconds"),
        ("velocity", "By/s", Kind::Gauge, "velocity_bytes_per_second"),
        ("velocity_bytes_per_second", "By/s", Kind::Gauge, "velocity_bytes_per_second"),
        ("buffer.usage", "1", Kind::Gauge, "buffer_usage_ratio"),
        ("overhead_ratio", "1", Kind::Gauge, "overhead_ratio"),
        ("odd", "furlong", Kind::Gauge, "odd_furlong"),
        ("9 lives!", "", Kind::Gauge, "_9_lives"),
    ] {
        assert_eq!(family(name, unit, kind), expected, "{name} [{unit}]");
    }
    for (key, expected) in [
        ("target_container", "target_container"),
        ("service.name", "service_name"),
        ("le", "exported_le"),
        ("1st", "key_1st"),
        ("__name__", "name__"),
        ("", "_"),
    ] {
        assert_eq!(label(key), expected);
    }
}

/// Guarantees: the default endpoint, and a refusal of what is none.
#[test]
fn settings() {
    let shown = Settings::of_text("", |settings| Factory.configure(settings)).unwrap().1;
    assert_eq!(shown["endpoint"], "localhost:9464");
    let complaint = complaints(configure_exporter(&Factory, "endpoint: http://localhost:9464"));
    assert!(complaint.contains("host:port"), "{complaint}");
}

/// Guarantees: the newest values are served, scrape after scrape, each in the form that was asked for.
/// Needs: the loopback network.
#[tokio::test]
async fn scrapes() {
    let (consumer, mut exporter, address, ledger) = serving().await;
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2\r\n";
    for (count, headers, kind) in [
        (1, accept, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (2, "", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        consumer.consume(metrics_of(vec![gauge("level", count)])).await.unwrap();
        let (status, headers, body) = http_get(address, "/metrics", headers).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains(&format!("content-type: {kind}")), "{headers}");
        assert_eq!(body.matches("level{n=").count(), count, "{body}");
        assert_eq!(body.ends_with("# EOF\n"), count == 1);
    }
    assert_eq!((ledger.delivered(), ledger.all_lost()), (3, 0));
    assert_eq!(http_get(address, "/other", "").await.0, "HTTP/1.1 404 Not Found");
    exporter.shutdown().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// Guarantees: a port in use is an error that says so and names the key to change.
/// Needs: the loopback network.
#[tokio::test]
async fn port_in_use() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = format!("endpoint: {}", taken.local_addr().unwrap());
    let mut built = configure_exporter(&Factory, &yaml).ok().unwrap().build(context("prometheus").0).unwrap();
    let error = built.component.start().await.unwrap_err().to_string();
    assert!(error.contains("is in use by another program"), "{error}");
    assert!(error.contains("exporters::prometheus::endpoint"), "{error}");
    built.component.shutdown().await.unwrap();
}

/// Guarantees: logs are refused for good, and the one who sent them is left to count them.
#[tokio::test]
async fn logs_are_refused() {
    let (context, ledger, board) = context("prometheus");
    let built = configure_exporter(&Factory, "").ok().unwrap().build(context).unwrap();
    assert!(matches!(built.consumer.consume(logs(1)).await, Err(Refused::Permanent(_))));
    assert_eq!(ledger.all_lost(), 0);
    assert_eq!(board.statuses_reported(), Vec::<Status>::new());
}

/// Guarantees: safe to shut down without a start and twice.
#[tokio::test]
async fn lifecycle() {
    let mut built = configure_exporter(&Factory, "").ok().unwrap().build(context("prometheus").0).unwrap();
    built.component.shutdown().await.unwrap();
    let (_, mut exporter, ..) = serving().await;
    exporter.shutdown().await.unwrap();
    exporter.shutdown().await.unwrap();
}

/// Guarantees: shutdown does not wait for a peer that holds a connection and says nothing.
/// Needs: the loopback network.
#[tokio::test]
async fn silent_peers_do_not_hold_up_the_shutdown() {
    let (_, mut exporter, address, _) = serving().await;
    let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
    // Served once, so that the connection before it has been accepted.
    http_get(address, "/metrics", "").await;
    tokio::time::timeout(std::time::Duration::from_secs(20), exporter.shutdown()).await.unwrap().unwrap();
}
