//! A process's memory over time, in constant space: the lowest value of each slot, at six resolutions, and how much it had
//! worked by then.
//!
//! The finest level has slots of 2 s, each further one slots four times as long, 64 slots a level: the last two
//! minutes in detail and the last 36 hours in outline, in 5.4 KB. Each value keeps its moment inside the slot: sweeps
//! come at odd times, and a speed is only as exact as its times.

use std::ops::Range;
use std::time::Duration;

use crate::work::Work;

const SLOTS: u64 = 64;
const LEVELS: usize = 6;
const FINEST_S: u64 = 2;
const FACTOR: u64 = 4;
const EMPTY: u32 = u32::MAX;

/// Lengths of stretches that are looked at on each level, in slots. They divide evenly into 6 or 8 segments.
const STRETCHES_IN_SIX: [u64; 4] = [18, 24, 36, 48];
const STRETCHES_IN_EIGHT: [u64; 4] = [16, 24, 32, 64];

/// A middle is that of so many slots at least.
const MIDDLE_OF: u64 = 4;

/// The lowest value of a segment and when it was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Seconds on the clock of the sweeps.
    pub(crate) at_s: f64,
    /// Bytes.
    pub(crate) bytes: f64,
    /// What it had worked by then.
    pub(crate) work: Work,
}

/// A stretch of history on one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    level: usize,
    slots: u64,
}

impl Stretch {
    /// How long it is.
    pub(crate) fn length(self) -> Duration {
        Duration::from_secs(self.slots * width(self.level))
    }

    /// Twice as long, on a level that reaches so far back. `None` beyond the last level.
    pub(crate) fn doubled(self) -> Option<Self> {
        let slots = self.slots * 2;
        if slots <= SLOTS {
            return Some(Self { slots, ..self });
        }
        let level = self.level + 1;
        (level < LEVELS).then_some(Self { level, slots: slots / FACTOR })
    }
}

/// Seconds a slot of the level lasts.
fn width(level: usize) -> u64 {
    FINEST_S * FACTOR.pow(u32::try_from(level).unwrap_or(0))
}

#[derive(Debug, Clone)]
struct Level {
    /// KiB; [`EMPTY`] where no sample fell into the slot.
    floors: [u32; SLOTS as usize],
    /// When the floor was seen, in 65,536ths of the slot.
    moments: [u16; SLOTS as usize],
    /// What had been worked by then.
    work: [Work; SLOTS as usize],
    /// Number of the newest slot, counted from the clock's zero.
    newest: u64,
}

