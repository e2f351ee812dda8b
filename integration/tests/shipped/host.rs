//! A host to tell of: a trace, and a sidecar that judges it.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port};
use mlh_integration::sidecar::{self, run, text};

/// The trace's file in the test's folder.
const TRACE: &str = "host.trace";
/// The container of the leaking server. The query about one container asks for its beginning.
pub(crate) const CONTAINER: &str = "4f1e5c1a7b0d9e3f4f1e5c1a7b0d9e3f4f1e5c1a7b0d9e3f4f1e5c1a7b0d9e3f";
/// How fast the server leaks, bytes a second.
pub(crate) const SERVER: u64 = 40_000;
/// How fast the batch program leaks, bytes a second.
pub(crate) const BATCH: u64 = 30_000;
/// When the server is killed: shortly before it reaches its limit. Seconds from the beginning.
pub(crate) const KILLED: u64 = 1740;
/// When the batch program ends, seconds from the beginning.
pub(crate) const EXITED: u64 = 1500;
/// The memory limit of the server's container, bytes.
const LIMIT: u64 = 120_000_000;

/// Half an hour of a host, up to now: a server in a container leaks until the kernel kills it, a batch program
/// outside of any container leaks until it ends, a third program is calm.
fn trace() -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut lines = vec![format!(
        r#"{{"kind":"host","schema":1,"t":0,"epoch":{}.0,"boot_id":"b","page_size":4096,"mem_total":25000000000}}"#,
        now - 1860
    )];
    let process = |t: u64, pid: u64, name: &str, cgroup: u64, anon: u64| {
        format!(
            r#"{{"kind":"process","t":{t},"pid":{pid},"start":12.5,"comm":"{name}","exe":"/usr/bin/{name}","cgroup_id":{cgroup},"anon":{anon},"file":1000000,"shmem":0,"swap":0}}"#
        )
    };
    for t in (0..1800).step_by(10) {
        let server = 50_000_000 + t * SERVER;
        lines.push(format!(r#"{{"kind":"cgroup","t":{t},"cgroup_id":1,"path":"/"}}"#));
        lines.push(format!(
            r#"{{"kind":"cgroup","t":{t},"cgroup_id":7,"path":"/docker/{CONTAINER}","parent":1,"anon":{server},"limit":{LIMIT}}}"#
        ));
        if t < KILLED {
            lines.push(process(t, 101, "api-server", 7, server));
        }
        if t == KILLED {
            lines.push(format!(r#"{{"kind":"oom_kill","t":{t},"pid":101,"start":12.5}}"#));
            lines.push(format!(r#"{{"kind":"exit","t":{t},"pid":101,"start":12.5}}"#));
        }
        if t < EXITED {
            lines.push(process(t, 102, "batch", 1, 20_000_000 + t * BATCH));
        }
        if t == EXITED {
            lines.push(format!(r#"{{"kind":"exit","t":{t},"pid":102,"start":12.5}}"#));
        }
        lines.push(process(t, 103, "calm", 1, 30_000_000));
    }
    Ok(lines.join("\n") + "\n")
}

/// A sidecar that judges the trace and sends what it finds.
pub(crate) fn sending(world: &World, otlp: &str) -> anyhow::Result<Process> {
    let trace = world.write(TRACE, &trace()?)?;
    let config = format!(
        "receivers: {{memory_leak_hunter: {{rss_check_interval: 10s, replay: '{}'}}}}
exporters: {{otlp_grpc: {{endpoint: '{otlp}', tls: {{insecure: true}}}}}}
extensions: {{health_check: {{endpoint: '127.0.0.1:{}'}}}}
service:
  extensions: [health_check]
  pipelines: {{logs: {{receivers: [memory_leak_hunter], exporters: [otlp_grpc]}}}}
",
        trace.display(),
        free_port()?
    );
    let config = world.write("sidecar.yaml", &config)?;
    let mut command = Command::new(sidecar::executable()?);
    world.spawn("sidecar", command.arg("--config").arg(config))
}

/// How many records the trace makes, which has been judged.
pub(crate) fn told(world: &World) -> anyhow::Result<usize> {
    let trace = world.path(TRACE);
    let output = run(&["replay", trace.to_str().context("path")?, "--interval", "10s", "-o", "event"])?;
    let told = text(&output.stdout).lines().count();
    ensure!(told > 10, "{told} records: {}", text(&output.stderr));
    Ok(told)
}
