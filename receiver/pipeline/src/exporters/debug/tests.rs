use std::io;
use std::pin::Pin;
use std::sync::Mutex as StdMutex;
use std::task::{Context, Poll};

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Histogram, HistogramDataPoint, Metric, Sum, metric};

use super::*;
use crate::component::Status;
use crate::testing::{
    attribute, complaints, configure_exporter, context, gauge, logs_of, metrics_of, point, profiles,
};

/// A terminal to look at; can be closed.
#[derive(Clone, Default)]
struct Screen {
    text: Arc<StdMutex<Vec<u8>>>,
    closed: Arc<StdMutex<bool>>,
}

impl AsyncWrite for Screen {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if *self.closed.lock().unwrap() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.text.lock().unwrap().extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn printed(verbosity: Verbosity, data: Data) -> String {
    let screen = Screen::default();
    let built = Blueprint { verbosity }.build_on(&context("debug").0, Box::new(screen.clone()));
    built.consumer.consume(data).await.unwrap();
    String::from_utf8(screen.text.lock().unwrap().clone()).unwrap()
}

fn some_metrics() -> Data {
    let sum = Sum { data_points: vec![point(1, 42)], aggregation_temporality: 2, is_monotonic: true };
    let histogram = HistogramDataPoint {
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![histogram], aggregation_temporality: 2 };
    let unit = "By".to_owned();
    metrics_of(vec![
        gauge("level", 1),
        Metric { name: "bytes".to_owned(), unit, data: Some(metric::Data::Sum(sum)), ..Metric::default() },
        Metric {
            name: "took".to_owned(),
            data: Some(metric::Data::Histogram(histogram)),
            ..Metric::default()
        },
    ])
}

/// Guarantees: `normal` is the default, and only the three verbosities exist.
#[test]
fn settings() {
    let verbosity =
        |yaml: &str| Settings::of_text(yaml, |settings| settings.get("verbosity", Verbosity::Normal));
    assert_eq!(verbosity("verbosity: detailed").unwrap().0, Verbosity::Detailed);
    let complaint = complaints(configure_exporter(&Factory, "verbosity: loud"));
    assert!(complaint.contains("one of basic, normal, detailed"), "{complaint}");
}

/// Guarantees: `normal` prints one aligned line a record, nothing for metrics.
#[tokio::test]
async fn normal() {
    let mut data = logs_of(&["api leaks 2 MiB/min", "another"]);
    if let Data::Logs(logs) = &mut data {
        let record = &mut logs.resource_logs[0].scope_logs[0].log_records[1];
        record.severity_number = 9;
        record.event_name = "hunter.rss.growth".to_owned();
        record.time_unix_nano = 0;
        record.observed_time_unix_nano = 1_764_032_524_000_000_000;
    }
    let expected = "2025-11-25T01:02:03Z ERROR leak.detected   api leaks 2 MiB/min\n\
                    2025-11-25T01:02:04Z INFO  rss.growth      another\n";
    assert_eq!(printed(Verbosity::Normal, data).await, expected);
    assert_eq!(printed(Verbosity::Normal, some_metrics()).await, "");
}

/// Guarantees: `basic` prints one line of counts a request.
#[tokio::test]
async fn basic() {
    assert_eq!(printed(Verbosity::Basic, logs_of(&["a", "b"])).await, "logs: 2 records of 1 resources\n");
    assert_eq!(printed(Verbosity::Basic, some_metrics()).await, "metrics: 3 metrics with 3 data points\n");
}

/// Guarantees: `detailed` prints the resource, the scope, every attribute and every point.
#[tokio::test]
async fn detailed() {
    let mut data = logs_of(&["body"]);
    if let Data::Logs(logs) = &mut data {
        let list = ArrayValue {
            values: vec![
                AnyValue { value: Some(any_value::Value::IntValue(1)) },
                AnyValue { value: Some(any_value::Value::BytesValue(vec![0xab, 0x01])) },
            ],
        };
        let mut listed = attribute("list", "");
        listed.value = Some(AnyValue { value: Some(any_value::Value::ArrayValue(list)) });
        logs.resource_logs[0].scope_logs[0].log_records[0].attributes = vec![attribute("pid", "7"), listed];
    }
    let expected = "\
2025-11-25T01:02:03Z ERROR leak.detected   body
    resource: service.name = api
    scope: hunter 1.2.3
    attributes: pid = 7
    attributes: list = [1, ab01]
";
    assert_eq!(printed(Verbosity::Detailed, data).await, expected);
    let expected = "\
metrics
    resource: service.name = hunter
    resource: service.version = 1.2.3
    scope: hunter 1.2.3
    level (gauge)
        {n=0} 1
    bytes [By] (counter)
        {n=1} 42
    took (histogram)
        {} count 3 sum 1.5 <=0.5: 1 <=inf: 2
";
    assert_eq!(printed(Verbosity::Detailed, some_metrics()).await, expected);
}

/// Guarantees: profiles are a line each for `normal`, with the stack that has the most; `basic` counts them; `detailed`
/// prints every sample with its stack; names in them cannot drive the terminal.
#[tokio::test]
async fn of_profiles() {
    let data = profiles(&[("keep", 5), ("gr\u{1b}ow", 700)]);
    assert_eq!(printed(Verbosity::Basic, data.clone()).await, "profiles: 1 profiles with 2 samples\n");
    let normal = "2025-11-25T01:02:03Z PROF  inuse_space     2 samples, 705 bytes; the most: 700 by \
                  gr\\u{1b}ow (session.cc:7) [api+0x2000] < main (session.cc:7) [api+0x40]\n";
    assert_eq!(printed(Verbosity::Normal, data.clone()).await, normal);
    let detailed = format!(
        "{normal}    resource: service.name = api
    scope: hunter 1.2.3
    5 operation=malloc
        keep (session.cc:7) [api+0x1000]
        main (session.cc:7) [api+0x40]
    700 operation=malloc
        gr\\u{{1b}}ow (session.cc:7) [api+0x2000]
        main (session.cc:7) [api+0x40]
"
    );
    assert_eq!(printed(Verbosity::Detailed, data).await, detailed);
}

/// Guarantees: names that a process chose for itself cannot drive the terminal or forge lines.
#[tokio::test]
async fn control_characters_are_shown_not_sent() {
    let text = printed(Verbosity::Normal, logs_of(&["\u{1b}[2J\nERROR forged"])).await;
    assert!(text.ends_with("  \\u{1b}[2J\\nERROR forged\n"), "{text:?}");
    assert_eq!(text.lines().count(), 1);
}

/// Guarantees: a reader that went away is a counted loss and a reported trouble, never a panic.
#[tokio::test]
async fn closed_output() {
    let screen = Screen::default();
    let (context, ledger, board) = context("debug");
    let mut built = Blueprint { verbosity: Verbosity::Normal }.build_on(&context, Box::new(screen.clone()));
    built.consumer.consume(logs_of(&["a"])).await.unwrap();
    *screen.closed.lock().unwrap() = true;
    built.consumer.consume(logs_of(&["b", "c"])).await.unwrap();
    built.component.shutdown().await.unwrap();
    built.component.shutdown().await.unwrap();
    assert_eq!((ledger.delivered(), ledger.lost("debug")), (1, 2));
    assert_eq!(board.statuses_reported(), [Status::Ok, Status::RecoverableError]);
}
