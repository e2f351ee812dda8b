//! Who is there. A trace need not say how much of the host a pass saw, so that is concluded: a pass is full when it
//! holds every process known to live.

use std::collections::HashMap;
use std::time::Duration;

use mlh_detect::ProcessKey;
use mlh_targets::process::ProcessReading;

use crate::observe::key;

/// A process with no `exit` line has ended when it stays away this many times longer than it ever did.
pub(super) const LAPSE: u32 = 3;

#[derive(Debug)]
struct Seen {
    last: Duration,
    longest_gap: Duration,
    reading: ProcessReading,
}

/// The processes that live, as far as the trace went.
#[derive(Debug, Default)]
pub(super) struct Presence {
    alive: HashMap<ProcessKey, Seen>,
    /// The longest time between two passes so far: the measure for a process seen but once.
    longest_step: Duration,
    previous: Option<Duration>,
}

impl Presence {
    /// Notes a process at `t`; `false` when it has been noted at that time already.
    pub(super) fn see(&mut self, reading: &ProcessReading, t: Duration) -> bool {
        let Some(seen) = self.alive.get_mut(&key(reading)) else {
            let seen = Seen { last: t, longest_gap: Duration::ZERO, reading: reading.clone() };
            self.alive.insert(key(reading), seen);
            return true;
        };
        if seen.last >= t {
            return false;
        }
        seen.longest_gap = seen.longest_gap.max(t.saturating_sub(seen.last));
        seen.last = t;
        seen.reading.clone_from(reading);
        true
    }

    /// A living process as it was seen last: a start of 0 is unknown, and then the pid decides.
    pub(super) fn find(&self, key: ProcessKey) -> Option<&ProcessReading> {
        let seen = self.alive.get(&key).or_else(|| {
            let unknown = key.start_ns == 0 && key.pid != 0;
            let found = unknown.then(|| self.alive.iter().find(|(alive, _)| alive.pid == key.pid));
            found.flatten().map(|(_, seen)| seen)
        });
        seen.map(|seen| &seen.reading)
    }

    /// Notes an end and says who it was.
    pub(super) fn end(&mut self, ended: ProcessKey) -> ProcessKey {
        let ended = self.find(ended).map_or(ended, key);
        self.alive.remove(&ended);
        ended
    }

    /// The longest time between two passes so far.
    pub(super) fn longest_step(&self) -> Duration {
        self.longest_step
    }

    /// Closes a pass that said it was full: who is absent has ended.
    pub(super) fn close_full(&mut self, t: Duration) {
        self.step(t);
        self.alive.retain(|_, seen| seen.last == t);
    }

    /// Closes a pass of which `seen` processes are known and which did not say how much it saw. Gives whether it was
    /// full, and who has stayed away for too long to be alive.
    pub(super) fn close(&mut self, t: Duration, seen: usize) -> (bool, Vec<ProcessKey>) {
        self.step(t);
        if seen == 0 {
            return (false, Vec::new());
        }
        if seen == self.alive.len() {
            return (true, Vec::new());
        }
        let step = self.longest_step;
        let mut lapsed = Vec::new();
        self.alive.retain(|key, seen| {
            let usual = if seen.longest_gap.is_zero() { step } else { seen.longest_gap };
            let here = t.saturating_sub(seen.last) <= usual * LAPSE;
            if !here {
                lapsed.push(*key);
            }
            here
        });
        (seen == self.alive.len(), lapsed)
    }

    fn step(&mut self, t: Duration) {
        if let Some(previous) = self.previous {
            self.longest_step = self.longest_step.max(t.saturating_sub(previous));
        }
        self.previous = Some(t);
    }
}
