mod rotation;

use std::fs;
use std::path::Path;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Histogram, HistogramDataPoint, Metric, metric};
use serde_json::json;

use super::*;
use crate::component::Status;
use crate::testing::{
    Board, Ledger, attribute, complaints, configure_exporter, context, gauge, logs_of, metrics_of,
};

/// Writes `service:body`; has no line for the body "bad".
struct Colon;

impl LogEncoder for Colon {
    fn name(&self) -> &'static str {
        "colon"
    }

    fn encode(
        &self,
        resource: &Resource,
        scope: &InstrumentationScope,
        record: &LogRecord,
        out: &mut String,
    ) -> Result<(), String> {
        let body = crate::exporters::text::value(record.body.as_ref());
        let service = crate::exporters::text::value(resource.attributes[0].value.as_ref());
        out.push_str(&format!("{service}:{}:{body}", scope.name));
        if body == "bad" { Err("it is bad".to_owned()) } else { Ok(()) }
    }
}

fn factory() -> Factory {
    Factory::new(vec![Arc::new(Colon)])
}

struct Rig {
    built: BuiltConsumer,
    ledger: Arc<Ledger>,
    board: Arc<Board>,
}

fn rig(path: &Path, rest: &str) -> Rig {
    let (context, ledger, board) = context("file");
    let yaml = format!("{{path: '{}', {rest}}}", path.display());
    let blueprint = configure_exporter(&factory(), &yaml).map_err(|problems| problems.to_string()).unwrap();
    Rig { built: blueprint.build(context).unwrap(), ledger, board }
}

impl Rig {
    async fn put(&self, bodies: &[&str]) {
        self.built.consumer.consume(logs_of(bodies)).await.unwrap();
    }
}

/// Guarantees: the first format brought along is the default, an unknown one is refused with the list, and so is
/// whatever else cannot be.
#[test]
fn settings() {
    let (config, _) =
        Settings::of_text("path: a", |settings| Config::read(settings, &[Arc::new(Colon)]).unwrap()).unwrap();
    assert_eq!(
        (config.format.name(), config.append, config.flush_interval),
        ("colon", true, Duration::from_secs(1))
    );
    assert!(config.rotation.is_none());
    for (yaml, expected) in [
        ("", "path"),
        ("path: ''", "such as events.jsonl"),
        ("{path: a, format: proto}", "one of colon, json"),
        ("{path: a, flush_interval: 0s}", "flush_interval"),
        ("{path: a, rotation: {max_megabytes: 0}}", "at least 1"),
        ("{path: a, rotation: {localtime: true}}", "named in UTC"),
        ("{path: a, compression: zstd}", "unknown key"),
    ] {
        let complaint = complaints(configure_exporter(&factory(), yaml));
        assert!(complaint.contains(expected), "{yaml}: {complaint}");
    }
}

/// Guarantees: an encoder's lines arrive one a record and in order; a record without a line is lost alone, and
/// leaves nothing behind.
#[tokio::test]
async fn lines_by_an_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut rig = rig(&path, "format: colon");
    rig.built.component.start().await.unwrap();
    rig.put(&["one", "bad", "two"]).await;
    rig.put(&["three"]).await;
    rig.built.component.shutdown().await.unwrap();
    let expected = "api:hunter:one\napi:hunter:two\napi:hunter:three\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!((rig.ledger.delivered(), rig.ledger.lost("file"), rig.ledger.all_lost()), (3, 1, 1));
}

/// Guarantees: metrics with a format for records are refused for good, are not counted twice, and are a
/// permanent error to the host.
#[tokio::test]
async fn an_encoder_has_no_lines_for_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder.path().join("events"), "format: colon");
    let refused = rig.built.consumer.consume(metrics_of(vec![gauge("a", 1)])).await.unwrap_err();
    assert_eq!(refused, Refused::Permanent("format colon has no lines for metrics; json has".to_owned()));
    assert_eq!(rig.ledger.all_lost(), 0);
    assert_eq!(rig.board.statuses_reported(), [Status::PermanentError]);
}

