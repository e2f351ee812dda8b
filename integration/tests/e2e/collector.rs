//! Shown by 2 of growth detection: leak, cache and idle program, sidecar, Collector, Prometheus.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::{Collector, Prometheus};
use mlh_integration::otlp::{Record, records};
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port, repository, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar};
use serde_json::Value;

/// Bytes a second: 2 MiB a minute.
const RATE: f64 = 2.0 * 1024.0 * 1024.0 / 60.0;

/// Guarantees: beside one leaking and two calm programs, a Collector gets the leaker's suspicion and verdict with
/// the Resource, severity and attributes that were promised, and nothing that calls the others leaky; the ten
/// metrics are in Prometheus by scrape, and the event file validates against the committed schema.
/// Needs: root, eBPF, the test servers; about two minutes, most of them waiting.
#[test]
fn a_leak_reaches_collector_prometheus_and_event_file() {
    scenario(|world| {
        need::ebpf()?;
        let (prometheus_port, scrape_port) = (free_port()?, free_port()?);
        let mut collector = Collector::start(world, prometheus_port)?;
        let prometheus = Prometheus::start(world, prometheus_port, &[("sidecar", scrape_port)])?;

        let leak = world.target("target-leak", &["--rate", "34953"])?;
        let calm = [
            world.target("target-cache", &["--mib", "24", "--fill", "15"])?,
            world.target("target-idle", &[])?,
        ];
        let events = world.path("events.jsonl");
        let config = config(world, &collector.otlp, scrape_port, &events);
        let mut hunter = sidecar::start(world, "sidecar", &config, scrape_port)?;

        let of_leak = |event: &str| -> anyhow::Result<Option<Record>> {
            let of_it = |record: &Record| record.event == event && record.pid() == Some(leak.pid().into());
            Ok(records(&collector.file)?.into_iter().find(of_it))
        };
        let suspected = until("the suspicion", Duration::from_secs(90), || {
            hunter.lives()?;
            of_leak("memory_leak_hunter.leak.suspected")
        })?;
        let detected = until("the verdict", Duration::from_secs(180), || {
            hunter.lives()?;
            of_leak("memory_leak_hunter.leak.detected")
        })?;
        conforms(&suspected, &leak, "leak_suspected", 13)?;
        conforms(&detected, &leak, "leak_detected", 17)?;
        velocity(&detected)?;

        let uids: Vec<_> = records(&collector.file)?
            .iter()
            .map(|record| record.attributes.get("log.record.uid").and_then(Value::as_str).map(str::to_owned))
            .collect();
        let mut distinct = uids.clone();
        distinct.sort();
        distinct.dedup();
        ensure!(
            uids.iter().all(Option::is_some) && distinct.len() == uids.len(),
            "uids are not unique: {uids:?}"
        );

        for name in super::metrics::NAMES {
            let series = super::metrics::series(name);
            until(&format!("{series} in Prometheus by scrape"), Duration::from_secs(30), || {
                Ok(prometheus.names("{job=\"sidecar\"}")?.contains(&series).then_some(()))
            })?;
        }
        let grown = "memory_leak_hunter_leaks > 0 and memory_leak_hunter_events_processed_total > 0";
        until("the metrics tell of a leak", Duration::from_secs(60), || {
            Ok((!prometheus.query(&grown.replace("and", "and on(job)"))?.is_empty()).then_some(()))
        })?;
        let alert = "memory_leak_hunter_leak_velocity_bytes_per_second{target_executable=\"target-leak\"} * 3600 > 10e6";
        until("an alert on 10 MB an hour fires", Duration::from_secs(60), || {
            Ok((!prometheus.query(alert)?.is_empty()).then_some(()))
        })?;

        hunter.signal(nix::sys::signal::Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.success(), "after SIGTERM: {status}");
        collector.lives()?;
        for record in records(&collector.file)? {
            let about_calm = calm.iter().any(|process| record.pid() == Some(process.pid().into()));
            ensure!(
                !(about_calm && record.event.contains(".leak.")),
                "a calm program is called leaky: {record:?}"
            );
        }
        validate(&events, leak.pid())
    });
}

fn config(world: &World, otlp: &str, scrape_port: u16, events: &Path) -> String {
    format!(
        "receivers:
  memory_leak_hunter: {{collection_interval: 1s, state: {{path: ''}}, {}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 128}}
  batch: {{timeout: 200ms}}
exporters:
  otlp_grpc: {{endpoint: '{otlp}', tls: {{insecure: true}}}}
  file: {{path: '{}', format: event}}
  prometheus: {{endpoint: '127.0.0.1:{scrape_port}'}}
service:
  pipelines:
    logs: {{receivers: [memory_leak_hunter], processors: [memory_limiter, batch], exporters: [otlp_grpc, file]}}
    metrics: {{receivers: [memory_leak_hunter], processors: [memory_limiter, batch], exporters: [prometheus]}}
",
        world.scope(),
        events.display()
    )
}

