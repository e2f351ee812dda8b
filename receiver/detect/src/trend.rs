//! Is this stretch sustained growth, and how fast is it?

use std::time::Duration;

use crate::finding::Trend;
use crate::history::Point;
use crate::rules::{Criteria, STEADY};
use crate::work::cpu_s;

/// What the segments of a stretch have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    /// Bytes from the first segment to the last.
    pub(crate) grown: f64,
    /// Steps that went up by more than a tenth of the mean step.
    pub(crate) rises: usize,
    /// The largest step over `grown`.
    pub(crate) share: f64,
    /// The sum of the steps that went down over `grown`.
    pub(crate) given_back: f64,
    /// Speed of the later half over speed of the earlier half, by time or by work, whichever held up better; the middle step
    /// belongs to neither.
    pub(crate) hold: f64,
    /// The same by time alone.
    pub(crate) hold_by_time: f64,
    /// Speed of the last step over the mean speed.
    pub(crate) newest: f64,
    /// Kendall's tau of the speeds against time: -1 when each step is slower than the one before it.
    pub(crate) pace: f64,
}

impl Shape {
    /// Measures segments in time order. `None` where they did not grow.
    pub(crate) fn of(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let grown = last.bytes - first.bytes;
        if grown <= 0.0 || points.len() < 3 {
            return None;
        }
        let steps: Vec<f64> = points.windows(2).map(|pair| pair[1].bytes - pair[0].bytes).collect();
        let mean = grown / steps.len() as f64;
        // a segment's lowest value may stand anywhere in it, so speeds are compared, not steps
        let speed =
            |from: &Point, to: &Point| (to.bytes - from.bytes) / (to.at_s - from.at_s).max(f64::EPSILON);
        let (half, end) = (steps.len() / 2, points.len() - 1);
        let hold = |early: f64, late: f64| if early > 0.0 { (late / early).min(10.0) } else { 10.0 };
        let by_time = hold(speed(first, &points[half]), speed(&points[end - half], last));
        let per_work = |from: &Point, to: &Point| Some((to.bytes - from.bytes) / cpu_s(from, to)?.max(1e-3));
        let by_work = per_work(first, &points[half])
            .zip(per_work(&points[end - half], last))
            .map_or(0.0, |(early, late)| hold(early, late));
        Some(Self {
            grown,
            rises: steps.iter().filter(|step| **step > mean * 0.1).count(),
            share: steps.iter().copied().fold(0.0, f64::max) / grown,
            given_back: steps.iter().filter(|step| **step < 0.0).map(|step| -step).sum::<f64>() / grown,
            hold: by_time.max(by_work),
            hold_by_time: by_time,
            newest: speed(&points[end - 1], last) / speed(first, last),
            pace: kendall(&points.windows(2).map(|pair| speed(&pair[0], &pair[1])).collect::<Vec<_>>()),
        })
    }

    /// `slack` is how far each of the values may be from the truth, bytes.
    pub(crate) fn meets(&self, criteria: &Criteria, slack: u64) -> bool {
        self.grown >= (criteria.min_grown + 2 * slack) as f64
            && self.rises >= criteria.min_rises
            && self.share <= criteria.max_share
            && self.given_back <= criteria.max_given_back
            && self.hold >= criteria.min_hold
            && self.newest >= criteria.min_newest
            && (self.pace >= criteria.min_pace || self.hold >= STEADY)
    }
}

