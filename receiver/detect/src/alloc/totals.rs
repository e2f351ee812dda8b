//! What a call site has done, and what that stands for where blocks are sampled.

use std::time::Duration;

use crate::interval::half_width;

/// Counts and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Blocks allocated.
    pub allocated: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// The squares of their sizes, saturating. Needed of sampled blocks alone.
    pub allocated_squares: u64,
    /// Blocks freed of these.
    pub freed: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// The squares of their sizes, saturating. Needed of sampled blocks alone.
    pub freed_squares: u64,
    /// Blocks that were there when watching ceased for a while: of their end nothing is known, and they count as neither live nor
    /// freed.
    pub forgone: u64,
    /// Their bytes.
    pub forgone_bytes: u64,
    /// The squares of their sizes, saturating. Needed of sampled blocks alone.
    pub forgone_squares: u64,
}

impl Counts {
    /// Adds others, saturating.
    pub fn add(&mut self, other: &Self) {
        self.allocated = self.allocated.saturating_add(other.allocated);
        self.allocated_bytes = self.allocated_bytes.saturating_add(other.allocated_bytes);
        self.allocated_squares = self.allocated_squares.saturating_add(other.allocated_squares);
        self.freed = self.freed.saturating_add(other.freed);
        self.freed_bytes = self.freed_bytes.saturating_add(other.freed_bytes);
        self.freed_squares = self.freed_squares.saturating_add(other.freed_squares);
        self.forgone = self.forgone.saturating_add(other.forgone);
        self.forgone_bytes = self.forgone_bytes.saturating_add(other.forgone_bytes);
        self.forgone_squares = self.forgone_squares.saturating_add(other.forgone_squares);
    }

    /// Blocks that are there.
    // Read while blocks come and go: a free may already be in and its allocation's sum not yet.
    fn live(&self) -> u64 {
        self.allocated.saturating_sub(self.freed).saturating_sub(self.forgone)
    }

    fn live_bytes(&self) -> u64 {
        self.allocated_bytes.saturating_sub(self.freed_bytes).saturating_sub(self.forgone_bytes)
    }

    /// The same with all that is there forgone.
    fn without_live(&self) -> Self {
        Self {
            forgone: self.allocated.saturating_sub(self.freed),
            forgone_bytes: self.allocated_bytes.saturating_sub(self.freed_bytes),
            forgone_squares: self.allocated_squares.saturating_sub(self.freed_squares),
            ..*self
        }
    }

    /// Sum of the squares of the sizes of live blocks; `None` where the sums have overflowed.
    fn live_squares(&self) -> Option<f64> {
        (self.allocated_squares < u64::MAX)
            .then(|| self.allocated_squares.saturating_sub(self.freed_squares))
            .map(|live| live.saturating_sub(self.forgone_squares) as f64)
    }
}

/// What one call site has done since it was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteTotals {
    /// Blocks that each stand for themselves.
    pub exact: Counts,
    /// Blocks that were sampled, not multiplied.
    pub sampled: Counts,
    /// When it last allocated.
    pub last: Duration,
}

impl SiteTotals {
    /// Adds another site's.
    pub fn add(&mut self, other: &Self) {
        self.exact.add(&other.exact);
        self.sampled.add(&other.sampled);
        self.last = self.last.max(other.last);
    }

    /// What it stands for where one in `rate` blocks was sampled, each by a throw of its own.
    #[must_use]
    pub fn estimate(&self, rate: u32) -> Estimate {
        let (exact, sampled, weight) = (&self.exact, &self.sampled, u64::from(rate.max(1)));
        let whole = |exact: u64, sampled: u64| exact.saturating_add(sampled.saturating_mul(weight));
        Estimate {
            live_bytes: whole(exact.live_bytes(), sampled.live_bytes()),
            live_count: whole(exact.live(), sampled.live()),
            error_bytes: error(sampled, weight),
            allocated_bytes: whole(exact.allocated_bytes, sampled.allocated_bytes),
            allocated_count: whole(exact.allocated, sampled.allocated),
            freed_bytes: whole(exact.freed_bytes, sampled.freed_bytes),
            freed_count: whole(exact.freed, sampled.freed),
            forgone_bytes: whole(exact.forgone_bytes, sampled.forgone_bytes),
            forgone_count: whole(exact.forgone, sampled.forgone),
        }
    }

    /// What it has done by the time at which watching ceases: nothing of it is there for whoever watches later.
    #[must_use]
    pub fn forgone(&self) -> Self {
        Self { exact: self.exact.without_live(), sampled: self.sampled.without_live(), last: self.last }
    }

    /// The same that has been done since, where so much had been [`forgone`](Self::forgone).
    #[must_use]
    pub fn less(&self, forgone: &Self) -> Self {
        let of = |counts: &Counts, forgone: &Counts| Counts {
            forgone: forgone.forgone,
            forgone_bytes: forgone.forgone_bytes,
            forgone_squares: forgone.forgone_squares,
            ..*counts
        };
        Self {
            exact: of(&self.exact, &forgone.exact),
            sampled: of(&self.sampled, &forgone.sampled),
            last: self.last,
        }
    }
}

/// What a call site's totals stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Not freed yet.
    pub live_bytes: u64,
    /// So many blocks.
    pub live_count: u64,
    /// Half of the width of the 95 % interval around `live_bytes`; 0 where nothing was sampled.
    pub error_bytes: u64,
    /// Allocated.
    pub allocated_bytes: u64,
    /// So many blocks.
    pub allocated_count: u64,
    /// Freed of these.
    pub freed_bytes: u64,
    /// So many blocks.
    pub freed_count: u64,
    /// Of these nobody knows whether they are freed: they were there when watching ceased for a while.
    pub forgone_bytes: u64,
    /// So many blocks.
    pub forgone_count: u64,
}

/// A block of `s` bytes is seen with probability 1/N and then counts N times: its variance, estimated without bias, is
/// N(N - 1)s² for each one seen.
fn error(sampled: &Counts, weight: u64) -> u64 {
    if sampled.allocated == 0 || weight == 1 {
        return 0;
    }
    let Some(live_squares) = sampled.live_squares() else {
        // Nothing is known of the spread: as wide as the estimate itself.
        return sampled.live_bytes().saturating_mul(weight);
    };
    let mean_square = sampled.allocated_squares as f64 / sampled.allocated as f64;
    let weight = weight as f64;
    let of = |squares: f64| weight * (weight - 1.0) * squares;
    half_width(of(live_squares), of(mean_square))
}
