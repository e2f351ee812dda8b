//! Shown by 1 of containers: five of them under a memory limit, of which two leak.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::{Collector, VictoriaLogs};
use mlh_integration::container::{Container, Rootfs};
use mlh_integration::memory_cgroup::mapped;
use mlh_integration::otlp::{Record, records};
use mlh_integration::scenario::{built, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar, web};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Bytes a second, in either leaking container.
const RATE: f64 = 512.0 * 1024.0;
const LIMIT: f64 = 256.0 * 1024.0 * 1024.0;
const PROGRAMS: [&str; 5] = ["target-leak", "target-recycle", "target-cache", "target-idle", "target-fork"];

/// What accuses somebody, as kinds of records.
const ACCUSATIONS: [&str; 5] = ["leak_suspected", "leak_detected", "leak_cleared", "oom_risk", "oom_kill"];

fn accuses(record: &Record) -> bool {
    record.ours("event.kind").is_ok_and(|kind| ACCUSATIONS.iter().any(|accusation| kind == accusation))
}

/// Guarantees: of five containers under a memory limit, the one whose program leaks and the one whose leaking workers
/// are recycled before any of them is old are suspected and called leaking, as containers, with all that was promised
/// of such a record; the bounded cache, the idle one, and the workers that share their tables are not accused of
/// anything. The Collector's file and the log store's answers agree, and a gauge tells the time left of the two.
/// Needs: root, eBPF, podman and runc that work here, the test servers; about four minutes, most of them waiting.
#[test]
fn only_the_leaking_containers_are_named() {
    scenario(|world| {
        need::ebpf()?;
        let programs = PROGRAMS.iter().map(|name| built(name)).collect::<anyhow::Result<Vec<_>>>()?;
        let rootfs = Rootfs::new(world, &programs)?;
        let logs = VictoriaLogs::start(world)?;
        let mut collector = Collector::start_with_logs(world, free_port()?, &logs)?;
        let start = |name: &str, arguments: &[&str]| {
            let program = format!("/bin/{name}");
            rootfs.start(world, name, "256m", &[&[program.as_str()], arguments].concat())
        };
        // tables are filled before anybody looks; the workers come under observation
        let fork =
            start("target-fork", &["--mib", "48", "--workers", "8", "--every", "4", "--spread", "120"])?;
        until("the tables", Duration::from_secs(60), || {
            Ok(fork.process.stdout().contains("filled").then_some(()))
        })?;
        let port = free_port()?;
        let otlp = format!("otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}", collector.otlp);
        let mut hunter = sidecar::start(world, "sidecar", &sidecar::hunting(world, &otlp, port), port)?;
        let leak = start("target-leak", &["--rate", "524288"])?;
        let recycle = start("target-recycle", &["--rate", "524288", "--life", "12"])?;
        let cache = start("target-cache", &["--mib", "96", "--fill", "20"])?;
        let idle = start("target-idle", &["--mib", "16"])?;

        for (container, program) in [(&leak, "target-leak"), (&recycle, "target-recycle")] {
            for (kind, severity) in [("leak_suspected", 13), ("leak_detected", 17)] {
                let what = format!("{kind} of the container of {program}");
                let record = until(&what, Duration::from_secs(280), || {
                    hunter.lives()?;
                    let all = records(&collector.file)?;
                    Ok(all.into_iter().find(|record| is_about(record, container, kind)))
                })?;
                conforms(&record, container, program, severity).with_context(|| what.clone())?;
                if kind == "leak_detected" {
                    verdict(&record, container).with_context(|| what)?;
                }
                if program == "target-leak" {
                    ensure!(record.pid() == Some(container.pid.into()), "{:?}", record.resource);
                }
            }
        }
        until("the workers have seen all of the shared table", Duration::from_secs(200), || {
            Ok((fork.process.stdout().matches("spread").count() == 8).then_some(()))
        })?;
        let calm = [&cache, &idle, &fork];
        let mut calm_pids = BTreeSet::new();
        for container in calm {
            calm_pids.extend(container.cgroup.processes()?.into_iter().map(u64::from));
        }
        sharing_was_tempting(&fork)?;
        recycling_was_hidden(&recycle)?;

        until("the time left on the metrics page", Duration::from_secs(30), || {
            let page = web::get(&format!("http://127.0.0.1:{port}/metrics"))?;
            let left = |container: &Container| time_left(&page, container);
            ensure!(calm.into_iter().all(|container| left(container).is_none()), "{page}");
            Ok(left(&leak).zip(left(&recycle)).filter(|(one, other)| one.max(*other) < LIMIT / RATE))
        })?;

        hunter.signal(Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.success(), "after SIGTERM: {status}");
        collector.lives()?;
        let records = records(&collector.file)?;
        for record in records.iter().filter(|record| accuses(record)) {
            let by_id = calm.iter().any(|container| record.container() == Some(&container.id));
            let by_pid = record.pid().is_some_and(|pid| calm_pids.contains(&pid));
            ensure!(!by_id && !by_pid, "a calm container is accused: {record:?}");
        }
        for container in [&leak, &recycle, &cache, &idle, &fork] {
            same_in_the_store(&logs, &records, container)?;
        }
        named_by_the_store(&logs, [&leak, &recycle], calm)
    });
}

