//! The image at work.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::need::{self, Skip};
use mlh_integration::scenario::{World, repository, scenario};
use mlh_integration::sidecar::{holds_bpf, text, value};
use mlh_integration::wait::until;

use crate::engine::{Engine, Hunter, VERSION};

/// Whom the image runs as.
const USER: u32 = 65532;
const CAP_PERFMON: u64 = 38;
const CAP_BPF: u64 = 39;

/// The line of `/proc/PID/status`, without its key.
fn status(pid: u32, key: &str) -> anyhow::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {key} of {pid}"))?.trim().to_owned())
}

fn profile() -> String {
    format!("--security-opt=seccomp={}", repository().join("docker/seccomp.json").display())
}

/// Waits for a first sweep, told at an address that is the container's and not `localhost`.
fn sweeps(hunter: &mut Hunter<'_>) -> anyhow::Result<()> {
    until("a first sweep", Duration::from_secs(60), || {
        hunter.process.lives()?;
        let page = hunter.get("127.0.0.2", 9464, "/metrics")?;
        Ok(value(&page, "memory_leak_hunter_sweep_duration_seconds_count").filter(|count| *count > 0.0))
    })?;
    Ok(())
}

fn ends_in_order(hunter: &mut Hunter<'_>) -> anyhow::Result<()> {
    hunter.stop()?;
    let code = hunter.process.end(Duration::from_secs(60))?.code();
    ensure!(code == Some(0), "exit code {code:?}: {}", hunter.process.stderr());
    Ok(())
}

/// Guarantees: as README.md has it for Podman, the image hunts in the kernel as a user other than root, with `CAP_BPF`
/// and `CAP_PERFMON` and no other capability, over a root file system it cannot write, under `docker/seccomp.json`. It
/// serves its metrics to other containers, is healthy, sees the host's processes, and ends by the engine's signal with
/// exit code 0.
/// Needs: root, eBPF, podman and runc that work here, strip, tar.
#[test]
fn it_hunts_in_the_kernel_with_two_capabilities() {
    scenario(|world| {
        need::ebpf()?;
        let engine = Engine::new(world)?;
        let mut hunter = engine.start(
            "hunter",
            &[
                "--pid=host",
                "--read-only",
                "--cap-drop=all",
                "--cap-add=bpf,perfmon",
                "--security-opt=no-new-privileges",
                &profile(),
            ],
        )?;
        sweeps(&mut hunter)?;
        ensure!(holds_bpf(hunter.pid)?, "it does not run on eBPF: {}", hunter.process.stderr());
        ensure!(hunter.is_healthy()?, "it is unhealthy: {}", hunter.process.stderr());
        ensure!(hunter.process.stderr().contains("the first sweep is done"), "{}", hunter.process.stderr());

        let ids: Vec<_> = status(hunter.pid, "Uid")?.split_whitespace().map(str::to_owned).collect();
        ensure!(ids.iter().all(|id| *id == USER.to_string()), "it runs as {ids:?}");
        let held = u64::from_str_radix(&status(hunter.pid, "CapPrm")?, 16)?;
        ensure!(held == 1 << CAP_BPF | 1 << CAP_PERFMON, "it holds other capabilities: {held:#x}");
        ensure!(status(hunter.pid, "NoNewPrivs")? == "1", "it can gain privileges");
        ensure!(status(hunter.pid, "Seccomp")? == "2", "no system call is filtered");
        ensure!(hunter.exec(&["/bin/bash", "-c", "echo x > /x"])?.status.code() == Some(1), "it can write");
        sees_the_host(&hunter)?;
        ends_in_order(&mut hunter)
    });
}

/// A process of this test's is visible in the container under the pid that it has here.
fn sees_the_host(hunter: &Hunter<'_>) -> anyhow::Result<()> {
    let own = format!("/proc/{}/stat", std::process::id());
    let script = format!("read -r stat < {own}; echo \"$stat\"");
    let seen = text(&hunter.exec(&["/bin/bash", "-c", &script])?.stdout);
    let name = std::fs::read_to_string(&own)?;
    let name = name.split(')').next().context("a name")?;
    ensure!(seen.starts_with(name), "{own} in the container: {seen}");
    Ok(())
}

