//! All that is remembered of one process or container, and how its case proceeds: calm, suspected, leaking, calm again.

use std::time::Duration;

use crate::bearing::{Bearing, bearing};
use crate::case::{Case, Evidence};
use crate::evidence::{Testimonies, Testimony};
use crate::finding::{Cleared, Exhaustion, FindingKind, Risk, Stage, Trend};
use crate::grounds::Grounds;
use crate::history::{History, Point};
use crate::outlook::is_news;
use crate::pattern::Pattern;
use crate::rooms::{Around, Rooms};
use crate::rules::{
    self, CONVICT, CONVICT_WINDOW, GROWN_AROUND, GROWN_UP, HELD_SHARE, HELD_SLOTS, LEAK_STOPPED, MAX_DOUBT,
    MAX_STOPPED, MIN_FALL, NOTICED, PATIENT, SHARED_SHARE, SPARE_STOPPED_SHARE, STANDS_STILL, STARTED,
    STOPPED_SHARE, SUSPECT, SUSPECT_AGE, SUSPECT_STOPPED, URGENT,
};
use crate::sample::Memory;
use crate::teeth::Teeth;
use crate::trend::trend;
use crate::work::Work;

/// What a pass saw of one process or container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) memory: Memory,
    /// How far the memory may be from the truth, bytes.
    pub(crate) slack: u64,
    /// Identifies the program; 0 where there is none, or it is unknown.
    pub(crate) image: u64,
    pub(crate) work: Work,
}

/// What bears on the judgement from outside.
pub(crate) struct Surroundings<'a> {
    /// What is left below each limit around, as far as it is known.
    pub(crate) limits: Around,
    /// How that has shrunk.
    pub(crate) rooms: &'a Rooms,
    /// A limit that is nearer than this is told; `None`: somebody else tells it.
    pub(crate) horizon: Option<Duration>,
    /// See [`crate::Rules::trend_alone`].
    pub(crate) alone: Duration,
    /// See [`crate::Rules::patience`].
    pub(crate) patience: Duration,
    /// Up to here others of the same program have grown, and no further, bytes; 0 where there are none.
    pub(crate) siblings: u64,
    /// By how many bytes the container around has grown over the time up to now; `None` where that is unknown.
    pub(crate) grown_around: &'a dyn Fn(Duration) -> Option<u64>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    image: u64,
    /// When the program began, on the clock of the sweeps.
    born: Duration,
    memory: Memory,
    work: Work,
    /// Not only an upper bound.
    exact: bool,
    limits: Around,
    seen: Duration,
    /// The largest slack of the samples in `history`.
    slack: u64,
    /// The growth record's baseline: the most the process can have held when it was set.
    baseline: u64,
    baseline_at: Duration,
    teeth: Teeth,
    /// Made when the process has grown at all: most never do.
    history: Option<Box<History>>,
    case: Option<Box<Case>>,
    /// What was heard in earlier cases and still holds.
    heard: Testimonies,
    /// When the last case stopped growing, and the least that was held since: what it had grown by has been judged.
    stopped: Option<(Duration, u64)>,
    doubt: u8,
    /// A case has come to nothing once it had started: the trend alone convicts later.
    doubted: bool,
}

