//! Shown by 2 of containers: the end of memory, foretold and told. Its accuracy over many runs is measured by
//! `make bench PARTS=oom`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::container::Rootfs;
use mlh_integration::oom::{Doomed, Foretold, death, first_risk};
use mlh_integration::otlp::{Record, records};
use mlh_integration::scenario::{built, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar};
use serde_json::Value;

/// Guarantees: a leak that runs into its container's limit is foretold, with an interval that holds the moment of the
/// kill; the kill is told after it, with the process that was killed and with what its trend had been.
/// Needs: root, eBPF, podman and runc that work here; about four minutes, most of them waiting.
#[test]
fn a_kill_is_foretold_and_told() {
    scenario(|world| {
        need::ebpf()?;
        let rootfs = Rootfs::new(world, &[built("target-leak")?])?;
        let (file, port) = (world.path("records.jsonl"), free_port()?);
        let exporter = format!("file: {{path: '{}', format: json}}", file.display());
        let mut hunter = sidecar::start(world, "sidecar", &sidecar::hunting(world, &exporter, port), port)?;
        let doomed = Doomed { rate: 512, limit: 112 };
        let mut container = doomed.start(world, &rootfs)?;
        let risk = until("a warning", Duration::from_secs(300), || {
            hunter.lives()?;
            container.process.lives()?;
            Ok(first_risk(&records(&file)?, &container).cloned())
        })?;
        let died = until("the kill", Duration::from_secs(600), || Ok(death(&container)))?;
        let status = container.process.end(Duration::from_secs(30))?;
        ensure!(status.code() == Some(137), "not killed for its memory: {status}");
        let kill = until("the kill's record", Duration::from_secs(30), || {
            hunter.lives()?;
            let of_it = |record: &Record| {
                record.event == "memory_leak_hunter.oom.kill" && record.container() == Some(&container.id)
            };
            Ok(records(&file)?.into_iter().find(of_it))
        })?;

        let foretold = Foretold::of(&risk)?;
        ensure!(foretold.holds(died), "{} s were left, and told was {foretold:?}", foretold.left(died));
        for record in [&risk, &kill] {
            ensure!(record.severity == 17, "severity {}", record.severity);
            ensure!(record.ours("event.type")? == "container.oom");
            ensure!(record.pid() == Some(container.pid.into()), "{:?}", record.resource);
            ensure!(record.resource["process.executable.name"] == "target-leak", "{:?}", record.resource);
        }
        ensure!(risk.ours("limit")? == "memory.max", "{:?}", risk.attributes);
        ensure!(risk.number("limit_bytes")? as u64 == doomed.limit << 20, "{:?}", risk.attributes);
        victim(&kill, &risk, doomed)
    });
}

/// The record of the kill: who it was, and what had been known.
fn victim(kill: &Record, risk: &Record, doomed: Doomed) -> anyhow::Result<()> {
    ensure!(kill.time > risk.time, "told at {} and {}", risk.time, kill.time);
    let started = |record: &Record| {
        let time = record.resource.get("process.creation.time").and_then(Value::as_str).map(str::to_owned);
        time.with_context(|| format!("no creation time: {:?}", record.resource))
    };
    ensure!(started(kill)? == started(risk)?, "not the same process: {kill:?}");
    let stage = kill.ours("stage")?;
    ensure!(stage == "suspected" || stage == "leaking", "it was {stage}");
    let rate = (doomed.rate << 10) as f64;
    let velocity = kill.number("velocity_bytes_per_second")?;
    ensure!((0.8..1.2).contains(&(velocity / rate)), "{velocity} B/s told, {rate} B/s leaked");
    ensure!(kill.number("leaked_bytes")? > 0.0 && kill.ours("risk_told_at").is_ok(), "{:?}", kill.attributes);
    Ok(())
}