/// Guarantees: with no flag at all the image works, on /proc, and is healthy: capabilities improve it and are no
/// condition of its start. Commands that need nothing of the host need no flag either.
/// Needs: root, podman and runc that work here, strip, tar.
#[test]
fn no_flag_is_needed() {
    scenario(|world| {
        let engine = Engine::new(world)?;
        let mut hunter = engine.start("hunter", &[])?;
        sweeps(&mut hunter)?;
        ensure!(!holds_bpf(hunter.pid)?, "it holds BPF objects");
        ensure!(hunter.is_healthy()?, "it is unhealthy: {}", hunter.process.stderr());
        ends_in_order(&mut hunter)?;

        let validate = ["validate", "--config", "yaml:receivers: {memory_leak_hunter: {mode: x}}"];
        let output = engine.run(&[], &validate)?;
        ensure!(output.status.code() == Some(1), "{}", text(&output.stderr));
        ensure!(text(&output.stderr).contains("receivers::memory_leak_hunter::mode"), "{output:?}");
        Ok(())
    });
}

/// Guarantees: as README.md has it for Docker, where added capabilities count for root alone, a root with those two and
/// none to gain hunts in the kernel.
/// Needs: root, eBPF, podman and runc that work here, strip, tar.
#[test]
fn it_hunts_in_the_kernel_as_a_root_with_two_capabilities() {
    scenario(|world| {
        need::ebpf()?;
        let engine = Engine::new(world)?;
        let flags = ["--user=0:0", "--read-only", "--cap-drop=all", "--cap-add=bpf,perfmon", &profile()];
        let mut hunter =
            engine.start("hunter", &[&flags[..], &["--security-opt=no-new-privileges"]].concat())?;
        sweeps(&mut hunter)?;
        ensure!(holds_bpf(hunter.pid)?, "it does not run on eBPF: {}", hunter.process.stderr());
        ends_in_order(&mut hunter)
    });
}

/// Guarantees: `docker/seccomp.json` denies what it says it denies: a new user namespace, the way to capabilities that
/// were not given.
/// Needs: root, podman and runc that work here, strip, tar, a kernel that gives everybody a user namespace.
#[test]
fn the_seccomp_profile_denies_namespaces() {
    scenario(|world: &World| {
        let engine = Engine::new(world)?;
        let unshare = |security: &str| -> anyhow::Result<bool> {
            let flags = ["--cap-drop=all", security, "--entrypoint=/bin/unshare"];
            Ok(engine.run(&flags, &["--user", "/bin/true"])?.status.success())
        };
        if !unshare("--security-opt=seccomp=unconfined")? {
            return Err(Skip::because("no user namespaces for everybody on this host").into());
        }
        ensure!(!unshare(&profile())?, "it makes a user namespace");
        Ok(())
    });
}

/// Guarantees: what the image says of itself: a user by number (Kubernetes' `runAsNonRoot` takes no other), the signal
/// that drains, the ports, the health check, and labels with the version it was built as.
/// Needs: root, podman and runc that work here, strip, tar.
#[test]
fn it_describes_itself() {
    scenario(|world| {
        let image = Engine::new(world)?.inspect()?;
        let config = &image["Config"];
        ensure!(config["User"] == format!("{USER}:{USER}"), "{config}");
        ensure!(config["StopSignal"] == "SIGTERM", "{config}");
        for port in ["9464/tcp", "13134/tcp"] {
            ensure!(config["ExposedPorts"].get(port).is_some(), "{port}: {config}");
        }
        let check = &image["Healthcheck"]["Test"];
        ensure!(*check == serde_json::json!(["CMD", "/usr/local/bin/healthcheck"]), "{image}");
        let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str();
        ensure!(label("version") == Some(VERSION), "{config}");
        for name in ["title", "description", "source", "documentation", "licenses"] {
            ensure!(label(name).is_some_and(|text| !text.is_empty()), "no label {name}: {config}");
        }
        Ok(())
    });
}
