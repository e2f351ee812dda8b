mod look;

use std::sync::Arc;
use std::time::SystemTime;

use jsonschema::Validator;
use mlh_detect::{
    About, Cleared, ContainerKey, Exhaustion, Finding, FindingKind, Kill, Limit, LimitKind, Memory,
    ProcessKey, Risk, Stage, Trend, Verdict,
};
use mlh_targets::process::ProcessReading;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use serde_json::{Value as Json, json};

use super::*;
use crate::records::{Clock, Encoder, HostIdentity, Subject};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn schema() -> Validator {
    let text = include_str!("../../../../otel-config/event.schema.json");
    jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
}

fn line(resource: &Resource, record: &LogRecord) -> String {
    let mut out = String::new();
    EventFormat.encode(resource, &InstrumentationScope::default(), record, &mut out).unwrap();
    out
}

/// The record of a tracked allocation, built by hand from the specification's example.
fn example() -> (Resource, LogRecord) {
    let record = LogRecord {
        time_unix_nano: 1_795_568_523_456_789_012,
        severity_number: SeverityNumber::Warn.into(),
        attributes: vec![
            string("log.record.uid", "0198f0a0-0000-7000-8000-000000000000"),
            string("memory_leak_hunter.event.id", "memory-3-1699123456789"),
            string("memory_leak_hunter.event.kind", "allocation_unfreed"),
            string("memory_leak_hunter.event.type", "kernel.filesystem"),
            string("memory_leak_hunter.operation", "mmap"),
            number("memory_leak_hunter.pid", 12_345),
            string("memory_leak_hunter.command", "api-server"),
            number("memory_leak_hunter.cgroup_id", 98_765),
            string("memory_leak_hunter.address", "0x7f1234567890"),
            number("memory_leak_hunter.size_bytes", 1_048_576),
            string("memory_leak_hunter.caller_ip", "0x400123"),
            number("memory_leak_hunter.rss_pages", 1024),
            number("memory_leak_hunter.rss_growth", 256),
        ],
        ..LogRecord::default()
    };
    (Resource::default(), record)
}

/// Guarantees: the specification's own example comes out member by member, with the members that may stand
/// beside them, through the mapping that every kind shares.
#[test]
fn the_example_of_the_specification() {
    let (resource, record) = example();
    let event: Json = serde_json::from_str(&line(&resource, &record)).unwrap();
    assert_eq!(
        event,
        json!({
            "event_id": "memory-3-1699123456789", "timestamp": "2026-11-25T01:02:03.456789012Z",
            "type": "kernel.filesystem", "source": "memory-leak-hunter", "severity": "warning",
            "event_data": {
                "kernel": {"event_type": "mmap", "pid": 12345, "command": "api-server", "cgroup_id": 98765},
                "custom": {
                    "operation": "mmap", "address": "0x7f1234567890", "size_bytes": "1048576",
                    "caller_ip": "0x400123", "rss_pages": "1024", "rss_growth": "256"
                }
            },
            "metadata": {
                "tags": ["memory", "allocation"],
                "labels": {"event_type": "mmap", "size_bytes": "1048576"},
                "pid": 12345, "command": "api-server", "cgroup_id": 98765
            }
        })
    );
    schema().validate(&event).unwrap();
}

/// Guarantees: members stand in the order of the specification's example.
#[test]
fn members_keep_their_order() {
    let (resource, record) = example();
    let line = line(&resource, &record);
    let places: Vec<usize> = [
        "{\"event_id\":",
        "\"timestamp\":",
        "\"type\":",
        "\"source\":",
        "\"event_data\":{\"kernel\":{\"event_type\":",
        "\"pid\":",
        "\"command\":",
        "\"cgroup_id\":",
        "\"custom\":{\"operation\":",
        "\"address\":",
        "\"size_bytes\":",
        "\"caller_ip\":",
        "\"rss_pages\":",
        "\"rss_growth\":",
        "\"metadata\":{\"tags\":",
        "\"labels\":{\"event_type\":",
    ]
    .iter()
    .map(|member| line.find(member).unwrap_or_else(|| panic!("{member} is missing in {line}")))
    .collect();
    assert!(places.is_sorted(), "{line}");
}

