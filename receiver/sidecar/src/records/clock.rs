//! From the clock of the sweeps to the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlh_targets::host::HostClock;

/// What turns a finding's time into a record's two times.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The time of day when the clock of the sweeps read zero: the host's boot, or a trace's beginning.
    pub zero: SystemTime,
    /// When the finding was received.
    pub observed: SystemTime,
}

impl Clock {
    /// That of this host, now.
    pub(crate) fn of(host: &HostClock) -> Self {
        Self { zero: host.to_epoch(Duration::ZERO), observed: SystemTime::now() }
    }

    /// The moment of a sweep as OTLP wants it: nanoseconds since 1970.
    pub(crate) fn nanos(&self, at: Duration) -> u64 {
        epoch_nanos(self.zero.checked_add(at).unwrap_or(self.zero))
    }
}

/// Nanoseconds since 1970. A time outside what 64 bits hold (1970 to 2554), as a broken trace may claim, becomes
/// the nearest end.
pub(crate) fn epoch_nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day again. Never outside what can be written as RFC 3339.
pub(crate) fn from_nanos(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// A predicted number of seconds later; `None` beyond a century, which is never.
pub(super) fn later(at: Duration, seconds: f64) -> Option<Duration> {
    const CENTURY: f64 = 36_525.0 * 86_400.0;
    let wait = Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds < CENTURY)?;
    Some(at.saturating_add(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: times before 1970 and beyond 2554 neither panic nor wrap, and can still be written.
    #[test]
    fn absurd_times_become_the_nearest_end() {
        let early = Clock { zero: UNIX_EPOCH - Duration::from_secs(10), observed: UNIX_EPOCH };
        assert_eq!(early.nanos(Duration::from_secs(4)), 0);
        assert_eq!(early.nanos(Duration::from_secs(12)), 2_000_000_000);
        let late = Clock { zero: UNIX_EPOCH + Duration::from_secs(1 << 60), observed: UNIX_EPOCH };
        assert_eq!(late.nanos(Duration::MAX), u64::MAX);
        assert_eq!(
            humantime::format_rfc3339_nanos(from_nanos(u64::MAX)).to_string(),
            "2554-07-21T23:34:33.709551615Z"
        );
    }
    /// Guarantees: a prediction is a moment, and what is negative, no number or beyond all plans is none.
    #[test]
    fn predicted_moments() {
        let at = Duration::from_secs(100);
        assert_eq!(later(at, 1.5), Some(Duration::from_millis(101_500)));
        assert_eq!(later(Duration::MAX, 1.0), Some(Duration::MAX));
        for never in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert_eq!(later(at, never), None, "{never}");
        }
    }
}
