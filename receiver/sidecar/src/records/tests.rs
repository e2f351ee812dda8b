use std::time::{Duration, SystemTime};

use mlh_detect::{ContainerKey, Kill, Memory, ProcessKey, Risk, Verdict};
use mlh_targets::process::ProcessReading;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::SeverityNumber;

use super::*;

mod containers;
mod leaks;
mod oom;
mod profiles;
mod target;

const CONTAINER: &str = "4f1e5c9ab012d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbcc";
const MB: u64 = 1_000_000;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Boot at 03:00:00 UTC, 25 November 2026.
fn clock() -> Clock {
    let zero = SystemTime::UNIX_EPOCH + at(1_795_575_600);
    Clock { zero, observed: zero + at(1900) }
}

fn host() -> HostIdentity {
    HostIdentity {
        name: Some("node-1".to_owned()),
        id: Some("0123456789abcdef0123456789abcdef".to_owned()),
        node_name: Some("node-1".to_owned()),
        pod: Some(OwnPod {
            uid: "own-uid".to_owned(),
            name: Some("mlh-x".to_owned()),
            namespace: Some("ops".to_owned()),
        }),
    }
}

fn subject() -> Subject {
    Subject {
        reading: ProcessReading {
            pid: 4242,
            host_pid: Some(4242),
            own_pid: Some(7),
            comm: "api-main".to_owned(),
            executable: "/usr/bin/api-server".to_owned(),
            cgroup_id: Some(98_765),
            memory_cgroup_id: Some(555),
            ..ProcessReading::default()
        },
        executable_path: Some("/usr/bin/api-server".to_owned()),
        container_id: Some(CONTAINER.to_owned()),
        pod_uid: Some("pod-uid".to_owned()),
        cgroup_path: Some("/kubepods/podpod-uid/4f1e".to_owned()),
        build_id: Some("c0ffee".to_owned()),
        created: Some(clock().zero + Duration::from_millis(12_500)),
        node_name: Some("api-7d9f".to_owned()),
        limit_path: None,
    }
}

fn finding(kind: FindingKind) -> Finding {
    Finding {
        at: Duration::new(1800, 123_456_789),
        about: About::Process(ProcessKey { pid: 4242, start_ns: 12_500_000_000 }),
        memory: Memory { anon: 40 * MB, swap: 2 * MB, shmem: MB, file: 8 * MB },
        leader: None,
        container: Some(ContainerKey(555)),
        upper_bound: false,
        kind,
    }
}

fn end(
    expected_s: f64,
    earliest_s: f64,
    latest_s: f64,
    kind: LimitKind,
    cgroup_id: Option<u64>,
) -> Exhaustion {
    Exhaustion { expected_s, earliest_s, latest_s, limit: Limit { kind, bytes: 1 << 28, cgroup_id } }
}

fn trend() -> Trend {
    Trend { velocity: 33_333.6, interval: (31_666.4, 35_000.0), window: at(424), grown: 4 * MB, samples: 96 }
}

fn detected(end: Option<Exhaustion>) -> Finding {
    finding(FindingKind::Detected(Verdict {
        trend: trend(),
        confidence: 0.974_56,
        leaked: 14_200_000,
        onset: at(847),
        exhaustion: end,
        pattern: mlh_detect::Pattern::Steady,
        evidence: mlh_detect::Testimonies::default(),
    }))
}

fn encoded(finding: &Finding, subject: &Subject) -> (Vec<KeyValue>, LogRecord) {
    let mut logs = Encoder::new(Arc::new(host()), 4096).encode(finding, subject, None, &clock());
    let mut scope = logs.scope_logs.remove(0);
    (logs.resource.unwrap().attributes, scope.log_records.remove(0))
}

