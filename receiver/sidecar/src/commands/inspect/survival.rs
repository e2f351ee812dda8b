//! Which stacks keep what they allocate.
//!
//! The rule: a stack survives when, at the ends of [`SEGMENTS`] equal parts of the look, its live bytes have never
//! fallen and have risen in all parts but one, and less than [`MAX_FREED`] of what it allocated has been freed. A cache
//! that is still being filled does the same: see `verdict.rs` for what is made of it.

use std::collections::HashMap;
use std::time::Duration;

use crate::investigate::report::{Report, StackEvidence};

/// As the growth detector cuts its stretches.
const SEGMENTS: u32 = 6;
/// Of the bytes that the stack allocated.
const MAX_FREED: f64 = 0.1;
/// Values of one stack: a look of an hour is seen every minute.
const MAX_POINTS: u32 = 60;
/// Stacks that are asked for each time.
pub(super) const TOP: usize = 64;
/// Stacks that are followed: those beyond come too late to have risen all along.
const MAX_STACKS: usize = 1024;

/// A stack of a process: blocks and mappings apart.
type Key = (u32, u64, bool);

fn key(stack: &StackEvidence) -> Key {
    (stack.pid, stack.trace.hash, stack.mapped)
}

/// The live bytes of the largest stacks over the time of the look.
#[derive(Debug)]
pub(super) struct Survival {
    every: Duration,
    next: Duration,
    series: HashMap<Key, Vec<(Duration, u64)>>,
}

impl Survival {
    /// For a look of this length.
    pub(super) fn new(length: Duration) -> Self {
        let every = (length / MAX_POINTS).max(Duration::from_secs(1));
        Self { every, next: every, series: HashMap::new() }
    }

    /// Whether there is something to note so long after the beginning of the look.
    pub(super) fn is_due(&self, lasted: Duration) -> bool {
        lasted >= self.next
    }

    /// Takes what the stacks hold now.
    pub(super) fn note(&mut self, report: &Report) {
        self.next = report.lasted + self.every;
        for stack in &report.stacks {
            let known = self.series.len();
            let key = key(stack);
            if known < MAX_STACKS || self.series.contains_key(&key) {
                self.series.entry(key).or_default().push((report.lasted, stack.live_bytes));
            }
        }
    }

    /// Whether this stack of the final report has kept what it allocated. `length` is that of the whole look.
    pub(super) fn survives(&self, stack: &StackEvidence, length: Duration) -> bool {
        let Some(series) = self.series.get(&key(stack)) else { return false };
        let at =
            |time: Duration| series.iter().rev().find(|(at, _)| *at <= time).map_or(0, |(_, live)| *live);
        let mut values: Vec<u64> = (1..SEGMENTS).map(|part| at(length * part / SEGMENTS)).collect();
        values.push(stack.live_bytes);
        let steps = || std::iter::once(&0).chain(&values).zip(&values);
        let rises = steps().filter(|(before, after)| after > before).count();
        let falls = steps().any(|(before, after)| after < before);
        let freed = stack.freed_bytes as f64 > MAX_FREED * stack.allocated_bytes as f64;
        !falls && !freed && rises + 1 >= SEGMENTS as usize
    }
}

#[cfg(test)]
mod tests {
    use mlh_stacks::trace::Trace;

    use super::*;

    const LOOK: Duration = Duration::from_secs(60);

    fn stack(hash: u64, live_bytes: u64) -> StackEvidence {
        let trace = Trace { hash, ..Trace::default() };
        StackEvidence { pid: 1, trace, live_bytes, allocated_bytes: live_bytes, ..StackEvidence::default() }
    }

    /// A look in which one stack holds what `live` says, each second; its end.
    fn survives(live: impl Fn(u64) -> u64, freed: u64) -> bool {
        let mut survival = Survival::new(LOOK);
        for second in 0..60 {
            let lasted = Duration::from_secs(second);
            if survival.is_due(lasted) {
                let stacks = vec![stack(1, live(second)), stack(2, 7)];
                survival.note(&Report { lasted, stacks, ..Report::default() });
            }
        }
        let last = StackEvidence { freed_bytes: freed, ..stack(1, live(60)) };
        assert!(!survival.survives(&stack(2, 7), LOOK), "what stands still does not rise");
        assert!(!survival.survives(&stack(3, 7), LOOK), "nor what was never seen");
        survival.survives(&last, LOOK)
    }

    /// Guarantees: steady growth survives, in steps too; what is given back, comes to an end, came in one go, began late
    /// or is freed for the most part does not.
    #[test]
    fn who_survives() {
        assert!(survives(|s| s * 1000, 0));
        assert!(survives(|s| s / 9 * 9000, 0), "a step every nine seconds");
        assert!(survives(|s| s * 1000, 5000), "a little of it freed");
        assert!(!survives(|s| s * 1000, 7000), "much of it freed");
        assert!(!survives(|s| s % 25 * 1000, 0), "a sawtooth");
        assert!(!survives(|s| s.min(30) * 1000, 0), "a cache that is full");
        assert!(!survives(|s| if s < 5 { 0 } else { 100_000 }, 0), "a step");
        assert!(!survives(|s| s.saturating_sub(25) * 1000, 0), "it began in the middle");
    }

    /// Guarantees: a long look is noted so often and no more, and a crowd of stacks is bounded.
    #[test]
    fn bounds() {
        let mut survival = Survival::new(Duration::from_secs(3600));
        let mut noted = 0;
        for second in 0..3600 {
            let lasted = Duration::from_secs(second);
            if survival.is_due(lasted) {
                noted += 1;
                let stacks = (0..100).map(|n| stack(second * 100 + n, 1)).collect();
                survival.note(&Report { lasted, stacks, ..Report::default() });
            }
        }
        assert_eq!(noted, 59);
        assert_eq!(survival.series.len(), MAX_STACKS);
    }
}
