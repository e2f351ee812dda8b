//! The workflow without a hand on it: growth, suspicion, a closer look, the verdict with whom to blame, and back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::Collector;
use mlh_integration::hunter::Hunter;
use mlh_integration::otlp::{Record, records};
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{compile, need, sidecar, web};
use serde_json::Value;

/// Bytes a second: 3 MB a minute.
const RATE: &str = "50000";
/// For the verdict, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(300);

/// Kinds of events.
const GROWTH_KIND: u32 = 4;
const SUSPICION: u32 = 5;
const MODE_CHANGE: u32 = 10;

const GROWTH: &str = "memory_leak_hunter.rss.growth";
const SUSPECTED: &str = "memory_leak_hunter.leak.suspected";
const DETECTED: &str = "memory_leak_hunter.leak.detected";
const MODE: &str = "memory_leak_hunter.mode.changed";

fn remember(world: &World, program: &str, name: &str, calm: bool) -> anyhow::Result<Process> {
    let program = compile::c(world, program, "c/remember.c", &[])?;
    let mut command = Command::new(program);
    command.arg(RATE);
    if calm {
        command.arg("calm");
    }
    world.spawn(name, &mut command)
}

fn word<'a>(record: &'a Record, name: &str) -> &'a str {
    record.ours(name).ok().and_then(Value::as_str).unwrap_or_default()
}

fn of(file: &Path, process: &Process) -> anyhow::Result<Vec<Record>> {
    let pid = Some(u64::from(process.pid()));
    Ok(records(file)?.into_iter().filter(|record| record.pid() == pid).collect())
}

fn count(told: &[Record], event: &str) -> usize {
    told.iter().filter(|record| record.event == event).count()
}

/// Guarantees: by default a leak is suspected, followed up by growth stacks, and found once, with the function that is to blame, its
/// file, line and share and what the verdict rests on; then the sidecar goes back. The Collector gets the records in that order, the
/// status and the metrics show what is being done meanwhile, and a calm program beside it gets none of it.
/// Needs: root, eBPF, gcc, the test servers; two minutes, most of them waiting.
#[test]
fn a_suspicion_is_followed_up_to_its_culprit() {
    scenario(|world| {
        need::ebpf()?;
        let (port, socket) = (free_port()?, world.path("run").join("control.sock"));
        let mut collector = Collector::start(world, free_port()?)?;
        let (leak, calm) =
            (remember(world, "followed", "leak", false)?, remember(world, "followed", "calm", true)?);
        let config = sidecar::taking_orders(
            &format!("collection_interval: 1s, {}", world.scope()),
            &sidecar::otlp(&collector.otlp),
            port,
            &socket,
        );
        let mut hunter = sidecar::start(world, "sidecar", &config, port)?;
        until("the suspicion being followed up", PATIENCE, || {
            hunter.lives()?;
            let begun = of(&collector.file, &leak)?.iter().any(|record| record.event == MODE);
            Ok(begun.then_some(()))
        })?;
        followed(&socket, port, &leak)?;
        let back = until("the way back", PATIENCE, || {
            collector.lives()?;
            let told = of(&collector.file, &leak)?;
            Ok((count(&told, MODE) == 2).then_some(told))
        })?;
        ordered(&back)?;
        let verdict = back.iter().find(|record| record.event == DETECTED).context("the verdict")?;
        blames(verdict)?;
        let page = web::get(&format!("http://127.0.0.1:{port}/metrics"))?;
        ensure!(sidecar::value(&page, "memory_leak_hunter_target_seconds_total") > Some(5.0), "{page}");
        until("the mode of before", Duration::from_secs(30), || {
            let page = web::get(&format!("http://127.0.0.1:{port}/metrics"))?;
            Ok(page.contains("memory_leak_hunter_mode{mode=\"growth_stacks\"} 0").then_some(()))
        })?;
        let told = of(&collector.file, &calm)?;
        ensure!(told.iter().all(|record| record.event == GROWTH), "the calm one: {told:?}");
        let told = of(&collector.file, &leak)?;
        ensure!(count(&told, DETECTED) == 1 && count(&told, MODE) == 2, "again: {told:?}");
        Ok(())
    });
}