fn shown(attributes: &[KeyValue]) -> Vec<(&str, String)> {
    let show = |value: &Value| match value {
        Value::StringValue(text) => format!("{text:?}"),
        Value::IntValue(integer) => integer.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::ArrayValue(list) => {
            let text = |value: &AnyValue| match &value.value {
                Some(Value::StringValue(text)) => text.clone(),
                other => panic!("{other:?}"),
            };
            format!("{:?}", list.values.iter().map(text).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| {
            (attribute.key.as_str(), show(attribute.value.as_ref().unwrap().value.as_ref().unwrap()))
        })
        .collect()
}

fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn strings<'a>(pairs: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

/// Guarantees: the Resource of a process holds exactly the agreed attributes, each once, with the pids of the
/// other namespaces only where they differ, the pod's uid and not the sidecar's pod name, and no arguments.
#[test]
fn the_resource_of_a_process() {
    let (resource, _) = encoded(&detected(None), &subject());
    assert_eq!(
        shown(&resource),
        strings(&[
            ("service.name", "\"api-server\""),
            ("container.id", &format!("{CONTAINER:?}")),
            ("host.name", "\"node-1\""),
            ("host.id", "\"0123456789abcdef0123456789abcdef\""),
            ("k8s.node.name", "\"node-1\""),
            ("k8s.pod.uid", "\"pod-uid\""),
            ("memory_leak_hunter.uts_node_name", "\"api-7d9f\""),
            ("process.pid", "4242"),
            ("process.vpid", "7"),
            ("process.executable.name", "\"api-server\""),
            ("process.executable.path", "\"/usr/bin/api-server\""),
            ("process.creation.time", "\"2026-11-25T03:00:12.500Z\""),
            ("process.linux.cgroup", "\"/kubepods/podpod-uid/4f1e\""),
            ("process.executable.build_id.gnu", "\"c0ffee\""),
        ])
    );
}

/// Guarantees: a neighbour in the sidecar's own pod gets the pod's name and namespace; what is unknown is absent.
#[test]
fn resources_of_a_neighbour_and_of_a_stranger() {
    let neighbour = Subject { pod_uid: Some("own-uid".to_owned()), ..subject() };
    let (resource, _) = encoded(&detected(None), &neighbour);
    let k8s: Vec<_> = shown(&resource).into_iter().filter(|(key, _)| key.starts_with("k8s.")).collect();
    assert_eq!(
        k8s,
        strings(&[
            ("k8s.node.name", "\"node-1\""),
            ("k8s.pod.uid", "\"own-uid\""),
            ("k8s.pod.name", "\"mlh-x\""),
            ("k8s.namespace.name", "\"ops\""),
        ])
    );

    let reading = ProcessReading {
        pid: 4242,
        host_pid: Some(90_210),
        comm: "worker".to_owned(),
        ..ProcessReading::default()
    };
    let (resource, _) = encoded(&detected(None), &Subject { reading, ..Subject::default() });
    let own: Vec<_> = shown(&resource)
        .into_iter()
        .filter(|(key, _)| !key.starts_with("host.") && !key.starts_with("k8s."))
        .collect();
    assert_eq!(
        own,
        strings(&[
            ("service.name", "\"worker\""),
            ("process.pid", "4242"),
            ("process.host.pid", "90210"),
            ("process.executable.name", "\"worker\""),
        ])
    );
}

/// Guarantees: a verdict says that it may be a cache that fills, unless what it keeps was seen not to be used.
#[test]
fn a_cache_may_look_the_same() {
    let with = |says: mlh_detect::Says| {
        let mut finding = detected(None);
        let FindingKind::Detected(verdict) = &mut finding.kind else { panic!("{finding:?}") };
        let (rung, source) = (mlh_detect::Rung::Coldness, mlh_detect::coldness::SOURCE);
        let said = mlh_detect::Testimony { rung, source, at: at(1800), watched: at(60), says };
        verdict.evidence = [said].into_iter().collect();
        let (_, record) = encoded(&finding, &subject());
        body(&record).contains("unless it is a cache")
    };
    assert!(!with(mlh_detect::Says::Kept { velocity: 1.0, interval: (0.5, 1.5), share: 1.0 }));
    assert!(with(mlh_detect::Says::Unclear("some of it")));
}

/// Guarantees: a verdict carries the agreed fields and attributes with their types, integers for counts and
/// bytes, a version 7 UUID of the event's own time, and a sentence with the rate, the amount, the onset and the end.
#[test]
fn a_verdict() {
    let end = end(32_500.4, 30_000.0, f64::INFINITY, LimitKind::Host, None);
    let (_, record) = encoded(&detected(Some(end)), &subject());
    assert_eq!(record.time_unix_nano, 1_795_577_400_123_456_789);
    assert_eq!(record.observed_time_unix_nano, 1_795_577_500_000_000_000);
    assert_eq!(record.event_name, "memory_leak_hunter.leak.detected");
    assert_eq!(record.severity_number, i32::from(SeverityNumber::Error));
    assert_eq!(record.severity_text, "ERROR");
    assert_eq!(
        body(&record),
        "api-server (pid 4242, container 4f1e5c9ab012) leaks 2.0 MB/min (1.9 to 2.1), 14.2 MB since 03:14:07 UTC, \
         unless it is a cache that still fills; the host's memory is gone in about 9 h."
    );

    let attributes = shown(&record.attributes);
    let uid: Uuid = attributes[0].1.trim_matches('"').parse().unwrap();
    assert_eq!(uid.get_version_num(), 7);
    assert_eq!(uid.get_timestamp().unwrap().to_unix().0, 1_795_577_400);
    assert_eq!(attributes[0].0, "log.record.uid");
    assert_eq!(
        attributes[1..],
        strings(&[
            ("memory_leak_hunter.event.id", "\"memory-6-1795577400123\""),
            ("memory_leak_hunter.event.kind", "\"leak_detected\""),
            ("memory_leak_hunter.event.type", "\"container.memory_pressure\""),
            ("memory_leak_hunter.scope", "\"process\""),
            ("memory_leak_hunter.operation", "\"leak_detected\""),
            ("memory_leak_hunter.pid", "4242"),
            ("memory_leak_hunter.command", "\"api-main\""),
            ("memory_leak_hunter.cgroup_id", "98765"),
            ("memory_leak_hunter.memory_cgroup_id", "555"),
            ("memory_leak_hunter.rss_pages", "11962"),
            ("memory_leak_hunter.anon_bytes", "40000000"),
            ("memory_leak_hunter.swap_bytes", "2000000"),
            ("memory_leak_hunter.shmem_bytes", "1000000"),
            ("memory_leak_hunter.file_bytes", "8000000"),
            ("memory_leak_hunter.rss_growth", "3466"),
            ("memory_leak_hunter.velocity_bytes_per_second", "33334"),
            ("memory_leak_hunter.velocity_low_bytes_per_second", "31666"),
            ("memory_leak_hunter.velocity_high_bytes_per_second", "35000"),
            ("memory_leak_hunter.window_s", "424"),
            ("memory_leak_hunter.samples", "96"),
            ("memory_leak_hunter.confidence", "0.975"),
            ("memory_leak_hunter.pattern", "\"steady\""),
            ("memory_leak_hunter.onset", "\"2026-11-25T03:14:07.000Z\""),
            ("memory_leak_hunter.leaked_bytes", "14200000"),
            ("memory_leak_hunter.time_to_oom_s", "32500"),
            ("memory_leak_hunter.time_to_oom_earliest_s", "30000"),
            ("memory_leak_hunter.limit", "\"host\""),
            ("memory_leak_hunter.limit_bytes", "268435456"),
        ])
    );
}

/// Guarantees: outside of a container the sentence names the cgroup, a long path by its end, and its id where the
/// path is unknown; control characters stay out of terminals.
#[test]
fn the_sentence_names_the_cgroup() {
    let sentence = |cgroup_path: Option<String>| {
        let subject = Subject { container_id: None, cgroup_path, ..subject() };
        body(&encoded(&finding(FindingKind::Growth { grown: 1, since: at(847) }), &subject).1).to_owned()
    };
    assert!(
        sentence(Some("/system.slice/a\u{1b}.service".into())).contains("cgroup /system.slice/a?.service)")
    );
    let long = sentence(Some(format!("/kubepods/{}/end", "x".repeat(200))));
    assert!(long.contains("cgroup …xxx") && long.contains("x/end)") && long.len() < 200, "{long}");
    assert!(sentence(None).contains(", cgroup id "));
}

/// Guarantees: the other kinds have their names, severities, sentences and own attributes.
#[test]
fn growth_suspicion_and_clearance() {
    let (_, record) = encoded(&finding(FindingKind::Growth { grown: 1_400_000, since: at(847) }), &subject());
    assert_eq!(
        (record.event_name.as_str(), record.severity_text.as_str()),
        ("memory_leak_hunter.rss.growth", "INFO")
    );
    assert_eq!(
        body(&record),
        "api-server (pid 4242, container 4f1e5c9ab012) grew by 1.4 MB since 03:14:07 UTC, to 43.0 MB."
    );
    let tail = |record: &LogRecord| -> Vec<(String, String)> {
        let shown = shown(&record.attributes);
        shown[15..].iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (format!("memory_leak_hunter.{key}"), (*value).to_owned())).collect()
    };
    assert_eq!(tail(&record), own(&[("rss_growth", "341"), ("onset", "\"2026-11-25T03:14:07.000Z\"")]));

    let (_, record) =
        encoded(&finding(FindingKind::Suspected(trend())), &Subject { container_id: None, ..subject() });
    assert_eq!(
        (record.event_name.as_str(), record.severity_text.as_str()),
        ("memory_leak_hunter.leak.suspected", "WARN")
    );
    assert_eq!(
        body(&record),
        "api-server (pid 4242, cgroup /kubepods/podpod-uid/4f1e) has been growing steadily for 7 min: 2.0 MB/min (1.9 to 2.1), 4.0 MB so far; \
         it is being watched closely."
    );
    assert_eq!(
        tail(&record),
        own(&[
            ("rss_growth", "976"),
            ("velocity_bytes_per_second", "33334"),
            ("velocity_low_bytes_per_second", "31666"),
            ("velocity_high_bytes_per_second", "35000"),
            ("window_s", "424"),
            ("samples", "96"),
        ])
    );

    for (reason, was, name, from, sentence) in [
        (Cleared::Stopped, Stage::Leaking, "stopped", "leaking", "was leaking and has stopped growing"),
        (
            Cleared::GivenBack,
            Stage::Suspected,
            "given_back",
            "suspected",
            "was suspected of a leak and has given the memory back",
        ),
        (
            Cleared::Executed,
            Stage::Leaking,
            "executed",
            "leaking",
            "was leaking and runs another program now",
        ),
        (Cleared::Exited, Stage::Leaking, "exited", "leaking", "was leaking and has exited"),
    ] {
        let (_, record) =
            encoded(&finding(FindingKind::Cleared { reason, was, peak: 14_200_000 }), &subject());
        assert_eq!(
            (record.event_name.as_str(), record.severity_text.as_str()),
            ("memory_leak_hunter.leak.cleared", "INFO")
        );
        assert_eq!(
            body(&record),
            format!("api-server (pid 4242, container 4f1e5c9ab012) {sentence}; it had grown by 14.2 MB.")
        );
        assert_eq!(
            tail(&record),
            own(&[
                ("cleared_reason", &format!("{name:?}")),
                ("cleared_from", &format!("{from:?}")),
                ("leaked_bytes", "14200000"),
            ])
        );
    }
}

/// Guarantees: pages are the kernel's, not 4 KiB; a page size of nought does not divide.
#[test]
fn pages_follow_the_kernel() {
    for (page_size, pages) in [(65_536, "747"), (0, "11962")] {
        let logs =
            Encoder::new(Arc::new(host()), page_size).encode(&detected(None), &subject(), None, &clock());
        let attributes = shown(&logs.scope_logs[0].log_records[0].attributes);
        assert!(
            attributes.contains(&("memory_leak_hunter.rss_pages", pages.to_owned())),
            "{page_size}: {attributes:?}"
        );
    }
}

/// Guarantees: scope and schema are named on every record.
#[test]
fn the_scope() {
    let logs = Encoder::new(Arc::new(host()), 4096).encode(&detected(None), &subject(), None, &clock());
    let scope = logs.scope_logs[0].scope.as_ref().unwrap();
    assert_eq!(
        (scope.name.as_str(), scope.version.as_str()),
        ("memory_leak_hunter", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(logs.scope_logs[0].schema_url, "https://opentelemetry.io/schemas/1.42.0");
    assert_eq!(logs.schema_url, "https://opentelemetry.io/schemas/1.42.0");
}

/// Guarantees: names as hostile processes choose them: a replaced executable, no executable, no name at all, and
/// control characters, which never reach the sentence.
#[test]
fn names() {
    let named = |executable: &str, comm: &str| Subject {
        reading: ProcessReading {
            pid: 4242,
            executable: executable.to_owned(),
            comm: comm.to_owned(),
            ..ProcessReading::default()
        },
        ..Subject::default()
    };
    assert_eq!(named("/opt/a b/app (deleted)", "x").name(), "app");
    assert_eq!(named("", "kworker/0:1").name(), "kworker/0:1");
    assert_eq!(named("/", "").name(), "unknown");
    let (_, record) = encoded(&detected(None), &named("/tmp/a\u{1b}[2Jb\n", "x"));
    assert!(body(&record).starts_with("a?[2Jb? (pid 4242) leaks"), "{}", body(&record));
}
