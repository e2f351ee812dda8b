//! What whole programs pay for being the target of a running sidecar, with its default filters: in interleaved slices
//! of the same process, targeted and released.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::hunter::Hunter;
use mlh_integration::process::Process;
use mlh_integration::scenario::World;
use mlh_integration::statistics::{median, paired_ratio};
use mlh_integration::wait::until;
use mlh_integration::{compile, need};

use crate::storm::shown;
use crate::table::Table;

const PAIRS: u32 = 11;
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that does the same work again and again.
trait Worker {
    fn pid(&self) -> u32;
    /// Once: what it cost, seconds.
    fn work(&mut self) -> anyhow::Result<f64>;
}

/// One that works at each line of its input, and prints what that cost.
struct Lines(Process, usize);

impl Lines {
    fn start(world: &World, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut lines = Self(world.spawn(name, command)?, 0);
        lines.answer()?;
        Ok(lines)
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        self.1 += 1;
        until("an answer", PATIENCE, || {
            self.0.lives()?;
            let text = self.0.stdout();
            Ok(text.split_inclusive('\n').nth(self.1 - 1).filter(|l| l.ends_with('\n')).map(str::to_owned))
        })
    }
}

impl Worker for Lines {
    fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn work(&mut self) -> anyhow::Result<f64> {
        self.0.tell("")?;
        self.answer()?.trim().parse().context("seconds")
    }
}

/// A redis server and its own benchmark.
struct Redis {
    server: Process,
    socket: PathBuf,
    benchmark: PathBuf,
}

impl Redis {
    fn start(world: &World) -> anyhow::Result<Self> {
        let (server, benchmark) = (need::program("redis-server")?, need::program("redis-benchmark")?);
        let socket = world.path("redis.sock");
        let mut command = Command::new(server);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        let mut server = world.spawn("redis", command.arg("--dir").arg(world.folder()))?;
        until("redis", PATIENCE, || {
            server.lives()?;
            Ok(socket.exists().then_some(()))
        })?;
        Ok(Self { server, socket, benchmark })
    }
}

impl Worker for Redis {
    fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The server's CPU time.
    fn work(&mut self) -> anyhow::Result<f64> {
        let before = cpu_seconds(self.pid())?;
        let mut command = Command::new(&self.benchmark);
        command
            .arg("-s")
            .arg(&self.socket)
            .args(["-t", "set,get", "-n", "300000", "-r", "10000", "-P", "16", "-q"]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "redis-benchmark: {status}");
        Ok(cpu_seconds(self.pid())? - before)
    }
}

/// CPU time of all threads of a process, to the nanosecond.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().context("schedstat")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

fn compared(
    world: &World,
    table: &mut Table,
    name: &str,
    most: f64,
    worker: &mut dyn Worker,
) -> anyhow::Result<()> {
    // what it costs is measured here: the brake would end it
    let mut hunter = Hunter::start(world, &format!("hunter-{}", worker.pid()), "overhead_budget: 100%")?;
    let pid = worker.pid().to_string();
    worker.work()?;
    let mut pairs = Vec::new();
    let mut hits = 0;
    for round in 0..PAIRS {
        let mut with = |worker: &mut dyn Worker| -> anyhow::Result<f64> {
            hunter.order(&["target", "--pid", &pid, "--duration", "1h"])?;
            let cost = worker.work()?;
            let status = hunter.status()?;
            ensure!(status["mode"] == "targeted", "{name} was not looked at: {status}");
            hits = status["cost"]["hits"].as_u64().context("hits")?;
            hunter.order(&["release"])?;
            Ok(cost)
        };
        // which comes first alternates: a machine that warms up must not look like a cost
        pairs.push(if round % 2 == 0 {
            let with = with(worker)?;
            (with, worker.work()?)
        } else {
            let without = worker.work()?;
            (with(worker)?, without)
        });
    }
    let ratio = paired_ratio(&pairs);
    let what = format!("{name}, targeted with the default filters, {PAIRS} pairs");
    table.goal(what, &format!("<= {most:.2} times"), shown(&ratio), ratio.mean <= most);
    let base = median(&pairs.iter().map(|(_, without)| *without).collect::<Vec<_>>());
    table.beside("  without it; hits with it", format!("{base:.3} s; {hits}"));
    Ok(())
}

/// Redis, Python with sqlite, and the JVM. One that is not installed is left out with the reason.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let redis = Redis::start(world).map(|redis| Box::new(redis) as Box<dyn Worker>);
    row(world, table, "redis, server CPU for 600,000 commands", 1.01, redis)?;
    let python = python(world).map(|python| Box::new(python) as Box<dyn Worker>);
    row(world, table, "Python with sqlite", 1.05, python)?;
    let java = java(world).map(|java| Box::new(java) as Box<dyn Worker>);
    row(world, table, "JVM", 1.05, java)
}

fn row(
    world: &World,
    table: &mut Table,
    name: &str,
    most: f64,
    worker: anyhow::Result<Box<dyn Worker>>,
) -> anyhow::Result<()> {
    match worker {
        Ok(mut worker) => compared(world, table, name, most, worker.as_mut()),
        Err(error) => match error.downcast::<need::Skip>() {
            Ok(skip) => {
                table.beside(name, format!("skipped: {skip}"));
                Ok(())
            }
            Err(error) => Err(error),
        },
    }
}

fn python(world: &World) -> anyhow::Result<Lines> {
    let mut command = Command::new(need::program("python3")?);
    Lines::start(world, "python", command.arg(compile::source("python/sqlite.py")))
}

fn java(world: &World) -> anyhow::Result<Lines> {
    let mut command = Command::new(need::program("java")?);
    let classes = compile::java(world, "java/Work.java")?;
    Lines::start(world, "java", command.args(["-Xmx256m", "-cp"]).arg(classes).arg("Work"))
}
