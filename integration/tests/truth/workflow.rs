//! From a growing process to the stack that leaks, by hand, and what belongs to a target.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::Collector;
use mlh_integration::container::Rootfs;
use mlh_integration::hunter::{Hunter, PATIENCE, told_bytes};
use mlh_integration::otlp::{Record, records};
use mlh_integration::process::Process;
use mlh_integration::scenario::{free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{compile, need, sidecar};
use serde_json::Value;

fn order(socket: &std::path::Path, order: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(sidecar::executable()?);
    let output = command.args(order).arg("--socket").arg(socket).args(["-o", "json"]).output()?;
    ensure!(output.status.success(), "{order:?}: {}", sidecar::text(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Guarantees: growth is told, an order by hand names the process as the target, its unfreed memory comes to the
/// Collector with the stack that leaks, and after the duration the sidecar goes back to growth detection by itself and
/// tells of growth again; each change of mode is told; it is the same sidecar all the while.
/// Needs: root, eBPF, the test servers.
#[test]
fn growth_then_target_then_growth_again() {
    scenario(|world| {
        need::ebpf()?;
        let port = free_port()?;
        let collector = Collector::start(world, free_port()?)?;
        let leak = world.target("target-leak", &["--rate", "1000000", "--block", "100000"])?;
        let socket = world.path("run").join("control.sock");
        let config = sidecar::taking_orders(
            "rss_check_interval: 2s, min_unfreed_age: 3s, overhead_budget: 10%",
            &sidecar::otlp(&collector.otlp),
            port,
            &socket,
        );
        let mut hunter = sidecar::start(world, "sidecar", &config, port)?;
        let of_leak = |event: &str| -> anyhow::Result<Vec<Record>> {
            let of_it = |record: &Record| {
                record.event == format!("memory_leak_hunter.{event}")
                    && record.pid() == Some(leak.pid().into())
            };
            Ok(records(&collector.file)?.into_iter().filter(of_it).collect())
        };
        let mut told = |event: &str, count: usize| -> anyhow::Result<Record> {
            until(&format!("{count} records of {event}"), PATIENCE, || {
                hunter.lives()?;
                Ok(of_leak(event)?.into_iter().nth(count - 1))
            })
        };
        told("rss.growth", 1)?;
        let status = order(&socket, &["target", "--pid", &leak.pid().to_string(), "--duration", "10s"])?;
        ensure!(status["mode"] == "targeted", "{status}");
        let unfreed = told("allocation.unfreed", 1)?;
        ensure!(unfreed.severity == 13, "severity {}", unfreed.severity);
        ensure!(
            unfreed.attributes["code.stacktrace"].to_string().contains("touched"),
            "{:?}",
            unfreed.attributes
        );
        ensure!(unfreed.ours("caller_ip")?.as_str().is_some_and(|ip| ip.starts_with("0x")));
        ensure!(
            unfreed.number("size_bytes")? == told_bytes(&status, 100_000) as f64,
            "{:?}",
            unfreed.attributes
        );
        ensure!(unfreed.number("occurrences")? >= 1.0, "{:?}", unfreed.attributes);
        let begun = told("mode.changed", 1)?;
        ensure!(begun.ours("mode")? == "targeted", "{:?}", begun.attributes);
        let ended = told("mode.changed", 2)?;
        ensure!(ended.ours("mode")? == "growth_detection", "{:?}", ended.attributes);
        ensure!(ended.time >= begun.time + 9_000_000_000, "it has ended before its time");
        ensure!(order(&socket, &["status"])?["mode"] == "growth_detection");
        let growths = of_leak("rss.growth")?.len();
        told("rss.growth", growths + 1)?;
        Ok(())
    });
}

/// Each of these has kept some blocks, as far as the sidecar knows.
fn all_known(hunter: &mut Hunter, functions: &[&str]) -> anyhow::Result<()> {
    for function in functions {
        let known = hunter.knows(function, 3)?;
        let each = told_bytes(&hunter.status()?, 20_000);
        ensure!(known.figures.live_bytes == known.figures.live * each, "{function}: {known:?}");
    }
    Ok(())
}

const EXACT: &str = "sampling_rate: 1, overhead_budget: 100%, target_duration: 10m, mode: targeted";

/// A v2 cgroup of the test's own.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> anyhow::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let mount = mount
            .and_then(|line| line.split(' ').nth(1))
            .ok_or_else(|| need::Skip::because("needs cgroup2"))?;
        let folder = PathBuf::from(mount).join(format!("mlh-truth-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }

    fn take(&self, process: &Process) -> anyhow::Result<()> {
        Ok(std::fs::write(self.0.join("cgroup.procs"), process.pid().to_string())?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let gone = || Ok(std::fs::remove_dir(&self.0).ok());
        if let Err(error) = until("an empty cgroup", Duration::from_secs(20), gone) {
            eprintln!("{}: {error:#}", self.0.display());
        }
    }
}

/// Guarantees: a cgroup as the target is every process in it: those that were there, children forked since, what they
/// become by exec, and who joins later from elsewhere.
/// Needs: root, eBPF, gcc, cgroup2.
#[test]
fn a_cgroup_with_all_who_fork_exec_and_join() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "family", "c/family.c", &[])?;
        let cgroup = Cgroup::new()?;
        let stranger = world.spawn("stranger", Command::new(&program).arg("stranger"))?;
        let mut family = world.spawn("family", Command::new(&program).arg("late"))?;
        cgroup.take(&family)?;
        let id = std::fs::metadata(&cgroup.0)?.ino();
        let mut hunter = Hunter::start(world, "hunter", &format!("{EXACT}, target_cgroup_id: {id}"))?;
        hunter.in_mode("targeted")?;
        family.tell("go")?;
        all_known(&mut hunter, &["keep_parent", "keep_child", "keep_executed"])?;
        let before = hunter.status()?;
        let is_stranger = |member: &Value| member["pid"] == stranger.pid();
        let members = |status: &Value| status["members"].as_array().cloned().unwrap_or_default();
        ensure!(!members(&before).iter().any(is_stranger), "a stranger is looked at: {before}");
        cgroup.take(&stranger)?;
        all_known(&mut hunter, &["keep_stranger"])?;
        ensure!(members(&hunter.status()?).iter().any(is_stranger));
        Ok(())
    });
}

/// Guarantees: a container, named by the beginning of its id, is every process in it, in its own mount namespace.
/// Needs: root, eBPF, gcc, podman and runc that work here.
#[test]
fn a_container_with_all_its_processes() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "family", "c/family.c", &[])?;
        let rootfs = Rootfs::new(world, &[program])?;
        let mut container = rootfs.start(world, "family-box", "256m", &["/bin/family", "late"])?;
        let settings = format!("{EXACT}, target_container: '{}'", &container.id[..12]);
        let mut hunter = Hunter::start(world, "hunter", &settings)?;
        hunter.in_mode("targeted")?;
        container.process.tell("go")?;
        all_known(&mut hunter, &["keep_parent", "keep_child", "keep_executed"])?;
        let members = hunter.status()?["members"].as_array().cloned().unwrap_or_default();
        let id = Value::from(container.id.as_str());
        ensure!(
            !members.is_empty() && members.iter().all(|member| member["container_id"] == id),
            "{members:?}"
        );
        Ok(())
    });
}
