//! What a history gives to judge by: growth that is worth a suspicion, and growth that a verdict can rest on.

use std::time::Duration;

use crate::bearing::Bearing;
use crate::case::Evidence;
use crate::finding::Trend;
use crate::history::{History, Point, Stretch};
use crate::rules::{
    COLD_GROWN, CONVICT, CONVICT_FLOOR, CONVICT_SETTLED, CONVICT_WINDOW, Criteria, FLOORS_RISE,
    GOES_ON_RISES, GOES_ON_SEGMENTS, GOES_ON_SHARE, HELD_SLOTS, MIN_CERTAINTY, MIN_HOLD_BEFORE, PATIENT,
    POOL_ENDS, POOL_GROWS, POOL_GROWS_SEEN, SETTLED, STAIRS, SUSPECT, SUSPECT_QUICK, SUSPECT_STAIRS,
    SUSPECT_WINDOW,
};
use crate::teeth::Teeth;
use crate::trend::{Shape, slowing, trend};
use crate::work::{adds_threads, follows_load, threads_added};

/// See the module.
pub(crate) struct Grounds<'a> {
    pub(crate) history: &'a History,
    pub(crate) teeth: &'a Teeth,
    /// How far each value may be from the truth, bytes.
    pub(crate) slack: u64,
    /// Now.
    pub(crate) at: Duration,
    /// The levels that have something new.
    pub(crate) advanced: usize,
    /// Where the growth of the open case began.
    pub(crate) onset: Option<Point>,
}

