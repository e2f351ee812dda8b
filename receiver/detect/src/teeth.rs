//! Sawtooth memory: what was given back before is likely to be given back again.

use std::time::Duration;

use crate::history::Point;
use crate::rules::{BRIEF, FALL_SHARE, MIN_FALL, TEETH_REMEMBERED};
use crate::work::Work;

/// Finished teeth that are remembered one by one.
const TROUGHS: usize = 6;

/// Follows a process's rises and falls. Growth up to an earlier peak is no news until the peak has not been seen
/// for a few of the longest teeth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Teeth {
    trough: u64,
    trough_at: Duration,
    trough_work: Work,
    peak: u64,
    peak_at: Duration,
    /// The highest peak of a finished tooth.
    ceiling: u64,
    last_fall: Option<Duration>,
    longest: Duration,
    /// When it fell, and from where, while it may be taken again.
    fallen: Option<(Duration, u64)>,
    /// What was given back last was taken again within [`BRIEF`].
    is_brief: bool,
    /// The last fall that was not.
    lasting: Option<Lasting>,
    began: Duration,
    /// The lowest value of each finished tooth, oldest first, with the tooth's height.
    troughs: [Option<(Point, f64)>; TROUGHS],
    /// The highest trough of those forgotten.
    record: f64,
}

/// A fall after which what was given back was not taken again within seconds.
#[derive(Debug, Clone, Copy)]
struct Lasting {
    at: Duration,
    from: u64,
    /// Since the one before, or the beginning.
    length: Duration,
}

impl Teeth {
    pub(crate) fn new(at: Duration, bytes: u64) -> Self {
        Self {
            trough: bytes,
            trough_at: at,
            trough_work: Work::default(),
            peak: bytes,
            peak_at: at,
            ceiling: 0,
            last_fall: None,
            longest: Duration::ZERO,
            fallen: None,
            is_brief: false,
            lasting: None,
            began: at,
            troughs: [None; TROUGHS],
            record: 0.0,
        }
    }

