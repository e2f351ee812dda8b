//! Who is looked at more closely than the regular sweep does, and for how long.

use std::time::Duration;

use crate::rules::{CREEPS, GLANCE, LOOK, LOOKS_ON, MAX_DOUBT, NOTICED, REST, YOUNG};

/// One process's place in the watch list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// Looked at until then.
    until: Option<Duration>,
    /// Charged memory when the look began, or at the last full sweep, bytes.
    reference: u64,
    /// How far the reference may be from the truth, bytes.
    slack: u64,
    /// The lowest in the second half of the look, bytes.
    lowest: u64,
    /// How many times the look has gone on.
    gone_on: u8,
    /// Not looked at again before.
    rest_until: Duration,
    rests: u8,
    glance: bool,
}

impl Watch {
    /// A process seen for the first time, `age` after its start; `slack` is how far `charged` may be from the truth.
    pub(crate) fn new(at: Duration, age: Duration, charged: u64, slack: u64) -> Self {
        let young = age < YOUNG;
        Self {
            until: young.then_some(at + GLANCE),
            reference: charged,
            slack,
            lowest: u64::MAX,
            gone_on: 0,
            rest_until: Duration::ZERO,
            rests: 0,
            glance: young,
        }
    }

    /// Decides after each sample of a process without a case.
    pub(crate) fn observe(&mut self, at: Duration, charged: u64, slack: u64, full: bool) {
        // the first exact value after a lagging one differs from it by the lag, and that is no growth
        if slack < self.slack {
            self.reference = charged;
        }
        self.slack = slack;
        let grown = charged.saturating_sub(self.reference);
        if self.until.is_some_and(|until| at + LOOK / 2 >= until) {
            self.lowest = self.lowest.min(charged);
        }
        match self.until {
            // growth turns the glance at a newcomer into a look
            Some(_) if self.glance && grown >= NOTICED / 4 => self.begin(at, charged),
            Some(until) if at >= until && self.creeps() => self.go_on(at),
            Some(until) if at >= until => self.rest(at, charged),
            None if full => {
                if grown >= NOTICED && at >= self.rest_until {
                    self.begin(at, charged);
                }
                self.reference = charged;
            }
            _ => {}
        }
    }

    /// The kernel told that a process without a case has grown by the threshold.
    pub(crate) fn told(&mut self, at: Duration, charged: u64, slack: u64) {
        if (self.until.is_none() && at >= self.rest_until) || self.glance {
            self.begin(at, charged);
            self.slack = slack;
        }
    }

    fn begin(&mut self, at: Duration, charged: u64) {
        self.until = Some(at + LOOK);
        (self.reference, self.lowest) = (charged, u64::MAX);
        (self.glance, self.gone_on) = (false, 0);
    }

    /// Whether the look has seen growth that was not given back, and may go on.
    fn creeps(&self) -> bool {
        let crept = self.lowest != u64::MAX && self.lowest.saturating_sub(self.reference) >= CREEPS;
        !self.glance && crept && self.gone_on < LOOKS_ON
    }

    fn go_on(&mut self, at: Duration) {
        self.until = Some(at + LOOK);
        (self.reference, self.lowest) = (self.lowest, u64::MAX);
        self.gone_on += 1;
    }

    fn rest(&mut self, at: Duration, charged: u64) {
        let wait = if self.glance { Duration::ZERO } else { REST * (1 << self.rests) };
        self.rests = if self.glance { self.rests } else { (self.rests + 1).min(MAX_DOUBT) };
        *self = Self { until: None, reference: charged, rest_until: at + wait, glance: false, ..*self };
    }

    /// A suspicion came of it: look again at once should it be cleared.
    pub(crate) fn vindicate(&mut self) {
        (self.rests, self.until) = (0, None);
    }

    pub(crate) fn looks(&self) -> bool {
        self.until.is_some()
    }
}
