//! Sound configurations: where they come from, how sources are joined, and what is in effect.

use bytesize::ByteSize;
use std::time::Duration;

use mlh_pipeline::config::{LogEncoding, LogLevel, Setting, Settings, components};

use crate::fakes::{SOUND, factories};
use crate::{effective, load};

/// Guarantees: without a source the built-in configuration is loaded, and the effective one shows every default.
#[test]
fn defaults() {
    let loaded = load(&[], &[]).unwrap();
    let expected = "\
enabled: true
mode: growth
interval: 30s
size: 10KiB
rate: 10
factor: 0.5
queue: 1000
endpoint: localhost:9464
include:
  names:
  - any
rules: []
behaviour: well";
    assert_eq!(effective(&loaded, "receivers.source"), expected);
    assert_eq!(effective(&loaded, "service.telemetry.logs"), "level: info\nencoding: console");
    assert_eq!((loaded.logs.level, loaded.logs.encoding), (LogLevel::Info, LogEncoding::Console));
    assert!(loaded.warnings.is_empty());
}

/// Guarantees: mappings of later sources are joined in, lists and scalars replace, `--set` comes last, and an
/// empty value brings the default back.
#[test]
fn layers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.yaml");
    std::fs::write(&path, format!("\u{feff}{}", SOUND.replace("source:\n", "source: {rate: 2, queue: 5}\n")))
        .unwrap();
    let path = path.to_str().unwrap();
    let over = "yaml:receivers: {source: {queue: 6, size: 1MiB, include: {names: [x, y]}}}";
    let loaded = load(
        &[path, over, "yaml:receivers::source::include: {names: [z]}"],
        &["receivers.source.size=2KiB", "receivers::source::queue=", "service::telemetry::logs::level=debug"],
    )
    .unwrap();
    assert_eq!(effective(&loaded, "receivers.source.rate"), "2");
    assert_eq!(effective(&loaded, "receivers.source.queue"), "1000");
    assert_eq!(effective(&loaded, "receivers.source.size"), "2KiB");
    assert_eq!(effective(&loaded, "receivers.source.include.names"), "- z");
    assert_eq!(loaded.logs.level, LogLevel::Debug);
    assert!(load(&[&format!("file:{path}")], &[]).is_ok());
}

/// Guarantees: a source that holds a receiver's block alone is laid over the built-in configuration, or over a
/// long source beside it; `--set` takes the short key as well.
#[test]
fn short_form() {
    let loaded = load(&["env:CONFIG"], &["source.queue=3"]).unwrap();
    assert_eq!(effective(&loaded, "receivers.source.rate"), "77");
    assert_eq!(effective(&loaded, "receivers.source.queue"), "3");
    assert_eq!(effective(&loaded, "service.pipelines.logs.exporters"), "- sink");
    let long = "yaml:{receivers: {source: {size: 1}}, exporters: {drain: }, service: {pipelines: {metrics: {receivers: [source], exporters: [drain]}}}}";
    let loaded = load(&[long, "env:CONFIG"], &[]).unwrap();
    assert_eq!(effective(&loaded, "receivers.source.rate"), "77");
    assert_eq!(effective(&loaded, "service.pipelines").lines().next(), Some("metrics:"));
}

/// Guarantees: a reference alone takes the type of what it yields and may still be read as text; within a text it
/// stays text; `$$` is a dollar sign; what a variable holds is not expanded again. What is shown can be read again
/// and means the same.
#[test]
fn references() {
    let cases = [
        ("queue", "${env:FIVE}", "5"),
        ("queue", "'${env:FIVE}'", "5"),
        ("queue", "${env:NOPE:-7}", "7"),
        ("queue", "${env:EMPTY}", "1000"),
        ("include", "${env:INCLUDE}", "names:\n- a\n- b"),
        ("include", "{names: ['${env:NUMBER}', '${env:DIGITS}']}", "names:\n- '12'\n- '0123'"),
        (
            "include",
            "{names: ['a${env:FIVE}b', 'a${env:NOPE:-}b', $$x, $x, 5$, '$${env:FIVE}']}",
            "names:\n- a5b\n- ab\n- $x\n- $x\n- 5$\n- $${env:FIVE}",
        ),
        ("include", "{names: ['${env:NO_YAML}']}", "names:\n- '*x: ['"),
        ("include", "{names: ['${env:REFERENCE}']}", "names:\n- $${env:PASSWORD}"),
    ];
    for (key, value, expected) in cases {
        let loaded = load(&[&format!("yaml:source:\n  {key}: {value}")], &[]).unwrap();
        assert_eq!(effective(&loaded, &format!("receivers.source.{key}")), expected, "for {value}");
        let shown = serde_yaml::to_string(&loaded.effective).unwrap();
        let again = load(&[&format!("yaml:{shown}")], &[]).unwrap();
        assert_eq!(again.effective, loaded.effective, "for {value}");
    }
}

