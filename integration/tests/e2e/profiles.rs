//! Profiles of a look, to a Collector that takes them and to one that does not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::Collector;
use mlh_integration::hunter::{PATIENCE, told_bytes};
use mlh_integration::otlp::records;
use mlh_integration::process::Process;
use mlh_integration::profiles::{Sample, samples};
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{compile, need, sidecar, web};
use serde_json::Value;

/// Blocks that the program keeps, and their size.
const BLOCKS: u64 = 500;
const SIZE: u64 = 20_000;

/// A sidecar that sends all signals to a Collector, and its profiles to a file of its own as well.
struct Looking {
    hunter: Process,
    program: Process,
    socket: std::path::PathBuf,
    port: u16,
}

impl Looking {
    fn start(world: &World, collector: &Collector, profiles: &Path) -> anyhow::Result<Self> {
        let program = compile::c(world, "orders", "c/orders.c", &[])?;
        let program = world.spawn("orders", &mut Command::new(program))?;
        let port = free_port()?;
        let socket = world.path("run").join("control.sock");
        let config = format!(
            "receivers:
  memory_leak_hunter:
    {{collection_interval: 1s, overhead_budget: 100%, min_allocation_size: 1KiB, large_allocation_size: 1KiB}}
processors: {{memory_limiter: , batch: , resource: {{attributes: [{{key: site, value: here, action: upsert}}]}}}}
exporters:
  otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}
  file: {{path: '{}', format: json, flush_interval: 10ms}}
  prometheus: {{endpoint: '127.0.0.1:{port}'}}
extensions: {{control: {{socket: '{}'}}}}
service:
  extensions: [control]
  pipelines:
    logs: {{receivers: [memory_leak_hunter], exporters: [otlp_grpc]}}
    metrics: {{receivers: [memory_leak_hunter], exporters: [prometheus]}}
    profiles:
      receivers: [memory_leak_hunter]
      processors: [memory_limiter, resource, batch]
      exporters: [otlp_grpc, file]
",
            collector.otlp,
            profiles.display(),
            socket.display()
        );
        let hunter = sidecar::start(world, "sidecar", &config, port)?;
        Ok(Self { hunter, program, socket, port })
    }

    fn order(&mut self, order: &[&str]) -> anyhow::Result<Value> {
        self.hunter.lives()?;
        let mut command = Command::new(sidecar::executable()?);
        let output = command.args(order).arg("--socket").arg(&self.socket).args(["-o", "json"]).output()?;
        ensure!(output.status.success(), "{order:?}: {}", sidecar::text(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A look from its beginning to its end, in which the program keeps its blocks. What the sidecar knew before the end.
    fn look(&mut self) -> anyhow::Result<Value> {
        let pid = self.program.pid().to_string();
        self.order(&["target", "--pid", &pid, "--duration", "5m"])?;
        self.program.tell(&format!("a {BLOCKS} {SIZE}"))?;
        let status = until("the blocks being told, by the whole stack", PATIENCE, || {
            let status = self.order(&["status"])?;
            let known = mlh_integration::hunter::known(&status, "keep_a")?;
            let is_whole = status["stacks"][0]["stack"].to_string().contains("\"main\"");
            Ok((known.figures.allocated >= BLOCKS && is_whole).then_some(status))
        })?;
        self.order(&["release"])?;
        Ok(status)
    }
}

fn of<'a>(samples: &'a [Sample], kind: &str) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.kind == kind && sample.calls("keep_a")).collect()
}

