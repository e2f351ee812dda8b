//! The numbers that the benchmarks rest on.

/// The middle value; 0 of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The mean: of ratios the geometric one.
    pub mean: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// The ratio of each pair, averaged: pairing takes out what drifts. The interval is that of [`average`].
#[must_use]
pub fn paired_ratio(pairs: &[(f64, f64)]) -> Ratio {
    let logs: Vec<f64> = pairs.iter().map(|(with, without)| (with / without).ln()).collect();
    let Ratio { mean, low, high } = average(&logs);
    Ratio { mean: mean.exp(), low: low.exp(), high: high.exp() }
}

/// The arithmetic mean, with a percentile bootstrap over the values, which assumes no shape of the noise. The resampling is seeded, so
/// equal values give equal intervals.
#[must_use]
pub fn average(values: &[f64]) -> Ratio {
    let count = values.len().max(1) as f64;
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = || {
        // xorshift: good enough to pick one of a few values
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % values.len().max(1) as u64)
            .map_or(0.0, |index| values.get(index).copied().unwrap_or(0.0))
    };
    let mut means: Vec<f64> = (0..10_000).map(|_| mean(&mut (0..values.len()).map(|_| draw()))).collect();
    means.sort_by(f64::total_cmp);
    Ratio { mean: mean(&mut values.iter().copied()), low: means[250], high: means[9749] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the middle of an odd number of values, the mean of the two middle ones of an even number.
    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    /// Guarantees: drift that both halves of a pair share does not count, a real factor does, and noise widens the
    /// interval around it.
    #[test]
    fn ratios_of_pairs() {
        let drifting: Vec<_> = (1..=15).map(|n| (f64::from(n) * 1.1, f64::from(n))).collect();
        let ratio = paired_ratio(&drifting);
        assert!((ratio.mean - 1.1).abs() < 1e-9 && (ratio.high - ratio.low).abs() < 1e-9, "{ratio:?}");
        let noisy: Vec<_> = (0..15).map(|n| (1.0 + f64::from(n % 3 - 1) * 0.05, 1.0)).collect();
        let ratio = paired_ratio(&noisy);
        assert!(ratio.low < 0.99 && ratio.high > 1.01 && ratio.low > 0.95 && ratio.high < 1.05, "{ratio:?}");
    }

    /// Guarantees: a mean is not moved by the sign of its values: noise around nought averages to nought, within its interval.
    #[test]
    fn averages() {
        let noise: Vec<_> = (0..16).map(|n| if n % 2 == 0 { 3.0 } else { -3.0 }).collect();
        let Ratio { mean, low, high } = average(&noise);
        assert!(mean == 0.0 && low < -0.5 && high > 0.5, "{mean} ({low} to {high})");
        assert_eq!(average(&[2.0; 5]), Ratio { mean: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(average(&[]).mean, 0.0);
    }
}