impl Grounds<'_> {
    /// Growth that is worth a suspicion, after so many that came to nothing.
    pub(crate) fn suspicion(&self, doubt: u8) -> Option<Evidence> {
        let shortest = SUSPECT_WINDOW * (1 << doubt);
        let criteria = |length| if length < PATIENT { &SUSPECT_QUICK } else { &SUSPECT };
        self.evidence(shortest, criteria, |_, _| true)
            .or_else(|| {
                let shortest = STAIRS * (1 << doubt);
                self.evidence(shortest, |_| &SUSPECT_STAIRS, |_, _| true)
            })
            .or_else(|| self.between_falls(shortest.max(CONVICT_WINDOW), |_| &SUSPECT, |_, _| true))
    }

    /// Growth that a verdict can rest on: on two minutes of it where the rungs see that memory is kept, on `alone` where only the
    /// trend speaks, on none where nothing is kept.
    pub(crate) fn conviction(&self, bearing: Bearing, alone: Duration, doubted: bool) -> Option<Evidence> {
        let alone = alone.max(CONVICT_WINDOW);
        let shortest = match bearing {
            Bearing::Spare => return None,
            Bearing::Kept => CONVICT_WINDOW,
            Bearing::Open => alone * if doubted { 2 } else { 1 },
        };
        let seen = bearing == Bearing::Kept;
        // troughs alone are less easily mistaken
        let floor = if seen { CONVICT_WINDOW } else { (alone * 2 / 3).max(CONVICT_WINDOW) };
        let criteria = |length| if length < SETTLED { &CONVICT } else { &CONVICT_SETTLED };
        let certain = |stretch, trend: &Trend| {
            trend.interval.0 >= MIN_CERTAINTY * trend.velocity && !self.is_tail(stretch)
        };
        let evidence = self
            .evidence(shortest, criteria, certain)
            .or_else(|| self.rising_floor(floor))
            .or_else(|| self.between_falls(shortest, criteria, certain))?;
        let pool_grows = if seen { POOL_GROWS_SEEN } else { POOL_GROWS };
        (!self.may_be_load(&evidence, pool_grows)).then_some(evidence)
    }

    /// Growth that a verdict could once rest on, as it is by now, where it still goes on beyond what was reached before the
    /// newest minute: a heap that is full makes teeth.
    pub(crate) fn goes_on(&self, ripe: Evidence) -> Option<Evidence> {
        let (points, before) = (self.recent()?, self.history.peak_before(History::RECENT)? as f64);
        let [first, .., last] = points.as_slice() else { return None };
        let due = GOES_ON_SHARE * ripe.trend.velocity * (last.at_s - first.at_s);
        let rises = points.windows(2).filter(|pair| pair[1].bytes > pair[0].bytes).count();
        let goes_on = last.bytes - first.bytes.max(before) >= due && rises >= GOES_ON_RISES;
        let evidence = self.since_onset().unwrap_or(ripe);
        (goes_on && !self.may_be_load(&evidence, POOL_GROWS)).then_some(evidence)
    }

    /// The newest minute.
    fn recent(&self) -> Option<Vec<Point>> {
        self.history.floors(History::RECENT, GOES_ON_SEGMENTS, 0)
    }

    /// The longest stretch since the onset: it may have grown unevenly. `None`: there is none yet, or it has not grown.
    fn since_onset(&self) -> Option<Evidence> {
        let onset = self.onset?;
        let within = Duration::from_secs_f64((self.at.as_secs_f64() - onset.at_s).max(0.0));
        let covered = History::stretches(CONVICT.segments, History::levels())
            .filter(|stretch| stretch.length() <= within)
            .filter_map(|stretch| Some((stretch, self.history.floors(stretch, CONVICT.segments, 0)?)));
        let (stretch, points) = covered.max_by_key(|(stretch, _)| stretch.length())?;
        let (shape, trend) = (Shape::of(&points)?, trend(&points, stretch.length()));
        (trend.velocity > 0.0).then_some(Evidence { trend, shape, onset })
    }

    /// Growth of which so many bytes are never referenced again: that is the leak itself, whatever else comes and goes
    /// beside it, and whether it is even or not.
    pub(crate) fn cold(&self, bytes: f64) -> Option<Evidence> {
        let evidence = self.since_onset()?;
        let onset = evidence.onset;
        let held = self.history.held(HELD_SLOTS)? as f64;
        let enough = bytes >= COLD_GROWN && held - onset.bytes >= (CONVICT.min_grown + 2 * self.slack) as f64;
        let enough = enough && evidence.trend.window >= CONVICT_WINDOW;
        (enough && !self.may_be_load(&evidence, POOL_GROWS_SEEN)).then_some(evidence)
    }

    /// Whether the process grew much faster before this stretch, at any scale.
    fn is_tail(&self, stretch: Stretch) -> bool {
        std::iter::successors(stretch.doubled(), |longer| longer.doubled()).any(|longer| {
            let points = self.history.covered(longer, 2 * CONVICT.segments, 0);
            slowing(&points, CONVICT.segments, MIN_HOLD_BEFORE)
        })
    }

    /// Whether a load that rises, or threads that are being added, may be what the memory follows.
    fn may_be_load(&self, evidence: &Evidence, pool_grows: Duration) -> bool {
        let grows_for = Duration::from_secs_f64((self.at.as_secs_f64() - evidence.onset.at_s).max(0.0));
        let pool_grows = grows_for < pool_grows && !self.outgrows_pools();
        History::stretches(CONVICT.segments, History::levels())
            .filter(|stretch| stretch.length() >= CONVICT_WINDOW && stretch.length() <= 2 * grows_for)
            .filter_map(|stretch| self.history.floors(stretch, CONVICT.segments, 0))
            .any(|points| follows_load(&points) || (pool_grows && adds_threads(&points)))
    }

    /// Whether it has added more threads since the onset than any pool holds.
    fn outgrows_pools(&self) -> bool {
        let newest = self.recent().and_then(|points| points.last().copied());
        self.onset.zip(newest).is_some_and(|(onset, newest)| threads_added(&onset, &newest) > POOL_ENDS)
    }

    /// A sawtooth whose troughs have risen for so long.
    pub(crate) fn rising_floor(&self, shortest: Duration) -> Option<Evidence> {
        let points = self.teeth.rising_floor()?;
        let (first, last) = (points.first()?, points.last()?);
        let length = Duration::from_secs_f64((last.at_s - first.at_s).max(0.0));
        let shape = Shape::of(&points)?;
        (length >= shortest && shape.meets(&CONVICT_FLOOR, self.slack)).then(|| Evidence {
            trend: trend(&points, length),
            shape,
            onset: *first,
        })
    }

    /// Sustained growth by the lowest values.
    fn evidence(
        &self,
        shortest: Duration,
        criteria: impl Fn(Duration) -> &'static Criteria,
        accept: impl Fn(Stretch, &Trend) -> bool,
    ) -> Option<Evidence> {
        let floors = |stretch: Stretch, segments: usize| {
            let ceiling = self.teeth.ceiling_for(self.at, stretch.length() / u32::try_from(segments).ok()?);
            self.history.floors(stretch, segments, ceiling)
        };
        self.sustained(shortest, criteria, accept, floors)
    }

    /// The same by what is usual, where memory is given back now and then for a few seconds: a collector that is done gives back what it had
    /// set aside, and takes it again.
    fn between_falls(
        &self,
        shortest: Duration,
        criteria: impl Fn(Duration) -> &'static Criteria,
        accept: impl Fn(Stretch, &Trend) -> bool,
    ) -> Option<Evidence> {
        self.teeth.falls_are_brief().then_some(())?;
        let ceiling = self.teeth.lasting_ceiling(self.at);
        let usual = |stretch, segments| {
            let points = self.history.usual(stretch, segments, ceiling)?;
            // else it is the teeth that become higher
            let [earlier, later] = *self.history.floors(stretch, 2, 0)?.as_slice() else { return None };
            let due = FLOORS_RISE * (points.last()?.bytes - points.first()?.bytes);
            (later.bytes - earlier.bytes >= due).then_some(points)
        };
        self.sustained(shortest, criteria, accept, usual)
    }

    /// Looks for sustained growth on the levels that have something new; when there is some, the longest stretch
    /// of any level that shows it speaks.
    fn sustained(
        &self,
        shortest: Duration,
        criteria: impl Fn(Duration) -> &'static Criteria,
        accept: impl Fn(Stretch, &Trend) -> bool,
        points: impl Fn(Stretch, usize) -> Option<Vec<Point>>,
    ) -> Option<Evidence> {
        let segments = criteria(shortest).segments;
        let test = |stretch: Stretch| {
            let length = stretch.length();
            if length < shortest {
                return None;
            }
            let points = points(stretch, segments)?;
            let shape = Shape::of(&points)?;
            if !shape.meets(criteria(length), self.slack) {
                return None;
            }
            let trend = trend(&points, length);
            let onset = *points.first()?;
            accept(stretch, &trend).then_some(Evidence { trend, shape, onset })
        };
        History::stretches(segments, self.advanced).find_map(test)?;
        History::stretches(segments, History::levels()).rev().find_map(test)
    }
}
