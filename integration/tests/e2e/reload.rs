//! SIGHUP: another configuration without a restart.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::otlp::{Record, records};
use mlh_integration::process::Process;
use mlh_integration::scenario::{free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar, web};
use nix::sys::signal::Signal;

/// What the log says when a reload has come to its end.
const DONE: &str = "the new configuration runs";

fn exporter(file: &Path) -> String {
    format!("file: {{path: '{}', format: json}}", file.display())
}

/// Has the sidecar read its configuration anew, and waits until its log holds `outcome` once more than before.
fn reload(hunter: &mut Process, outcome: &str) -> anyhow::Result<()> {
    let count = |hunter: &Process| hunter.stderr().matches(outcome).count();
    let before = count(hunter);
    hunter.signal(Signal::SIGHUP)?;
    until(outcome, Duration::from_secs(60), || {
        hunter.lives()?;
        Ok((count(hunter) > before).then_some(()))
    })
}

fn metric(port: u16, name: &str) -> anyhow::Result<Option<f64>> {
    Ok(sidecar::value(&web::get(&format!("http://127.0.0.1:{port}/metrics"))?, name))
}

/// Waits until the metrics on `port` tell of another sweep than the first `sweeps`.
fn sweeps_on(hunter: &mut Process, port: u16, sweeps: f64) -> anyhow::Result<f64> {
    until("another sweep", Duration::from_secs(60), || {
        hunter.lives()?;
        let now = metric(port, "memory_leak_hunter_sweep_duration_seconds_count").ok().flatten();
        Ok(now.filter(|now| *now > sweeps))
    })
}

/// Asks `url` for as long as `meanwhile` takes. Returns what was answered other than well; no answer is none.
fn unwell(url: &str, meanwhile: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<String>> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut unwell = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let error = web::get(url).err().map(|error| format!("{error:#}"));
                unwell.extend(error.filter(|error| error.contains("status")));
                std::thread::sleep(Duration::from_millis(5));
            }
            unwell
        });
        let result = meanwhile();
        over.store(true, Ordering::Relaxed);
        let unwell = asking.join().map_err(|_| anyhow::anyhow!("the one who asks has panicked"))?;
        result.map(|()| unwell)
    })
}

/// Guarantees: a suspicion outlives a reload: the verdict comes through the new pipelines, with the growth from before
/// the reload in it, and the suspicion is not told again. Counters never go back, the programs in the kernel stay, and
/// whoever asks for the sidecar's health meanwhile hears of no fault.
/// Needs: root, eBPF; about three minutes, most of them waiting.
#[test]
fn a_suspicion_survives() {
    scenario(|world| {
        need::ebpf()?;
        let (old, new) = (world.path("old.jsonl"), world.path("new.jsonl"));
        let (port, health) = (free_port()?, free_port()?);
        let config = |file: &Path| {
            let service = format!(
                "extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}\nservice:\n  extensions: [health_check]\n"
            );
            // what follows from a suspicion comes and goes with programs of its own
            let quiet = "collection_interval: 1s, escalation: {enabled: false}";
            sidecar::hunting_by(quiet, &exporter(file), port).replace("service:\n", &service)
        };
        let leak = world.target("target-leak", &["--rate", "34953"])?;
        let mut hunter = sidecar::start(world, "sidecar", &config(&old), port)?;
        let of_leak = |file: &Path, event: &str| -> anyhow::Result<Vec<Record>> {
            let of_it = |record: &Record| {
                record.event.ends_with(event)
                    && record.pid() == Some(leak.pid().into())
                    && record.attributes["memory_leak_hunter.scope"] == "process"
            };
            Ok(records(file)?.into_iter().filter(of_it).collect())
        };
        until("the suspicion", Duration::from_secs(120), || {
            hunter.lives()?;
            Ok((!of_leak(&old, "leak.suspected")?.is_empty()).then_some(()))
        })?;

        let programs = |hunter: &Process| -> anyhow::Result<Vec<_>> {
            let mut held = sidecar::bpf_ids(hunter.pid())?;
            held.retain(|(kind, _)| kind == "prog");
            Ok(held)
        };
        let (held, events) = (programs(&hunter)?, "memory_leak_hunter_events_processed_total");
        let counted = metric(port, events)?.context("no counter")?;
        world.write("sidecar.yaml", &config(&new))?;
        let unwell = unwell(&format!("http://127.0.0.1:{health}/"), || reload(&mut hunter, DONE))?;
        ensure!(unwell.is_empty(), "told while it reloaded: {unwell:?}");
        ensure!(!held.is_empty() && programs(&hunter)? == held, "loaded anew: {held:?}");
        let after =
            until("the counter", Duration::from_secs(30), || Ok(metric(port, events).ok().flatten()))?;
        ensure!(after >= counted, "{counted} events, and after the reload {after}");
        let log = hunter.stderr();
        let line = log.lines().find(|line| line.contains("reading the configuration anew"));
        let reloaded =
            line.and_then(|line| line.get(..19)).context("the log does not tell of it")?.to_owned();

        let verdict = until("the verdict", Duration::from_secs(240), || {
            hunter.lives()?;
            Ok(of_leak(&new, "leak.detected")?.into_iter().next())
        })?;
        let onset = verdict.attributes["memory_leak_hunter.onset"].as_str().context("no onset")?;
        // both are UTC, down to the second
        ensure!(onset.get(..19) < Some(reloaded.as_str()), "onset {onset}, reloaded at {reloaded}");
        ensure!(of_leak(&old, "leak.detected")?.is_empty(), "the old file has a verdict");
        ensure!(of_leak(&new, "leak.suspected")?.is_empty(), "suspected twice");
        ensure!(of_leak(&old, "leak.suspected")?.len() == 1, "suspected twice");

        hunter.signal(Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.code() == Some(0), "{status}: {}", hunter.stderr());
        Ok(())
    });
}

