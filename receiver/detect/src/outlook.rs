//! When will a limit be reached?

use crate::finding::{Exhaustion, Trend};
use crate::rules::{LAST_CALL, MIN_DOUBT, READING_AGE, TOLD_AGAIN};
use crate::sample::Room;

/// When growth along `trend` has used up the room: from the slope's interval, and never surer than the readings allow.
pub(crate) fn exhaustion(room: Room, trend: &Trend) -> Exhaustion {
    let seconds = |velocity: f64| if velocity > 0.0 { room.left as f64 / velocity } else { f64::INFINITY };
    let expected_s = seconds(trend.velocity);
    let age = READING_AGE.as_secs_f64();
    Exhaustion {
        expected_s,
        earliest_s: (seconds(trend.interval.1).min(expected_s * (1.0 - MIN_DOUBT)) - age).max(0.0),
        latest_s: seconds(trend.interval.0).max(expected_s * (1.0 + MIN_DOUBT)) + age,
        limit: room.limit,
    }
}

/// Whether a prediction says something that was not told yet: nothing was, or of the time told only half is left.
pub(crate) fn is_news(now: &Exhaustion, told: Option<&Exhaustion>) -> bool {
    let left = now.expected_s;
    told.map_or(left.is_finite(), |told| {
        left >= LAST_CALL.as_secs_f64() && left <= told.expected_s * TOLD_AGAIN
    })
}
