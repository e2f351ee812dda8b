//! The sidecar's `inspect` on a process.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::Process;
use crate::scenario::World;
use crate::sidecar;
use crate::wait::until;

/// What a slow machine may need to place probes, or to name stacks.
const PATIENCE: Duration = Duration::from_secs(120);

/// A look that goes on.
pub struct Inspection {
    /// The sidecar.
    pub process: Process,
}

impl Inspection {
    /// Looks at a process with further arguments, and waits until the probes are in place.
    ///
    /// # Errors
    /// When the look cannot begin.
    pub fn start(world: &World, name: &str, pid: u32, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::of(world, name, &["--pid", &pid.to_string()], arguments)
    }

    /// The same of any target, such as `["--container", "4f1e"]`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn of(world: &World, name: &str, target: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(sidecar::executable()?);
        command.args(["inspect", "--output", "json"]).args(target).args(arguments);
        if !arguments.contains(&"--duration") {
            command.args(["--duration", "10m"]);
        }
        let mut process = world.spawn(name, &mut command)?;
        until("the look beginning", PATIENCE, || {
            process.lives()?;
            let said = process.stderr();
            let begun = ["probes are in place", "page faults are sampled"];
            Ok(begun.iter().any(|words| said.contains(words)).then_some(()))
        })?;
        Ok(Self { process })
    }

    /// Sees every allocation, and reports every stack.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn debug(world: &World, name: &str, pid: u32) -> anyhow::Result<Self> {
        Self::start(world, name, pid, &["--mode", "debug", "--top", "0"])
    }

    /// Ends it early, as Ctrl-C does, and reads its report.
    ///
    /// # Errors
    /// When there is none.
    pub fn report(mut self) -> anyhow::Result<Value> {
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.end(PATIENCE)?;
        ensure!(status.success(), "inspect: {status}: {}", self.process.stderr());
        serde_json::from_str(&self.process.stdout()).context("the report is no JSON")
    }
}
