//! A host with many processes.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, built};
use mlh_integration::wait::until;

/// Starts `count` idle processes, which end with the returned one.
///
/// # Errors
/// When they do not come up.
pub(crate) fn start(world: &World, count: u32) -> anyhow::Result<Process> {
    let mut command = Command::new(built("target-idle")?);
    let mut herd = world.spawn("herd", command.args(["--herd", &count.to_string()]))?;
    until("a herd", Duration::from_secs(120), || {
        herd.lives()?;
        Ok(herd.stdout().contains("ready").then_some(()))
    })?;
    // let the start-up of the last ones settle
    std::thread::sleep(Duration::from_secs(2));
    Ok(herd)
}

/// Their pids.
///
/// # Errors
/// When the herd is gone.
pub(crate) fn members(herd: &Process) -> anyhow::Result<Vec<u32>> {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", herd.pid()))?;
    children.split_whitespace().map(|pid| pid.parse().context("a pid")).collect()
}
