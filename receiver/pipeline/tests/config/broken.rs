//! Texts with faults, and the lines that say what is wrong with them.

use crate::faults;

/// Tries texts by themselves: lines count from 1.
fn table(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(faults(&[&format!("yaml:{text}")], &[]), *expected, "for:\n{text}");
    }
}

const KEYS: &str =
    "enabled, mode, interval, size, rate, factor, queue, endpoint, pid, include, rules, behaviour";

/// Guarantees: a value of the wrong type, unit or range is refused with key, line, value and what is allowed.
#[test]
fn values() {
    const DURATION: &str = "a duration such as 30s, 1m30s or 500ms, here at least 1s and at most 1h";
    const SIZE: &str = "a size such as 10240, 10KiB or 64MiB";
    const ENDPOINT: &str = "host:port without a scheme, such as localhost:9464 or [::1]:9464";
    let cases: &[(&str, &str, &str, &str)] = &[
        ("rate", "-1", "-1", "a whole number from 0 up, here at least 1"),
        ("rate", "1.5", "1.5", "a whole number, here at least 1"),
        ("rate", "4294967296", "4294967296", "a whole number of at most 4294967295, here at least 1"),
        ("rate", "\"12\"", "\"12\"", "a whole number without quotes, here at least 1"),
        ("rate", "many", "\"many\"", "a whole number, here at least 1"),
        ("rate", "012", "\"012\"", "a whole number without quotes, here at least 1"),
        ("rate", "[1]", "a list", "a whole number, here at least 1"),
        ("rate", "{a: 1}", "a mapping", "a whole number, here at least 1"),
        ("rate", "0", "0", "at least 1"),
        ("queue", "99999999999999999999", "\"99999999999999999999\"", "a whole number"),
        ("enabled", "yes", "\"yes\"", "true or false (in YAML 1.2 this word is text)"),
        ("enabled", "off", "\"off\"", "true or false (in YAML 1.2 this word is text)"),
        ("enabled", "\"true\"", "\"true\"", "true or false without quotes"),
        ("enabled", "1", "1", "true or false"),
        ("mode", "grwth", "\"grwth\"", "one of growth, targeted"),
        ("mode", "7", "7", "one of growth, targeted"),
        ("mode", "targeted", "\"targeted\"", "growth, or `pid` beside it"),
        ("interval", "30", "30", DURATION),
        ("interval", "\"30\"", "\"30\"", DURATION),
        ("interval", "30 seconds", "\"30 seconds\"", DURATION),
        ("interval", "1d", "\"1d\"", DURATION),
        ("interval", "1M", "\"1M\"", DURATION),
        ("interval", "-5s", "\"-5s\"", DURATION),
        ("interval", "99999999999999999999h", "\"99999999999999999999h\"", DURATION),
        (
            "interval",
            "9999999999h",
            "\"9999999999h\"",
            "a duration below 292 years, here at least 1s and at most 1h",
        ),
        ("interval", "2h", "\"2h\"", "at least 1s and at most 1h"),
        ("size", "10 potatoes", "\"10 potatoes\"", SIZE),
        ("size", "\"10240\"", "\"10240\"", SIZE),
        ("size", "-1", "-1", SIZE),
        ("size", "1.5", "1.5", SIZE),
        ("size", "99999EiB", "\"99999EiB\"", "a size below 8EiB"),
        ("factor", "1.0", "1.0", "at least 0.0 and less than 1.0"),
        ("factor", ".nan", ".nan", "a number, here at least 0.0 and less than 1.0"),
        ("factor", ".inf", ".inf", "a number, here at least 0.0 and less than 1.0"),
        ("factor", "\"0.5\"", "\"0.5\"", "a number without quotes, here at least 0.0 and less than 1.0"),
        ("endpoint", "http://localhost:9464", "\"http://localhost:9464\"", ENDPOINT),
        ("endpoint", ":9464", "\":9464\"", ENDPOINT),
        ("endpoint", "localhost", "\"localhost\"", ENDPOINT),
        ("endpoint", "localhost:99999", "\"localhost:99999\"", ENDPOINT),
        ("endpoint", "localhost:+1", "\"localhost:+1\"", ENDPOINT),
        ("endpoint", "::1:9464", "\"::1:9464\"", ENDPOINT),
        ("endpoint", "\"[::g]:9464\"", "\"[::g]:9464\"", ENDPOINT),
    ];
    for (key, value, shown, allowed) in cases {
        let text = format!("yaml:source:\n  {key}: {value}");
        let expected = format!("yaml:2: receivers::source::{key}: {shown}: expected {allowed}");
        assert_eq!(faults(&[&text], &[]), expected);
    }
}

