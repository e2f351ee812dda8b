//! Two tools beside us, on a program of their own each, where `MLH_RIVALS=1`: bcc's `memleak`, and `perf record` with copies of
//! the user's stack at page faults. Of the bytes that leak: the share whose first frame outside the C and C++ libraries is the
//! function that leaks.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use mlh_integration::code::Code;
use mlh_integration::memleak;
use mlh_integration::need::{self, Skip};
use mlh_integration::scenario::World;
use nix::sys::signal::Signal;

use crate::judge::has_word;
use crate::program::Program;
use crate::row::Row;

const PATIENCE: Duration = Duration::from_secs(60);
/// memleak passes over what is younger than half a second.
const LOOK: Duration = Duration::from_secs(6);
/// One in so many faults: each has 8 KiB of stack with it.
const PERIOD: u64 = 10;
const PAGE: u64 = 4096;

/// Their columns of the table: memleak's, perf's.
pub(crate) fn columns(world: &World, row: &Row, program: &Program) -> anyhow::Result<[String; 2]> {
    Ok([shown(by_memleak(world, row, program))?, shown(by_perf(world, row, program))?])
}

/// What a tool cannot do is no failure of ours.
fn shown(found: anyhow::Result<f64>) -> anyhow::Result<String> {
    match found {
        Ok(share) => Ok(format!("{:.0} %", share.min(1.0) * 100.0)),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(_) => Ok("fails".to_owned()),
            None => Err(error),
        },
    }
}

/// Files of libraries that allocate for others.
const LIBRARIES: [&str; 5] = ["libc.so", "libc.musl", "ld-musl", "ld-linux", "libstdc++"];
/// The same where they are part of the program: what their functions have in their names.
const FUNCTIONS: [&str; 6] = ["malloc", "memset", "operator new", "alloc::", "core::", "std::"];

fn is_library(line: &str) -> bool {
    LIBRARIES.iter().any(|name| line.contains(name))
}

/// Bytes of stacks, each a text of frames, a line each: those blamed on the function.
fn blamed<'a>(row: &Row, stacks: impl Iterator<Item = (u64, &'a [&'a str])>) -> u64 {
    let is_blamed = |frames: &[&str]| {
        let is_named = |line: &str| FUNCTIONS.iter().any(|name| line.contains(name));
        let first = frames.iter().find(|line| !is_library(line) && !is_named(line));
        first.is_some_and(|line| has_word(line, row.site))
    };
    stacks.filter(|(_, frames)| is_blamed(frames)).map(|(bytes, _)| bytes).sum()
}

fn by_memleak(world: &World, row: &Row, program: &Program) -> anyhow::Result<f64> {
    let tool = memleak::program()?;
    let mut running = program.start(world, row, "memleak-leak")?;
    let pid = running.pid();
    let before = Code::of(pid)?;
    // as somebody would who knows where the allocator is
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let libc = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| is_library(path));
    let object = libc.map_or_else(|| format!("/proc/{pid}/exe"), |path| format!("/proc/{pid}/root{path}"));
    let mut command = Command::new(tool);
    // its one report comes later than anybody waits for it
    command.args(["-p", &pid.to_string(), "-T", "1000", "-O", &object]);
    let interval = LOOK.as_secs() + 4;
    let mut memleak = world.spawn("memleak", command.args([&interval.to_string(), "1"]))?;
    if memleak::attached(&mut memleak, pid, &before, Duration::from_secs(interval)).is_err() {
        return Err(Skip::because("no probe of it is placed").into());
    }
    running.go()?;
    let ended = memleak.end(PATIENCE)?;
    running.stop()?;
    let text = memleak.stdout();
    let stacks = outstanding(&text);
    let all: u64 = stacks.iter().map(|(bytes, _)| bytes).sum();
    if all == 0 {
        return Err(Skip::because(format!("it says nothing, {ended}")).into());
    }
    Ok(blamed(row, stacks.iter().map(|(bytes, frames)| (*bytes, frames.as_slice()))) as f64 / all as f64)
}

/// memleak's report: `N bytes in M allocations from stack`, and deeper in a line a frame.
fn outstanding(text: &str) -> Vec<(u64, Vec<&str>)> {
    let mut stacks: Vec<(u64, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if let Some((bytes, _)) = line.trim().split_once(" bytes in ") {
            stacks.push((bytes.parse().unwrap_or(0), Vec::new()));
        } else if let Some((_, frames)) = stacks.last_mut() {
            frames.push(line);
        }
    }
    stacks
}

fn by_perf(world: &World, row: &Row, program: &Program) -> anyhow::Result<f64> {
    let tool = need::program("perf")?;
    let mut running = program.start(world, row, "perf-leak")?;
    let data = world.path("perf.data");
    let mut command = Command::new(&tool);
    command.args(["record", "-e", "page-faults", "-c", &PERIOD.to_string(), "--call-graph", "dwarf", "-p"]);
    let mut perf = world.spawn("perf", command.arg(running.pid().to_string()).arg("-o").arg(&data))?;
    // nothing says that its events are open
    std::thread::sleep(Duration::from_secs(1));
    perf.lives()?;
    running.go()?;
    std::thread::sleep(LOOK);
    let leaked = running.stop()?;
    perf.signal(Signal::SIGINT)?;
    perf.end(PATIENCE)?;
    let mut command = Command::new(tool);
    let output = command.args(["script", "-F", "ip,sym,dso", "-i"]).arg(&data).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let samples: Vec<Vec<&str>> =
        text.split("\n\n").map(|sample| sample.trim_matches('\n').lines().collect()).collect();
    let stacks = samples.iter().map(|frames| (PERIOD * PAGE, frames.as_slice()));
    let bytes = blamed(row, stacks) as f64 / leaked.bytes as f64;
    std::fs::remove_file(&data).context("perf's data")?;
    Ok(bytes)
}
