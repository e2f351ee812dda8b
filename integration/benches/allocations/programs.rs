//! What whole programs pay for being looked at in targeted mode: CPU time, with the probes and without, in turns.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::process::Process;
use mlh_integration::scenario::World;
use mlh_integration::statistics::paired_ratio;
use mlh_integration::table::{Table, Verdict};
use mlh_integration::wait::until;
use mlh_integration::{compile, need};

use crate::look::{Look, TARGETED, hits};
use crate::subject::{Subject, base, times};

const ROUNDS: usize = 11;
const PATIENCE: Duration = Duration::from_secs(120);
/// Of `redis-benchmark`, of each of its two kinds.
pub(crate) const COMMANDS: u32 = 1_000_000;

/// One that works at each line of its input, and prints a line when it is done.
pub(crate) struct Lines {
    process: Process,
    lines: usize,
}

impl Lines {
    pub(crate) fn start(world: &World, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut lines = Self { process: world.spawn(name, command)?, lines: 0 };
        lines.answered()?;
        Ok(lines)
    }

    fn answered(&mut self) -> anyhow::Result<()> {
        self.lines += 1;
        until("an answer", PATIENCE, || {
            self.process.lives()?;
            let lines = self.process.stdout().matches('\n').count();
            Ok((lines >= self.lines).then_some(()))
        })
    }
}

impl Subject for Lines {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn cost(&mut self) -> anyhow::Result<f64> {
        let before = cpu_seconds(self.pid())?;
        self.process.tell("")?;
        self.answered()?;
        Ok(cpu_seconds(self.pid())? - before)
    }
}

/// A redis server, and the commands that its own benchmark gives it.
pub(crate) struct Redis {
    server: Process,
    socket: PathBuf,
    benchmark: PathBuf,
    command: &'static str,
}

impl Redis {
    pub(crate) fn start(world: &World, command: &'static str) -> anyhow::Result<Self> {
        let (program, benchmark) = (need::program("redis-server")?, need::program("redis-benchmark")?);
        let socket = world.path(&format!("{command}.sock"));
        let mut start = Command::new(program);
        start.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        let mut server = world.spawn(&format!("redis-{command}"), start.arg("--dir").arg(world.folder()))?;
        until("redis", PATIENCE, || {
            server.lives()?;
            Ok(socket.exists().then_some(()))
        })?;
        Ok(Self { server, socket, benchmark, command })
    }
}

impl Subject for Redis {
    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn cost(&mut self) -> anyhow::Result<f64> {
        let before = cpu_seconds(self.pid())?;
        let mut benchmark = Command::new(&self.benchmark);
        benchmark.arg("-s").arg(&self.socket).args(["-t", self.command, "-n", &COMMANDS.to_string()]);
        benchmark.args(["-r", "10000", "-P", "16", "-q"]).stdin(Stdio::null()).stdout(Stdio::null());
        let status = benchmark.status()?;
        ensure!(status.success(), "redis-benchmark: {status}");
        Ok(cpu_seconds(self.pid())? - before)
    }
}

/// CPU time of all threads of a process.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // one that has just ended
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// A row; with no goal where there is no largest ratio.
fn row(table: &mut Table, name: &str, most: Option<f64>, subject: &mut dyn Subject) -> anyhow::Result<()> {
    // what is loaded by the first work is probed too
    subject.cost()?;
    let mut look = Look::prepare(subject.pid(), &TARGETED)?;
    let paired = look.compare(subject, false, ROUNDS)?;
    let ratio = paired_ratio(&paired);
    let what = format!("{name}, targeted mode from 10 KiB, {ROUNDS} pairs");
    match most {
        Some(most) => {
            let goal = format!("<= {most:.2} times");
            table.judged(what, goal, times(&ratio), Verdict::at_most(most, &ratio));
        }
        None => table.beside(what, format!("{} times", times(&ratio))),
    }
    let hits = hits(&look.probes)? / ROUNDS as u64;
    let beside = format!("{:.3} s; {hits} hits; {}", base(&paired), look.placements());
    table.beside("  without probes; with them", beside);
    Ok(())
}

/// Server CPU for the same number of commands.
pub(crate) fn redis(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for command in ["set", "get"] {
        let name = format!("redis, server CPU of {COMMANDS} {}", command.to_uppercase());
        row(table, &name, Some(1.01), &mut Redis::start(world, command)?)?;
    }
    Ok(())
}

/// Python, with sqlite in memory. To fill a database takes blocks of pages, which are smaller than what is looked for and
/// larger than what a thread cache hides: that is counted, without a goal.
pub(crate) fn python(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for (databases, name, most) in [
        ("kept", "Python with sqlite, rows replaced and read", Some(1.05)),
        ("anew", "Python with sqlite, databases made and dropped", None),
    ] {
        let mut command = Command::new(need::program("python3")?);
        command.arg(compile::source("python/sqlite.py")).arg(databases);
        row(table, name, most, &mut Lines::start(world, databases, &mut command)?)?;
    }
    Ok(())
}

/// Collections and strings in a JVM.
pub(crate) fn java(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut command = Command::new(need::program("java")?);
    let classes = compile::java(world, "java/Work.java")?;
    let mut lines = Lines::start(world, "java", command.args(["-Xmx256m", "-cp"]).arg(classes).arg("Work"))?;
    row(table, "JVM with collections and strings", Some(1.05), &mut lines)
}
