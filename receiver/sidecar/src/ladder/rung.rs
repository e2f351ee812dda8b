//! What every rung of a climb has in common.

use std::time::Duration;

use mlh_detect::{Rung, Testimony};
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Finder, Runtime, Wish};

use super::knowledge::{Kind, Lead};
use crate::investigate::plan::End;
use crate::investigate::report::GrowthStack;

/// What a rung has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Paid {
    /// CPU time of those who are looked at.
    pub(super) target: Duration,
    /// Kernel memory, bytes.
    pub(super) kernel_bytes: u64,
}

/// A rung at work. What it needs is told when it cannot begin; dropping it takes everything out of the target and the kernel.
pub(super) trait Look: Send {
    /// Which.
    fn rung(&self) -> Rung;

    /// What its testimony rests on, as records say it.
    fn source(&self) -> &'static str;

    /// Follows who belongs to the case. Once a second; waits for nothing.
    fn step(&mut self, now: Duration, pids: &[u32]);

    /// So many are looked at beside each other: what the sidecar may spend on one is for all of them.
    fn share(&mut self, _among: u32) {}

    /// It is somebody else's turn: until it goes on, it costs the target nothing. What it has learnt stays.
    fn rest(&mut self, _now: Duration) {}

    /// It is its turn again.
    ///
    /// # Errors
    /// It cannot go on: a sentence.
    fn go_on(&mut self, _now: Duration, _pids: &[u32]) -> Result<(), String> {
        Ok(())
    }

    /// Takes stock, for the questions below. May take seconds where names are read.
    fn see(&mut self, now: Duration);

    /// What it says of all that it looks at, or of one process. The share of a [`Kept`](mlh_detect::Says::Kept) is of what this rung
    /// has seen: of rungs above `outside` the judge knows how much of the growth that is. Empty: nothing yet.
    fn says(&self, pid: Option<u32>) -> Vec<Testimony>;

    /// Who is to blame, the most first, in all or in one process.
    fn leads(&self, pid: Option<u32>) -> Vec<Lead>;

    /// How its [`leads`](Self::leads) were seen, as records say it.
    fn leads_source(&self, _pid: Option<u32>) -> &'static str {
        self.source()
    }

    /// Its leads are known by what lives, not by who touched memory first: they come before those of a dearer rung that sees pages.
    fn sees_blocks(&self) -> bool {
        false
    }

    /// Which kinds of memory grow, the most first.
    fn kinds(&self) -> Vec<Kind> {
        Vec::new()
    }

    /// What it could not see, in sentences.
    fn not_seen(&self) -> &[String];

    /// What it has cost.
    fn paid(&self) -> Paid;

    /// All stacks by page that are known, for profiles; none where it looks at no pages.
    fn growth(&self) -> &[GrowthStack];

    /// Of the time, so much was watched: 1.0 but for probes that come in bursts.
    fn watched_share(&self) -> f64 {
        1.0
    }

    /// A turn of it is no shorter: less tells nothing.
    fn least_turn(&self) -> Duration {
        Duration::ZERO
    }

    /// It will soon say whether what is kept is in use. Until then it is no news that others see it being kept.
    fn is_awaited(&self) -> bool {
        false
    }

    /// It has seen somebody who may be to blame, or has only begun to look: a verdict had better wait.
    fn seeks(&self) -> bool {
        false
    }

    /// Nobody else is to read the target's memory now: the kernel takes that for references of its own.
    fn wants_quiet(&self) -> bool {
        false
    }

    /// Whether it may read the target's memory in the next step.
    fn hush(&mut self, _: bool) {}

    /// When a step is due before the second is over.
    fn until_due(&self) -> Option<Duration> {
        None
    }

    /// Why it has ended by itself, where it has.
    fn over(&self) -> Option<&End> {
        None
    }
}

/// What runs there; where that cannot be read, nothing that collects.
pub(super) fn runtime(pid: u32) -> Runtime {
    let Ok(modules) = Modules::read(pid) else { return Runtime::Native };
    Finder::new().find(pid, &modules, &Wish { min_allocation_size: u64::MAX }).runtime
}
