//! Whether the sidecar slows other programs down: page faults with and without it, in interleaved pairs. Once with the
//! sweep, which should not, and once with the tracepoint, which must.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, built, free_port};
use mlh_integration::sidecar;
use mlh_integration::statistics::{Ratio, median, paired_ratio};

use mlh_integration::table::Table;

const PAIRS: u32 = 15;

/// A sidecar with some of the receiver's settings changed.
fn hunter(world: &World, name: &str, settings: &[&str]) -> anyhow::Result<Process> {
    let port = free_port()?;
    let mut command = Command::new(sidecar::executable()?);
    for setting in settings {
        command.arg("--set").arg(format!("receivers::memory_leak_hunter::{setting}"));
    }
    let mut hunter = world.spawn(name, sidecar::built_in(&mut command, port)?)?;
    sidecar::swept(&mut hunter, port)?;
    Ok(hunter)
}

/// Nanoseconds a fault.
fn storm() -> anyhow::Result<f64> {
    let output = Command::new(built("target-faults")?).args(["--milliseconds", "2500"]).output()?;
    sidecar::text(&output.stdout).trim().parse().context("target-faults prints a number")
}

/// What a fault costs beside such a sidecar as a multiple of what it costs without, and the latter in nanoseconds.
fn tax(world: &World, name: &str, settings: &[&str]) -> anyhow::Result<(Ratio, f64)> {
    storm()?; // the first one pays for what is cold
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let with = || -> anyhow::Result<f64> {
            let mut hunter = hunter(world, &format!("{name}-{pair}"), settings)?;
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
    let base = median(&pairs.iter().map(|(_, without)| *without).collect::<Vec<_>>());
    Ok((paired_ratio(&pairs), base))
}

fn shown(ratio: &Ratio) -> String {
    format!("{:.3} ({:.3} to {:.3})", ratio.mean, ratio.low, ratio.high)
}

/// The sweep thirty times as often as it is by default, so that every storm meets sweeps.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let (ratio, base) = tax(world, "sweep", &["rss_check_interval=1s", "collection_interval=1s"])?;
    // an interval too wide to tell has shown nothing
    let met = ratio.low <= 1.0 && ratio.high <= 1.02;
    let what = format!("page faults, {PAIRS} pairs, a sweep each second");
    table.goal(what, "1.00 times, to 2 %", shown(&ratio), met);
    table.beside("  without it", format!("{base:.0} ns a fault"));
    Ok(())
}

/// The tracepoint fires at each of the storm's faults.
pub(crate) fn crossings(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for (scope, goal, most) in
        [("host", "<= 1.16 times, as documented", 1.16), ("suspects", "<= 1.10 times, as documented", 1.10)]
    {
        let settings = ["rss_source=tracepoint", &format!("rss_tracepoint_scope={scope}")];
        let (ratio, base) = tax(world, scope, &settings)?;
        let what = format!("page faults, {PAIRS} pairs, rss_source: tracepoint, scope {scope}");
        table.goal(what, goal, shown(&ratio), ratio.mean <= most);
        table.beside("  without it", format!("{base:.0} ns a fault"));
    }
    Ok(())
}
