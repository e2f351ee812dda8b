//! Sawtooth memory: what was given back before is likely to be given back again.

use std::time::Duration;

use crate::rules::{FALL_SHARE, MIN_FALL, TEETH_REMEMBERED};

/// Follows a process's rises and falls. Growth up to an earlier peak is no news until the peak has not been seen
/// for a few of the longest teeth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Teeth {
    trough: u64,
    trough_at: Duration,
    peak: u64,
    peak_at: Duration,
    /// The highest peak of a finished tooth.
    ceiling: u64,
    last_fall: Option<Duration>,
    longest: Duration,
}

impl Teeth {
    pub(crate) fn new(at: Duration, bytes: u64) -> Self {
        Self {
            trough: bytes,
            trough_at: at,
            peak: bytes,
            peak_at: at,
            ceiling: 0,
            last_fall: None,
            longest: Duration::ZERO,
        }
    }

    pub(crate) fn observe(&mut self, at: Duration, bytes: u64) {
        if bytes > self.peak {
            (self.peak, self.peak_at) = (bytes, at);
        }
        if bytes < self.trough {
            (self.trough, self.trough_at) = (bytes, at);
        }
        let fall = self.peak - bytes;
        if fall < MIN_FALL || (fall as f64) < FALL_SHARE * (self.peak - self.trough) as f64 {
            return;
        }
        let ceiling_before = self.ceiling(at).unwrap_or(0);
        let climb = self.peak_at.saturating_sub(self.trough_at.min(self.peak_at));
        let since_last = self.last_fall.map_or(Duration::ZERO, |last| at.saturating_sub(last));
        self.longest = self.longest.max(climb).max(since_last);
        self.ceiling = self.peak.max(ceiling_before);
        self.last_fall = Some(at);
        (self.peak, self.peak_at) = (bytes, at);
        (self.trough, self.trough_at) = (bytes, at);
    }

    /// The height that was reached and given back before, while it may be reached again.
    pub(crate) fn ceiling(&self, at: Duration) -> Option<u64> {
        let last = self.last_fall?;
        let remembered = self.longest.saturating_mul(TEETH_REMEMBERED);
        (at.saturating_sub(last) < remembered).then_some(self.ceiling)
    }

    /// The ceiling that a stretch with segments of this length must be measured above: none where each segment
    /// is longer than the longest tooth, for then the segments' floors speak for themselves.
    pub(crate) fn ceiling_for(&self, at: Duration, segment: Duration) -> u64 {
        if segment >= self.longest { 0 } else { self.ceiling(at).unwrap_or(0) }
    }

    /// The lowest value since the last fall, bytes.
    pub(crate) fn trough(&self) -> u64 {
        self.trough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn run(seconds: u64, value: impl Fn(u64) -> u64) -> Teeth {
        let mut teeth = Teeth::new(Duration::ZERO, value(0));
        for second in 1..seconds {
            teeth.observe(Duration::from_secs(second), value(second));
        }
        teeth
    }

    /// Guarantees: within teeth of 40 s the peak stays the ceiling for short segments, and long segments see
    /// the floors.
    #[test]
    fn sawtooth_sets_a_ceiling() {
        let teeth = run(300, |s| (10 + s % 40) * MIB);
        let now = Duration::from_secs(300);
        assert_eq!(teeth.ceiling_for(now, Duration::from_secs(16)), 49 * MIB);
        assert_eq!(teeth.ceiling_for(now, Duration::from_secs(64)), 0);
    }

    /// Guarantees: a climb without a fall has no ceiling; small dips are no fall.
    #[test]
    fn climb_has_none() {
        let teeth = run(300, |s| (10 + s) * MIB - (s % 2) * 100 * 1024);
        assert_eq!(teeth.ceiling(Duration::from_secs(300)), None);
    }

    /// Guarantees: one spike long ago does not hide what comes after it.
    #[test]
    fn ceiling_expires() {
        let teeth = run(600, |s| if s < 20 { (10 + s * 5) * MIB } else { 20 * MIB });
        assert_eq!(teeth.ceiling(Duration::from_secs(40)), Some(105 * MIB));
        assert_eq!(teeth.ceiling(Duration::from_secs(600)), None);
    }
}