/// What every record about the leaking program carries.
fn conforms(record: &Record, leak: &Process, kind: &str, severity: i64) -> anyhow::Result<()> {
    let resource =
        |key: &str| record.resource.get(key).with_context(|| format!("no {key} in {:?}", record.resource));
    let attribute = |key: &str| {
        record.attributes.get(key).with_context(|| format!("no {key} in {:?}", record.attributes))
    };
    ensure!(record.scope == "memory_leak_hunter", "scope: {}", record.scope);
    ensure!(record.severity == severity, "severity of {}: {}", record.event, record.severity);
    ensure!(record.time > 0 && record.observed >= record.time, "times: {} {}", record.time, record.observed);
    ensure!(resource("process.executable.name")? == "target-leak");
    ensure!(resource("service.name")? == "target-leak");
    for key in ["host.name", "process.creation.time", "process.linux.cgroup"] {
        ensure!(resource(key)?.as_str().is_some_and(|text| !text.is_empty()), "{key}: {:?}", resource(key)?);
    }
    ensure!(!record.resource.contains_key("process.command_args"), "arguments may hold secrets");
    ensure!(attribute("memory_leak_hunter.event.kind")? == kind);
    ensure!(attribute("memory_leak_hunter.event.type")? == "container.memory_pressure");
    let event_id = attribute("memory_leak_hunter.event.id")?.as_str().unwrap_or_default();
    let number = if kind == "leak_suspected" { 5 } else { 6 };
    ensure!(event_id.starts_with(&format!("memory-{number}-")), "event id: {event_id}");
    ensure!(
        record.body.contains("target-leak") && record.body.contains(&leak.pid().to_string()),
        "{}",
        record.body
    );
    Ok(())
}

/// The verdict's velocity is the program's true rate, to a fifth, and lies in its own interval; the memory that has
/// leaked and the nearest end of memory are told with it.
fn velocity(record: &Record) -> anyhow::Result<()> {
    let number = |key: &str| {
        let value = record.attributes.get(&format!("memory_leak_hunter.{key}")).and_then(Value::as_f64);
        value.with_context(|| format!("no {key} in {:?}", record.attributes))
    };
    let velocity = number("velocity_bytes_per_second")?;
    let (low, high) = (number("velocity_low_bytes_per_second")?, number("velocity_high_bytes_per_second")?);
    ensure!((0.8..1.2).contains(&(velocity / RATE)), "{velocity} B/s told, {RATE} B/s leaked");
    ensure!(low <= velocity && velocity <= high, "{velocity} is not in {low} to {high}");
    ensure!((0.0..=1.0).contains(&number("confidence")?), "confidence: {}", number("confidence")?);
    ensure!(number("leaked_bytes")? > 0.0 && number("time_to_oom_s")? > 0.0);
    Ok(())
}

/// Every line of the event file is valid by the committed schema, and the leak's verdict is among them.
fn validate(events: &Path, pid: u32) -> anyhow::Result<()> {
    let schema = std::fs::read_to_string(repository().join("otel-config/event.schema.json"))?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    let mut verdicts = 0;
    for line in std::fs::read_to_string(events)?.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let faults: Vec<_> = schema.iter_errors(&event).map(|fault| fault.to_string()).collect();
        ensure!(faults.is_empty(), "{line}\n{faults:?}");
        let kernel = &event["event_data"]["kernel"];
        verdicts += u32::from(kernel["event_type"] == "leak_detected" && kernel["pid"] == pid);
    }
    ensure!(verdicts == 1, "{verdicts} verdicts in the event file");
    Ok(())
}

/// Guarantees: with metrics by OTLP instead, the same ten names are in Prometheus, both through the Collector's
/// Prometheus exporter and through Prometheus's own OTLP endpoint.
/// Needs: the test servers.
#[test]
fn metrics_by_otlp_have_the_same_names() {
    scenario(|world: &World| {
        let (prometheus_port, health_port) = (free_port()?, free_port()?);
        let mut collector = Collector::start(world, prometheus_port)?;
        let prometheus =
            Prometheus::start(world, prometheus_port, &[("collector", collector.prometheus_port)])?;
        let config = format!(
            "receivers: {{memory_leak_hunter: {{collection_interval: 1s, state: {{path: ''}}}}}}
exporters: {{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}}}
extensions: {{health_check: {{endpoint: '127.0.0.1:{health_port}'}}}}
service:
  extensions: [health_check]
  pipelines: {{metrics: {{receivers: [memory_leak_hunter], exporters: [otlp_grpc]}}}}
",
            collector.otlp
        );
        let config = world.write("sidecar.yaml", &config)?;
        let mut command = std::process::Command::new(sidecar::executable()?);
        let mut hunter = world.spawn("sidecar", command.arg("--config").arg(config))?;
        for selector in ["{job=\"collector\"}", "{job=\"memory-leak-hunter\"}"] {
            let expected: Vec<_> =
                super::metrics::NAMES.iter().map(|name| super::metrics::series(name)).collect();
            let mut missing = expected.clone();
            let arrived = until(&format!("the ten metrics as {selector}"), Duration::from_secs(60), || {
                hunter.lives()?;
                collector.lives()?;
                let names = prometheus.names(selector)?;
                missing.retain(|name| !names.contains(name));
                Ok(missing.is_empty().then_some(()))
            });
            arrived
                .with_context(|| format!("missing: {missing:?}, there: {:?}", prometheus.names(selector)))?;
        }
        Ok(())
    });
}