impl Level {
    /// When the floor of a slot was seen, in slots since the clock's zero.
    fn moment(&self, slot: u64) -> f64 {
        slot as f64 + f64::from(self.moments[(slot % SLOTS) as usize]) / 65_536.0
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct History {
    levels: [Level; LEVELS],
}

impl History {
    pub(crate) fn new(at: Duration) -> Self {
        let level = |index| Level {
            floors: [EMPTY; SLOTS as usize],
            moments: [0; SLOTS as usize],
            work: [Work::default(); SLOTS as usize],
            newest: at.as_secs() / width(index),
        };
        Self { levels: std::array::from_fn(level) }
    }

    /// Takes a sample and returns the first level on which a new slot has begun: that level and those below it
    /// have something new to say.
    pub(crate) fn record(&mut self, at: Duration, bytes: u64, work: Work) -> usize {
        let kib = u32::try_from(bytes / 1024).unwrap_or(EMPTY - 1).min(EMPTY - 1);
        let mut advanced = 0;
        for (index, level) in self.levels.iter_mut().enumerate() {
            let slot = at.as_secs() / width(index);
            if slot > level.newest {
                let skipped = (slot - level.newest).min(SLOTS);
                for empty in 1..=skipped {
                    level.floors[((slot - skipped + empty) % SLOTS) as usize] = EMPTY;
                }
                level.newest = slot;
                advanced = index + 1;
            }
            let newest = (level.newest % SLOTS) as usize;
            if kib < level.floors[newest] {
                let inside = at.saturating_sub(Duration::from_secs(level.newest * width(index)));
                level.floors[newest] = kib;
                level.work[newest] = work;
                level.moments[newest] = (inside.as_secs_f64() / width(index) as f64 * 65_536.0) as u16;
            }
        }
        advanced
    }

    /// The stretches on levels below `advanced` that are cut into six or eight segments, shortest first.
    pub(crate) fn stretches(segments: usize, advanced: usize) -> impl DoubleEndedIterator<Item = Stretch> {
        let lengths = if segments == 6 { STRETCHES_IN_SIX } else { STRETCHES_IN_EIGHT };
        (0..advanced.min(LEVELS))
            .flat_map(move |level| lengths.into_iter().map(move |slots| Stretch { level, slots }))
    }

    /// The newest 64 s, in slots that hold two sweeps of a suspect.
    pub(crate) const RECENT: Stretch = Stretch { level: 1, slots: 8 };

    /// The levels there are.
    pub(crate) fn levels() -> usize {
        LEVELS
    }

    /// Cuts the newest `stretch` into equal segments and gives the lowest point of each; values below `ceiling`
    /// are raised to it. `None` where some segment saw no sample.
    pub(crate) fn floors(&self, stretch: Stretch, segments: usize, ceiling: u64) -> Option<Vec<Point>> {
        let points = self.covered(stretch, segments, ceiling);
        (points.len() == segments).then_some(points)
    }

    /// How far back a level goes, seconds.
    pub(crate) fn reach(level: usize) -> f64 {
        (SLOTS * width(level)) as f64
    }

    /// The lowest point of each slot of a level, the newest without a hole between them, oldest first.
    pub(crate) fn slots(&self, level: usize) -> Vec<Point> {
        self.covered(Stretch { level, slots: SLOTS }, SLOTS as usize, 0)
    }

    /// Like `floors`, and only the newest segments without a hole between them.
    pub(crate) fn covered(&self, stretch: Stretch, segments: usize, ceiling: u64) -> Vec<Point> {
        let level = &self.levels[stretch.level];
        let each = stretch.slots / segments as u64;
        let mut points: Vec<Point> = (0..segments as u64)
            .map_while(|back| {
                let end = (level.newest + 1).checked_sub(back * each)?;
                let slots = end.checked_sub(each)?..end;
                slots
                    .map(|slot| (level.floors[(slot % SLOTS) as usize], slot))
                    .filter(|(kib, _)| *kib != EMPTY)
                    .min()
                    .map(|(kib, slot)| Point {
                        at_s: level.moment(slot) * width(stretch.level) as f64,
                        bytes: (u64::from(kib) * 1024).max(ceiling) as f64,
                        work: level.work[(slot % SLOTS) as usize],
                    })
            })
            .collect();
        points.reverse();
        points
    }

    /// Cuts the newest `stretch` into equal segments and gives what was usual in each: the middle one of its slots' lowest points, the
    /// upper one of two; values below `ceiling` are raised to it. What is given back for less than half a segment does not show. `None`
    /// where some segment has too few slots for that, or saw too little.
    pub(crate) fn usual(&self, stretch: Stretch, segments: usize, ceiling: u64) -> Option<Vec<Point>> {
        let each = stretch.slots / segments as u64;
        let slots = self.covered(stretch, usize::try_from(stretch.slots).ok()?, ceiling);
        let whole = each >= MIDDLE_OF && slots.len() as u64 == stretch.slots;
        let middle = |segment: &[Point]| {
            let mut segment = segment.to_vec();
            segment.sort_by(|one, other| one.bytes.total_cmp(&other.bytes));
            segment.get(segment.len() / 2).copied()
        };
        if whole { slots.chunks_exact(usize::try_from(each).ok()?).map(middle).collect() } else { None }
    }

    /// The most that was held for two seconds in a time as long as the newest `stretch`, and before it, bytes; `None` where nothing was
    /// seen then.
    pub(crate) fn peak_before(&self, stretch: Stretch) -> Option<u64> {
        let slots = (stretch.length().as_secs() / width(0)).min(SLOTS / 2);
        self.finest(slots..2 * slots).max()
    }

    /// The least of so many of the newest slots of the finest level in which anything was seen, bytes.
    pub(crate) fn held(&self, slots: usize) -> Option<u64> {
        self.finest(0..SLOTS).take(slots).min()
    }

    /// The most that was held in one of so many of the newest slots of the finest level, bytes. `None` where nothing was seen.
    pub(crate) fn lately(&self, slots: usize) -> Option<u64> {
        self.finest(0..slots as u64).max()
    }

    /// The lowest values of slots of the finest level in which anything was seen, so far back from the newest, bytes.
    fn finest(&self, back: Range<u64>) -> impl Iterator<Item = u64> {
        let level = &self.levels[0];
        let slots = back.filter_map(|back| level.newest.checked_sub(back));
        let seen = slots.map(|slot| level.floors[(slot % SLOTS) as usize]).filter(|kib| *kib != EMPTY);
        seen.map(|kib| u64::from(kib) * 1024)
    }

    /// The lowest value seen around the time `ago` before the newest sample, from the finest level that reaches
    /// back so far.
    pub(crate) fn floor_before(&self, ago: Duration) -> Option<u64> {
        self.levels.iter().enumerate().find_map(|(index, level)| {
            let back = ago.as_secs() / width(index);
            if back >= SLOTS - 1 {
                return None;
            }
            let slot = level.newest.checked_sub(back)?;
            // the slot itself, or the nearest older one: sweeps may be farther apart than slots
            (0..SLOTS - back)
                .filter_map(|older| slot.checked_sub(older))
                .map(|slot| level.floors[(slot % SLOTS) as usize])
                .find(|kib| *kib != EMPTY)
                .map(|kib| u64::from(kib) * 1024)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(seconds: u64, value: impl Fn(u64) -> u64) -> History {
        let mut history = History::new(Duration::ZERO);
        for second in 0..seconds {
            history.record(Duration::from_secs(second), value(second), Work::default());
        }
        history
    }

    /// Guarantees: segments carry the lowest value that fell into them, oldest first.
    #[test]
    fn segments_are_floors() {
        let history = filled(128, |s| (s % 10 + 100) * 1024);
        let stretch = Stretch { level: 1, slots: 16 };
        let floors = history.floors(stretch, 8, 0).expect("every segment has samples");
        assert_eq!(floors.len(), 8);
        assert!(floors.iter().all(|p| p.bytes == 100.0 * 1024.0), "{floors:?}");
        assert!(floors.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }

    /// Guarantees: a ceiling hides what lies below it.
    #[test]
    fn ceiling_raises() {
        let history = filled(128, |s| s * 1024);
        let floors = history.floors(Stretch { level: 1, slots: 16 }, 8, 100 * 1024).expect("full");
        assert_eq!(floors[0].bytes, 100.0 * 1024.0);
        assert!(floors[7].bytes > 100.0 * 1024.0);
    }

    /// Guarantees: what is usual in a segment is told where something lower was seen for less than half of it; of a segment of few slots
    /// nothing is, nor of a stretch with a hole in it.
    #[test]
    fn what_is_usual() {
        let falls = |s: u64| if s % 16 < 6 { 50 } else { 100 + s };
        let stretch = Stretch { level: 0, slots: 64 };
        let usual = filled(128, |s| falls(s) * 1024).usual(stretch, 8, 0).expect("covered");
        assert!(usual.windows(2).all(|pair| pair[1].bytes - pair[0].bytes == 16.0 * 1024.0), "{usual:?}");
        let history = filled(512, |s| falls(s) * 1024);
        assert_eq!(history.usual(Stretch { level: 1, slots: 24 }, 8, 0), None, "three slots have no middle");
        assert!(history.usual(Stretch { level: 1, slots: 32 }, 8, 0).is_some());
        let mut hole = filled(60, |s| s * 1024);
        hole.record(Duration::from_secs(127), 1024, Work::default());
        assert_eq!(hole.usual(stretch, 8, 0), None);
    }

    /// Guarantees: the most that was held lately is known as long as it is not older than that.
    #[test]
    fn held_lately() {
        let history = filled(60, |s| if s < 48 { 500 } else { 100 } * 1024);
        assert_eq!(history.lately(8), Some(500 * 1024));
        assert_eq!(history.lately(6), Some(100 * 1024));
        assert_eq!(History::new(Duration::ZERO).lately(8), None);
    }

    /// Guarantees: a stretch that began before the first sample, or with a hole in it, is no evidence.
    #[test]
    fn holes_are_no_evidence() {
        let short = filled(60, |s| s * 1024);
        assert!(short.floors(Stretch { level: 1, slots: 16 }, 8, 0).is_none());
        let mut hole = filled(40, |s| s * 1024);
        hole.record(Duration::from_secs(130), 1024, Work::default());
        assert!(hole.floors(Stretch { level: 1, slots: 16 }, 8, 0).is_none());
    }

    /// Guarantees: a gap longer than a level forgets all of it and nothing panics, also at the clock's ends.
    #[test]
    fn long_gaps_and_extremes() {
        let mut history = filled(128, |s| s * 1024);
        history.record(Duration::from_secs(10_000_000), u64::MAX, Work::default());
        assert!(history.floors(Stretch { level: 0, slots: 18 }, 6, 0).is_none());
        history.record(Duration::from_secs(u64::MAX / 2), 0, Work::default());
        assert_eq!(history.floor_before(Duration::ZERO), Some(0));
    }

    /// Guarantees: the value some time ago is found at any distance the history covers, whatever the spacing of
    /// the sweeps.
    #[test]
    fn looks_back() {
        let history = filled(600, |s| s * 1024);
        let at = |ago| history.floor_before(Duration::from_secs(ago)).expect("covered") / 1024;
        assert!((535..=540).contains(&at(60)), "{}", at(60));
        assert!((288..=300).contains(&at(300)), "{}", at(300));
        let mut sparse = History::new(Duration::ZERO);
        for second in (0..600).step_by(30) {
            sparse.record(Duration::from_secs(second), second * 1024, Work::default());
        }
        let value = sparse.floor_before(Duration::from_secs(60)).expect("covered") / 1024;
        assert!((480..=510).contains(&value), "{value}");
    }
}