/// Guarantees: at the end of a look a Collector with a profiles pipeline gets, through the sidecar's processors, what each
/// stack holds and has allocated, to the byte: with function, file and line, build id, Resource and the hash of the log
/// records; the OTLP/JSON of the sidecar's own file exporter says the same.
/// Needs: root, eBPF, gcc, the test servers.
#[test]
fn the_culprit_reaches_a_collector() {
    scenario(|world| {
        need::ebpf()?;
        let (arrived, own) = (world.path("profiles.jsonl"), world.path("own.jsonl"));
        let mut collector = Collector::start_with_profiles(world, free_port()?, &arrived)?;
        let mut looking = Looking::start(world, &collector, &own)?;
        let status = looking.look()?;
        let told = until("profiles", PATIENCE, || {
            collector.lives()?;
            let told = samples(&arrived)?;
            Ok((!of(&told, "alloc_objects count").is_empty()).then_some(told))
        })?;
        let bytes = i64::try_from(BLOCKS * told_bytes(&status, SIZE))?;
        let count = i64::try_from(BLOCKS)?;
        for (kind, value) in [
            ("inuse_space bytes", bytes),
            ("inuse_objects count", count),
            ("alloc_space bytes", bytes),
            ("alloc_objects count", count),
        ] {
            let [sample] = of(&told, kind)[..] else { anyhow::bail!("{kind}: {told:?}") };
            ensure!(sample.value == value, "{value} {kind}: {sample:?}");
            ensure!(sample.resource.get("process.pid") == Some(&looking.program.pid().into()), "{sample:?}");
            ensure!(
                sample.resource.get("site") == Some(&"here".into()),
                "the resource processor: {sample:?}"
            );
            let frame = sample.functions.iter().find(|frame| frame.starts_with("keep_a "));
            let frame = frame.context("keep_a")?;
            ensure!(frame.contains("orders.c:") && !frame.ends_with(":0"), "{frame}");
            let own_file = |(module, id): &&(String, String)| module.ends_with("/orders") && id.len() >= 16;
            ensure!(sample.modules.iter().any(|module| own_file(&module)), "{:?}", sample.modules);
            let hash = &status["stacks"][0]["stack_hash"];
            ensure!(
                sample.attributes.get("memory_leak_hunter.stack_hash") == Some(hash),
                "not the hash of {sample:?}: {}",
                status["stacks"]
            );
            ensure!(
                sample.attributes.get("memory_leak_hunter.operation") == Some(&"malloc".into()),
                "{sample:?}"
            );
            ensure!(sample.duration > 0 && sample.time > 0, "{sample:?}");
        }
        let own = until("the sidecar's own file", PATIENCE, || {
            let own = samples(&own)?;
            Ok((own.len() >= told.len()).then_some(own))
        })?;
        ensure!(own == told, "its own file says otherwise: {own:?}\nbut {told:?}");
        Ok(())
    });
}

/// Guarantees: a Collector without profiles costs the profiles and nothing else: they are counted as refused, the log says
/// which gate is to be turned on, the exporter is not taken for broken, and log records go on to it.
/// Needs: root, eBPF, gcc, the test servers.
#[test]
fn a_collector_without_profiles() {
    scenario(|world| {
        need::ebpf()?;
        let mut collector = Collector::start(world, free_port()?)?;
        let mut looking = Looking::start(world, &collector, &world.path("own.jsonl"))?;
        for looks in 1..=2 {
            looking.look()?;
            until("the profiles being refused, and the end being told", PATIENCE, || {
                collector.lives()?;
                let page = web::get(&format!("http://127.0.0.1:{}/metrics", looking.port))?;
                let refused = page.lines().find(|line| {
                    line.starts_with("memory_leak_hunter_dropped_events_total")
                        && line.contains("signal=\"profiles\"")
                        && line.contains("stage=\"refused\"")
                });
                let refused = refused.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
                let told = records(&collector.file)?;
                let ends = told.iter().filter(|record| {
                    record.event == "memory_leak_hunter.mode.changed"
                        && record.ours("reason").is_ok_and(|reason| reason == "released")
                });
                Ok((refused >= Some(4.0) && ends.count() >= looks).then_some(()))
            })?;
        }
        let log = looking.hunter.stderr();
        ensure!(log.contains("--feature-gates=service.profilesSupport"), "{log}");
        ensure!(!log.contains("has taken nothing since"), "{log}");
        Ok(())
    });
}