    pub(crate) fn observe(&mut self, at: Duration, bytes: u64, work: Work) {
        if let Some((since, from)) = self.fallen {
            let is_back = bytes >= from;
            let is_brief = at.saturating_sub(since) <= BRIEF;
            if is_back || !is_brief {
                (self.fallen, self.is_brief) = (None, is_back && is_brief);
            }
            if !is_brief {
                let before = self.lasting.map_or(self.began, |last| last.at);
                let from = from.max(self.lasting_ceiling(since));
                self.lasting = Some(Lasting { at: since, from, length: since.saturating_sub(before) });
            }
        }
        if bytes > self.peak {
            (self.peak, self.peak_at) = (bytes, at);
        }
        if bytes < self.trough {
            (self.trough, self.trough_at, self.trough_work) = (bytes, at, work);
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
        self.fallen = self.fallen.or(Some((at, self.peak)));
        // a fall that goes on over several sweeps is one fall: only a climb makes a tooth
        if self.peak_at > self.trough_at {
            let height = (self.peak - self.trough) as f64;
            let point = Point {
                at_s: self.trough_at.as_secs_f64(),
                bytes: self.trough as f64,
                work: self.trough_work,
            };
            self.record =
                self.troughs[0].map_or(self.record, |(forgotten, _)| self.record.max(forgotten.bytes));
            self.troughs.rotate_left(1);
            self.troughs[TROUGHS - 1] = Some((point, height));
        }
        (self.peak, self.peak_at) = (bytes, at);
        (self.trough, self.trough_at, self.trough_work) = (bytes, at, work);
    }

    /// The height from which it has fallen for good, while it may be reached again; else nothing.
    pub(crate) fn lasting_ceiling(&self, at: Duration) -> u64 {
        let may_return =
            |last: &Lasting| at.saturating_sub(last.at) < last.length.saturating_mul(TEETH_REMEMBERED);
        self.lasting.filter(may_return).map_or(0, |last| last.from)
    }

    /// What was given back last was taken again within seconds.
    pub(crate) fn falls_are_brief(&self) -> bool {
        self.is_brief
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

    /// The troughs between the newest finished teeth, oldest first, when they and the peaks have risen by at least
    /// half a tooth, from above all earlier troughs: what a collected heap does when what survives collection
    /// grows. Noise rises by chance as well, but not above what it has been before.
    pub(crate) fn rising_floor(&self) -> Option<[Point; TROUGHS - 1]> {
        let mut points = [Point { at_s: 0.0, bytes: 0.0, work: Work::default() }; TROUGHS - 1];
        let mut heights = [0.0; TROUGHS - 1];
        // the first tooth's trough is where the process began, not where it fell back to
        for (index, tooth) in self.troughs[1..].iter().enumerate() {
            (points[index], heights[index]) = (*tooth)?;
        }
        let last = TROUGHS - 2;
        let half_a_tooth = 0.5 * heights.iter().sum::<f64>() / heights.len() as f64;
        let risen = points[last].bytes - points[0].bytes;
        let peaks_risen = risen + heights[last] - heights[0];
        let monotone = points.windows(2).all(|pair| pair[1].bytes > pair[0].bytes);
        let news = points[0].bytes >= self.record;
        (monotone && news && risen >= half_a_tooth && peaks_risen >= half_a_tooth).then_some(points)
    }

    /// From the lowest to the highest value, teeth that have ended included, bytes.
    pub(crate) fn height(&self) -> u64 {
        self.peak.max(self.ceiling).saturating_sub(self.trough)
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
            teeth.observe(Duration::from_secs(second), value(second), Work::default());
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

    /// Guarantees: five troughs that climb by more than half a tooth are a rising floor; level or random ones are
    /// not.
    #[test]
    fn floors_that_rise() {
        let rising = run(400, |s| (10 + s % 40 + s / 40 * 6) * MIB);
        let floor = rising.rising_floor().expect("rises by 24 MiB in teeth of 40 MiB");
        assert!(floor.windows(2).all(|pair| (pair[1].at_s - pair[0].at_s - 40.0).abs() < 2.0), "{floor:?}");
        assert!(run(400, |s| (10 + s % 40) * MIB).rising_floor().is_none());
        assert!(run(400, |s| (10 + s % 40 + s / 40 * 7 % 3) * MIB).rising_floor().is_none());
    }

    /// Guarantees: falls are brief where what is given back is taken again within seconds, and not where that takes longer, or never comes.
    #[test]
    fn brief_falls() {
        let falls = |seconds: u64, fill: fn(u64) -> u64| {
            run(seconds, |s| (20 - fill(s % 60)) * MIB).falls_are_brief()
        };
        assert!(falls(150, |s| 10_u64.saturating_sub(s)));
        assert!(!falls(150, |s| 10_u64.saturating_sub(s / 4)));
        assert!(!falls(125, |s| 10_u64.saturating_sub(s / 4)), "it may be yet");
        assert!(!run(150, |s| if s < 60 { 20 } else { 10 } * MIB).falls_are_brief());
        assert!(!run(150, |s| s * MIB).falls_are_brief(), "there are none");
    }

    /// Guarantees: a height that was lost for good may be reached again for three times as long as it took; one from which it falls for
    /// seconds is none.
    #[test]
    fn lost_for_good() {
        let dips = |s: u64| if s % 60 < 10 { 3 * MIB } else { 0 };
        let flushed = |s: u64| (20 + s % 300 / 3) * MIB - dips(s);
        let ceiling = |flushes: u64, after: u64| {
            let seconds = flushes * 300 + 40;
            let teeth = run(seconds, flushed);
            teeth.lasting_ceiling(Duration::from_secs(seconds + after)) / MIB
        };
        assert_eq!((ceiling(0, 250), ceiling(1, 100), ceiling(1, 900)), (0, 119, 0));
        assert_eq!(ceiling(2, 100), 119);
    }

    /// Guarantees: one spike long ago does not hide what comes after it.
    #[test]
    fn ceiling_expires() {
        let teeth = run(600, |s| if s < 20 { (10 + s * 5) * MIB } else { 20 * MIB });
        assert_eq!(teeth.ceiling(Duration::from_secs(40)), Some(105 * MIB));
        assert_eq!(teeth.ceiling(Duration::from_secs(600)), None);
    }
}