/// About a container as a whole.
fn is_about(record: &Record, container: &Container, kind: &str) -> bool {
    record.container() == Some(&container.id)
        && record.ours("scope").is_ok_and(|scope| scope == "container")
        && record.ours("event.kind").is_ok_and(|named| named == kind)
}

/// What each record about a leaking container carries.
fn conforms(record: &Record, container: &Container, program: &str, severity: i64) -> anyhow::Result<()> {
    let resource = |key: &str| {
        let value = record.resource.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.with_context(|| format!("no {key} in {:?}", record.resource))
    };
    ensure!(record.severity == severity, "severity {}", record.severity);
    ensure!(record.ours("event.type")? == "container.memory_pressure");
    ensure!(resource("process.executable.name")? == program, "{:?}", record.resource);
    ensure!(resource("process.linux.cgroup")?.contains(&container.id), "{:?}", record.resource);
    let pid = record.pid().context("no process.pid")?;
    ensure!(record.ours("pid")? == pid, "{:?}", record.attributes);
    resource("service.name")?;
    resource("host.name")?;
    ensure!(record.ours("upper_bound").is_err(), "the memory cgroup counts exactly: {:?}", record.attributes);
    Ok(())
}

/// The verdict's velocity is the true one to a fifth (what the allocator adds is in it), and its end is the limit.
fn verdict(record: &Record, container: &Container) -> anyhow::Result<()> {
    let velocity = record.number("velocity_bytes_per_second")?;
    ensure!((0.8..1.2).contains(&(velocity / RATE)), "{velocity} B/s told, {RATE} B/s leaked");
    ensure!(record.ours("limit")? == "memory.max", "{:?}", record.attributes);
    ensure!((record.number("limit_bytes")? - LIMIT).abs() < 1.0, "{:?}", record.attributes);
    let cgroup = record.ours("limit_cgroup")?.as_str().unwrap_or_default();
    ensure!(cgroup.contains(&container.id), "{cgroup}");
    let left = record.number("time_to_oom_s")?;
    ensure!(left > 0.0 && left < LIMIT / RATE, "{left} s are left of {} at most", LIMIT / RATE);
    Ok(())
}

/// Of a container, on a page of metrics.
fn time_left(page: &str, container: &Container) -> Option<f64> {
    let series = format!("memory_leak_hunter_time_to_oom_seconds{{target_container=\"{}\"}}", container.id);
    sidecar::value(page, &series)
}

/// The test is worth something only if the sum over the workers rose far above what the container holds.
fn sharing_was_tempting(fork: &Container) -> anyhow::Result<()> {
    let sum = fork.cgroup.processes()?.into_iter().map(mapped).sum::<anyhow::Result<u64>>()?;
    let held = fork.cgroup.held()?;
    ensure!(sum > 5 * held, "the workers map {sum} bytes, the container holds {held}");
    Ok(())
}

/// And only if no worker was there for long while the container grew.
fn recycling_was_hidden(recycle: &Container) -> anyhow::Result<()> {
    let told = recycle.process.stdout();
    let generation = told.lines().last().and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
    ensure!(generation.is_some_and(|generation| generation > 5), "{generation:?}: {told}");
    let held = recycle.cgroup.held()?;
    ensure!(held as f64 > RATE * 60.0, "the recycling container holds {held} bytes only");
    Ok(())
}

/// The store has the same records against a container as the file, no more and no fewer.
fn same_in_the_store(logs: &VictoriaLogs, records: &[Record], container: &Container) -> anyhow::Result<()> {
    let uid = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let expected: BTreeSet<String> = records
        .iter()
        .filter(|record| accuses(record) && record.container() == Some(&container.id))
        .map(|record| uid(record.attributes.get("log.record.uid")))
        .collect();
    let query = format!(
        "_time:1h \"container.id\":=\"{}\" \"memory_leak_hunter.event.kind\":in({}) | fields log.record.uid",
        container.id,
        ACCUSATIONS.join(",")
    );
    let mut found = BTreeSet::new();
    until(&format!("{query}: {expected:?}"), Duration::from_secs(30), || {
        found = logs.query(&query)?.iter().map(|row| uid(row.get("log.record.uid"))).collect();
        Ok((found == expected).then_some(()))
    })
    .with_context(|| format!("found: {found:?}"))
}

/// Asked which containers leak, the store answers with the leaking ones.
fn named_by_the_store(
    logs: &VictoriaLogs,
    leaking: [&Container; 2],
    calm: [&Container; 3],
) -> anyhow::Result<()> {
    let query = "_time:1h \"memory_leak_hunter.event.kind\":=leak_detected \"memory_leak_hunter.scope\":=container \
                 | stats by (container.id, process.executable.name) count() verdicts";
    let rows = logs.query(query)?;
    let named = |container: &Container| rows.iter().any(|row| row["container.id"] == container.id.as_str());
    ensure!(leaking.into_iter().all(named), "a leaking container is not named: {rows:?}");
    ensure!(!calm.into_iter().any(named), "a calm container is named: {rows:?}");
    Ok(())
}