/// The share of pairs that rise less the share of pairs that fall.
pub(crate) fn kendall(values: &[f64]) -> f64 {
    let pairs = values.iter().enumerate().flat_map(|(i, a)| values[i + 1..].iter().map(move |b| (*a, *b)));
    let (mut sum, mut count) = (0.0, 0.0);
    for (earlier, later) in pairs {
        count += 1.0;
        if later > earlier {
            sum += 1.0;
        } else if later < earlier {
            sum -= 1.0;
        }
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Whether growth from `newer` points on is much slower than before, by time and by work alike: at night a leak slows down
/// as well. Medians are compared: one large step long ago, such as what a program loads at its start, is no speed. Too
/// little seen before is no answer.
pub(crate) fn slowing(points: &[Point], newer: usize, min_hold: f64) -> bool {
    let (older, newer) = points.split_at(points.len().saturating_sub(newer));
    let slower = |units: &dyn Fn(&Point, &Point) -> Option<f64>| {
        let median = |part: &[Point]| {
            let speed = |pair: &[Point]| match pair {
                [from, to] => units(from, to).map(|units| (to.bytes - from.bytes) / units),
                _ => None,
            };
            let mut speeds = part.windows(2).map(speed).collect::<Option<Vec<f64>>>()?;
            speeds.sort_by(f64::total_cmp);
            speeds.get(speeds.len() / 2).copied()
        };
        Some(median(newer)? < min_hold * median(older)?)
    };
    let by_time = slower(&|from, to| Some((to.at_s - from.at_s).max(f64::EPSILON)));
    let by_work = slower(&|from, to| Some(cpu_s(from, to)?.max(1e-3)));
    older.len() >= 4 && by_time == Some(true) && by_work != Some(false)
}

/// The slope through the points after Theil and Sen: the median of all pairwise slopes, which a few odd points
/// do not move, with the 95 % interval from Kendall's variance (Sen, JASA 63, 1968).
pub(crate) fn trend(points: &[Point], window: Duration) -> Trend {
    let mut slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (b.bytes - a.bytes) / (b.at_s - a.at_s)))
        .filter(|slope| slope.is_finite())
        .collect();
    slopes.sort_by(f64::total_cmp);
    let n = points.len() as f64;
    let reach = 1.96 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let at = |rank: f64| slopes.get(rank.max(0.0) as usize).or(slopes.last()).copied().unwrap_or(0.0);
    let grown = match points {
        [first, .., last] => (last.bytes - first.bytes).max(0.0),
        _ => 0.0,
    };
    Trend {
        velocity: at(pairs / 2.0),
        interval: (at(((pairs - reach) / 2.0).floor()), at(((pairs + reach) / 2.0).ceil())),
        window,
        grown: grown as u64,
        samples: u32::try_from(points.len()).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::CONVICT;
    use crate::work::Work;

    fn points(values: &[f64]) -> Vec<Point> {
        values
            .iter()
            .enumerate()
            .map(|(i, v)| Point { at_s: i as f64 * 16.0, bytes: v * 1048576.0, work: Work::default() })
            .collect()
    }

    fn convicts(values: &[f64]) -> bool {
        Shape::of(&points(values)).is_some_and(|shape| shape.meets(&CONVICT, 0))
    }

    /// Guarantees: a steady climb is sustained growth.
    #[test]
    fn steady_climb() {
        assert!(convicts(&[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]));
    }

    /// Guarantees: a step, a plateau, a slowing climb, a fall and a flat line are not.
    #[test]
    fn shapes_that_are_none() {
        assert!(!convicts(&[1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0]), "step");
        assert!(!convicts(&[1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0]), "plateau");
        assert!(!convicts(&[0.0, 4.0, 6.0, 7.0, 7.5, 7.8, 7.9, 8.0]), "warm-up");
        assert!(!convicts(&[9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0]), "fall");
        assert!(!convicts(&[5.0; 8]), "flat");
        assert!(!convicts(&[1.0, 5.0, 1.0, 5.0, 1.0, 5.0, 1.0, 5.0]), "teeth");
    }

    /// Guarantees: growth that counter lag could explain is not growth.
    #[test]
    fn lag_is_not_growth() {
        let climb = points(&[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
        let shape = Shape::of(&climb).expect("grew");
        assert!(!shape.meets(&CONVICT, 96 << 20), "64 CPUs may lag by 96 MiB");
    }

    /// Guarantees: the slope is exact on a line, one wild point does not move it, and the interval holds it.
    #[test]
    fn slope_is_robust() {
        let mut line = points(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let true_slope = 1048576.0 / 16.0;
        let exact = trend(&line, Duration::from_secs(128));
        assert!((exact.velocity - true_slope).abs() < 1.0);
        line[3].bytes *= 3.0;
        let moved = trend(&line, Duration::from_secs(128));
        assert!((moved.velocity / true_slope - 1.0).abs() < 0.1, "{moved:?}");
        assert!(moved.interval.0 <= true_slope && true_slope <= moved.interval.1, "{moved:?}");
    }

    /// Guarantees: too few or equal points give zeros, not NaN and not a panic.
    #[test]
    fn degenerate() {
        for points in
            [vec![], points(&[1.0]), vec![Point { at_s: 1.0, bytes: 5.0, work: Work::default() }; 4]]
        {
            let trend = trend(&points, Duration::ZERO);
            assert_eq!((trend.velocity, trend.grown), (0.0, 0));
        }
    }
}
