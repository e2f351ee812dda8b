//! Whether the sidecar slows other programs down: page faults with and without it, in interleaved pairs.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, built, free_port};
use mlh_integration::sidecar;
use mlh_integration::statistics::{median, paired_ratio};

use crate::table::Table;

const PAIRS: u32 = 15;

/// A sidecar that sweeps thirty times as often as it does by default, so that every storm meets sweeps.
fn hunter(world: &World, name: &str) -> anyhow::Result<Process> {
    let port = free_port()?;
    let mut command = Command::new(sidecar::executable()?);
    command
        .args(["--set", "receivers::memory_leak_hunter::rss_check_interval=1s"])
        .args(["--set", "receivers::memory_leak_hunter::collection_interval=1s"]);
    let mut hunter = world.spawn(name, sidecar::built_in(&mut command, port)?)?;
    sidecar::swept(&mut hunter, port)?;
    Ok(hunter)
}

/// Nanoseconds a fault.
fn storm() -> anyhow::Result<f64> {
    let output = Command::new(built("target-faults")?).args(["--milliseconds", "2500"]).output()?;
    sidecar::text(&output.stdout).trim().parse().context("target-faults prints a number")
}

pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    storm()?; // the first one pays for what is cold
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let with = || -> anyhow::Result<f64> {
            let mut hunter = hunter(world, &format!("hunter-{pair}"))?;
            let time = storm()?;
            hunter.signal(nix::sys::signal::Signal::SIGTERM)?;
            hunter.end(Duration::from_secs(30))?;
            Ok(time)
        };
        // which comes first alternates: a machine that warms up must not look like a cost
        let (with, without) = if pair % 2 == 0 {
            let with = with()?;
            (with, storm()?)
        } else {
            let without = storm()?;
            (with()?, without)
        };
        pairs.push((with, without));
    }
    let ratio = paired_ratio(&pairs);
    let base = median(&pairs.iter().map(|(_, without)| *without).collect::<Vec<_>>());
    let result = format!("{:.3} ({:.3} to {:.3})", ratio.mean, ratio.low, ratio.high);
    // an interval too wide to tell has shown nothing
    let met = ratio.low <= 1.0 && ratio.high <= 1.02;
    table.goal(format!("page faults, {PAIRS} pairs, a sweep each second"), "1.00 times, to 2 %", result, met);
    table.beside("  without it", format!("{base:.0} ns a fault"));
    Ok(())
}
