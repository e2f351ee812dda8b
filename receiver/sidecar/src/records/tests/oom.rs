//! Records about the end of memory, before and after it came.

use super::*;

const OF_RECORD: usize = 15;

/// Its own attributes, behind those that every record has.
fn tail(record: &LogRecord) -> Vec<(&str, String)> {
    let known = shown(&record.attributes).into_iter();
    known.skip(OF_RECORD).map(|(key, value)| (key.strip_prefix(semconv::PREFIX).unwrap(), value)).collect()
}

fn risk(latest_s: f64) -> Finding {
    let exhaustion = end(540.0, 500.0, latest_s, LimitKind::Max, Some(555));
    let kind = FindingKind::OomRisk(Risk { trend: trend(), stage: Stage::Leaking, exhaustion });
    Finding { about: About::Container(ContainerKey(555)), container: None, ..finding(kind) }
}

/// Guarantees: a risk says what limit is reached and when, with the time of day at both ends as far as there is one,
/// and carries slope, stage, limit and times.
#[test]
fn a_risk() {
    let around = Subject { limit_path: Some("/kubepods/pod1".to_owned()), ..subject() };
    let (_, record) = encoded(&risk(710.0), &around);
    assert_eq!(
        (record.event_name.as_str(), record.severity_text.as_str()),
        ("memory_leak_hunter.oom.risk", "ERROR")
    );
    assert_eq!(
        body(&record),
        "Container 4f1e5c9ab012 (most of it api-server, pid 4242) grows 2.0 MB/min (1.9 to 2.1): its memory limit of \
         268.4 MB is reached in about 9 min (03:38 to 03:42 UTC)."
    );
    assert_eq!(
        tail(&record),
        strings(&[
            ("rss_growth", "976"),
            ("stage", "\"leaking\""),
            ("velocity_bytes_per_second", "33334"),
            ("velocity_low_bytes_per_second", "31666"),
            ("velocity_high_bytes_per_second", "35000"),
            ("window_s", "424"),
            ("samples", "96"),
            ("time_to_oom_s", "540"),
            ("time_to_oom_earliest_s", "500"),
            ("time_to_oom_latest_s", "710"),
            ("limit", "\"memory.max\""),
            ("limit_bytes", "268435456"),
            ("limit_cgroup", "\"/kubepods/pod1\""),
        ])
    );
    let (_, open) = encoded(&risk(f64::INFINITY), &subject());
    assert!(
        body(&open).ends_with(
            "in about 9 min (not before 03:38:20 UTC; too uneven, or seen for too short, to say by when)."
        ),
        "{}",
        body(&open)
    );
    assert!(tail(&open).iter().all(|(key, _)| *key != "time_to_oom_latest_s"));
}

fn kill(stage: Stage, told: Option<(Duration, Exhaustion)>) -> Finding {
    let trend = (stage > Stage::Calm).then(trend);
    let grown = if trend.is_some() { 14_200_000 } else { 0 };
    finding(FindingKind::OomKill(Kill { stage, trend, grown, told }))
}

/// Guarantees: a kill says what had been known before it, and what had been foretold as times of day.
#[test]
fn a_kill() {
    let foretold = end(540.0, 500.0, 710.0, LimitKind::Max, Some(555));
    let (_, record) = encoded(&kill(Stage::Leaking, Some((at(1200), foretold))), &subject());
    assert_eq!(
        (record.event_name.as_str(), record.severity_text.as_str()),
        ("memory_leak_hunter.oom.kill", "ERROR")
    );
    let who = "api-server (pid 4242, container 4f1e5c9ab012) was killed for lack of memory, holding 43.0 MB";
    assert_eq!(
        body(&record),
        format!(
            "{who}; a leak had been found: 2.0 MB/min (1.9 to 2.1), 14.2 MB so far, and the end foretold at \
             03:20:00 UTC: 03:28 to 03:32 UTC."
        )
    );
    assert_eq!(
        tail(&record),
        strings(&[
            ("stage", "\"leaking\""),
            ("rss_growth", "3466"),
            ("velocity_bytes_per_second", "33334"),
            ("velocity_low_bytes_per_second", "31666"),
            ("velocity_high_bytes_per_second", "35000"),
            ("window_s", "424"),
            ("samples", "96"),
            ("leaked_bytes", "14200000"),
            ("risk_told_at", "\"2026-11-25T03:20:00.000Z\""),
            ("foretold_earliest", "\"2026-11-25T03:28:20.000Z\""),
            ("foretold_latest", "\"2026-11-25T03:31:50.000Z\""),
            ("limit", "\"memory.max\""),
            ("limit_bytes", "268435456"),
            ("limit_cgroup", "\"555\""),
        ])
    );
    let (_, record) = encoded(&kill(Stage::Suspected, None), &subject());
    assert_eq!(
        body(&record),
        format!("{who}; a leak had been suspected: 2.0 MB/min (1.9 to 2.1), 14.2 MB so far.")
    );
    let (_, record) = encoded(&kill(Stage::Calm, None), &subject());
    assert_eq!(body(&record), format!("{who}; no leak had been suspected."));
    assert_eq!(tail(&record), strings(&[("stage", "\"calm\"")]));
}

/// Guarantees: a victim outside of the sidecar's pid namespace is named by its pid on the host, under which nothing
/// else is said to run; of a victim of which only the end is known, no memory is claimed.
#[test]
fn a_victim_that_is_not_visible_here() {
    let reading =
        ProcessReading { host_pid: Some(90_210), comm: "worker".to_owned(), ..ProcessReading::default() };
    let subject = Subject { reading, ..Subject::default() };
    let finding = Finding { container: None, memory: Memory::default(), ..kill(Stage::Calm, None) };
    let (resource, record) = encoded(&finding, &subject);
    assert_eq!(
        body(&record),
        "worker (host pid 90210) was killed for lack of memory; no leak had been suspected."
    );
    let attributes = shown(&record.attributes);
    for absent in ["memory_leak_hunter.pid", "memory_leak_hunter.rss_pages", "memory_leak_hunter.anon_bytes"]
    {
        assert!(attributes.iter().all(|(key, _)| *key != absent), "{absent}");
    }
    let process: Vec<_> =
        shown(&resource).into_iter().filter(|(key, _)| key.starts_with("process.")).collect();
    assert_eq!(process, strings(&[("process.host.pid", "90210"), ("process.executable.name", "\"worker\"")]));
    let nameless = Subject::default();
    assert!(body(&encoded(&finding, &nameless).1).starts_with("unknown was killed"), "no empty brackets");
}