/// Guarantees: secrets are masked in the effective configuration, their names and neighbours are shown.
#[test]
fn secrets() {
    let sink =
        "{token: '${env:PASSWORD}', headers: {authorization: hunter2}, labels: {a: b}, tls: {key: hunter2}}";
    let loaded = load(&[], &[&format!("exporters.sink={sink}")]).unwrap();
    let shown = effective(&loaded, "exporters");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(effective(&loaded, "exporters.sink.headers"), "authorization: '[REDACTED]'");
    assert_eq!(effective(&loaded, "exporters.sink.token"), "'[REDACTED]'");
    assert_eq!(effective(&loaded, "exporters.sink.labels"), "a: b");
}

/// Guarantees: what works and should be changed is warned of, with its place: deprecated names, a limiter that
/// comes late, pipelines that do not run.
#[test]
fn warnings() {
    let text = "\
receivers: {source: , old_source: {enabled: false}}
processors: {pass: , memory_limiter: }
exporters: {drain: }
service:
  pipelines:
    logs: {receivers: [source], processors: [pass, memory_limiter], exporters: [drain]}
    metrics: {receivers: [old_source], exporters: [drain]}
";
    let loaded = load(&[&format!("yaml:{text}")], &[]).unwrap();
    let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "yaml:1: receivers::old_source: deprecated name; write `source`",
            "yaml:3: exporters::drain: deprecated name; write `sink`",
            "yaml:6: service::pipelines::logs::processors: memory_limiter should come first, so that data is refused before memory is spent on it",
            "yaml:7: service::pipelines::metrics: does not run: every receiver of it is disabled",
        ]
    );
    let loaded = load(&[], &["source.enabled=false"]).unwrap();
    let last = loaded.warnings.last().unwrap().to_string();
    assert_eq!(
        last,
        "built-in configuration:12: service::pipelines: nothing runs: every receiver is disabled"
    );
}

/// Guarantees: the values that are shown can be read again, and mean the same.
#[test]
fn shown_values_read_back() {
    let durations = ["0s", "1ns", "1ms500us", "90s", "25h", "1m30s", "1.5h", "876000h"];
    for text in durations {
        let duration = Duration::read(&text.into()).unwrap();
        assert_eq!(Duration::read(&duration.show()), Ok(duration), "{text}");
    }
    assert_eq!(Duration::read(&"1m30s".into()), Ok(Duration::from_secs(90)));
    assert_eq!(Duration::read(&"1.5h".into()), Ok(Duration::from_secs(5400)));
    for (text, bytes) in
        [("10KiB", 10_240), ("10kb", 10_000), ("1 MiB", 1 << 20), ("7B", 7), ("1.5KiB", 1536)]
    {
        let size = ByteSize::read(&text.into()).unwrap();
        assert_eq!(size.0, bytes, "{text}");
        assert_eq!(ByteSize::read(&size.show()), Ok(size), "{text}");
    }
    assert_eq!(ByteSize::read(&0_u64.into()), Ok(ByteSize(0)));
}

/// Guarantees: a component's block can be read by itself, with defaults, faults and effective values as in a
/// whole configuration.
#[test]
fn block_by_itself() {
    let (rate, shown) = Settings::of_text("rate: 3", |settings| settings.get("rate", 1_u64)).unwrap();
    assert_eq!((rate, serde_yaml::to_string(&shown).unwrap().as_str()), (3, "rate: 3\n"));
    assert_eq!(Settings::of_text("", |settings| settings.get("rate", 1_u64)).unwrap().0, 1);
    let problems =
        Settings::of_text("rate: x\nother: 1", |settings| settings.get("rate", 1_u64)).unwrap_err();
    let expected = "text:1: rate: \"x\": expected a whole number\ntext:2: other: unknown key; allowed: rate";
    assert_eq!(problems.to_string(), expected);
    assert!(Settings::of_text("[a]", |_| ()).is_err());
}

/// Guarantees: the listing names every component once, with its stability a signal.
#[test]
fn listing() {
    let text = serde_yaml::to_string(&components(&factories(&std::sync::Arc::default()))).unwrap();
    let expected = "\
receivers:
- name: source
  deprecated_names:
  - old_source
  stability:
    logs: Beta
    metrics: Alpha
processors:
- name: memory_limiter
";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.ends_with("- name: gauge\n  stability:\n    metrics: Stable\nextensions:\n- name: probe\n"),
        "{text}"
    );
}
