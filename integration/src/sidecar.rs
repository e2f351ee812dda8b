//! The program under test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Context as _;

use crate::process::{Process, copy_program};
use crate::scenario::{World, built, free_port};
use crate::wait::until;
use crate::web;

/// The sidecar's executable: `MLH_BIN`, else the one built beside the test.
///
/// # Errors
/// When there is none.
pub fn executable() -> anyhow::Result<PathBuf> {
    match std::env::var_os("MLH_BIN") {
        Some(path) => Ok(PathBuf::from(path).canonicalize().context("MLH_BIN")?),
        None => built("memory-leak-hunter"),
    }
}

/// A copy in the test's folder, where every user can reach it: the build folder may lie in somebody's home.
///
/// # Errors
/// When it cannot be copied.
pub fn published(world: &World) -> anyhow::Result<PathBuf> {
    let copy = world.path("memory-leak-hunter");
    copy_program(&executable()?, &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// Completes a command so that it runs the built-in configuration beside others: metrics on `port`, health on another.
///
/// # Errors
/// When there is no port for the latter.
pub fn built_in(command: &mut Command, port: u16) -> anyhow::Result<&mut Command> {
    let health = format!("extensions::health_check::endpoint=127.0.0.1:{}", free_port()?);
    let metrics = format!("exporters::prometheus::endpoint=127.0.0.1:{port}");
    Ok(command.args(["--set", &health, "--set", &metrics]))
}

/// A run of the sidecar that ends by itself.
///
/// # Errors
/// When it cannot be started.
pub fn run(arguments: &[&str]) -> anyhow::Result<Output> {
    Command::new(executable()?).args(arguments).output().context("memory-leak-hunter does not start")
}

/// What a run printed, whatever it was.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration that hunts among the test's own programs: log records through one exporter, written as YAML, and metrics on a port.
#[must_use]
pub fn hunting(world: &World, logs: &str, metrics_port: u16) -> String {
    hunting_by(&format!("collection_interval: 1s, {}", world.scope()), logs, metrics_port)
}

/// One that hunts by these settings of the receiver. What is known of leaks is kept nowhere.
#[must_use]
pub fn hunting_by(settings: &str, logs: &str, metrics_port: u16) -> String {
    let exporter = logs.split(':').next().unwrap_or_default();
    format!(
        "receivers: {{memory_leak_hunter: {{state: {{path: ''}}, {settings}}}}}
exporters:
  {logs}
  prometheus: {{endpoint: '127.0.0.1:{metrics_port}'}}
service:
  pipelines:
    logs: {{receivers: [memory_leak_hunter], exporters: [{exporter}]}}
    metrics: {{receivers: [memory_leak_hunter], exporters: [prometheus]}}
"
    )
}

/// An exporter that sends to an OTLP receiver, as YAML.
#[must_use]
pub fn otlp(endpoint: &str) -> String {
    format!("otlp_grpc: {{endpoint: '{endpoint}', tls: {{insecure: true}}}}")
}

/// As [`hunting_by`], with a control socket.
#[must_use]
pub fn taking_orders(settings: &str, logs: &str, metrics_port: u16, socket: &Path) -> String {
    let control = format!(
        "extensions: {{control: {{socket: '{}'}}}}\nservice:\n  extensions: [control]\n",
        socket.display()
    );
    hunting_by(settings, logs, metrics_port).replace("service:\n", &control)
}

/// Starts the sidecar on a configuration, and waits until its Prometheus endpoint on `port` tells of a first sweep.
///
/// # Errors
/// When it ends, or tells of no sweep in time.
pub fn start(world: &World, name: &str, config: &str, port: u16) -> anyhow::Result<Process> {
    let config = world.write(&format!("{name}.yaml"), config)?;
    let mut command = Command::new(executable()?);
    let mut process = world.spawn(name, command.arg("--config").arg(config))?;
    swept(&mut process, port)?;
    Ok(process)
}

/// Waits until the sidecar's Prometheus endpoint tells of a first sweep.
///
/// # Errors
/// As [`start`].
pub fn swept(process: &mut Process, port: u16) -> anyhow::Result<()> {
    until("a first sweep", Duration::from_secs(60), || {
        process.lives()?;
        let page = web::get(&format!("http://127.0.0.1:{port}/metrics")).unwrap_or_default();
        Ok(value(&page, "memory_leak_hunter_sweep_duration_seconds_count").filter(|count| *count > 0.0))
    })?;
    Ok(())
}

/// The sum over a metric's series on a page of Prometheus's text format.
#[must_use]
pub fn value(page: &str, name: &str) -> Option<f64> {
    let series = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    series.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// True while the process holds BPF programs or links: what tells for certain whether it runs on eBPF.
///
/// # Errors
/// When its descriptors cannot be read.
pub fn holds_bpf(pid: u32) -> anyhow::Result<bool> {
    Ok(!bpf_ids(pid)?.is_empty())
}

/// The kernel's ids of the programs, maps and links that a process holds, as `(kind, id)`.
///
/// # Errors
/// When its descriptors cannot be read.
pub fn bpf_ids(pid: u32) -> anyhow::Result<Vec<(String, u64)>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // a descriptor closed meanwhile is of no interest
        let info = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        for line in info.lines() {
            let Some((key, id)) = line.split_once(':') else { continue };
            let Some(kind @ ("prog" | "map" | "link")) = key.strip_suffix("_id") else { continue };
            ids.push((kind.to_owned(), id.trim().parse()?));
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::value;

    /// Guarantees: a metric's value is summed over its labels, and no other metric with the same beginning counts.
    #[test]
    fn values_are_summed_over_labels() {
        let page = "# HELP a_total x\na_total{stage=\"x y\"} 1\na_total{stage=\"z\"} 2.5 1700000000\na_total_other 9\nb 4\n";
        assert_eq!(value(page, "a_total"), Some(3.5));
        assert_eq!(value(page, "b"), Some(4.0));
        assert_eq!(value(page, "c"), None);
    }
}
