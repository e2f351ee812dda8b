//! All that is remembered of one process, and how its case proceeds: calm, suspected, leaking, calm again.

use std::time::Duration;

use crate::finding::{Cleared, Exhaustion, FindingKind, Stage, Trend, Verdict};
use crate::history::{History, Point, Stretch};
use crate::rules::{
    self, CONVICT, CONVICT_FLOOR, CONVICT_SETTLED, CONVICT_WINDOW, Criteria, HELD_SHARE, LEAK_STOPPED,
    MAX_DOUBT, MAX_STOPPED, MIN_CERTAINTY, MIN_FALL, MIN_HOLD_BEFORE, NOTICED, PATIENT, SETTLED,
    STOPPED_SHARE, SUSPECT, SUSPECT_AGE, SUSPECT_QUICK, SUSPECT_STOPPED, SUSPECT_WINDOW,
};
use crate::sample::{HostMemory, Memory, Sample};
use crate::teeth::Teeth;
use crate::trend::{Shape, slowing, trend};

/// An open suspicion or verdict.
#[derive(Debug, Clone, Copy)]
struct Case {
    stage: Stage,
    /// When this stage began.
    since: Duration,
    /// Where the growth began.
    onset: Point,
    peak: u64,
    trend: Trend,
}

/// A stretch that showed sustained growth.
struct Evidence {
    trend: Trend,
    shape: Shape,
    onset: Point,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    image: u64,
    /// When the program began, on the clock of the sweeps.
    born: Duration,
    memory: Memory,
    seen: Duration,
    /// The largest slack of the samples in `history`.
    slack: u64,
    /// The growth record's baseline: the most the process can have held when it was set.
    baseline: u64,
    baseline_at: Duration,
    teeth: Teeth,
    /// Made when the process has grown at all: most never do.
    history: Option<Box<History>>,
    case: Option<Case>,
    doubt: u8,
}