fn findings() -> Vec<Finding> {
    let second = std::time::Duration::from_secs;
    let trend = Trend {
        velocity: 34_000.0,
        interval: (-5.0, 40_000.0),
        window: second(60),
        grown: 1 << 20,
        samples: 9,
    };
    let limit = Limit { kind: LimitKind::Max, bytes: 1 << 28, cgroup_id: Some(77) };
    let end = Exhaustion { expected_s: 90.0, earliest_s: 60.0, latest_s: f64::INFINITY, limit };
    let process = About::Process(ProcessKey { pid: 101, start_ns: 1 });
    let container = About::Container(ContainerKey(77));
    let detected = FindingKind::Detected(Verdict {
        trend,
        confidence: 0.97,
        leaked: 1 << 21,
        onset: second(3),
        exhaustion: Some(end),
        pattern: mlh_detect::Pattern::Steady,
        evidence: mlh_detect::Testimonies::default(),
    });
    let stage = Stage::Leaking;
    let kill = Kill { stage, trend: Some(trend), grown: 1 << 21, told: Some((second(90), end)) };
    [
        (process, FindingKind::Growth { grown: 1 << 20, since: second(5) }),
        (process, FindingKind::Suspected(trend)),
        (process, detected),
        (process, FindingKind::Cleared { reason: Cleared::GivenBack, was: stage, peak: 1 << 21 }),
        (container, FindingKind::OomRisk(Risk { trend, stage, exhaustion: end })),
        (process, FindingKind::OomKill(kill)),
        (container, detected),
    ]
    .into_iter()
    .map(|(about, kind)| Finding {
        at: second(100),
        about,
        memory: Memory { anon: 1 << 24, swap: 0, shmem: 0, file: 4096 },
        leader: None,
        container: None,
        upper_bound: about == container,
        kind,
    })
    .collect()
}

fn events() -> Vec<Json> {
    let subject = Subject {
        reading: ProcessReading {
            pid: 101,
            comm: "a \"b\"\n".to_owned(),
            host_pid: Some(9101),
            cgroup_id: Some(7),
            ..ProcessReading::default()
        },
        container_id: Some("4f1e".to_owned()),
        ..Subject::default()
    };
    encoded(&findings(), &subject)
}

fn encoded(findings: &[Finding], subject: &Subject) -> Vec<Json> {
    let clock = Clock { zero: SystemTime::UNIX_EPOCH, observed: SystemTime::UNIX_EPOCH };
    let mut encoder = Encoder::new(Arc::new(HostIdentity::default()), 4096);
    findings
        .iter()
        .map(|finding| {
            let logs = encoder.encode(finding, subject, None, &clock);
            let line = line(logs.resource.as_ref().unwrap(), &logs.scope_logs[0].log_records[0]);
            assert!(!line.contains('\n'), "one object, one line: {line}");
            serde_json::from_str(&line).unwrap()
        })
        .collect()
}

