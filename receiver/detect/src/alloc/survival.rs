//! What is made of the cohorts of a stack.

use std::time::Duration;

/// Ages are told apart by their powers of two, in seconds.
const OCTAVES: usize = 13;
/// Slices of a burst that must have ended.
const LEAST_SLICES: usize = 6;
/// Of these but the first, in which a program may set itself up, so many must hold something, and of their newest third one.
const LEAST_FILLED: (usize, usize) = (2, 3);
/// Of the bytes that are left, the slice that has most may hold this share.
const MOST_IN_ONE: f64 = 0.5;
/// Of what had reached an age, this share must have reached twice that age.
const KEPT: f64 = 0.9;
/// Below, it does not stay.
const TURNED_OVER: f64 = 0.5;

/// How what a stack allocates goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// It stays, and more comes all the time: a leak, or a cache that fills.
    Kept,
    /// It stays for a while and goes when other comes: a cache that is full, a queue.
    TurnsOver,
    /// It goes all at once, time and again: a collected heap, batches.
    Sawtooth,
    /// It came at once, or has ceased to come: what a program sets up when it starts, a cache that is full and idle.
    Once,
    /// Too little was seen.
    Unclear,
}

impl Pattern {
    /// As reports say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::TurnsOver => "turns_over",
            Self::Sawtooth => "sawtooth",
            Self::Once => "once",
            Self::Unclear => "unclear",
        }
    }
}

/// What has become of what a stack allocated while it was watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Survival {
    /// In a word.
    pub pattern: Pattern,
    /// Bytes a second that came to stay, the mean over the older three quarters of each burst.
    pub velocity: f64,
    /// The 95 % interval of it.
    pub interval: (f64, f64),
    /// Of the bytes that had reached the oldest ages which were seen, the share that had reached twice of these. 0..=1.
    pub retention: f64,
    /// Bytes that were followed from one age to twice that age.
    pub followed: u64,
    /// For how long it was watched.
    pub watched: Duration,
}

impl Survival {
    /// What it allocated is still there, whether more of it comes all the time or it came in bursts.
    #[must_use]
    pub fn has_stayed(&self) -> bool {
        let is_open = matches!(self.pattern, Pattern::Kept | Pattern::Once | Pattern::Unclear);
        is_open && self.followed > 0 && self.retention >= KEPT
    }
}

/// Rates at which what stays has come, weighted by the time that each is of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrivals {
    count: u32,
    seconds: f64,
    sum: f64,
    squares: f64,
}

impl Arrivals {
    pub(super) fn enter(&mut self, seconds: f64, rate: f64) {
        self.count = self.count.saturating_add(1);
        self.seconds += seconds;
        self.sum += seconds * rate;
        self.squares += seconds * rate * rate;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.seconds += other.seconds;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// The mean, and its 95 % interval.
    fn mean(&self) -> (f64, (f64, f64)) {
        if self.seconds <= 0.0 {
            return (0.0, (0.0, 0.0));
        }
        let mean = self.sum / self.seconds;
        let variance = (self.squares / self.seconds - mean * mean).max(0.0);
        // of the mean of so many, with what so few leave unknown
        let freedom = f64::from(self.count.saturating_sub(1).max(1));
        let half = (1.96 + 4.0 / freedom) * (variance / freedom).sqrt();
        (mean, ((mean - half).max(0.0), mean + half))
    }
}

/// What is known of a stack over all bursts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Life {
    /// By age: bytes that had reached it, and of these what had reached twice that age.
    octaves: [(u64, u64); OCTAVES],
    /// Cohorts that were followed to twice an age.
    followed: u32,
    falls: u32,
    /// What the newest burst that was long enough has shown.
    before: Option<Pattern>,
    pub(super) arrivals: Arrivals,
}

impl Life {
    /// Of a cohort `entered` bytes had reached the age and `left` are there at twice of it.
    pub(super) fn reached(&mut self, age: Duration, entered: u64, left: u64) {
        let octave = age.as_secs().checked_ilog2().unwrap_or(0) as usize;
        if entered > 0
            && let Some((had, have)) = self.octaves.get_mut(octave.min(OCTAVES - 1))
        {
            *had = had.saturating_add(entered);
            *have = have.saturating_add(left.min(entered));
            self.followed = self.followed.saturating_add(1);
        }
    }

    /// Half of it or more has gone.
    pub(super) fn fell(&mut self) {
        self.falls = self.falls.saturating_add(1);
    }

    /// A burst is over that leaves so much of its slices.
    pub(super) fn rests(&mut self, left: &[u64]) {
        let shown = self.pattern(self.retention(), left);
        self.before = Some(shown).filter(|shown| *shown != Pattern::Unclear).or(self.before);
    }

    pub(super) fn is_known(&self) -> bool {
        self.followed > 0 || self.falls > 0
    }

    /// Of the two oldest octaves that something had reached.
    fn retention(&self) -> Option<f64> {
        let mut seen = self.octaves.iter().rev().filter(|(had, _)| *had > 0).take(2);
        let (had, have) = seen.next()?;
        let (more, kept) = seen.next().copied().unwrap_or_default();
        Some((*have as f64 + kept as f64) / (*had as f64 + more as f64))
    }

    /// `left`: what is left of each slice of the burst that has ended, the oldest first.
    pub(super) fn survival(&self, left: &[u64], watched: Duration) -> Survival {
        let (velocity, interval) = self.arrivals.mean();
        let retention = self.retention();
        let shown = self.pattern(retention, left);
        let pattern = if shown == Pattern::Unclear { self.before.unwrap_or(shown) } else { shown };
        let followed = self.octaves.iter().map(|(had, _)| *had).max().unwrap_or(0);
        Survival { pattern, velocity, interval, retention: retention.unwrap_or(0.0), followed, watched }
    }

    fn pattern(&self, retention: Option<f64>, left: &[u64]) -> Pattern {
        if self.falls > 0 && retention.is_none_or(|kept| kept < KEPT) {
            return Pattern::Sawtooth;
        }
        let Some(kept) = retention else { return Pattern::Unclear };
        if kept < TURNED_OVER {
            return Pattern::TurnsOver;
        }
        if kept < KEPT || self.falls > 0 || left.len() < LEAST_SLICES {
            return Pattern::Unclear;
        }
        let later = left.get(1..).unwrap_or_default();
        let (part, of) = LEAST_FILLED;
        let filled = later.iter().filter(|bytes| **bytes > 0).count();
        let comes = later.iter().rev().take(later.len() / of).any(|bytes| *bytes > 0);
        let most = later.iter().max().copied().unwrap_or(0) as f64;
        let all = later.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)) as f64;
        if !comes || most > MOST_IN_ONE * all {
            Pattern::Once
        } else if filled * of >= part * later.len() {
            Pattern::Kept
        } else {
            Pattern::Unclear
        }
    }
}
