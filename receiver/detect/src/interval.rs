//! How far an estimate from samples may be off.

/// Half the width of a 95 % interval in standard deviations.
const WIDTH: f64 = 1.96;

/// Samples added to the variance: a handful of samples says little of what was not sampled, none at all nothing, and an
/// interval from them alone would hold the truth in two of three cases only. With two more, as large as the site's
/// are on average, it does in 19 of 20, whatever their number, as long as sizes are of one order; where there are many
/// samples, two more change nothing.
const UNSEEN: f64 = 2.0;

/// Half of the width of the 95 % interval. `variance` is the sum of those of the samples that count, `mean` the
/// average of all samples.
pub(crate) fn half_width(variance: f64, mean: f64) -> u64 {
    (WIDTH * (variance + UNSEEN * mean).sqrt()).ceil() as u64
}