/// Guarantees: an event of each kind that is told today satisfies the committed schema, names kind, severity,
/// process and container where readers look for them, and carries the sentence.
#[test]
fn each_kind_satisfies_the_schema() {
    let schema = schema();
    let pressure = "container.memory_pressure";
    let velocity = ("velocity_bytes_per_second", "34000");
    let expected = [
        ("memory-4-100000", "rss_growth", pressure, "info", "rss", ("rss_growth", "256")),
        ("memory-5-100000", "leak_suspected", pressure, "warning", "leak", velocity),
        ("memory-6-100000", "leak_detected", pressure, "critical", "leak", velocity),
        ("memory-7-100000", "leak_cleared", pressure, "info", "leak", ("cleared_reason", "given_back")),
        ("memory-8-100000", "oom_risk", "container.oom", "critical", "oom", ("time_to_oom_s", "90")),
        ("memory-9-100000", "oom_kill", "container.oom", "critical", "oom", ("stage", "leaking")),
        ("memory-6-100000-1", "leak_detected", pressure, "critical", "leak", velocity),
    ];
    for (event, (id, kind, event_type, severity, tag, (figure, value))) in events().iter().zip(expected) {
        schema.validate(event).unwrap_or_else(|error| panic!("{kind}: {error} at {}", error.instance_path()));
        assert_eq!(event["event_id"], id);
        assert_eq!(event["type"], event_type);
        assert_eq!(event["severity"], severity);
        assert_eq!(event["event_data"]["kernel"]["event_type"], kind);
        assert_eq!(event["event_data"]["custom"]["operation"], kind);
        assert_eq!(event["event_data"]["custom"].get("log.record.uid"), None);
        assert_eq!(event["metadata"]["tags"], json!(["memory", tag]));
        assert_eq!(event["metadata"]["labels"], json!({"event_type": kind, figure: value}));
        assert_eq!(event["metadata"]["pid"], 101);
        assert_eq!(event["metadata"]["host_pid"], 9101);
        assert_eq!(event["metadata"]["cgroup_id"], 7);
        assert_eq!(event["metadata"]["container_id"], "4f1e");
        assert_eq!(event["metadata"]["command"], "a \"b\"\n");
        let message = event["message"].as_str().unwrap();
        if event["event_data"]["custom"]["scope"] == "container" {
            assert_eq!(event["event_data"]["custom"]["upper_bound"], "true");
            assert!(message.starts_with("Container 4f1e (most of it a \"b\"?, pid 101) "), "{message}");
        } else {
            assert_eq!(event["event_data"]["custom"].get("upper_bound"), None);
            assert!(message.contains("(pid 101, container 4f1e)"), "{message}");
        }
    }
}

/// Guarantees: the schema has teeth: taking away or spoiling any one member that it names is noticed, for every
/// kind, while an added member is not.
#[test]
fn the_schema_refuses_broken_events() {
    let schema = schema();
    for event in events() {
        let mut grown = event.clone();
        grown["event_data"]["custom"]["stack"] = json!("main;leak");
        grown["later"] = json!({"any": 1});
        schema.validate(&grown).unwrap();

        let taken = [
            "/event_id",
            "/timestamp",
            "/type",
            "/source",
            "/severity",
            "/event_data",
            "/metadata",
            "/event_data/kernel",
            "/event_data/custom",
            "/event_data/kernel/event_type",
            "/event_data/kernel/pid",
            "/event_data/custom/operation",
            "/event_data/custom/rss_pages",
            "/metadata/tags",
            "/metadata/labels",
            "/metadata/labels/event_type",
        ];
        let custom = &event["event_data"]["custom"];
        let (of_container, of_kill) = (custom["scope"] == "container", custom["operation"] == "oom_kill");
        for pointer in taken {
            let may_be_absent = match pointer {
                "/event_data/kernel/pid" => of_container || of_kill,
                "/event_data/custom/rss_pages" => of_kill,
                _ => false,
            };
            let mut broken = event.clone();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            broken.pointer_mut(parent).and_then(Json::as_object_mut).unwrap().remove(member).unwrap();
            assert_eq!(schema.is_valid(&broken), may_be_absent, "{pointer} absent from {event}");
        }
        let spoilt = [
            ("/event_id", json!("memory-11-5")),
            ("/event_id", json!("memory-4")),
            ("/timestamp", json!("2026-11-25 01:02:03")),
            ("/type", json!("container.other")),
            ("/type", json!("kernel.filesystem")),
            ("/source", json!("another")),
            ("/severity", json!("fatal")),
            ("/event_data/kernel/pid", json!("101")),
            ("/event_data/kernel/event_type", json!("mmap")),
            ("/event_data/custom/rss_pages", json!(4097)),
            ("/event_data/custom/rss_pages", json!("many")),
            ("/metadata/tags", json!([])),
            ("/metadata/labels/event_type", json!(4)),
        ];
        for (pointer, value) in spoilt {
            let mut broken = event.clone();
            *broken.pointer_mut(pointer).unwrap() = value.clone();
            assert!(!schema.is_valid(&broken), "{pointer} may be {value} in {event}");
        }
    }
    let own: [&[&str]; 7] = [
        &["rss_growth"],
        &["velocity_low_bytes_per_second"],
        &["confidence"],
        &["cleared_reason"],
        &[
            "velocity_bytes_per_second",
            "time_to_oom_s",
            "time_to_oom_earliest_s",
            "limit",
            "limit_bytes",
            "stage",
        ],
        &["stage", "foretold_earliest", "limit"],
        &["confidence"],
    ];
    for (event, members) in events().into_iter().zip(own) {
        for member in members {
            let mut broken = event.clone();
            broken["event_data"]["custom"].as_object_mut().unwrap().remove(*member).unwrap();
            assert!(!schema.is_valid(&broken), "{member} may be absent from {event}");
        }
        for (member, value) in
            [("upper_bound", "false"), ("stage", "odd"), ("limit", "memory"), ("foretold_latest", "soon")]
        {
            let mut broken = event.clone();
            broken["event_data"]["custom"][member] = json!(value);
            assert!(!schema.is_valid(&broken), "{member} may be {value} in {event}");
        }
    }
}

