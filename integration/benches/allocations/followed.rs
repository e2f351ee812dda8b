//! What whole programs pay for being followed up as the sidecar does by itself: by growth stacks, the highest rung that is climbed
//! without an operator. Its passes go on all the while, also in the turns that are compared with.

use std::process::Command;

use mlh_integration::hunter::Hunter;
use mlh_integration::scenario::World;
use mlh_integration::statistics::paired_ratio;
use mlh_integration::table::{Table, Verdict};
use mlh_integration::{compile, need};

use crate::programs::{COMMANDS, Lines, Redis};
use crate::subject::{Subject, base, times};

const ROUNDS: usize = 21;

/// The programs of the other parts.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for command in ["set", "get"] {
        let name = format!("redis, server CPU of {COMMANDS} {}", command.to_uppercase());
        row(world, table, &name, &mut Redis::start(world, command)?)?;
    }
    let mut python = Command::new(need::program("python3")?);
    python.arg(compile::source("python/sqlite.py")).arg("anew");
    let mut lines = Lines::start(world, "python", &mut python)?;
    row(world, table, "Python with sqlite, databases made and dropped", &mut lines)?;
    let mut java = Command::new(need::program("java")?);
    let classes = compile::java(world, "java/Work.java")?;
    let mut lines = Lines::start(world, "java", java.args(["-Xmx256m", "-cp"]).arg(classes).arg("Work"))?;
    row(world, table, "JVM with collections and strings", &mut lines)
}

fn row(world: &World, table: &mut Table, name: &str, subject: &mut dyn Subject) -> anyhow::Result<()> {
    let mut hunter =
        Hunter::start(world, &format!("sidecar-{}", subject.pid()), "escalation: {enabled: false}")?;
    let pid = subject.pid().to_string();
    // what is touched for the first time, and what the sidecar reads at first, is over then
    subject.cost()?;
    let mut with = |subject: &mut dyn Subject| {
        hunter.order(&["target", "--pid", &pid, "--mode", "growth_stacks", "--duration", "10m"])?;
        let cost = subject.cost();
        hunter.order(&["release"])?;
        cost
    };
    let mut paired = Vec::new();
    for round in 0..ROUNDS {
        // which comes first alternates: a machine that warms up must not look like a cost
        paired.push(if round.is_multiple_of(2) {
            let with = with(subject)?;
            (with, subject.cost()?)
        } else {
            let without = subject.cost()?;
            (with(subject)?, without)
        });
    }
    let ratio = paired_ratio(&paired);
    let what = format!("{name}, followed by growth stacks, {ROUNDS} pairs");
    table.judged(what, "< 1.01 times", times(&ratio), Verdict::at_most(1.01, &ratio));
    table.beside("  without", format!("{:.3} s", base(&paired)));
    Ok(())
}
