//! The price of watching: CPU time and memory of the sidecar on its built-in configuration, beside 1,000 idle
//! processes, for `MINUTES` (10).

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mlh_integration::scenario::{World, free_port};
use mlh_integration::sidecar;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::herd;
use mlh_integration::table::Table;

/// All that the process's threads have used, the ended ones too. A BPF iterator runs inside the read that drives it,
/// so the kernel's side of each sweep is in it.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    Ok(clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?.now()?.into())
}

/// A line of /proc/PID/status, in MiB.
fn status_mib(pid: u32, key: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(key)).with_context(|| key.to_owned())?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}

pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let minutes: u32 = match std::env::var("MINUTES") {
        Ok(text) if !text.is_empty() => text.parse().context("MINUTES takes a whole number")?,
        _ => 10,
    };
    let _herd = herd::start(world, 1000)?;
    let port = free_port()?;
    let mut command = Command::new(sidecar::executable()?);
    let mut hunter = world.spawn("sidecar", sidecar::built_in(&mut command, port)?)?;
    sidecar::swept(&mut hunter, port)?;

    let (begin, used) = (Instant::now(), cpu(hunter.pid())?);
    std::thread::sleep(Duration::from_secs(60) * minutes);
    let used = cpu(hunter.pid())?.saturating_sub(used);
    let share = used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    hunter.lives()?;
    let rss = status_mib(hunter.pid(), "VmRSS:")?;
    let peak = status_mib(hunter.pid(), "VmHWM:")?;
    let anon = status_mib(hunter.pid(), "RssAnon:")?;

    let what = format!("CPU over {minutes} min, 1,000 processes, kernel's side included");
    let result = format!("{share:.4} % ({:.1} ms)", used.as_secs_f64() * 1000.0);
    table.goal(what, "<= 0.01 % of one CPU", result, share <= 0.01);
    let result = format!("{rss:.1} MiB (peak {peak:.1}, anonymous {anon:.1})");
    table.goal("resident memory after that", "<= 20 MB", result, rss * 1.048_576 <= 20.0);
    Ok(())
}
