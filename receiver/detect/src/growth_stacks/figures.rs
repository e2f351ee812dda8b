//! What has come of a stack's pages.

use std::time::Duration;

use super::blocks::Blocks;

/// The look is cut into so many equal parts.
pub(super) const COHORTS: usize = 6;
/// Of what survives, what steady growth has in both halves of the look, at least: of six pages of a leak five in one half are
/// chance, of a dozen eleven are not.
const STEADY: f64 = 0.25;
/// Of what survives, what start-up has in the first part of the look.
const START_UP: f64 = 0.75;
/// With fewer pages nothing is said but that growth is steady: any two may be of one cohort.
const MIN_SURVIVORS: u64 = 3;

/// How a stack's surviving pages lie in time, by the parts of the look that are old enough to be judged. A leak has
/// survivors of every part; the untrimmed floor under memory that comes and goes is constant: its pages are of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pattern {
    /// Too little is known.
    #[default]
    Unclear,
    /// They come from the first half of the look as well as from the second.
    Steady,
    /// They come from its very beginning: what was still starting up, or had just come to work.
    StartUp,
    /// They come from the first half alone: a cache that is full by now, as likely as not.
    Levelled,
    /// They come from the second half alone.
    Late,
}

impl Pattern {
    /// As reports say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unclear => "unclear",
            Self::Steady => "steady",
            Self::StartUp => "start_up",
            Self::Levelled => "levelled",
            Self::Late => "late",
        }
    }
}

/// What one stack has touched, and what is left of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// What survives: an estimate. Pages too young to be judged are not in it.
    pub bytes: u64,
    /// Half of the width of the 95 % interval around `bytes`.
    pub error_bytes: u64,
    /// Of all that survives: 0..=1.
    pub share: f64,
    /// All that was touched: an estimate.
    pub touched_bytes: u64,
    /// Sampled faults.
    pub samples: u64,
    /// Of these, with pages that survive and are kept.
    pub survivors: u64,
    /// `bytes` by when they were touched: equal parts of the look, the first first.
    pub cohorts: Vec<u64>,
    /// Bytes a second of what survives, over the parts old enough to be judged but the first, where there are three or more.
    pub velocity: f64,
    /// How `cohorts` lie.
    pub pattern: Pattern,
    /// Of `bytes`, what both halves of the look have alike: twice what the poorer one has.
    pub steady_bytes: u64,
    /// What has become of the blocks for which it touched memory, where a heap was walked.
    pub blocks: Blocks,
    /// What has become of objects that it was watched making, where a collector moves them.
    pub made: Blocks,
    /// Bytes that those of them stand for that stay.
    pub made_bytes: u64,
    /// Addresses that rest, of those that were watched, whose last writer it was.
    pub votes: u64,
}

impl Figures {
    /// Adds the same stack of elsewhere. The pattern stays that of the one that came first.
    pub fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.bytes, other.bytes),
            // wider than that of independent samples, never narrower
            (&mut self.error_bytes, other.error_bytes),
            (&mut self.touched_bytes, other.touched_bytes),
            (&mut self.samples, other.samples),
            (&mut self.survivors, other.survivors),
            (&mut self.steady_bytes, other.steady_bytes),
            (&mut self.made_bytes, other.made_bytes),
            (&mut self.votes, other.votes),
        ];
        for (sum, other) in counts {
            *sum = sum.saturating_add(other);
        }
        for (sum, other) in self.cohorts.iter_mut().zip(&other.cohorts) {
            *sum = sum.saturating_add(*other);
        }
        self.blocks.add(other.blocks);
        self.made.add(other.made);
        self.share += other.share;
        self.velocity += other.velocity;
    }
}

/// The parts of a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    began: Duration,
    length: Duration,
    /// So many of the first are old enough to be judged.
    judged: usize,
}

impl Parts {
    /// Of a look from `began` until `now`, of which everything before `settled` can be judged.
    pub(super) fn new(began: Duration, now: Duration, settled: Duration) -> Self {
        let length = now.saturating_sub(began) / COHORTS as u32;
        let known = settled.saturating_sub(began).as_nanos();
        let judged = known.checked_div(length.as_nanos()).map_or(0, |parts| parts.min(COHORTS as u128));
        Self { began, length, judged: judged as usize }
    }

