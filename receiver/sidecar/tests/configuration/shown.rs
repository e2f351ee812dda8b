//! What `print-config` shows.

use std::fs;
use std::path::Path;

use crate::{SECRET, ask, parse, repository, tests};

/// Secrets in each place that has them, beside what looks like a reference and is none.
const WITH_SECRETS: &str = r#"
receivers:
  memory_leak_hunter:
processors:
  resource:
    attributes:
      - {key: price, value: "$5 and $${env:NOT_A_REFERENCE}", action: insert}
      - {key: number, value: 7, action: insert}
      - {key: digits, value: "007", action: insert}
      - {key: word, value: "true", action: insert}
exporters:
  otlp_grpc:
    endpoint: http://collector:4317
    headers:
      authorization: Bearer ${env:SECRET_TOKEN}
      x-token: s3cret
    tls:
      cert_pem: "-----BEGIN CERTIFICATE-----"
      key_pem: "-----BEGIN PRIVATE KEY----- s3cret"
service:
  pipelines:
    logs:
      receivers: [memory_leak_hunter]
      processors: [resource]
      exporters: [otlp_grpc]
"#;

/// Prints the configuration that `arguments` name; checks that what is printed is one itself, and the same one.
fn round_trip(folder: &Path, arguments: &[&str]) -> String {
    let first = ask(folder, &[&["print-config"], arguments].concat());
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""), "{arguments:?}");
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("printed.yaml"), &first.out).unwrap();
    let checked = ask(scratch.path(), &["validate", "--config", "printed.yaml"]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""), "{}", first.out);
    let second = ask(scratch.path(), &["print-config", "--config", "printed.yaml"]);
    assert_eq!(first.out, second.out, "{arguments:?}");
    first.out
}

/// Guarantees: headers and keys are masked, wherever they came from, under their names; everything else is shown.
/// What is printed is a configuration and means the same.
#[test]
fn secrets_are_masked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secrets.yaml"), WITH_SECRETS).unwrap();
    let shown = round_trip(folder.path(), &["--config", "secrets.yaml"]);
    assert!(!shown.contains(SECRET) && !shown.contains("PRIVATE KEY"), "{shown}");
    let exporter = &parse(&shown)["exporters"]["otlp_grpc"];
    assert_eq!(exporter["headers"]["authorization"], "[REDACTED]");
    assert_eq!(exporter["headers"]["x-token"], "[REDACTED]");
    assert_eq!(exporter["tls"]["key_pem"], "[REDACTED]");
    assert_eq!(exporter["tls"]["cert_pem"], "-----BEGIN CERTIFICATE-----");
    assert_eq!(exporter["endpoint"], "http://collector:4317");
    let attributes = &parse(&shown)["processors"]["resource"]["attributes"];
    assert_eq!(attributes[0]["value"], "$$5 and $${env:NOT_A_REFERENCE}");
    assert_eq!(attributes[1]["value"], 7);
    assert_eq!(attributes[2]["value"], "007");
    assert_eq!(attributes[3]["value"], "true");
}

/// Guarantees: the built-in configuration, the shipped one, the short form and one with every component print as
/// what can be read again and means the same.
#[test]
fn what_is_printed_can_be_read() {
    let built_in = round_trip(&tests(), &[]);
    assert_eq!(parse(&built_in)["service"]["pipelines"]["logs"]["exporters"][0], "debug");
    round_trip(&repository().join("otel-config"), &["--config", "sidecar.yaml"]);
    round_trip(&tests().join("configuration"), &["--config", "nothing-set.yaml"]);
    let short = round_trip(&tests(), &["--config", "yaml:memory_leak_hunter: {rss_check_interval: 90s}"]);
    assert_eq!(parse(&short)["receivers"]["memory_leak_hunter"]["rss_check_interval"], "1m30s");
}
