//! Traces through the real program: the `replay` command and the receiver's `replay` setting.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

/// A container under a limit of 256 MiB, written by hand: its master stands still, its workers live for 12 s each and
/// hand what they leaked, 256 KiB/s, on to their successors, until the kernel kills the one that lives then. Nothing is
/// said of the cgroups around the container's.
fn recycled_workers() -> String {
    const MIB: f64 = 1_048_576.0;
    let mut lines =
        String::from("{\"kind\":\"host\",\"schema\":1,\"t\":0,\"epoch\":1764032400.0,\"page_size\":4096}\n");
    let path = format!("/kubepods/burstable/pod8a3b2c1d-0e4f-4a5b-8c6d-7e8f90a1b2c3/{ID}");
    let mut line = |text: String| lines += &(text + "}\n");
    let worker = |t: u32| (100 + t / 12, f64::from(t / 12 * 12));
    for t in 0..976 {
        let leaked = 10.0 * MIB + f64::from(t) * MIB / 4.0;
        line(format!(
            "{{\"kind\":\"cgroup\",\"t\":{t},\"cgroup_id\":98765,\"path\":\"{path}\",\"parent\":98000,\
             \"anon\":{},\"limit\":268435456,\"high\":0",
            leaked + 2.0 * MIB
        ));
        let (pid, start) = worker(t);
        for (pid, start, comm, anon) in [(7, 0.0, "master", 2.0 * MIB), (pid, start, "worker", leaked)] {
            line(format!(
                "{{\"kind\":\"process\",\"t\":{t},\"pid\":{pid},\"start\":{start},\"comm\":\"{comm}\",\
                 \"cgroup_id\":98765,\"anon\":{anon}"
            ));
        }
        if t % 12 == 11 {
            line(format!("{{\"kind\":\"exit\",\"t\":{t},\"pid\":{pid},\"start\":{start}"));
        }
    }
    let (pid, _) = worker(975);
    line(format!("{{\"kind\":\"oom_kill\",\"t\":976.25,\"pid\":{pid},\"start\":972"));
    lines
}

fn replay(trace: &Path, more: &[&str]) -> Vec<Value> {
    let ran = Command::new(env!("CARGO_BIN_EXE_memory-leak-hunter"))
        .arg("replay")
        .arg(trace)
        .args(more)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Guarantees: a replayed container whose leaking workers are recycled is found as a container, by the id in its path;
/// its limit is foretold, and the kill falls into the time that was; the workers are no suspects. So it is when the
/// trace is thinned to a sweep each 30 s.
#[test]
fn a_container_leaks_while_its_workers_are_recycled() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.jsonl");
    fs::write(&trace, recycled_workers()).unwrap();
    for more in [&[][..], &["--interval", "30s"]] {
        let events = replay(&trace, more);
        let of = |kind: &str| -> Vec<&Value> {
            events.iter().filter(|event| event["event_data"]["kernel"]["event_type"] == kind).collect()
        };
        for event in of("leak_suspected").into_iter().chain(of("leak_detected")).chain(of("oom_risk")) {
            assert_eq!(event["event_data"]["custom"]["scope"], "container", "{event}");
            assert_eq!(event["event_data"]["custom"].get("upper_bound"), None, "{event}");
            assert_eq!(event["metadata"]["container_id"], ID, "{event}");
        }
        let [detected] = of("leak_detected")[..] else { panic!("{more:?}: {events:#?}") };
        assert_eq!(detected["event_data"]["kernel"]["command"], "worker", "{detected}");
        assert_eq!(
            detected["event_data"]["custom"]["limit_cgroup"].as_str().unwrap().rsplit('/').next(),
            Some(ID)
        );
        assert!(!of("oom_risk").is_empty(), "{more:?}: {events:#?}");

        let [kill] = of("oom_kill")[..] else { panic!("{more:?}: {events:#?}") };
        assert_eq!(kill["timestamp"], "2025-11-25T01:16:16.250000000Z");
        assert_eq!(kill["metadata"]["container_id"], ID);
        assert_eq!(kill["metadata"]["pid"], 181);
        let custom = &kill["event_data"]["custom"];
        assert_eq!((&custom["scope"], &custom["stage"]), (&"process".into(), &"leaking".into()));
        let [from, to] = ["foretold_earliest", "foretold_latest"].map(|end| custom[end].as_str().unwrap());
        // RFC 3339 in one form and one zone is ordered as text
        assert!(from < "2025-11-25T01:16:16.250Z" && "2025-11-25T01:16:16.250Z" < to, "{kill}");
        assert!(kill["message"].as_str().unwrap().contains("a leak had been found"), "{kill}");
    }
}

/// Guarantees: with `replay` the receiver judges the trace instead of this host: the leak in it reaches the exporter,
/// under the pid of the trace.
#[test]
fn a_trace_goes_through_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.jsonl");
    let mut lines =
        String::from("{\"kind\":\"host\",\"schema\":1,\"t\":0,\"epoch\":1764032400.0,\"page_size\":4096}\n");
    for t in 0..1200 {
        let anon = 4_000_000 + t * 40_000;
        writeln!(
            lines,
            "{{\"kind\":\"process\",\"t\":{t},\"pid\":4242,\"start\":1.0,\"comm\":\"leaky\",\"anon\":{anon}}}"
        )
        .unwrap();
    }
    fs::write(&trace, lines).unwrap();
    let found = |line: &str| line.contains("leak_detected") && line.contains("\"pid\":4242");
    let told = judged(&trace, "", found);
    assert!(told.lines().any(found), "{told}");
}

/// Guarantees: `oom_horizon` decides how long before a limit is reached the receiver tells of it first.
#[test]
fn the_horizon_is_the_users() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.jsonl");
    fs::write(&trace, recycled_workers()).unwrap();
    let first_left = |settings: &str| -> f64 {
        let told = judged(&trace, settings, |line| line.contains("\"oom_kill\""));
        // the program was ended in the middle of a line, perhaps
        let mut events = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let risk = events.find(|event| event["event_data"]["kernel"]["event_type"] == "oom_risk");
        let risk = risk.unwrap_or_else(|| panic!("no risk: {told}"));
        risk["event_data"]["custom"]["time_to_oom_s"].as_str().unwrap().parse().unwrap()
    };
    let (default, short) = (first_left(""), first_left(", oom_horizon: 2m"));
    assert!(default > 200.0 && short <= 120.0, "{default} s by default, {short} s within 2 minutes");
}

/// What the receiver says of a trace, up to a line that `enough` knows, or what came in a minute.
fn judged(trace: &Path, settings: &str, enough: impl Fn(&str) -> bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events.jsonl");
    let config = format!(
        "receivers: {{memory_leak_hunter: {{replay: '{}'{settings}}}}}\nexporters: {{file: {{path: '{}'}}}}\n\
         service: {{pipelines: {{logs: {{receivers: [memory_leak_hunter], exporters: [file]}}}}}}\n",
        trace.display(),
        events.display()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_memory-leak-hunter"))
        .args(["--config", &format!("yaml:{config}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = || fs::read_to_string(&events).unwrap_or_default();
    let begin = Instant::now();
    while !told().lines().any(&enough) && begin.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told()
}