impl Track {
    pub(crate) fn new(at: Duration, born: Duration, sample: &Sample) -> Self {
        let charged = sample.memory.charged();
        Self {
            image: sample.image,
            born,
            memory: sample.memory,
            seen: at,
            slack: sample.slack,
            baseline: charged.saturating_add(sample.slack),
            baseline_at: at,
            teeth: Teeth::new(at, charged),
            history: None,
            case: None,
            doubt: 0,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.case.as_ref().map_or(Stage::Calm, |case| case.stage)
    }

    /// The slope of the open case, and when its stage began.
    pub(crate) fn open_case(&self) -> Option<(Trend, Duration)> {
        self.case.as_ref().map(|case| (case.trend, case.since))
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    /// Bytes above the lowest value since memory was last given back.
    pub(crate) fn grown(&self) -> u64 {
        self.memory.charged().saturating_sub(self.teeth.trough())
    }

    /// Takes a sample of the same process and says what follows from it, in order.
    pub(crate) fn observe(
        &mut self,
        at: Duration,
        sample: &Sample,
        host: Option<HostMemory>,
    ) -> Vec<FindingKind> {
        if sample.image != self.image && sample.image != 0 && self.image != 0 {
            let closed = self.close(Cleared::Executed);
            *self = Self::new(at, at, sample);
            return closed.into_iter().collect();
        }
        let charged = sample.memory.charged();
        if sample.slack < self.slack {
            // exact values begin here: lagging ones beside them would look like a step
            self.teeth = Teeth::new(at, charged);
            self.history = None;
            self.slack = sample.slack;
        }
        self.slack = self.slack.max(sample.slack);
        self.image = sample.image;
        self.memory = sample.memory;
        self.seen = at;
        self.baseline = self.baseline.min(charged.saturating_add(sample.slack));
        self.teeth.observe(at, charged);
        if self.history.is_none() && charged < self.teeth.trough().saturating_add(NOTICED) {
            return Vec::new();
        }
        let history = self.history.get_or_insert_with(|| Box::new(History::new(at)));
        let advanced = history.record(at, charged);
        self.judge(at, advanced, charged, host)
    }

    /// Follows the process more closely from here on: keeps its history although it has not grown yet.
    pub(crate) fn follow(&mut self, at: Duration) {
        if self.history.is_none() {
            let mut history = Box::new(History::new(at));
            history.record(at, self.memory.charged());
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
    pub(crate) fn growth(&mut self, at: Duration, sample: &Sample, threshold: u64) -> Option<FindingKind> {
        let charged = sample.memory.charged();
        let certain = charged.saturating_sub(sample.slack);
        let grown = certain.saturating_sub(self.baseline);
        if grown < threshold.max(1) {
            return None;
        }
        let since = std::mem::replace(&mut self.baseline_at, at);
        self.baseline = charged.saturating_add(sample.slack);
        Some(FindingKind::Growth { grown, since })
    }

    /// Ends an open case.
    pub(crate) fn close(&mut self, reason: Cleared) -> Option<FindingKind> {
        let case = self.case.take()?;
        self.doubt = (self.doubt + 1).min(MAX_DOUBT);
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
        host: Option<HostMemory>,
    ) -> Vec<FindingKind> {
        let mut findings = Vec::new();
        if let Some(case) = &mut self.case {
            case.peak = case.peak.max(charged);
        }
        if let Some(reason) = self.ended(at, charged) {
            findings.extend(self.close(reason));
            return findings;
        }
        let floor = self.rising_floor();
        if self.case.is_none() {
            let Some(evidence) = self.suspicion(at, advanced).or_else(|| self.rising_floor()) else {
                return findings;
            };
            self.case = Some(Case {
                stage: Stage::Suspected,
                since: at,
                onset: evidence.onset,
                peak: charged,
                trend: evidence.trend,
            });
            findings.push(FindingKind::Suspected(evidence.trend));
        }
        if let Some(evidence) = self.conviction(at, advanced).or(floor)
            && let Some(case) = &mut self.case
        {
            case.trend = evidence.trend;
            if evidence.onset.at_s < case.onset.at_s {
                case.onset = evidence.onset;
            }
            if case.stage == Stage::Suspected {
                case.stage = Stage::Leaking;
                case.since = at;
                findings.push(FindingKind::Detected(verdict(&evidence, charged, host)));
            }
        }
        findings
    }

    /// Whether the open case has ended, and how.
    fn ended(&self, at: Duration, charged: u64) -> Option<Cleared> {
        let case = self.case.as_ref()?;
        let onset = case.onset.bytes as u64;
        let (grown, held) = (case.peak.saturating_sub(onset), charged.saturating_sub(onset));
        if case.peak.saturating_sub(charged) >= MIN_FALL && (held as f64) < HELD_SHARE * grown as f64 {
            return Some(Cleared::GivenBack);
        }
        let patience = if case.stage == Stage::Leaking { LEAK_STOPPED } else { SUSPECT_STOPPED };
        let patience = patience.max(case.trend.window * 2).min(MAX_STOPPED);
        if at.saturating_sub(case.since) < patience {
            return None;
        }
        let before = self.history.as_ref()?.floor_before(patience)?;
        let recent = charged as f64 - before as f64;
        (recent < STOPPED_SHARE * case.trend.velocity * patience.as_secs_f64()).then_some(Cleared::Stopped)
    }

    fn suspicion(&self, at: Duration, advanced: usize) -> Option<Evidence> {
        if at.saturating_sub(self.born) < SUSPECT_AGE {
            return None;
        }
        let shortest = SUSPECT_WINDOW * (1 << self.doubt);
        let criteria = |length| if length < PATIENT { &SUSPECT_QUICK } else { &SUSPECT };
        self.evidence(at, advanced, shortest, criteria, |_, _| true)
    }

    fn conviction(&self, at: Duration, advanced: usize) -> Option<Evidence> {
        let shortest = CONVICT_WINDOW * (1 << self.doubt.min(2));
        let criteria = |length| if length < SETTLED { &CONVICT } else { &CONVICT_SETTLED };
        self.evidence(at, advanced, shortest, criteria, |stretch, trend| {
            trend.interval.0 >= MIN_CERTAINTY * trend.velocity && !self.is_tail(stretch)
        })
    }

    /// Whether the process grew much faster just before this stretch.
    fn is_tail(&self, stretch: Stretch) -> bool {
        let (Some(history), Some(longer)) = (&self.history, stretch.doubled()) else { return false };
        let points = history.covered(longer, 2 * CONVICT.segments, 0);
        slowing(&points, CONVICT.segments, MIN_HOLD_BEFORE)
    }

    fn rising_floor(&self) -> Option<Evidence> {
        let points = self.teeth.rising_floor()?;
        let (first, last) = (points.first()?, points.last()?);
        let length = Duration::from_secs_f64((last.at_s - first.at_s).max(0.0));
        let shape = Shape::of(&points)?;
        (length >= CONVICT_WINDOW && shape.meets(&CONVICT_FLOOR, self.slack)).then(|| Evidence {
            trend: trend(&points, length),
            shape,
            onset: *first,
        })
    }

    /// Looks for sustained growth on the levels that have something new; when there is some, the longest stretch
    /// of any level that shows it speaks.
    fn evidence(
        &self,
        at: Duration,
        advanced: usize,
        shortest: Duration,
        criteria: impl Fn(Duration) -> &'static Criteria,
        accept: impl Fn(Stretch, &Trend) -> bool,
    ) -> Option<Evidence> {
        let history = self.history.as_deref()?;
        let segments = criteria(shortest).segments;
        let test = |stretch: Stretch| {
            let length = stretch.length();
            if length < shortest {
                return None;
            }
            let ceiling = self.teeth.ceiling_for(at, length / u32::try_from(segments).ok()?);
            let points = history.floors(stretch, segments, ceiling)?;
            let shape = Shape::of(&points)?;
            if !shape.meets(criteria(length), self.slack) {
                return None;
            }
            let trend = trend(&points, length);
            let onset = *points.first()?;
            accept(stretch, &trend).then_some(Evidence { trend, shape, onset })
        };
        History::stretches(segments, advanced).find_map(test)?;
        History::stretches(segments, History::levels()).rev().find_map(test)
    }

    /// When the process was last seen.
    pub(crate) fn seen(&self) -> Duration {
        self.seen
    }
}

fn verdict(evidence: &Evidence, charged: u64, host: Option<HostMemory>) -> Verdict {
    let trend = evidence.trend;
    Verdict {
        trend,
        confidence: confidence(&evidence.shape, trend.window),
        leaked: charged.saturating_sub(evidence.onset.bytes as u64),
        onset: Duration::from_secs_f64(evidence.onset.at_s.max(0.0)),
        host_exhaustion_s: host.map(|host| exhaustion(host.available, &trend)),
    }
}

/// How sure a trend alone can make one. Time speaks loudest, for a cache that fills and a leak look the same
/// until one of them stops; then the regularity of the steps, then that growth has not slowed down.
fn confidence(shape: &Shape, window: Duration) -> f64 {
    let young = 0.3 * (-window.as_secs_f64() / 1200.0).exp();
    let uneven = 0.15 * (shape.share - 1.0 / 7.0).clamp(0.0, 0.5) / 0.5;
    let slowing = 0.2 * (1.0 - shape.hold).clamp(0.0, 1.0);
    (1.0 - young - uneven - slowing).clamp(0.05, 0.99)
}

fn exhaustion(available: u64, trend: &Trend) -> Exhaustion {
    let seconds = |velocity: f64| if velocity > 0.0 { available as f64 / velocity } else { f64::INFINITY };
    Exhaustion {
        expected_s: seconds(trend.velocity),
        earliest_s: seconds(trend.interval.1),
        latest_s: seconds(trend.interval.0),
    }
}

/// How often a process in this stage is swept.
pub(crate) fn cadence(stage: Stage, in_stage: Duration) -> Duration {
    match stage {
        Stage::Calm => rules::LOOK_EVERY,
        Stage::Suspected if in_stage < PATIENT => rules::LOOK_EVERY,
        Stage::Suspected => rules::SUSPECT_EVERY,
        Stage::Leaking => rules::LEAK_EVERY,
    }
}
