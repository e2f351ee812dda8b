//! Something whose cost is measured again and again, and how a measurement is shown.

use mlh_integration::pairs::{Kind, Pairs};
use mlh_integration::statistics::{Ratio, median, paired_ratio};

/// A running program that does work when asked.
pub(crate) trait Subject {
    fn pid(&self) -> u32;
    /// Once: what it cost, in its own unit.
    fn cost(&mut self) -> anyhow::Result<f64>;
}

/// Wall-clock time of a slice.
const SLICE_MS: u32 = 120;

/// Pairs of one kind and size: nanoseconds of one.
pub(crate) struct Slices {
    pub(crate) pairs: Pairs,
    pub(crate) kind: Kind,
    pub(crate) size: u32,
    /// How many the last slice had.
    pub(crate) last: u64,
}

impl Slices {
    pub(crate) fn new(pairs: Pairs, kind: Kind, size: u32) -> Self {
        Self { pairs, kind, size, last: 0 }
    }
}

impl Subject for Slices {
    fn pid(&self) -> u32 {
        self.pairs.pid()
    }

    fn cost(&mut self) -> anyhow::Result<f64> {
        let slice = self.pairs.slice_of(self.kind, self.size, SLICE_MS)?;
        self.last = slice.pairs;
        Ok(slice.cost)
    }
}

/// Pairs of what was measured, with something first.
pub(crate) type Paired = Vec<(f64, f64)>;

/// What it cost with it.
pub(crate) fn with(paired: &Paired) -> Ratio {
    alone(paired.iter().map(|(with, _)| *with))
}

/// The middle of what it cost without it.
pub(crate) fn base(paired: &Paired) -> f64 {
    median(&paired.iter().map(|(_, without)| *without).collect::<Vec<_>>())
}

/// A quantity with its interval: the ratio to one.
pub(crate) fn alone(values: impl Iterator<Item = f64>) -> Ratio {
    paired_ratio(&values.map(|value| (value, 1.0)).collect::<Vec<_>>())
}

/// `1.003 (0.998 to 1.009)`, times.
pub(crate) fn times(ratio: &Ratio) -> String {
    format!("{:.3} ({:.3} to {:.3})", ratio.mean, ratio.low, ratio.high)
}

/// `2,210 ns (2,180 to 2,240)`.
pub(crate) fn nanoseconds(ratio: &Ratio) -> String {
    format!("{:.0} ns ({:.0} to {:.0})", ratio.mean, ratio.low, ratio.high)
}
