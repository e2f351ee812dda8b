//! When will a limit be reached? By how what is left below it has shrunk so far, and no surer than its pace has been even.

use std::time::Duration;

use crate::finding::{Exhaustion, Trend};
use crate::history::Point;
use crate::rules::{LAST_CALL, MIN_DOUBT, READING_AGE, TOLD_AGAIN};
use crate::sample::LimitKind;

/// When, in seconds from now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outlook {
    pub(crate) expected_s: f64,
    /// With `latest_s` the interval that holds the truth in nine of ten cases.
    pub(crate) earliest_s: f64,
    /// Infinite where the pace varies too much to say.
    pub(crate) latest_s: f64,
}

impl Outlook {
    /// As it is so much later, and never surer than the readings allow.
    pub(crate) fn after(self, age: Duration) -> Self {
        let (age, unsure) = (age.as_secs_f64(), READING_AGE.as_secs_f64());
        Self {
            expected_s: (self.expected_s - age).max(0.0),
            earliest_s: (self.earliest_s - age - unsure).max(0.0),
            latest_s: (self.latest_s - age).max(0.0) + unsure,
        }
    }
}

/// Others beneath a limit may grow as fast as a case does.
const NOT_ALONE: f64 = 0.5;
/// Fewer points tell no pace.
const FEW: usize = 8;
/// Doubts of this size say nothing of the latest moment.
const WILD: f64 = 3.0;
/// Standard deviations to either side of nine of ten cases, where these are known from few paces only.
const REACH: f64 = 2.0;
/// How much less paces differ over twice the time, as a power of the time: where each stretch is like any other, by the root.
const EVENS_OUT: f64 = -0.5;
/// How much more: a pace that changes smoothly has changed twice as much.
const DRIFTS: f64 = 1.0;
/// A pace changes where a parabola says so against so many standard deviations of what is left of noise ...
const CERTAIN: f64 = 6.0;
/// ... and by this share over what was seen.
const BENDS: f64 = 0.2;
/// Nothing is taken to have slowed down to less than this share of its pace.
const SLOWEST: f64 = 0.25;
/// Of two guesses, that the pace goes on rising as it did or stays what it is, the middle.
const RISES_ON: f64 = 0.5;

/// From what was left at times since the onset, oldest first. `None` where too little was seen or nothing is being used up.
///
/// The doubt comes from the paces themselves. How much does one stretch differ from the next of the same length, and does that
/// become less or more the longer they are? Taken further, to the lengths of what was seen and of what is to come, it says how
/// much these two will differ: a load with ups and downs, or steps, even out in the long run; a pace that changes slowly changes
/// the more the longer one waits.
pub(crate) fn foresee(points: &[Point]) -> Option<Outlook> {
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < FEW || last.at_s <= first.at_s {
        return None;
    }
    // the newest slot may have just begun
    let left = points.iter().rev().take(2).map(|point| point.bytes).fold(f64::INFINITY, f64::min);
    let variation = Paces { points, whole: last.at_s - first.at_s }.variation();
    let recent = if variation.power > 0.0 { points.get(points.len() / 2..)? } else { points };
    let faster = pace(first, last).max(pace(recent.first()?, last));
    let pace = Some(pace(recent.first()?, last)).filter(|pace| *pace > 0.0)?;
    let (seen, expected_s) = (last.at_s - recent.first()?.at_s, left / pace);
    // how far the pace to come may be from this one, as a share of it
    let doubt =
        |variation: Variation, ahead: f64| (REACH * variation.between(seen, ahead) / pace).max(MIN_DOUBT);
    // where it slows down there is more time, in which it may slow down
    let late = |variation| doubt(variation, expected_s * (1.0 + doubt(variation, expected_s).min(WILD)));
    let even = Outlook {
        expected_s,
        earliest_s: expected_s * (1.0 - MIN_DOUBT).min(1.0 / (1.0 + doubt(variation, expected_s))),
        latest_s: Some(late(variation))
            .filter(|late| *late < WILD)
            .map_or(f64::INFINITY, |late| expected_s * (1.0 + late)),
    };
    let Some(Bend { now, rise }) = Bend::of(points) else { return Some(even) };
    let until = |rise: f64| ((now * now + 2.0 * rise * left).sqrt() - now) / rise;
    Some(if rise > 0.0 && now > 0.0 {
        // it may have been the way up of a load that comes down as far
        let late = late(Variation { power: DRIFTS, ..variation }).min(WILD);
        Outlook {
            expected_s: until(RISES_ON * rise),
            earliest_s: even.earliest_s.min(until(2.0 * rise) * (1.0 - MIN_DOUBT)),
            latest_s: expected_s * (1.0 + late),
        }
    } else {
        // what slows down may stop, or be the way down of a load that comes back
        Outlook {
            expected_s: left / now.max(pace * SLOWEST),
            earliest_s: even.earliest_s.min(left / faster * (1.0 - MIN_DOUBT)),
            latest_s: f64::INFINITY,
        }
    })
}

/// From the growth of one case alone: the least that is known of a room that has not been seen shrinking. What others give back
/// beneath the same limit may keep it from ever being reached.
pub(crate) fn by_trend(left: u64, own: &Trend) -> Outlook {
    let seconds = |velocity: f64| if velocity > 0.0 { left as f64 / velocity } else { f64::INFINITY };
    let expected_s = seconds(own.velocity);
    Outlook {
        expected_s,
        earliest_s: seconds(own.interval.1).min(expected_s * NOT_ALONE),
        latest_s: f64::INFINITY,
    }
}

