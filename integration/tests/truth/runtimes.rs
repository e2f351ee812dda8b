//! Runtimes that map memory for themselves: what they map, against strace, and what they get from malloc, to the byte.

use std::process::Command;

use anyhow::{Context as _, ensure};
use mlh_integration::inspection::Inspection;
use mlh_integration::scenario::{World, scenario};
use mlh_integration::strace::{Allocator, ONLY_THE_HEAP, Strace};
use mlh_integration::truth::Subject;
use mlh_integration::{compile, need};
use serde_json::Value;

/// Lets a program work under strace and a look in debug mode: the report is its truth, has mapped what strace has seen,
/// knows the runtime, and says what it is blind for.
fn maps(world: &World, command: &mut Command, runtime: &str, blind: &str) -> anyhow::Result<()> {
    let mut subject = Subject::start(world, "subject", command)?;
    let tuned = command.get_envs().any(|(name, _)| name == ONLY_THE_HEAP.0);
    let allocator = if tuned { Allocator::OnTheHeap } else { Allocator::OnTheStack };
    let mut strace = Strace::start(world, "strace", subject.pid(), allocator)?;
    let look = Inspection::debug(world, "inspect", subject.pid())?;
    strace.begin()?;
    let truth = subject.work()?;
    let mapped = strace.mapped()?;
    let report = look.report()?;
    subject.process.lives()?;
    truth.equals(&report)?;
    ensure!(report["target"]["runtime"] == runtime, "{} is told", report["target"]["runtime"]);
    let told = report["totals"]["mapped_bytes"].as_u64().context("mapped bytes")?;
    ensure!(told == mapped.all(), "{told} bytes mapped, by strace {mapped:?}");
    ensure!(told > 8 << 20, "hardly anything is mapped: {told} bytes");
    blind_spot(&report, blind)
}

fn blind_spot(report: &Value, what: &str) -> anyhow::Result<()> {
    let spots = report["members"][0]["blind_spots"].as_array().context("blind spots")?;
    let is = |spot: &Value| spot["what"].as_str().is_some_and(|text| text.contains(what));
    ensure!(spots.iter().any(is), "nothing of `{what}` in {spots:?}");
    Ok(())
}

/// Guarantees: what Go maps for itself is told as strace sees it, and that its objects are not seen.
/// Needs: root, eBPF, go, strace.
#[test]
fn go() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::go(world, "leak", "go/pure")?;
        maps(world, &mut Command::new(program), "go", "Go heap")
    });
}

/// Guarantees: what a Go program allocates through C is told to the byte.
/// Needs: root, eBPF, go, gcc.
#[test]
fn go_with_c() {
    scenario(|world| {
        need::ebpf()?;
        need::program("gcc")?;
        let program = compile::go(world, "leak", "go/cgo")?;
        super::allocators::holds(world, &mut Command::new(program))
    });
}

/// Guarantees: what Python maps for its small objects is told as strace sees it, what it gets from malloc through
/// ctypes to the byte, and that small objects are not seen.
/// Needs: root, eBPF, python3, strace.
#[test]
fn python() {
    scenario(|world| {
        need::ebpf()?;
        let mut command = Command::new(need::program("python3")?);
        maps(world, command.arg(compile::source("python/leak.py")), "cpython", "Python")
    });
}

/// Guarantees: what V8 maps for its heap is told as strace sees it, the contents of buffers to the byte, and that
/// JavaScript objects are not seen.
/// Needs: root, eBPF, node, strace.
#[test]
fn node() {
    scenario(|world| {
        need::ebpf()?;
        let mut command = Command::new(need::program("node")?);
        command.env(ONLY_THE_HEAP.0, ONLY_THE_HEAP.1);
        maps(world, command.arg(compile::source("node/leak.js")), "node", "V8")
    });
}

/// Guarantees: what the JVM maps for its heap is told as strace sees it, direct buffers to the byte, and that Java
/// objects are not seen.
/// Needs: root, eBPF, java, strace.
#[test]
fn java() {
    scenario(|world| {
        need::ebpf()?;
        let classes = compile::java(world, "java/Leak.java")?;
        let mut command = Command::new(need::program("java")?);
        // the heap begins small, so that it must grow
        command.args(["-Xms16m", "-Xmx512m", "-XX:+UseSerialGC", "-cp"]).arg(classes);
        maps(world, command.arg("Leak"), "jvm", "JVM heap")
    });
}
