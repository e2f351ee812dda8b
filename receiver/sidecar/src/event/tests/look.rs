//! Events of a look at a target.

use std::time::Duration;

use mlh_detect::Testimonies;
use mlh_stacks::trace::{Frame, Trace};

use super::*;
use crate::investigate::plan::{End, Mode, Origin, Rung};
use crate::investigate::report::{Cost, StackEvidence};
use crate::investigate::told::{ModeChange, Operation, Unfreed};

fn subject() -> Arc<Subject> {
    let reading =
        ProcessReading { pid: 101, comm: "api".to_owned(), cgroup_id: Some(7), ..ProcessReading::default() };
    Arc::new(Subject { reading, ..Subject::default() })
}

fn trace() -> Trace {
    let frame = |function: &str, address| Frame {
        function: Some(function.to_owned()),
        module: "/usr/bin/api".to_owned(),
        address,
        offset: address,
        ..Frame::default()
    };
    let frames = vec![frame("malloc", 0x10), frame("remember", 0x40_0123)];
    Trace { frames, hash: 0xab, culprit: Some(1), incomplete: None }
}

fn operation(freed: bool) -> Operation {
    Operation {
        at: Duration::from_secs(100),
        subject: subject(),
        name: if freed { "free" } else { "malloc" },
        freed,
        address: 0x7f12_3456_7890,
        size: 1 << 20,
        weight: 10,
        caller_ip: 0x40_0123,
        trace: Some(Arc::new(trace())),
        rss_pages: 1024,
        rss_growth: 256,
    }
}

fn unfreed() -> Unfreed {
    Unfreed {
        at: Duration::from_secs(100),
        subject: subject(),
        address: 0x7f12_3456_7890,
        size: 1 << 20,
        age: Duration::from_secs(31),
        occurrences: 3,
        bytes: 3 << 20,
        grown: true,
        stack: StackEvidence {
            pid: 101,
            trace: trace(),
            operation: "malloc",
            live_bytes: 4 << 20,
            live_count: 4,
            error_bytes: 1000,
            at_least: true,
            allocation_rate: 1.5,
            ..StackEvidence::default()
        },
        overhead: 0.0004,
    }
}

fn change(to: Mode) -> ModeChange {
    let ended = (to == Mode::GrowthDetection).then_some(End::OverBudget);
    let from = if ended.is_some() { Mode::Investigating(Rung::Targeted) } else { Mode::GrowthDetection };
    ModeChange {
        at: Duration::from_secs(100),
        from,
        to,
        target: "pid 101".to_owned(),
        subject: subject(),
        whole_group: false,
        asked_by: Origin::Control { uid: 0 },
        cost: ended.as_ref().map(|_| Cost { target_cpu_share: 0.02, hits: 9, ..Cost::default() }),
        budget: ended.as_ref().map(|_| 0.001),
        over: ended.as_ref().map(|_| 0.02),
        ended,
        duration: Some(Duration::from_secs(300)),
        found: None,
        evidence: Testimonies::default(),
    }
}

fn looks() -> Vec<Json> {
    let clock = Clock { zero: SystemTime::UNIX_EPOCH, observed: SystemTime::UNIX_EPOCH };
    let mut encoder = Encoder::new(Arc::new(HostIdentity::default()), 4096);
    let records = [
        encoder.operation(&operation(false), &clock),
        encoder.operation(&operation(true), &clock),
        encoder.unfreed(&unfreed(), &clock),
        encoder.mode_changed(&change(Mode::Investigating(Rung::Targeted)), &clock),
        encoder.mode_changed(&change(Mode::GrowthDetection), &clock),
    ];
    let line_of = |logs: &opentelemetry_proto::tonic::logs::v1::ResourceLogs| {
        line(logs.resource.as_ref().unwrap(), &logs.scope_logs[0].log_records[0])
    };
    records.iter().map(|logs| serde_json::from_str(&line_of(logs)).unwrap()).collect()
}