/// What is shown while a suspicion is followed up.
fn followed(socket: &Path, port: u16, leak: &Process) -> anyhow::Result<()> {
    let mut command = Command::new(sidecar::executable()?);
    let output = command.arg("status").arg("--socket").arg(socket).args(["-o", "json"]).output()?;
    ensure!(output.status.success(), "{}", sidecar::text(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let climb = &status["climbs"][0];
    ensure!(status["mode"] == "growth_stacks", "{status}");
    ensure!(climb["target"] == format!("pid {}", leak.pid()) && climb["why"] == "suspected", "{status}");
    ensure!(climb["rungs"].to_string().contains("growth_stacks"), "{status}");
    until("the mode among the metrics", Duration::from_secs(30), || {
        let page = web::get(&format!("http://127.0.0.1:{port}/metrics"))?;
        Ok(page.contains("memory_leak_hunter_mode{mode=\"growth_stacks\"} 1").then_some(()))
    })
}

/// Growth, suspicion, a closer look, the verdict, and back.
fn ordered(told: &[Record]) -> anyhow::Result<()> {
    let mut told: Vec<&Record> = told.iter().collect();
    told.sort_by_key(|record| record.time);
    let events: Vec<_> = told.iter().map(|record| record.event.as_str()).filter(|it| *it != GROWTH).collect();
    ensure!(events == [SUSPECTED, MODE, DETECTED, MODE], "{events:?}");
    let modes: Vec<_> = told.iter().filter(|record| record.event == MODE).collect();
    let said = |record: &Record| {
        ["mode", "previous_mode", "asked_by", "reason"].map(|name| word(record, name).to_owned())
    };
    let expected = [
        ["growth_stacks", "growth_detection", "escalation", "suspected"],
        ["growth_detection", "growth_stacks", "escalation", "verdict"],
    ];
    for (record, expected) in modes.into_iter().zip(expected) {
        ensure!(said(record) == expected.map(str::to_owned), "{record:?}");
    }
    Ok(())
}

/// The verdict tells whom to blame, and what it rests on.
fn blames(verdict: &Record) -> anyhow::Result<()> {
    let attribute = |key: &str| verdict.attributes.get(key).with_context(|| format!("no {key}: {verdict:?}"));
    ensure!(attribute("code.function.name")? == "remember_session", "{verdict:?}");
    ensure!(attribute("code.file.path")?.as_str().is_some_and(|file| file.ends_with("remember.c")));
    ensure!(attribute("code.line.number")?.as_u64().is_some_and(|line| line > 0));
    ensure!(verdict.number("culprit_share")? >= 0.8, "{verdict:?}");
    let evidence = verdict.ours("evidence")?.to_string();
    ensure!(evidence.contains("growth_pages:kept"), "{evidence}");
    let culprits = verdict.ours("culprits")?.to_string();
    ensure!(culprits.contains("% remember_session (") && culprits.contains("remember.c:"), "{culprits}");
    // three addresses must rest before their last writers are known: where a machine is busy, the verdict may come first
    let (before, behind) = match word(verdict, "culprit_source") {
        "last_writers" => ("; remember_session (", ") was the last to write to "),
        _ => ("touched first for remember_session (", ")"),
    };
    let body = &verdict.body;
    ensure!(body.contains(before) && body.contains(behind) && body.contains("% of what stays"), "{body}");
    Ok(())
}

/// Guarantees: with escalation off, and with no rung above the trend, a leak is suspected and nothing follows from it; each setting
/// alone.
/// Needs: root, eBPF, gcc; two minutes, most of them waiting.
#[test]
fn nothing_follows_where_it_is_switched_off() {
    scenario(|world| {
        need::ebpf()?;
        let leak = remember(world, "let-alone", "leak", false)?;
        let scope = world.scope();
        let hunters = [
            Hunter::start(world, "off", &format!("{scope}, escalation: {{enabled: false}}"))?,
            Hunter::start(world, "trend", &format!("{scope}, escalation: {{max_rung: trend}}"))?,
        ];
        for mut hunter in hunters {
            let suspected = until("the suspicion", PATIENCE, || {
                hunter.process.lives()?;
                Ok(hunter.events(SUSPICION, leak.pid())?.first().map(|event| event["timestamp"].clone()))
            })?;
            // a look begins with the suspicion: once growth has been told again it would have been told as well
            until("growth after the suspicion", PATIENCE, || {
                hunter.process.lives()?;
                let told = hunter.events(GROWTH_KIND, leak.pid())?;
                let later = |event: &&Value| event["timestamp"].as_str() > suspected.as_str();
                Ok((told.iter().filter(later).count() >= 2).then_some(()))
            })?;
            let followed = hunter.events(MODE_CHANGE, leak.pid())?;
            ensure!(followed.is_empty(), "{followed:?}");
            ensure!(hunter.order(&["status"])?.get("climbs").is_none());
        }
        Ok(())
    });
}
