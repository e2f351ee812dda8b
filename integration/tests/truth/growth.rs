//! Growth by page: who touches memory that stays, with no probe in the target.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mlh_integration::inspection::Inspection;
use mlh_integration::memory_cgroup::MemoryCgroup;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, scenario};
use mlh_integration::wait::until;
use mlh_integration::{compile, need, sidecar};
use serde_json::Value;

/// A slow machine's.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a program that grows, and waits until it does.
fn grows(world: &World, name: &str, command: &mut Command) -> anyhow::Result<Process> {
    let mut process = world.spawn(name, command)?;
    until(&format!("{name} being ready"), PATIENCE, || {
        process.lives()?;
        Ok(process.stdout().starts_with("ready\n").then_some(()))
    })?;
    Ok(process)
}

/// By how many bytes it has grown, by its own account.
fn grown(process: &mut Process) -> anyhow::Result<f64> {
    let before = process.stdout().lines().count();
    process.tell("")?;
    let line = until("its own account", PATIENCE, || {
        process.lives()?;
        let told = process.stdout();
        Ok(told.lines().nth(before).filter(|_| told.ends_with('\n')).map(str::to_owned))
    })?;
    line.parse().with_context(|| format!("`{line}` is no number"))
}

/// The report of a look of so long.
fn look(world: &World, target: &[&str], duration: &str) -> anyhow::Result<Value> {
    let mut command = Command::new(sidecar::executable()?);
    command.args(["inspect", "--mode", "growth_stacks", "--output", "json", "--duration", duration]);
    let mut process = world.spawn("inspect", command.args(target))?;
    let status = process.end(PATIENCE)?;
    ensure!(status.success(), "inspect: {status}: {}", process.stderr());
    serde_json::from_str(&process.stdout()).context("the report is no JSON")
}

fn look_at(world: &World, process: &Process, duration: &str) -> anyhow::Result<Value> {
    look(world, &["--pid", &process.pid().to_string()], duration)
}

fn bytes(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// The function to blame is the first culprit, by growth that is steady, and no probe was in the target. How many bytes of it are told
/// to be there, and half of the interval's width.
fn blames(report: &Value, function: &str) -> anyhow::Result<(f64, f64)> {
    let (culprit, growth) = (&report["culprits"][0], &report["growth"]);
    ensure!(culprit["function"] == function, "not {function} but: {growth:#}");
    let evidence = culprit["evidence"].as_array().context("evidence")?;
    ensure!(
        evidence.iter().any(|it| it == "growth_pages") && evidence.iter().any(|it| it == "survival"),
        "{evidence:?}"
    );
    ensure!(growth[0]["pattern"] == "steady" && growth[0]["function"] == function, "{growth:#}");
    ensure!(
        report["members"].as_array().context("members")?.iter().all(|member| member["probes"] == 0),
        "a probe"
    );
    let stacks = growth.as_array().context("growth")?;
    let of = |member: &str| -> f64 {
        let its = stacks.iter().filter(|stack| stack["function"] == function);
        its.map(|stack| bytes(&stack[member])).sum()
    };
    Ok((of("bytes"), of("error_bytes")))
}

/// Guarantees: of a program that leaks 100 kB a second beside a sawtooth of 4 MB and buffers that come and go the leak's
/// function is the first culprit, whether the heap, the kernel in its stead, huge pages or shared memory made it grow; so is its
/// line. The bytes agree with the program's own account within half as much again as the interval that is told: no more than it has
/// grown by around the look, and no less than in the part of it that is old enough to be judged.
/// Needs: root, eBPF, gcc, huge pages for those who ask for them.
#[test]
fn a_leak_beside_a_sawtooth() {
    /// The look, and so much of it is certainly judged.
    const LENGTH: &str = "16s";
    const JUDGED: Duration = Duration::from_secs(10);
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "growth", "c/growth.c", &["-lpthread"])?;
        let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        let huge = !huge.is_empty() && !huge.contains("[never]");
        for (how, function) in [
            ("blocks", "keep_blocks"),
            ("read", "keep_read"),
            ("shared", "keep_shared"),
            ("huge", "keep_huge"),
        ] {
            if how == "huge" && !huge {
                println!("skipped: huge pages are switched off here");
                continue;
            }
            let mut process = grows(world, how, Command::new(&program).arg(how))?;
            let before = grown(&mut process)?;
            let arguments = ["--mode", "growth_stacks", "--duration", LENGTH];
            let mut look = Inspection::start(world, "inspect", process.pid(), &arguments)?;
            let (begun, since) = (grown(&mut process)?, Instant::now());
            until("most of the look", PATIENCE, || Ok((since.elapsed() >= JUDGED).then_some(())))?;
            let judged = grown(&mut process)? - begun;
            let status = look.process.end(PATIENCE)?;
            ensure!(status.success(), "inspect: {status}: {}", look.process.stderr());
            let all = grown(&mut process)? - before;
            let report: Value = serde_json::from_str(&look.process.stdout())?;
            let (held, error) = blames(&report, function)?;
            println!("{how}: {held} +- {error} bytes are told, of {judged} to {all}");
            ensure!(
                held - 1.5 * error <= all && held + 1.5 * error >= judged,
                "{held} +- {error} of {judged} to {all}: {:#}",
                report["growth"]
            );
            let line = report["culprits"][0]["line"].as_u64();
            ensure!(line.is_some_and(|line| line > 0), "no line: {:#}", report["culprits"][0]);
        }
        Ok(())
    });
}