/// Guarantees: an event of each kind of a look satisfies the committed schema, and names kind, severity and process where
/// readers look for them; the operation stands where the specification has it.
#[test]
fn each_kind_satisfies_the_schema() {
    let schema = schema();
    let size = ("size_bytes", "1048576");
    let expected = [
        ("memory-1-100000", "malloc", "kernel.filesystem", "info", "allocation", size),
        ("memory-2-100000", "free", "kernel.filesystem", "info", "deallocation", size),
        ("memory-3-100000", "malloc", "container.oom", "warning", "allocation", size),
        ("memory-10-100000", "mode_changed", "control", "info", "mode", ("mode", "targeted")),
        ("memory-10-100000-1", "mode_changed", "control", "info", "mode", ("mode", "growth_detection")),
    ];
    for (event, (id, operation, event_type, severity, tag, (figure, value))) in looks().iter().zip(expected) {
        schema.validate(event).unwrap_or_else(|error| panic!("{id}: {error} at {}", error.instance_path()));
        assert_eq!(event["event_id"], id);
        assert_eq!((&event["type"], &event["severity"]), (&json!(event_type), &json!(severity)), "{id}");
        assert_eq!(event["event_data"]["kernel"]["event_type"], operation);
        assert_eq!(event["event_data"]["custom"]["operation"], operation);
        assert_eq!(event["event_data"]["kernel"]["pid"], 101);
        assert_eq!(event["metadata"]["tags"], json!(["memory", tag]));
        assert_eq!(event["metadata"]["labels"], json!({"event_type": operation, figure: value}));
        assert!(!event["message"].as_str().unwrap().is_empty(), "{id}");
    }
}

/// Guarantees: what the specification's example shows of an allocation is there under its name, with the stack beside it.
#[test]
fn allocations_are_as_in_the_specification() {
    let custom = &looks()[0]["event_data"]["custom"];
    for (member, value) in [
        ("operation", "malloc"),
        ("address", "0x7f1234567890"),
        ("size_bytes", "1048576"),
        ("caller_ip", "0x400123"),
        ("rss_pages", "1024"),
        ("rss_growth", "256"),
        ("weight", "10"),
        ("caller", "remember"),
        ("stack_hash", "00000000000000ab"),
    ] {
        assert_eq!(custom[member], value, "{member}");
    }
    let unfreed = &looks()[2]["event_data"]["custom"];
    for (member, value) in
        [("occurrences", "3"), ("unfreed_bytes", "3145728"), ("age_s", "31"), ("at_least", "true")]
    {
        assert_eq!(unfreed[member], value, "{member}");
    }
}

/// Guarantees: the schema has teeth for these kinds as well.
#[test]
fn the_schema_refuses_broken_events() {
    let schema = schema();
    let looks = looks();
    let operation = ["operation", "address", "size_bytes", "caller_ip", "rss_pages", "rss_growth"];
    let stack = ["operation", "address", "size_bytes", "unfreed_bytes", "age_s", "live_bytes", "stack_hash"];
    let mode = ["operation", "scope", "mode", "previous_mode", "target", "asked_by", "reason"];
    let members: [&[&str]; 5] = [&operation, &operation, &stack, &mode, &mode];
    for (event, members) in looks.iter().zip(members) {
        for member in members {
            let mut broken = event.clone();
            broken["event_data"]["custom"].as_object_mut().unwrap().remove(*member).unwrap();
            assert!(!schema.is_valid(&broken), "{member} may be absent from {event}");
        }
        for (member, value) in [
            ("address", "7f12"),
            ("mode", "fast"),
            ("reason", "odd"),
            ("asked_by", "somebody"),
            ("stack_hash", "ab"),
            ("ages", "1 2 3"),
            ("overhead", "much"),
            ("grown", "false"),
            ("weight", "0.5"),
        ] {
            let mut broken = event.clone();
            broken["event_data"]["custom"][member] = json!(value);
            assert!(!schema.is_valid(&broken), "{member} may be {value} in {event}");
        }
        for (pointer, value) in [
            ("/type", json!("container.memory_pressure")),
            ("/severity", json!("critical")),
            ("/event_id", json!("memory-11-5")),
        ] {
            let mut broken = event.clone();
            *broken.pointer_mut(pointer).unwrap() = value.clone();
            assert!(!schema.is_valid(&broken), "{pointer} may be {value} in {event}");
        }
    }
}
