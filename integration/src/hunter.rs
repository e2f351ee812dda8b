//! A running sidecar that takes orders: its records in an event file, its control socket, its metrics.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::scenario::{World, free_port};
use crate::truth::{Figures, bare};
use crate::wait::until;
use crate::{sidecar, web};

/// What a slow machine may need for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The sidecar.
pub struct Hunter {
    /// Its process.
    pub process: Process,
    socket: PathBuf,
    events: PathBuf,
    port: u16,
}

impl Hunter {
    /// Starts it with settings of the receiver, such as `mode: targeted, target_pid: 7`, and waits for its first sweep.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(world: &World, name: &str, settings: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let socket = world.path(&format!("{name}-run")).join("control.sock");
        let events = world.path(&format!("{name}.jsonl"));
        let settings = format!("collection_interval: 1s, {settings}");
        let logs = format!("file: {{path: '{}', format: event}}", events.display());
        let config = sidecar::taking_orders(&settings, &logs, port, &socket);
        let process = sidecar::start(world, name, &config, port)?;
        Ok(Self { process, socket, events, port })
    }

    /// Gives an order on the command line: `target --pid 7`, `release`, `status`. The answer is JSON.
    ///
    /// # Errors
    /// It is refused: the error is what was said.
    pub fn order(&mut self, order: &[&str]) -> anyhow::Result<Value> {
        self.process.lives()?;
        let mut command = Command::new(sidecar::executable()?);
        let output = command.args(order).arg("--socket").arg(&self.socket).args(["-o", "json"]).output()?;
        ensure!(output.status.success(), "{order:?}: {}", sidecar::text(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What it is doing.
    ///
    /// # Errors
    /// It does not say.
    pub fn status(&mut self) -> anyhow::Result<Value> {
        self.order(&["status"])
    }

    /// Waits until it is in a mode.
    ///
    /// # Errors
    /// When it never is.
    pub fn in_mode(&mut self, mode: &str) -> anyhow::Result<()> {
        until(&format!("the mode {mode}"), PATIENCE, || {
            let status = self.status()?;
            Ok((status["mode"] == mode).then_some(()))
        })
    }

    /// Waits until a function of the target has allocated so many blocks, as far as is known, and tells all that is.
    ///
    /// # Errors
    /// When it never has.
    pub fn knows(&mut self, function: &str, allocated: u64) -> anyhow::Result<Known> {
        let what = format!("{allocated} blocks of {function} being known");
        until(&what, PATIENCE, || {
            let known = known(&self.status()?, function)?;
            Ok((known.figures.allocated >= allocated).then_some(known))
        })
    }

    /// The events so far of a kind, by its number, that are about a process.
    ///
    /// # Errors
    /// A line that is no event.
    pub fn events(&self, kind: u32, pid: u32) -> anyhow::Result<Vec<Value>> {
        let of_it = |event: &Value| event["event_data"]["kernel"]["pid"] == pid;
        Ok(self.all_events(kind)?.into_iter().filter(of_it).collect())
    }

    /// The same, whomever they are about.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub fn all_events(&self, kind: u32) -> anyhow::Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default(); // not there before the first record
        let mut events = Vec::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let id = event["event_id"].as_str().unwrap_or_default();
            if id.starts_with(&format!("memory-{kind}-")) {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Waits for events of a kind about a process: so many at least, and tells all that are there.
    ///
    /// # Errors
    /// When there never are.
    pub fn tells(&mut self, kind: u32, pid: u32, count: usize) -> anyhow::Result<Vec<Value>> {
        until(&format!("{count} events of kind {kind}"), PATIENCE, || {
            self.process.lives()?;
            let events = self.events(kind, pid)?;
            Ok((events.len() >= count).then_some(events))
        })
    }

    /// The sum over a metric's series that have this in their labels.
    ///
    /// # Errors
    /// The page cannot be had.
    pub fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let page = web::get(&format!("http://127.0.0.1:{}/metrics", self.port))?;
        let series = |line: &&str| line.starts_with(name) && line.contains(label);
        let page: Vec<&str> = page.lines().filter(series).collect();
        Ok(sidecar::value(&page.join("\n"), name).unwrap_or_default())
    }
}

/// What is known of a function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// Counts and bytes, over all of its stacks.
    pub figures: Figures,
    /// Blocks freed.
    pub freed: u64,
    /// Half of the width of the 95 % interval around the live bytes, of all its stacks together.
    pub error_bytes: u64,
    /// There may be more than is told.
    pub at_least: bool,
}

/// What a status knows of the blocks of a function.
///
/// # Errors
/// A member is absent.
pub fn known(status: &Value, function: &str) -> anyhow::Result<Known> {
    let mut known = Known::default();
    for stack in status["stacks"].as_array().into_iter().flatten() {
        let culprit = stack["culprit"].as_u64().and_then(|index| usize::try_from(index).ok());
        let frame = &stack["stack"][culprit.unwrap_or(0)];
        if stack["mapped"] == false && bare(frame["function"].as_str().unwrap_or_default()) == function {
            known.figures.add(&Figures::reported(stack)?);
            known.freed += stack["freed_count"].as_u64().context("freed_count?")?;
            known.error_bytes += stack["error_bytes"].as_u64().context("error_bytes?")?;
            known.at_least |= stack["at_least"] == true;
        }
    }
    Ok(known)
}

/// The bytes that a block of glibc's is told with: those asked for, or, where a gate behind the thread cache sees no more
/// than the chunk, those that may be used.
#[must_use]
pub fn told_bytes(status: &Value, size: u64) -> u64 {
    let members = status["members"].as_array().into_iter().flatten();
    let mut placements = members.flat_map(|member| member["placements"].as_array().into_iter().flatten());
    if placements.any(|placement| placement == "gate") {
        (size + 8).next_multiple_of(16).max(32) - 8
    } else {
        size
    }
}

/// A member of an event's `custom`: they are all text.
///
/// # Errors
/// When it is not there.
pub fn custom<'a>(event: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    let value = event["event_data"]["custom"][name].as_str();
    value.with_context(|| format!("no {name} in {event}"))
}

/// The same as a number.
///
/// # Errors
/// When it is not there, or none.
pub fn number(event: &Value, name: &str) -> anyhow::Result<f64> {
    let text = custom(event, name)?;
    text.parse().with_context(|| format!("{name} is no number: {text}"))
}