/// Guarantees: the same of a Go program, of which no probe sees an object.
/// Needs: root, eBPF, go.
#[test]
fn go() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::go(world, "growth", "go/growth")?;
        let process = grows(world, "go", &mut Command::new(program))?;
        let report = look_at(world, &process, "20s")?;
        blames(&report, "main.remember")?;
        ensure!(report["target"]["runtime"] == "go", "{}", report["target"]);
        Ok(())
    });
}

/// Guarantees: of a cgroup all processes are looked at, also one that is forked into it and one that joins it later; each of them is
/// told of, the leak's function first, and what a process held that has ended is no growth.
/// Needs: root, eBPF, gcc, the memory controller.
#[test]
fn a_cgroup() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "growth", "c/growth.c", &["-lpthread"])?;
        let cgroup = MemoryCgroup::root()?.create(&format!("mlh-growth-{}", std::process::id()))?;
        let first = grows(world, "first", &mut Command::new(&program))?;
        let mut ends = grows(world, "ends", Command::new(&program).arg("read"))?;
        let later = grows(world, "later", &mut Command::new(&program))?;
        for process in [&first, &ends] {
            cgroup.take(process.pid())?;
        }
        let path = cgroup.folder().display().to_string();
        let mut command = Command::new(sidecar::executable()?);
        command.args([
            "inspect",
            "--mode",
            "growth_stacks",
            "--output",
            "json",
            "--duration",
            "20s",
            "--cgroup",
            &path,
        ]);
        let mut inspect = world.spawn("inspect", &mut command)?;
        until("the look to begin", PATIENCE, || {
            inspect.lives()?;
            Ok(inspect.stderr().contains("page faults are sampled").then_some(()))
        })?;
        cgroup.take(later.pid())?;
        ends.end_input();
        ends.end(PATIENCE)?;
        let status = inspect.end(PATIENCE)?;
        ensure!(status.success(), "inspect: {status}: {}", inspect.stderr());
        let report: Value = serde_json::from_str(&inspect.stdout())?;
        blames(&report, "keep_blocks")?;
        let growth = report["growth"].as_array().context("growth")?;
        for process in [&first, &later] {
            let its = |stack: &&Value| stack["pid"] == process.pid() && stack["function"] == "keep_blocks";
            ensure!(growth.iter().any(|stack| its(&stack)), "nothing of {}: {growth:#?}", process.pid());
        }
        ensure!(growth.iter().all(|stack| stack["function"] != "keep_read"), "it has ended: {growth:#?}");
        drop((first, later));
        cgroup.remove()
    });
}

/// Guarantees: beside the probes growth by page says the same of what they see, and leads where the filters pass over it.
/// Needs: root, eBPF, gcc.
#[test]
fn beside_probes() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "growth", "c/growth.c", &["-lpthread"])?;
        for (how, function, evidence) in [
            ("blocks", "keep_blocks", vec!["growth_pages", "survival"]),
            ("large", "keep_large", vec!["allocations", "survival", "growth_pages"]),
        ] {
            let process = grows(world, how, Command::new(&program).arg(how))?;
            let mut command = Command::new(sidecar::executable()?);
            command.args(["inspect", "-o", "json", "--duration", "16s", "--sampling-rate", "1"]);
            command.args(["--overhead-budget", "100%", "--pid", &process.pid().to_string()]);
            let mut inspect = world.spawn("inspect", &mut command)?;
            let status = inspect.end(PATIENCE)?;
            ensure!(status.success(), "inspect: {status}: {}", inspect.stderr());
            let report: Value = serde_json::from_str(&inspect.stdout())?;
            let culprits = report["culprits"].as_array().context("culprits")?;
            let culprit = culprits.iter().find(|it| it["function"] == function);
            let culprit = culprit.with_context(|| format!("no {function}: {culprits:#?}"))?;
            let told = culprit["evidence"].as_array().context("evidence")?;
            ensure!(told.iter().collect::<Vec<_>>() == evidence, "{told:?} instead of {evidence:?}");
        }
        Ok(())
    });
}