    pub(super) fn of(&self, at: Duration) -> usize {
        let since = at.saturating_sub(self.began).as_nanos();
        since.checked_div(self.length.as_nanos()).map_or(0, |part| part.min(COHORTS as u128 - 1)) as usize
    }

    /// What both halves have alike, and what that says.
    pub(super) fn pattern(&self, cohorts: &[u64], survivors: u64) -> (Pattern, u64) {
        let judged = cohorts.get(..self.judged).unwrap_or_default();
        if judged.len() < 2 {
            return (Pattern::Unclear, 0);
        }
        let half = judged.len() / 2;
        let sum = |parts: &[u64]| parts.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        let (first, second) = (sum(&judged[..half]), sum(&judged[judged.len() - half..]));
        let (all, steady) = (sum(judged), first.min(second).saturating_mul(2));
        let is_share = |of: u64, share: f64| of > 0 && of as f64 >= share * all as f64;
        let pattern = if is_share(steady, STEADY) {
            Pattern::Steady
        } else if survivors < MIN_SURVIVORS {
            Pattern::Unclear
        } else if is_share(judged[0], START_UP) {
            Pattern::StartUp
        } else if first > second {
            Pattern::Levelled
        } else if second > first {
            Pattern::Late
        } else {
            Pattern::Unclear
        };
        (pattern, steady)
    }

    /// Bytes a second.
    pub(super) fn velocity(&self, cohorts: &[u64]) -> f64 {
        // what is touched at the beginning is touched once, as often as not
        let skipped = usize::from(self.judged >= 3);
        let parts = cohorts.get(skipped..self.judged).unwrap_or_default();
        let seconds = self.length.as_secs_f64() * parts.len() as f64;
        let bytes: f64 = parts.iter().map(|bytes| *bytes as f64).sum();
        if seconds > 0.0 { bytes / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Guarantees: each pattern by its rule, and none where too little is known.
    #[test]
    fn patterns() {
        let all = Parts::new(seconds(100), seconds(160), seconds(158));
        assert_eq!(all.judged, 5);
        let of = |parts: &Parts, cohorts: [u64; 6], survivors| parts.pattern(&cohorts, survivors).0;
        assert_eq!(of(&all, [5, 4, 6, 5, 5, 2], 27), Pattern::Steady);
        assert_eq!(all.pattern(&[5, 4, 6, 5, 3, 2], 25).1, 16);
        assert_eq!(of(&all, [0, 1, 0, 0, 1, 0], 2), Pattern::Steady);
        assert_eq!(of(&all, [90, 1, 0, 1, 0, 0], 20), Pattern::StartUp);
        assert_eq!(of(&all, [20, 20, 20, 0, 0, 0], 20), Pattern::Levelled);
        assert_eq!(of(&all, [0, 0, 0, 20, 20, 20], 20), Pattern::Late);
        assert_eq!(of(&all, [9, 0, 0, 0, 0, 0], 2), Pattern::Unclear);
        assert_eq!(of(&all, [0, 0, 9, 0, 0, 0], 9), Pattern::Unclear, "in the middle");
        assert_eq!(of(&all, [0; 6], 0), Pattern::Unclear);
        let early = Parts::new(seconds(100), seconds(160), seconds(119));
        assert_eq!(of(&early, [20, 1, 0, 0, 0, 0], 20), Pattern::Unclear);
    }

    /// Guarantees: velocity leaves out the beginning and what cannot be judged yet; a look of no length does not divide.
    #[test]
    fn velocities() {
        let parts = Parts::new(seconds(0), seconds(60), seconds(55));
        assert!((parts.velocity(&[9_000, 100, 100, 100, 100, 50]) - 10.0).abs() < 1e-9);
        let short = Parts::new(seconds(0), seconds(60), seconds(25));
        assert!((short.velocity(&[100, 300, 0, 0, 0, 0]) - 20.0).abs() < 1e-9);
        let none = Parts::new(seconds(5), seconds(5), seconds(5));
        assert!(none.velocity(&[1; 6]).abs() < f64::EPSILON);
        assert_eq!((none.of(seconds(9)), parts.of(seconds(60)), parts.of(seconds(9))), (0, 5, 0));
    }
}
