//! The same traces through the real command: `replay` must say what the library says.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::judge::{HOST, Outcome, SWEEP_EVERY, UPTIME_S, key};
use super::sketch::Trace;

/// The trace in the format that `replay` reads.
fn lines(trace: &Trace) -> String {
    let key = key(trace);
    let mut lines = json!({
        "kind": "host", "schema": 1, "t": 0, "epoch": UPTIME_S, "uptime": UPTIME_S, "page_size": 4096,
        "mem_total": HOST.total,
    })
    .to_string();
    for (t, second) in trace.seconds.iter().enumerate() {
        let pass = json!({
            "kind": "pass", "t": t, "coverage": "full", "mem_available": HOST.available,
            "swap_free": HOST.swap_free,
        });
        let process = json!({
            "kind": "process", "t": t, "pid": key.pid, "start": key.start_ns as f64 / 1e9,
            "comm": "program", "exe": "/usr/bin/program", "image": 1,
            "anon": second.anon, "swap": second.swap, "shmem": second.shmem, "file": second.file,
            "threads": second.threads, "cpu_s": second.cpu_ns as f64 / 1e9,
        });
        let _ = write!(lines, "\n{pass}\n{process}");
    }
    lines + "\n"
}

/// Has the command judge a trace and compares the moments of all suspicions and verdicts.
///
/// # Errors
/// When the command fails, or says something else than `outcome`.
pub(crate) fn agrees(program: &Path, folder: &Path, trace: &Trace, outcome: &Outcome) -> Result<()> {
    let path = folder.join("trace.jsonl");
    std::fs::write(&path, lines(trace))?;
    let interval = format!("{SWEEP_EVERY}s");
    let output = Command::new(program).arg("replay").arg(&path).args(["--interval", &interval]).output()?;
    ensure!(output.status.success(), "replay: {}", String::from_utf8_lossy(&output.stderr));
    let (mut suspicions, mut verdicts) = (Vec::new(), Vec::new());
    for line in String::from_utf8(output.stdout)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        let into = match event["event_data"]["kernel"]["event_type"].as_str() {
            Some("leak_suspected") => &mut suspicions,
            Some("leak_detected") => &mut verdicts,
            _ => continue,
        };
        into.push(second(event["timestamp"].as_str().context("an event without a time")?)?);
    }
    ensure!(
        (&suspicions, &verdicts) == (&outcome.suspicions, &outcome.verdicts),
        "{}: replay suspects at {suspicions:?} and accuses at {verdicts:?}, the library says {outcome:?}",
        trace.shape
    );
    Ok(())
}

/// Seconds from the trace's beginning, which stands at [`UPTIME_S`] of the first of January 1970.
fn second(timestamp: &str) -> Result<usize> {
    let (day, time) = timestamp.trim_end_matches('Z').split_once('T').context("no time of day")?;
    let day: u64 = day.rsplit('-').next().context("no day")?.parse()?;
    let parts: Vec<f64> = time.split(':').map(str::parse).collect::<Result<_, _>>()?;
    let [hours, minutes, seconds] = parts[..] else { anyhow::bail!("{timestamp} is no time") };
    let of_day = hours * 3600.0 + minutes * 60.0 + seconds;
    Ok((day - 1) as usize * 86_400 + of_day.round() as usize - UPTIME_S as usize)
}