/// Guarantees: a victim that has no pid where the sidecar runs is known by the host's pid, and one of the two must be
/// there; a container of which no process is known has neither pid nor command, and satisfies the schema.
#[test]
fn without_a_pid() {
    let schema = schema();
    let unseen = Subject {
        reading: ProcessReading { host_pid: Some(9101), ..ProcessReading::default() },
        ..Subject::default()
    };
    let nobody = Subject { container_id: Some("4f1e".to_owned()), ..Subject::default() };
    let mut kill = findings().remove(5);
    kill.memory = Memory::default();
    let mut event = encoded(&[kill], &unseen).remove(0);
    schema.validate(&event).unwrap();
    assert_eq!(event["event_data"]["kernel"], json!({"event_type": "oom_kill"}));
    event["metadata"].as_object_mut().unwrap().remove("host_pid").unwrap();
    assert!(!schema.is_valid(&event), "{event}");

    for event in encoded(&findings()[4..5], &nobody).into_iter().chain(encoded(&findings()[6..], &nobody)) {
        schema.validate(&event).unwrap();
        assert_eq!((event["metadata"].get("pid"), event["metadata"].get("command")), (None, None));
    }
}

/// Guarantees: a record that is not ours is an error that names what is missing, and writes nothing; values of
/// every OTLP type become strings; a record without a time takes the observed one.
#[test]
fn odd_records() {
    let mut out = String::new();
    let error = write(&Resource::default(), &LogRecord::default(), &mut out).unwrap_err();
    assert!(error.contains("memory_leak_hunter.event.kind"), "{error}");
    assert_eq!(out, "");

    let (resource, mut record) = example();
    record.observed_time_unix_nano = 1;
    record.time_unix_nano = 0;
    record.attributes.push(attribute("code.stacktrace", Value::BoolValue(true)));
    record.attributes.push(attribute("memory_leak_hunter.ratio", Value::DoubleValue(0.5)));
    record.attributes.push(attribute("memory_leak_hunter.bytes", Value::BytesValue(vec![1, 2])));
    record.attributes.push(KeyValue { key: "memory_leak_hunter.void".to_owned(), ..KeyValue::default() });
    let event: Json = serde_json::from_str(&line(&resource, &record)).unwrap();
    assert_eq!(event["timestamp"], "1970-01-01T00:00:00.000000001Z");
    let custom = &event["event_data"]["custom"];
    assert_eq!((&custom["stack"], &custom["ratio"]), (&json!("true"), &json!("0.5")));
    assert!(custom["bytes"].as_str().unwrap().starts_with("{\"bytesValue\":"), "{custom}");
    assert_eq!(custom.get("void"), None);
}
