//! When the next pass is due, and which one.

use std::time::Duration;

use mlh_detect::Pass;

/// The second sweep comes this soon: a sidecar that starts beside a leak need not wait a whole interval to see
/// that something grows.
const SECOND_SWEEP: Duration = Duration::from_secs(5);

/// Times are those of any clock that does not go back.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    next_full: Duration,
    first: bool,
}

impl Schedule {
    /// The first sweep is due at once.
    pub(crate) fn new(now: Duration, interval: Duration) -> Self {
        Self { interval, next_full: now, first: true }
    }

    /// What is due next, and how long to wait for it, when the watched want to be seen `watch_again_in` after the
    /// last pass.
    pub(crate) fn next(&self, now: Duration, watch_again_in: Option<Duration>) -> (Pass, Duration) {
        let full = self.next_full.saturating_sub(now);
        match watch_again_in {
            Some(watched) if watched < full => (Pass::Watched, watched),
            _ => (Pass::Full, full),
        }
    }

    /// A full pass was made, or failed, at `now`. Sweeps that a suspended host missed are not made up for.
    pub(crate) fn swept(&mut self, now: Duration) {
        let wait = if self.first { self.interval.min(SECOND_SWEEP) } else { self.interval };
        self.first = false;
        self.next_full = (self.next_full + wait).max(now + wait / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Guarantees: sweeps come at once, after 5 s, and then at the interval without drift; watched passes fill
    /// the time between, never instead of a sweep.
    #[test]
    fn order_of_passes() {
        let mut schedule = Schedule::new(seconds(100), seconds(30));
        assert_eq!(schedule.next(seconds(100), None), (Pass::Full, seconds(0)));
        schedule.swept(seconds(100));
        assert_eq!(schedule.next(seconds(100), None), (Pass::Full, seconds(5)));
        assert_eq!(schedule.next(seconds(101), Some(seconds(1))), (Pass::Watched, seconds(1)));
        assert_eq!(schedule.next(seconds(105), Some(seconds(1))), (Pass::Full, seconds(0)));
        schedule.swept(seconds(106));
        assert_eq!(schedule.next(seconds(106), None), (Pass::Full, seconds(29)), "no drift");
        schedule.swept(seconds(500));
        assert_eq!(schedule.next(seconds(500), None), (Pass::Full, seconds(15)), "no burst after a gap");
    }
}