impl Track {
    pub(crate) fn new(at: Duration, born: Duration, measure: &Measure, exact: bool) -> Self {
        let charged = measure.memory.charged();
        Self {
            image: measure.image,
            born,
            memory: measure.memory,
            work: measure.work,
            exact,
            limits: Around::default(),
            seen: at,
            slack: measure.slack,
            baseline: charged.saturating_add(measure.slack),
            baseline_at: at,
            teeth: Teeth::new(at, charged),
            history: None,
            case: None,
            heard: Testimonies::default(),
            stopped: None,
            doubt: 0,
            doubted: false,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.case.as_ref().map_or(Stage::Calm, |case| case.stage)
    }

    /// Whether what is measured is the truth and not only an upper bound.
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// What is left below each limit around.
    pub(crate) fn limits(&self) -> Around {
        self.limits
    }

    /// The newest risk of the open case that was told, and when.
    pub(crate) fn told(&self) -> Option<(Duration, Exhaustion)> {
        self.case.as_ref()?.told
    }

    /// Bytes grown since the onset of the open case.
    pub(crate) fn grown_in_case(&self) -> u64 {
        let onset = self.case.as_ref().map(|case| case.onset.bytes as u64);
        onset.map_or(0, |onset| self.memory.charged().saturating_sub(onset))
    }

    /// Seconds until the nearest limit is reached, for an open case.
    pub(crate) fn exhaustion_s(&self, rooms: &Rooms) -> Option<f64> {
        let (_, end) = self.exhaustion(rooms)?;
        Some(end.expected_s).filter(|seconds| seconds.is_finite())
    }

    /// Which limit an open case will meet first, and when; with the slope of the case since its onset.
    fn exhaustion(&self, rooms: &Rooms) -> Option<(Trend, Exhaustion)> {
        let case = self.case.as_ref()?;
        let trend = self.slope_since(case.onset).unwrap_or(case.trend);
        Some((trend, rooms.exhaustion(self.seen, &self.limits, &case.onset, &trend)?))
    }

    /// The slope of the open case, and when its stage began.
    pub(crate) fn open_case(&self) -> Option<(Trend, Duration)> {
        self.case.as_ref().map(|case| (case.trend, case.since))
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    /// Whether it has found its size: it is old enough, and has stood still for long.
    pub(crate) fn has_settled(&self) -> bool {
        self.case.is_none()
            && self.seen.saturating_sub(self.born) >= GROWN_UP
            && self.grown_over(STANDS_STILL).is_some_and(|grown| grown <= NOTICED)
    }

    /// Bytes above the lowest value since memory was last given back.
    pub(crate) fn grown(&self) -> u64 {
        self.memory.charged().saturating_sub(self.teeth.trough())
    }

    /// Takes a sample of the same process and says what follows from it, in order.
    pub(crate) fn observe(
        &mut self,
        at: Duration,
        measure: &Measure,
        exact: bool,
        around: &Surroundings<'_>,
    ) -> Vec<FindingKind> {
        let restarted = measure.image != self.image && measure.image != 0 && self.image != 0;
        if restarted || exact != self.exact {
            let closed = self.close(if restarted { Cleared::Executed } else { Cleared::Stopped });
            *self = Self::new(at, at, measure, exact);
            return closed.into_iter().collect();
        }
        let charged = measure.memory.charged();
        if measure.slack < self.slack {
            // exact values begin here: lagging ones beside them would look like a step
            self.teeth = Teeth::new(at, charged);
            self.history = None;
            self.slack = measure.slack;
        }
        self.slack = self.slack.max(measure.slack);
        self.image = measure.image;
        (self.memory, self.work) = (measure.memory, measure.work);
        self.limits = around.limits;
        self.seen = at;
        self.baseline = self.baseline.min(charged.saturating_add(measure.slack));
        self.stopped = self.stopped.map(|(at, least)| (at, least.min(charged)));
        self.teeth.observe(at, charged, measure.work);
        if self.history.is_none() && charged < self.teeth.trough().saturating_add(NOTICED) {
            return Vec::new();
        }
        let history = self.history.get_or_insert_with(|| Box::new(History::new(at)));
        let advanced = history.record(at, charged, measure.work);
        self.judge(at, advanced, charged, around)
    }

    /// Takes in what a rung says of the open case; where there is none, nobody needs it.
    pub(crate) fn hear(&mut self, testimony: Testimony) {
        if let Some(case) = &mut self.case {
            case.heard.take(testimony);
        }
    }

    /// Follows the process more closely from here on: keeps its history although it has not grown yet.
    pub(crate) fn follow(&mut self, at: Duration) {
        if self.history.is_none() {
            let mut history = Box::new(History::new(at));
            history.record(at, self.memory.charged(), self.work);
            self.history = Some(history);
        }
    }

    /// Ends what `follow` began: a process that has never moved needs no history.
    pub(crate) fn leave(&mut self) {
        if self.case.is_none() && self.teeth.height() < NOTICED {
            self.history = None;
        }
    }

    /// A growth record, when the growth since the baseline is certain to have reached the threshold.
    pub(crate) fn growth(&mut self, at: Duration, measure: &Measure, threshold: u64) -> Option<FindingKind> {
        let charged = measure.memory.charged();
        let certain = charged.saturating_sub(measure.slack);
        let grown = certain.saturating_sub(self.baseline);
        if grown < threshold.max(1) {
            return None;
        }
        let since = std::mem::replace(&mut self.baseline_at, at);
        self.baseline = charged.saturating_add(measure.slack);
        Some(FindingKind::Growth { grown, since })
    }

    /// A growth record, when the kernel has told that the process grew by the threshold. What it told is exact, and
    /// becomes the baseline: counters that lag need not catch up with it first.
    pub(crate) fn told_growth(
        &mut self,
        at: Duration,
        measure: &Measure,
        threshold: u64,
    ) -> Option<FindingKind> {
        let charged = measure.memory.charged();
        let grown = charged.saturating_sub(self.baseline).max(threshold);
        self.baseline = charged.saturating_add(measure.slack);
        let since = std::mem::replace(&mut self.baseline_at, at);
        Some(FindingKind::Growth { grown, since })
    }

    /// Ends an open case.
    pub(crate) fn close(&mut self, reason: Cleared) -> Option<FindingKind> {
        let case = self.case.take()?;
        self.heard = case.heard.outlive();
        if reason == Cleared::Stopped {
            self.stopped = Some((self.seen, self.memory.charged()));
        }
        self.doubt = (self.doubt + 1).min(MAX_DOUBT);
        // what it was suspected of while it started says nothing of what it does now
        self.doubted |= self.seen.saturating_sub(self.born) >= STARTED;
        Some(FindingKind::Cleared {
            reason,
            was: case.stage,
            peak: case.peak.saturating_sub(case.onset.bytes as u64),
        })
    }

    fn judge(
        &mut self,
        at: Duration,
        advanced: usize,
        charged: u64,
        around: &Surroundings<'_>,
    ) -> Vec<FindingKind> {
        let mut findings = Vec::new();
        let held = self.history.as_ref().and_then(|history| history.held(HELD_SLOTS)).unwrap_or(charged);
        if let Some(case) = &mut self.case {
            case.peak = case.peak.max(held);
        }
        if let Some(reason) = self.ended(at, charged) {
            findings.extend(self.close(reason));
            return findings;
        }
        let Some(grounds) = self.grounds(at, advanced) else { return findings };
        let is_new = |evidence: &Evidence, least| self.is_new(evidence, held, least);
        let own = |evidence: &Evidence| self.is_own(evidence, around) && is_new(evidence, CONVICT.min_grown);
        let case = self.case.as_deref();
        let bearing = case.map_or_else(|| bearing(&self.heard, at), |case| case.bearing(at));
        // what was seen being kept is kept, however large the siblings are
        let grows_up = bearing != Bearing::Kept && charged <= around.siblings;
        let ripe = grounds.conviction(bearing, around.alone, self.doubted);
        let ripe = ripe.filter(|evidence| !grows_up && own(evidence));
        let cold = case.filter(|_| bearing == Bearing::Kept).and_then(|case| case.cold(at));
        let goes_on = || grounds.goes_on(case?.ripe?).filter(own);
        let growth = match cold {
            Some(bytes) => ripe.or_else(|| grounds.cold(bytes).filter(own)).or_else(goes_on),
            None if bearing == Bearing::Spare || grows_up => None,
            None => ripe.or_else(goes_on),
        };
        let patience = if cold.is_some() { Duration::ZERO } else { around.patience };
        if self.case.is_none() {
            let old = at.saturating_sub(self.born) >= SUSPECT_AGE;
            let counts =
                |evidence: &Evidence| self.is_own(evidence, around) && is_new(evidence, SUSPECT.min_grown);
            let suspicion = grounds.suspicion(self.doubt).filter(|evidence| old && counts(evidence));
            let suspicion = suspicion.or_else(|| grounds.rising_floor(CONVICT_WINDOW).filter(counts));
            let Some(evidence) = suspicion else {
                return findings;
            };
            self.case = Some(Box::new(Case::suspected(at, &evidence, held, self.heard)));
            findings.push(FindingKind::Suspected(evidence.trend));
        }
        if let Some(case) = &mut self.case {
            case.ripen(bearing, ripe);
            if let Some(evidence) = growth
                && case.stage == Stage::Suspected
                && at.as_secs_f64() - case.onset.at_s >= patience.as_secs_f64()
                && let Some(history) = self.history.as_deref()
            {
                case.stage = Stage::Leaking;
                (case.since, case.trend) = (at, evidence.trend);
                let pattern = Pattern::of(history, at, case.onset);
                let end = around.rooms.exhaustion(at, &around.limits, &case.onset, &evidence.trend);
                findings.push(FindingKind::Detected(case.verdict(at, &evidence, pattern, charged, end)));
            }
        }
        findings.extend(self.risk(at, around));
        findings
    }

    /// Whether the memory is this process's own doing, and not only pages mapped that others hold already. The container
    /// must have grown beside it all along: a jump at the beginning, such as a table that is filled before it is shared,
    /// or counters that were not up to date yet, says nothing of what came after.
    fn is_own(&self, evidence: &Evidence, around: &Surroundings<'_>) -> bool {
        let grown = evidence.shape.grown;
        if (self.memory.shmem as f64) < SHARED_SHARE * grown {
            return true;
        }
        let back = Duration::from_secs_f64((self.seen.as_secs_f64() - evidence.onset.at_s).max(0.0));
        [1, 2, 4].into_iter().all(|part| {
            let needed = GROWN_AROUND * grown / f64::from(part);
            (around.grown_around)(back / part).is_none_or(|around| around as f64 >= needed)
        })
    }

    /// Whether so much of it has come since a case was over that had stopped growing, or all of it.
    fn is_new(&self, evidence: &Evidence, held: u64, least: u64) -> bool {
        self.stopped.is_none_or(|(at, before)| {
            evidence.onset.at_s >= at.as_secs_f64() || held.saturating_sub(before) >= least
        })
    }

    /// Tells that the limit is near, and again each time it has come much nearer.
    fn risk(&mut self, at: Duration, around: &Surroundings<'_>) -> Option<FindingKind> {
        let (horizon, case) = (around.horizon?, self.case.as_deref()?);
        let stage = case.stage;
        let soonest = around.alone.max(around.patience) + URGENT;
        let horizon = if stage == Stage::Leaking { horizon } else { horizon.min(soonest) };
        let (trend, exhaustion) = self.exhaustion(around.rooms)?;
        if exhaustion.expected_s > horizon.as_secs_f64()
            || !is_news(&exhaustion, case.told.as_ref().map(|(_, told)| told))
        {
            return None;
        }
        self.case.as_mut()?.told = Some((at, exhaustion));
        Some(FindingKind::OomRisk(Risk { trend, stage, exhaustion }))
    }

    /// The slope over the longest stretch that lies within the case and is covered.
    fn slope_since(&self, onset: Point) -> Option<Trend> {
        let history = self.history.as_deref()?;
        let within = Duration::from_secs_f64((self.seen.as_secs_f64() - onset.at_s).max(0.0));
        History::stretches(CONVICT.segments, History::levels())
            .filter(|stretch| stretch.length() <= within)
            .filter_map(|stretch| Some((stretch, history.floors(stretch, CONVICT.segments, 0)?)))
            .max_by_key(|(stretch, _)| stretch.length())
            .map(|(stretch, points)| trend(&points, stretch.length()))
            .filter(|trend| trend.velocity > 0.0)
    }

    /// By how many bytes it has grown over the time up to now.
    pub(crate) fn grown_over(&self, back: Duration) -> Option<u64> {
        let before = match &self.history {
            Some(history) => history.floor_before(back)?,
            // without a history it has not moved
            None => self.memory.charged(),
        };
        Some(self.memory.charged().saturating_sub(before))
    }

    /// Whether the open case has ended, and how.
    fn ended(&self, at: Duration, charged: u64) -> Option<Cleared> {
        let case = self.case.as_ref()?;
        let onset = case.onset.bytes as u64;
        // what is taken again within seconds was not given back
        let lately = self.history.as_ref().and_then(|history| history.lately(HELD_SLOTS)).unwrap_or(charged);
        let (grown, held) = (case.peak.saturating_sub(onset), lately.saturating_sub(onset));
        if case.peak.saturating_sub(lately) >= MIN_FALL && (held as f64) < HELD_SHARE * grown as f64 {
            return Some(Cleared::GivenBack);
        }
        let (patience, share) = match case.stage {
            _ if case.bearing(at) == Bearing::Spare => (SUSPECT_STOPPED, SPARE_STOPPED_SHARE),
            Stage::Leaking => (LEAK_STOPPED.max(case.trend.window * 2), STOPPED_SHARE),
            Stage::Calm | Stage::Suspected => (SUSPECT_STOPPED.max(case.trend.window * 2), STOPPED_SHARE),
        };
        let patience = patience.min(MAX_STOPPED);
        if at.saturating_sub(case.since) < patience {
            return None;
        }
        let before = self.history.as_ref()?.floor_before(patience)?;
        let now = if self.teeth.falls_are_brief() { lately } else { charged };
        let recent = now as f64 - before as f64;
        (recent < share * case.trend.velocity * patience.as_secs_f64()).then_some(Cleared::Stopped)
    }

    /// What the history gives to judge by.
    fn grounds(&self, at: Duration, advanced: usize) -> Option<Grounds<'_>> {
        let history = self.history.as_deref()?;
        let onset = self.case.as_ref().map(|case| case.onset);
        Some(Grounds { history, teeth: &self.teeth, slack: self.slack, at, advanced, onset })
    }

    /// When the process was last seen.
    pub(crate) fn seen(&self) -> Duration {
        self.seen
    }
}

/// How often one in this stage is swept; whoever is `near` its limit, often to the end.
pub(crate) fn cadence(stage: Stage, near: bool, in_stage: Duration) -> Duration {
    match stage {
        Stage::Leaking if near => rules::SUSPECT_EVERY,
        Stage::Calm => rules::LOOK_EVERY,
        Stage::Suspected if in_stage < PATIENT => rules::LOOK_EVERY,
        Stage::Suspected => rules::SUSPECT_EVERY,
        Stage::Leaking => rules::LEAK_EVERY,
    }
}