/// Guarantees: `json` is OTLP/JSON as the specification has it: lowerCamelCase keys, 64-bit integers as texts,
/// ids in hex, bytes in base64, enumerations as numbers, no nulls; and it reads back as what was written.
#[tokio::test]
async fn otlp_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otlp.jsonl");
    let mut data = logs_of(&["body"]);
    if let Data::Logs(logs) = &mut data {
        let record = &mut logs.resource_logs[0].scope_logs[0].log_records[0];
        let int = AnyValue { value: Some(any_value::Value::IntValue(1 << 60)) };
        let bytes = AnyValue { value: Some(any_value::Value::BytesValue(vec![1, 2])) };
        record.attributes = vec![attribute("int", ""), attribute("bytes", "")];
        record.attributes[0].value = Some(int);
        record.attributes[1].value = Some(bytes);
        record.trace_id = vec![0xab; 16];
        record.span_id = vec![0xcd; 8];
    }
    let histogram =
        Histogram { data_points: vec![HistogramDataPoint::default()], aggregation_temporality: 2 };
    let took = Metric {
        name: "took".to_owned(),
        data: Some(metric::Data::Histogram(histogram)),
        ..Metric::default()
    };
    let metrics = metrics_of(vec![gauge("level", 1), took]);
    let mut rig = rig(&path, "format: json");
    rig.built.component.start().await.unwrap();
    rig.built.consumer.consume(data.clone()).await.unwrap();
    rig.built.consumer.consume(metrics).await.unwrap();
    rig.built.component.shutdown().await.unwrap();

    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["resourceLogs"][0]["resource"]["attributes"][0]["value"], json!({"stringValue": "api"}));
    let scope = &line["resourceLogs"][0]["scopeLogs"][0];
    assert_eq!((&scope["scope"]["name"], &scope["scope"]["version"]), (&json!("hunter"), &json!("1.2.3")));
    let record = &scope["logRecords"][0];
    assert_eq!(record["timeUnixNano"], json!("1764032523456789012"));
    assert_eq!(record["severityNumber"], json!(17));
    assert_eq!(record["eventName"], json!("hunter.leak.detected"));
    assert_eq!(record["body"], json!({"stringValue": "body"}));
    assert_eq!(record["attributes"][0]["value"], json!({"intValue": "1152921504606846976"}));
    assert_eq!(record["attributes"][1]["value"], json!({"bytesValue": "AQI="}));
    assert_eq!((&record["traceId"], &record["spanId"]), (&json!("ab".repeat(16)), &json!("cd".repeat(8))));
    let read_back: ExportLogsServiceRequest = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(Data::Logs(read_back), data);
    let line: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["name"], json!("level"));
    // The histogram point has neither sum, minimum nor maximum.
    assert!(!text.contains("null"), "{text}");
}

/// Guarantees: lines wait for `flush_interval` at most, without a shutdown.
#[tokio::test]
async fn flushes_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut rig = rig(&path, "flush_interval: 1ms");
    rig.built.component.start().await.unwrap();
    rig.put(&["one"]).await;
    let arrived = async {
        while fs::read_to_string(&path).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.expect("nothing was written");
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: an existing file is kept and appended to, or emptied where `append` is false.
#[tokio::test]
async fn appends_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    for (append, expected) in [(true, "old\napi:hunter:one\n"), (false, "api:hunter:one\n")] {
        fs::write(&path, "old\n").unwrap();
        let mut rig = rig(&path, &format!("append: {append}"));
        rig.built.component.start().await.unwrap();
        rig.put(&["one"]).await;
        rig.built.component.shutdown().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "append: {append}");
    }
}

/// Guarantees: a path that cannot be written is found out at the start, with its name.
#[tokio::test]
async fn bad_path() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder.path().join("nowhere").join("events"), "");
    let error = rig.built.component.start().await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: a folder that vanishes is a counted loss and a trouble that is told; when it is back the next
/// lines are written.
#[tokio::test]
async fn vanished_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("events");
    let mut rig = rig(&path, "flush_interval: 1h");
    rig.built.component.start().await.unwrap();
    fs::remove_dir_all(&inner).unwrap();
    let large = "x".repeat(ENOUGH);
    rig.put(&[&large, "two"]).await;
    assert_eq!((rig.ledger.lost("file"), rig.ledger.delivered()), (2, 0));
    fs::create_dir(&inner).unwrap();
    rig.put(&["three"]).await;
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "api:hunter:three\n");
    assert_eq!(rig.ledger.delivered(), 1);
    assert_eq!(rig.board.statuses_reported(), [Status::RecoverableError, Status::Ok]);
}

/// Guarantees: a full disk is a counted loss, not a panic.
/// Needs: /dev/full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk() {
    let mut rig = rig(Path::new("/dev/full"), "");
    rig.built.component.start().await.unwrap();
    rig.put(&["one", "two"]).await;
    rig.built.component.shutdown().await.unwrap();
    assert_eq!((rig.ledger.lost("file"), rig.ledger.delivered()), (2, 0));
}

/// Guarantees: safe to shut down without a start and twice; what comes after is written at once.
#[tokio::test]
async fn lifecycle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut rig = rig(&path, "");
    rig.put(&["one"]).await;
    rig.built.component.shutdown().await.unwrap();
    rig.built.component.shutdown().await.unwrap();
    rig.put(&["two"]).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "api:hunter:one\napi:hunter:two\n");
}