/// Guarantees: unknown keys, also nested ones and those in lists, are refused with the keys there are and the
/// nearest of them; a block that is none is refused once.
#[test]
fn keys_and_blocks() {
    table(&[
        (
            "source:\n  intervall: 30s",
            &format!(
                "yaml:2: receivers::source::intervall: unknown key (did you mean `interval`?); allowed: {KEYS}"
            ),
        ),
        (
            "source: {include: {name: [a]}}",
            "yaml:1: receivers::source::include::name: unknown key (did you mean `names`?); allowed: names",
        ),
        ("source: {include: [a]}", "yaml:1: receivers::source::include: a list: expected a mapping"),
        ("source: {rules: {}}", "yaml:1: receivers::source::rules: a mapping: expected a list"),
        ("source: text", "yaml:1: receivers::source: \"text\": expected a mapping"),
        (
            "source: {include: 'names:a'}",
            "yaml:1: receivers::source::include: \"names:a\": expected a mapping (put a space after the colon)",
        ),
        (
            "source:\n  include:\n    names:\n    - a\n    - 1\n    - {b: c}",
            "yaml:5: receivers::source::include::names[1]: 1: expected text (put it in quotes)\n\
             yaml:6: receivers::source::include::names[2]: a mapping: expected text",
        ),
        (
            "source:\n  rules:\n  - {name: a, weight: heavy}\n  - {weight: 1}\n  - text\n  - {name: c, colour: red}",
            "yaml:3: receivers::source::rules[0]::weight: \"heavy\": expected a whole number\n\
             yaml:4: receivers::source::rules[1]::name: missing; expected the rule's name\n\
             yaml:5: receivers::source::rules[2]: \"text\": expected a mapping\n\
             yaml:6: receivers::source::rules[3]::colour: unknown key; allowed: name, weight",
        ),
    ]);
}

