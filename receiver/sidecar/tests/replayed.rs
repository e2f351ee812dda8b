//! The receiver's `replay` setting, through the real program.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Guarantees: with `replay` the receiver judges the trace instead of this host: the leak in it reaches the exporter,
/// under the pid of the trace.
#[test]
fn a_trace_goes_through_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, events) = (folder.path().join("trace.jsonl"), folder.path().join("events.jsonl"));
    let mut lines =
        String::from("{\"kind\":\"host\",\"schema\":1,\"t\":0,\"epoch\":1764032400.0,\"page_size\":4096}\n");
    for t in 0..600 {
        let anon = 4_000_000 + t * 40_000;
        writeln!(
            lines,
            "{{\"kind\":\"process\",\"t\":{t},\"pid\":4242,\"start\":1.0,\"comm\":\"leaky\",\"anon\":{anon}}}"
        )
        .unwrap();
    }
    fs::write(&trace, lines).unwrap();
    let config = format!(
        "receivers: {{memory_leak_hunter: {{replay: '{}'}}}}\nexporters: {{file: {{path: '{}'}}}}\n\
         service: {{pipelines: {{logs: {{receivers: [memory_leak_hunter], exporters: [file]}}}}}}\n",
        trace.display(),
        events.display()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_memory-leak-hunter"))
        .args(["--config", &format!("yaml:{config}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let found = || {
        fs::read_to_string(&events)
            .unwrap_or_default()
            .lines()
            .any(|line| line.contains("leak_detected") && line.contains("\"pid\":4242"))
    };
    let begin = Instant::now();
    while !found() && begin.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found(), "{}", fs::read_to_string(&events).unwrap_or_default());
}