/// Bytes used up a second from one point to a later one.
fn pace(from: &Point, to: &Point) -> f64 {
    (from.bytes - to.bytes) / (to.at_s - from.at_s).max(f64::EPSILON)
}

struct Paces<'a> {
    points: &'a [Point],
    /// Seconds from the first to the last.
    whole: f64,
}

impl Paces<'_> {
    /// How much paces differ from one stretch to the next, by their length.
    fn variation(&self) -> Variation {
        let longest = self.points.len() / 3;
        let by_length: Vec<(f64, f64)> = [longest / 4, longest / 2, longest]
            .into_iter()
            .filter(|steps| *steps > 0)
            .filter_map(|steps| Some((self.seconds(steps), self.differences(steps)?)))
            .collect();
        let Some(&(length, difference)) = by_length.last() else { return Variation::NONE };
        if by_length.iter().any(|(_, difference)| *difference <= 0.0) {
            return Variation { length, difference, power: EVENS_OUT };
        }
        let logarithms: Vec<(f64, f64)> =
            by_length.iter().map(|(length, difference)| (length.ln(), difference.ln())).collect();
        Variation { length, difference, power: slope(&logarithms).clamp(EVENS_OUT, DRIFTS) }
    }

    /// The root of the mean square of the difference between each stretch of so many steps and the one after it.
    fn differences(&self, steps: usize) -> Option<f64> {
        let squares: Vec<f64> = self
            .points
            .windows(2 * steps + 1)
            .filter_map(|window| {
                let (from, middle, to) = (window.first()?, window.get(steps)?, window.last()?);
                Some((pace(middle, to) - pace(from, middle)).powi(2))
            })
            .collect();
        (!squares.is_empty()).then(|| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
    }

    fn seconds(&self, steps: usize) -> f64 {
        self.whole * steps as f64 / (self.points.len() - 1) as f64
    }
}

/// A pace that changes evenly: the parabola of least squares through what was used up.
struct Bend {
    /// The pace at the end, bytes a second.
    now: f64,
    /// By how much it rises in a second.
    rise: f64,
}

impl Bend {
    /// `None` where noise or steps could be all of it.
    fn of(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let (count, whole) = (points.len() as f64, last.at_s - first.at_s);
        let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / count;
        let used = |point: &Point| first.bytes - point.bytes;
        // by polynomials that do not depend on each other over these moments: 1, line, curve
        let middle = mean(&|point| point.at_s);
        let line = |point: &Point| (point.at_s - middle) / whole;
        let square = mean(&|point| line(point).powi(2));
        let tilt = mean(&|point| line(point).powi(3)) / square;
        let curve = |point: &Point| line(point).powi(2) - square - tilt * line(point);
        let curved = mean(&|point| curve(point).powi(2));
        let slope = mean(&|point| used(point) * line(point)) / square;
        let bend = mean(&|point| used(point) * curve(point)) / curved;
        let level = mean(&used);
        let noise = mean(&|point| (used(point) - level - slope * line(point) - bend * curve(point)).powi(2));
        let error = (noise / (count - 3.0) / curved).sqrt();
        let rise = 2.0 * bend / whole.powi(2);
        let now = (slope + bend * (2.0 * line(last) - tilt)) / whole;
        let bends = (rise * whole).abs() >= BENDS * pace(first, last).abs();
        (bend.abs() >= CERTAIN * error && bends && now.is_finite() && rise.is_finite() && rise != 0.0)
            .then_some(Self { now, rise })
    }
}

/// How much the paces of two stretches beside each other differ.
#[derive(Debug, Clone, Copy)]
struct Variation {
    /// Where each is so long, seconds,
    length: f64,
    /// by this, bytes a second,
    difference: f64,
    /// and where they are longer, by this power of the length.
    power: f64,
}

impl Variation {
    const NONE: Self = Self { length: 1.0, difference: 0.0, power: EVENS_OUT };

    /// Where the one is as long as what was seen, the other as what is to come.
    fn between(&self, seen: f64, ahead: f64) -> f64 {
        let at = |length: f64| self.difference * (length / self.length).powf(self.power);
        ((at(seen).powi(2) + at(ahead).powi(2)) / 2.0).sqrt()
    }
}

/// Of the line of least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (mut with, mut spread) = (0.0, 0.0);
    for point in points {
        with += (point.0 - x) * (point.1 - y);
        spread += (point.0 - x).powi(2);
    }
    if spread > 0.0 { with / spread } else { 0.0 }
}

/// Whether a prediction says something that was not told yet: nothing was, of the time told only half is left, or the limit told
/// was one that slows down and is behind now.
pub(crate) fn is_news(now: &Exhaustion, told: Option<&Exhaustion>) -> bool {
    let left = now.expected_s;
    let beyond = |told: &Exhaustion| told.limit.kind == LimitKind::High && now.limit.kind != LimitKind::High;
    told.map_or(left.is_finite(), |told| {
        left >= LAST_CALL.as_secs_f64() && (left <= told.expected_s * TOLD_AGAIN || beyond(told))
    })
}

#[cfg(test)]
mod tests;
