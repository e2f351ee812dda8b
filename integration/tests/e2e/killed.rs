//! What a killed sidecar leaves behind.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::{free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Guarantees: after SIGKILL none of the sidecar's BPF programs, maps and links is left in the kernel.
/// Needs: root, eBPF, bpftool.
#[test]
fn nothing_is_left_in_the_kernel() {
    scenario(|world| {
        need::ebpf()?;
        let bpftool = need::program("bpftool")?;
        let exists = |kind: &str, id: u64| -> anyhow::Result<bool> {
            let output = Command::new(&bpftool).args(["--json", kind, "list"]).output()?;
            let list: Value = serde_json::from_slice(&output.stdout)
                .with_context(|| format!("bpftool {kind} list: {}", sidecar::text(&output.stderr)))?;
            Ok(list.as_array().into_iter().flatten().any(|item| item["id"] == id))
        };
        let port = free_port()?;
        let mut command = Command::new(sidecar::executable()?);
        let mut hunter = world.spawn("sidecar", sidecar::built_in(&mut command, port)?)?;
        sidecar::swept(&mut hunter, port)?;
        let held = sidecar::bpf_ids(hunter.pid())?;
        ensure!(held.iter().any(|(kind, _)| kind == "prog"), "the sidecar holds no BPF program: {held:?}");
        for (kind, id) in &held {
            ensure!(exists(kind, *id)?, "bpftool does not know {kind} {id}");
        }
        hunter.signal(Signal::SIGKILL)?;
        hunter.end(Duration::from_secs(10))?;
        for (kind, id) in held {
            // the kernel frees after a grace period
            until(&format!("the end of {kind} {id}"), Duration::from_secs(20), || {
                Ok((!exists(&kind, id)?).then_some(()))
            })?;
        }
        Ok(())
    });
}