/// Guarantees: what is no plain, single YAML document with text keys is refused, at its line; every duplicate
/// key is named with both lines.
#[test]
fn yaml() {
    table(&[
        (
            "source:\n  rate: 1\n  rate: 2\n  size: 1\n  size: 2\n  size: 3",
            "yaml:3: source::rate: duplicate key; first on line 2\n\
             yaml:5: source::size: duplicate key; first on line 4\n\
             yaml:6: source::size: duplicate key; first on line 4",
        ),
        (
            "source: {include: {names: [a], names: [b]}}",
            "yaml:1: source::include::names: duplicate key; first on line 1",
        ),
        (
            "source: {rules: [{name: a}, {name: b, name: c}]}",
            "yaml:1: source::rules[1]::name: duplicate key; first on line 1",
        ),
        (
            "source: {rate: 1\n",
            "yaml:2: source: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        ),
        (
            "source: {rate: &a 1}",
            "yaml:1: source::rate: anchors (`&name`) are not supported; write the value out",
        ),
        (
            "source: &a {}\nother: *a",
            "yaml:1: source: anchors (`&name`) are not supported; write the value out",
        ),
        (
            "source:\n  <<: {rate: 1}",
            "yaml:2: source: merge keys (`<<`) are not supported; write the value out",
        ),
        (
            "source: {rate: !!str 1}",
            "yaml:1: source::rate: tags (`!name`) are not supported; write the value out",
        ),
        ("source: {1: 2}", "yaml:1: source::1: a key that is not text; put it in quotes"),
        ("source: {true: 2}", "yaml:1: source::true: a key that is not text; put it in quotes"),
        ("source: {[a]: 2}", "yaml:1: source: a key that is a list or mapping; expected text"),
        ("a: 1\n---\nb: 2", "yaml:2: a second YAML document; expected one a file"),
        ("[a, b]", "yaml:1: a list: expected a mapping with receivers, exporters and service"),
        ("text", "yaml:1: \"text\": expected a mapping with receivers, exporters and service"),
        ("", "yaml: empty; expected receivers, exporters and service"),
        ("# only a comment\n", "yaml: empty; expected receivers, exporters and service"),
        ("~", "yaml: empty; expected receivers, exporters and service"),
    ]);
}

/// Guarantees: nesting and size are bounded, whatever the shape; the bound itself is allowed.
#[test]
fn bounds() {
    let nested =
        |depth| format!("yaml:source: {{include: {{names: {}{}}}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(faults(&[&nested(62)], &[]), "yaml:1: nested deeper than 64 levels");
    assert!(!faults(&[&nested(61)], &[]).contains("deeper"));
    for hostile in
        [nested(100_000), format!("yaml:{}", "- ".repeat(100_000)), format!("yaml:{}", "? ".repeat(100_000))]
    {
        let line = faults(&[&hostile], &[]);
        assert!(line.contains("deeper") || line.contains("limit"), "{line}");
    }
    assert_eq!(faults(&[&format!("yaml:#{}", "x".repeat(1 << 20))], &[]), "yaml: larger than 1048576 bytes");
    let many: String = (0..5000).map(|number| format!("key{number}: 1\n")).collect();
    let lines = faults(&[&format!("yaml:{many}")], &[]);
    assert_eq!(lines.lines().count(), 201);
    assert!(lines.ends_with("... and 4801 more"), "{lines}");
}

/// Guarantees: control characters of a hostile text never reach the terminal, and no line is without end.
#[test]
fn hostile_text() {
    let text = format!("yaml:source: {{mode: \"\\e[31m{}\", \"\\a\\n\": 1}}", "x".repeat(1000));
    let lines = faults(&[&text], &[]);
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.contains("\\u{1b}[31mxxx") && lines.contains("xxx...\""), "{lines}");
    assert!(lines.lines().all(|line| line.len() < 300 && !line.contains(char::is_control)), "{lines}");
}

/// Guarantees: the whole is checked: unknown types, signals, components that are absent, unsupported or named
/// twice, pipelines that cannot work; all in one run and by line.
#[test]
fn pipelines() {
    let text = "\
receivers: {source: }
processors: {batch: {x: 1}, pass/: , pass: }
exporters: {sink: , gauge: }
extensions: {probe: }
service:
  extensions: [probes, probe, probe]
  telemetry: {logs: {level: trace, encoding: xml}, metrics: {}}
  pipelines:
    logs: {receivers: [source], processors: [batch, pas], exporters: [gauge, snk]}
    traces: {receivers: [source], exporters: [sink]}
    metrics/a: {receivers: [], exporters: [sink, sink]}
    logs/b: {receivers: [source]}
    profile:
    logs/c: 3
    logs/: {}
    metrics: {receivers: [7], exporters: sink}
metrics: {}
";
    let expected = "\
yaml:2: processors::batch: unknown type; allowed: memory_limiter, pass
yaml:2: processors::pass/: expected a component id: `type` or `type/name`
yaml:6: service::extensions[0]: \"probes\": not declared (did you mean `probe`?); `extensions` has: probe
yaml:6: service::extensions[2]: \"probe\": named twice in one list
yaml:7: service::telemetry::logs::level: \"trace\": expected one of debug, info, warn, error
yaml:7: service::telemetry::logs::encoding: \"xml\": expected one of console, json
yaml:7: service::telemetry::metrics: unknown key; allowed: logs
yaml:9: service::pipelines::logs::processors[1]: \"pas\": not declared (did you mean `pass`?); `processors` has: batch, pass
yaml:9: service::pipelines::logs::exporters[0]: \"gauge\": gauge does not support logs; it supports: metrics
yaml:9: service::pipelines::logs::exporters[1]: \"snk\": not declared (did you mean `sink`?); `exporters` has: sink, gauge
yaml:10: service::pipelines::traces: unknown signal; allowed: logs, metrics, profiles
yaml:11: service::pipelines::metrics/a::receivers: expected at least one receiver
yaml:11: service::pipelines::metrics/a::exporters[1]: \"sink\": named twice in one list
yaml:12: service::pipelines::logs/b::exporters: expected at least one exporter
yaml:13: service::pipelines::profile: unknown signal (did you mean `profiles`?); allowed: logs, metrics, profiles
yaml:14: service::pipelines::logs/c: 3: expected a mapping
yaml:15: service::pipelines::logs/: expected `signal` or `signal/name`
yaml:16: service::pipelines::metrics::receivers[0]: 7: expected a component id: `type` or `type/name`
yaml:16: service::pipelines::metrics::exporters: \"sink\": expected a list
yaml:17: metrics: unknown key; allowed: receivers, processors, exporters, extensions, service";
    table(&[(text, expected)]);
}

/// Guarantees: what a component is declared for and never used is refused, unless the service block has faults
/// that may be the reason; a configuration without a service says what is missing.
#[test]
fn unused_and_missing() {
    let used = "service: {pipelines: {logs: {receivers: [source], exporters: [sink]}}}\n";
    table(&[
        (
            &format!(
                "receivers: {{source: , source/b: }}\nprocessors: {{pass: }}\nexporters: {{sink: , gauge: }}\n\
                 extensions: {{probe: }}\n{used}"
            ),
            "yaml:1: receivers::source/b: not used; expected to be named in `service::pipelines`, or removed\n\
             yaml:2: processors::pass: not used; expected to be named in `service::pipelines`, or removed\n\
             yaml:3: exporters::gauge: not used; expected to be named in `service::pipelines`, or removed\n\
             yaml:4: extensions::probe: not used; expected to be named in `service::extensions`, or removed",
        ),
        (
            &format!("receivers: {{source: }}\n{used}"),
            "yaml:2: service::pipelines::logs::exporters[0]: \"sink\": not declared; there is nothing under `exporters`",
        ),
        (
            "receivers: {source: }\nexporters: {sink: }",
            "yaml: service::pipelines: expected at least one pipeline, such as `logs`",
        ),
        (
            "receivers: 3\nservice: [a]",
            "yaml:1: receivers: 3: expected a mapping\nyaml:2: service: a list: expected a mapping",
        ),
        (
            "source: {}\nservce: {}",
            "yaml: service::pipelines: expected at least one pipeline, such as `logs`\n\
             yaml:1: source: expected this block under `receivers`; at the top it can only stand alone\n\
             yaml:2: servce: unknown key (did you mean `service`?); allowed: receivers, processors, exporters, extensions, service",
        ),
    ]);
}

/// Guarantees: a secret, or what came out of the environment, is in no message, also where it is faulty; its
/// neighbours are shown.
#[test]
fn secrets() {
    let text = "\
exporters:
  sink:
    token: [hunter2]
    headers: {authorization: [hunter2], b: 3}
    labels: {a: 1}
    tls: {key: 5, key_file: 7, insecure: maybe}
  sink/b: {headers: hunter2, passwrod: hunter2}
receivers: {source: {mode: '${env:PASSWORD}', rate: 'a${env:PASSWORD}'}}
service: {pipelines: {logs: {receivers: [source], exporters: [sink, sink/b]}}}
";
    let expected = "\
yaml:3: exporters::sink::token: [REDACTED]: expected text
yaml:4: exporters::sink::headers::authorization: [REDACTED]: expected text
yaml:4: exporters::sink::headers::b: [REDACTED]: expected text (put it in quotes)
yaml:5: exporters::sink::labels::a: 1: expected text (put it in quotes)
yaml:6: exporters::sink::tls::key: [REDACTED]: expected text (put it in quotes)
yaml:6: exporters::sink::tls::key_file: 7: expected text (put it in quotes)
yaml:6: exporters::sink::tls::insecure: \"maybe\": expected true or false
yaml:7: exporters::sink/b::headers: [REDACTED]: expected a mapping
yaml:7: exporters::sink/b::passwrod: unknown key; allowed: token, headers, labels, tls, behaviour
yaml:8: receivers::source::mode: \"${env:PASSWORD}\": expected one of growth, targeted
yaml:8: receivers::source::rate: \"a${env:PASSWORD}\": expected a whole number, here at least 1";
    table(&[(text, expected)]);
}

/// Guarantees: a reference to the environment that cannot be replaced is one fault at its line; so is a form
/// that is not ours.
#[test]
fn references() {
    let cases = [
        ("${env:NOPE}", "environment variable NOPE is not set; set it or write `${env:NOPE:-default}`"),
        ("${env:GARBLED}", "environment variable GARBLED does not hold UTF-8"),
        ("a${env:NOPE}b", "environment variable NOPE is not set; set it or write `${env:NOPE:-default}`"),
        ("${HOME}", "expected `${env:HOME}`"),
        ("${file:x}", "expected `${env:NAME}`; no other source is supported in a value"),
        ("${env:FIVE", "`${` without `}`; for the text itself write `$${`"),
        ("${env:a b}", "expected the name of a variable: letters, digits and underscores"),
        ("${env:}", "expected the name of a variable: letters, digits and underscores"),
        ("${env:A:-${env:B}}", "references within references are not supported"),
    ];
    for (value, reason) in cases {
        let text = format!("yaml:source:\n  rate: '{value}'");
        assert_eq!(faults(&[&text], &[]), format!("yaml:2: receivers::source::rate: \"{value}\": {reason}"));
    }
    let text = "yaml:source: {include: {names: ['${env:LARGE}', '${env:LARGE}']}}";
    let lines = faults(&[text], &[]);
    let reason = "environment references yield more than 1048576 bytes in all";
    assert_eq!(lines, format!("yaml:1: receivers::source::include::names[1]: \"${{env:LARGE}}\": {reason}"));
}

/// Guarantees: a source or an assignment that cannot be used is named with the reason, and no fault is made up
/// for what it might have held; all of them are reported.
#[test]
fn sources() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("latin"), b"a: 1\nb: caf\xe9\n").unwrap();
    std::fs::write(path("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    std::fs::write(path("cut"), "é".repeat((1 << 19) + 1)).unwrap();
    let (latin, large, cut, none) = (path("latin"), path("large"), path("cut"), path("none"));
    assert_eq!(faults(&[&latin], &[]), format!("{latin}:2: not UTF-8"));
    assert_eq!(faults(&[&large], &[]), format!("{large}: larger than 1048576 bytes"));
    assert_eq!(faults(&[&cut], &[]), format!("{cut}: larger than 1048576 bytes"));
    assert!(faults(&[&none, &latin], &[]).starts_with(&format!("{none}: cannot be read: ")));
    assert_eq!(faults(&[&none, &latin], &["x"]).lines().count(), 3);
    assert!(faults(&[folder.path().to_str().unwrap()], &[]).contains(": "));
    assert_eq!(
        faults(&["https://example.com/a.yaml"], &[]),
        "https://example.com/a.yaml: expected a path, file:PATH, env:NAME or yaml:TEXT"
    );
    assert_eq!(faults(&["env:NOPE"], &[]), "env:NOPE: environment variable: environment variable not found");
    assert_eq!(faults(&[], &["rate"]), "--set: \"rate\": expected key=value");
    assert_eq!(
        faults(&[], &["a..b=1"]),
        "--set: \"a::::b\": expected a key such as processors::batch::timeout"
    );
    assert_eq!(faults(&[], &["=1"]), "--set: \"\": expected a key such as processors::batch::timeout");
    assert_eq!(
        faults(&[], &["receivers.source.rate=x", "receivers::source::queue=-1"]),
        "--set: receivers::source::rate: \"x\": expected a whole number, here at least 1\n\
         --set: receivers::source::queue: -1: expected a whole number from 0 up"
    );
    assert!(faults(&[], &["source.rate=[1"]).starts_with("--set: source::rate: not valid YAML: "));
}