/// Guarantees: a configuration with a fault is refused with each of its faults in the log, one that cannot start with
/// its reason, and both times the old pipelines go on; a sound one takes over also after that, its log level with it.
#[test]
fn what_cannot_run_is_refused() {
    scenario(|world| {
        let (port, moved) = (free_port()?, free_port()?);
        let file = exporter(&world.path("records.jsonl"));
        let config = |port| {
            sidecar::hunting(world, &file, port)
                .replace("collection_interval", "rss_check_interval: 1s, collection_interval")
        };
        let mut hunter = sidecar::start(world, "sidecar", &config(port), port)?;

        let broken =
            config(port).replace("collection_interval: 1s", "collection_interval: soon, mode: gentle");
        world.write("sidecar.yaml", &broken)?;
        let sweeps = sweeps_on(&mut hunter, port, 0.0)?;
        reload(&mut hunter, "the new configuration is refused and the old one goes on")?;
        let log = hunter.stderr();
        for fault in
            ["sidecar.yaml:1: receivers::memory_leak_hunter::collection_interval: \"soon\"", "gentle"]
        {
            ensure!(log.contains(fault), "{fault} is not told: {log}");
        }
        let sweeps = sweeps_on(&mut hunter, port, sweeps)?;

        let taken = std::net::TcpListener::bind(("127.0.0.1", moved))?;
        world.write("sidecar.yaml", &config(moved))?;
        reload(&mut hunter, "the new configuration is refused and the old one runs again")?;
        let log = hunter.stderr();
        ensure!(log.contains(&format!("127.0.0.1:{moved} is in use")), "no reason is told: {log}");
        let sweeps = sweeps_on(&mut hunter, port, sweeps)?;

        drop(taken);
        let quiet = config(moved).replace("service:\n", "service:\n  telemetry: {logs: {level: warn}}\n");
        world.write("sidecar.yaml", &quiet)?;
        hunter.signal(Signal::SIGHUP)?;
        sweeps_on(&mut hunter, moved, sweeps)?;
        ensure!(
            web::get(&format!("http://127.0.0.1:{port}/metrics")).is_err(),
            "the old pipelines run as well"
        );
        ensure!(!hunter.stderr().contains(DONE), "the log level is the old one's");
        hunter.signal(Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.code() == Some(0), "{status}: {}", hunter.stderr());
        Ok(())
    });
}

/// Guarantees: a receiver that a reload disables leaves nothing in the kernel, and one that a reload enables hunts.
/// Needs: root, eBPF.
#[test]
fn a_disabled_receiver_lets_go() {
    scenario(|world| {
        need::ebpf()?;
        let port = free_port()?;
        let config = sidecar::hunting(world, "debug: {verbosity: basic}", port);
        let mut hunter = sidecar::start(world, "sidecar", &config, port)?;
        ensure!(sidecar::holds_bpf(hunter.pid())?, "it does not run on eBPF: {}", hunter.stderr());
        world.write(
            "sidecar.yaml",
            &config.replace("collection_interval", "enabled: false, collection_interval"),
        )?;
        reload(&mut hunter, DONE)?;
        ensure!(!sidecar::holds_bpf(hunter.pid())?, "it still holds BPF objects");
        world.write("sidecar.yaml", &config)?;
        reload(&mut hunter, DONE)?;
        sweeps_on(&mut hunter, port, 1.0)?;
        ensure!(sidecar::holds_bpf(hunter.pid())?, "it does not run on eBPF: {}", hunter.stderr());
        Ok(())
    });
}

/// Guarantees: signals that come together or during a reload are not lost: after many SIGHUP the sidecar runs, and one
/// SIGTERM behind them ends it in order. A configuration that stands on the command line, and the built-in one, can be
/// reloaded as well.
#[test]
fn no_signal_is_lost() {
    scenario(|world| {
        let port = free_port()?;
        let config = sidecar::hunting(world, "debug: {verbosity: basic}", port);
        let mut command = Command::new(sidecar::executable()?);
        command.arg("--config").arg(format!("yaml:{config}"));
        let mut hunter = world.spawn("sidecar", &mut command)?;
        sidecar::swept(&mut hunter, port)?;
        for _ in 0..20 {
            hunter.signal(Signal::SIGHUP)?;
        }
        reload(&mut hunter, DONE)?;
        sweeps_on(&mut hunter, port, 0.0)?;
        hunter.signal(Signal::SIGHUP)?;
        hunter.signal(Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.code() == Some(0), "{status}: {}", hunter.stderr());

        let mut command = Command::new(sidecar::executable()?);
        let mut hunter = world.spawn("built-in", sidecar::built_in(&mut command, port)?)?;
        sidecar::swept(&mut hunter, port)?;
        reload(&mut hunter, DONE)?;
        sweeps_on(&mut hunter, port, 1.0)?;
        hunter.signal(Signal::SIGHUP)?;
        let line = "reading the configuration anew";
        until("the second reload", Duration::from_secs(30), || {
            Ok((hunter.stderr().matches(line).count() == 2).then_some(()))
        })?;
        hunter.signal(Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.code() == Some(0), "{status}: {}", hunter.stderr());
        Ok(())
    });
}
