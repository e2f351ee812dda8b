//! In which way memory grows: it tells whoever looks for the cause where to look.

use std::time::Duration;

use crate::history::{History, Point};
use crate::trend::Shape;

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Evenly.
    Steady,
    /// By steps that come at no certain time: something leaks for each event of a rare kind.
    Steps,
    /// Faster and faster: what is kept makes more be kept.
    Accelerating,
    /// By steps that come regularly: a timer or a batch leaks.
    Periodic,
}

impl Pattern {
    /// As records say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Steps => "steps",
            Self::Accelerating => "accelerating",
            Self::Periodic => "periodic",
        }
    }

    /// How it has grown since `onset`, as far as the history shows it.
    pub(crate) fn of(history: &History, at: Duration, onset: Point) -> Self {
        let within = Duration::from_secs_f64((at.as_secs_f64() - onset.at_s).max(0.0));
        let since_onset = |segments| {
            History::stretches(SEGMENTS, History::levels())
                .rev()
                .filter(move |stretch| stretch.length() <= within)
                .filter_map(move |stretch| history.floors(stretch, segments, 0))
        };
        if since_onset(SEGMENTS).next().is_some_and(|points| accelerates(&points)) {
            return Self::Accelerating;
        }
        // steps are seen where segments are shorter than the time between them, a rhythm where they are much shorter
        let seen: Vec<_> = since_onset(FINE_SEGMENTS).filter_map(|points| by_steps(&points)).collect();
        match seen.first() {
            Some(_) if seen.contains(&Self::Periodic) => Self::Periodic,
            Some(_) => Self::Steps,
            None => Self::Steady,
        }
    }
}

/// A stretch is cut into so many to see how its speed changes ...
const SEGMENTS: usize = 8;
/// ... and into so many to see steps.
const FINE_SEGMENTS: usize = 32;
/// The later half over the earlier half.
const FASTER: f64 = 1.6;
/// Kendall's tau of speed against time.
const EVER_FASTER: f64 = 0.6;
/// The quarter of the segments that grow most holds this share of all that was grown.
const IN_FEW: f64 = 0.65;
/// At most this share of it is given back between.
const GIVEN_BACK: f64 = 0.2;
/// The times between steps, standard deviation over mean.
const REGULAR: f64 = 0.2;
/// So many of them make a rhythm.
const RHYTHM: usize = 5;

fn accelerates(points: &[Point]) -> bool {
    Shape::of(points).is_some_and(|shape| shape.hold_by_time >= FASTER && shape.pace >= EVER_FASTER)
}

fn by_steps(points: &[Point]) -> Option<Pattern> {
    let grown: Vec<f64> = points.windows(2).map(|pair| pair[1].bytes - pair[0].bytes).collect();
    let up: f64 = grown.iter().filter(|grown| **grown > 0.0).sum();
    let down: f64 = grown.iter().filter(|grown| **grown < 0.0).map(|grown| -grown).sum();
    let mut sorted = grown.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let few: f64 = sorted.iter().take(grown.len() / 4).sum();
    if up <= 0.0 || down > GIVEN_BACK * up || few < IN_FEW * up {
        return None;
    }
    let usual = up / grown.len() as f64;
    let is_step = |index: usize| grown.get(index).is_some_and(|grown| *grown > 1.5 * usual);
    // counted in segments: where in its segment a floor stands is chance
    let steps: Vec<usize> =
        (0..grown.len()).filter(|index| is_step(*index) && (*index == 0 || !is_step(index - 1))).collect();
    let between: Vec<f64> = steps.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = between.iter().sum::<f64>() / between.len().max(1) as f64;
    let variance =
        between.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / between.len().max(1) as f64;
    let regular = between.len() >= RHYTHM && variance.sqrt() <= REGULAR * mean;
    Some(if regular { Pattern::Periodic } else { Pattern::Steps })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Work;

    const MIB: f64 = 1024.0 * 1024.0;

    fn pattern(bytes: impl Fn(f64) -> f64) -> Pattern {
        let mut history = History::new(Duration::ZERO);
        let end = 1100_u32;
        for second in 0..end {
            let bytes = 10.0 * MIB + bytes(f64::from(second));
            history.record(Duration::from_secs(second.into()), bytes as u64, Work::default());
        }
        let onset = Point { at_s: 0.0, bytes: 10.0 * MIB, work: Work::default() };
        Pattern::of(&history, Duration::from_secs(end.into()), onset)
    }

    /// Guarantees: each way of growing is told from the others, at several speeds and rhythms, also beneath some noise.
    #[test]
    fn each_is_told() {
        for speed in [0.02, 0.2, 2.0] {
            let noise = |t: f64| 0.3 * speed * MIB * (t * 12.9898).sin();
            let steady = |t: f64| speed * MIB * t;
            assert_eq!(pattern(|t| steady(t) + noise(t)), Pattern::Steady, "{speed}");
            assert_eq!(
                pattern(|t| speed * MIB * t * (t / 300.0) + noise(t)),
                Pattern::Accelerating,
                "{speed}"
            );
            for every in [60.0, 90.0, 130.0] {
                let timer = |t: f64| speed * MIB * every * (t / every).floor();
                assert_eq!(pattern(|t| timer(t) + noise(t)), Pattern::Periodic, "{speed} every {every} s");
                // the distance between events swings by half
                let events = |t: f64| (t + 0.5 * every * (t / every * 1.7).sin()) / every;
                assert_eq!(
                    pattern(|t| speed * MIB * every * events(t).max(0.0).floor() + noise(t)),
                    Pattern::Steps,
                    "{speed} around {every} s"
                );
            }
        }
    }

    /// Guarantees: what has not grown, or not for long enough to say, is called steady: nothing is known against it.
    #[test]
    fn nothing_to_say() {
        assert_eq!(pattern(|_| 0.0), Pattern::Steady);
        let onset = Point { at_s: 0.0, bytes: 0.0, work: Work::default() };
        assert_eq!(Pattern::of(&History::new(Duration::ZERO), Duration::ZERO, onset), Pattern::Steady);
    }
}
