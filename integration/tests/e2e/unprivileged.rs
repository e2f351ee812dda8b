//! As a user other than root, with and without the two capabilities.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::{need, sidecar};

const CAPABILITIES: &str = "+bpf,+perfmon";
const NONE: &str = "-all";

/// `program` as the user `nobody` with these capabilities and no others.
fn as_nobody(setpriv: &Path, capabilities: &str, program: &Path) -> Command {
    let capabilities = if capabilities == NONE { NONE.to_owned() } else { format!("-all,{capabilities}") };
    let mut command = Command::new(setpriv);
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"])
        .args(["--inh-caps", &capabilities, "--ambient-caps", &capabilities, "--bounding-set", &capabilities])
        .arg(program);
    command
}

fn sweeps(world: &World, capabilities: &str) -> anyhow::Result<mlh_integration::process::Process> {
    let setpriv = need::program("setpriv")?;
    let program = sidecar::published(world)?;
    need::works("setpriv", as_nobody(&setpriv, capabilities, Path::new("/bin/true")).arg("--"))?;
    let port = free_port()?;
    let mut command = as_nobody(&setpriv, capabilities, &program);
    let mut hunter = world.spawn("sidecar", sidecar::built_in(&mut command, port)?)?;
    sidecar::swept(&mut hunter, port)?;
    Ok(hunter)
}

/// Guarantees: `CAP_BPF` and `CAP_PERFMON` are all that a user other than root needs to hunt with eBPF.
/// Needs: root (to become somebody else), eBPF, setpriv.
#[test]
fn two_capabilities_are_enough_for_ebpf() {
    scenario(|world| {
        need::ebpf()?;
        let hunter = sweeps(world, CAPABILITIES)?;
        ensure!(sidecar::holds_bpf(hunter.pid())?, "it does not run on eBPF: {}", hunter.stderr());
        Ok(())
    });
}

/// Guarantees: without any capability the sidecar hunts on /proc, holds nothing of eBPF, and says so.
/// Needs: root (to become somebody else), setpriv.
#[test]
fn without_capabilities_it_runs_on_proc_and_says_so() {
    scenario(|world| {
        need::root()?;
        let hunter = sweeps(world, NONE)?;
        ensure!(!sidecar::holds_bpf(hunter.pid())?, "it holds BPF objects");
        let log = hunter.stderr();
        ensure!(log.contains("/proc"), "it does not say that it runs on /proc: {log}");
        ensure!(log.contains("CAP_BPF"), "it does not say what would give it eBPF: {log}");
        Ok(())
    });
}

/// Guarantees: `check` tells with and without the capabilities apart: it names each missing one with what is off
/// without it, and exits 0 both times, as growth detection can run.
/// Needs: root (to become somebody else), eBPF, setpriv.
#[test]
fn check_explains_each_line() {
    scenario(|world| {
        need::ebpf()?;
        let setpriv = need::program("setpriv")?;
        let program = sidecar::published(world)?;
        let check = |capabilities: &str| -> anyhow::Result<(Option<i32>, String)> {
            let output = as_nobody(&setpriv, capabilities, &program).arg("check").output()?;
            Ok((output.status.code(), sidecar::text(&output.stdout)))
        };
        let (code, with) = check(CAPABILITIES)?;
        ensure!(code == Some(0), "{with}");
        let (code, without) = check(NONE)?;
        ensure!(code == Some(0), "{without}");
        ensure!(without.contains("CAP_BPF") && without.contains("CAP_PERFMON"), "{without}");
        ensure!(without.contains("/proc"), "it does not say what runs instead: {without}");
        let line = |text: &str, word: &str| text.lines().find(|line| line.contains(word)).map(str::to_owned);
        for capability in ["CAP_BPF", "CAP_PERFMON"] {
            ensure!(
                line(&with, capability) != line(&without, capability),
                "{capability}: no difference:\n{without}"
            );
        }
        Ok(())
    });
}
