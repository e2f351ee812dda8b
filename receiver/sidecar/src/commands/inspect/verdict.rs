//! What is concluded from growth and stacks together.
//!
//! | the detector says | and of the stacks | verdict |
//! |---|---|---|
//! | a leak | | `leak`, with the detector's confidence |
//! | sustained growth | those that keep what they allocate, or those that grow steadily by pages, hold half of the growth or more | `leak`, with no confidence: a cache that is still being filled looks the same for so long |
//! | sustained growth | they do not | `growing` |
//! | nothing, in a look too short, of a process too young, or that it could not see | | `unknown` |
//! | nothing | | `calm` |

use std::time::Duration;

use mlh_detect::{Rules, Stage, Trend};

use super::by_page::{is_by_page, outweighs, steady};
use super::growth::{Case, Grown};
use crate::investigate::report::{Report, StackEvidence};
use crate::records::words::span;

/// Of the growth, what the surviving stacks must hold.
const EXPLAINED: f64 = 0.5;
/// A detector with nothing to say has seen enough after so many of its shortest windows: its slots are not aligned with
/// the look, and its watch begins when something has grown.
const ENOUGH: f64 = 1.5;

/// What is concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Leak,
    Growing,
    Calm,
    Unknown,
}

impl Kind {
    /// As reports say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Growing => "growing",
            Self::Calm => "calm",
            Self::Unknown => "unknown",
        }
    }
}

/// The conclusion, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// The detector's, of a verdict of its own.
    pub(super) confidence: Option<f64>,
    pub(super) trend: Option<Trend>,
    /// When the growth began, since boot.
    pub(super) onset: Option<Duration>,
    pub(super) time_to_oom_s: Option<f64>,
    /// Bytes that the surviving stacks hold.
    pub(super) kept: u64,
    /// So many of these stacks.
    pub(super) keepers: usize,
    /// They are known by their pages.
    pub(super) by_page: bool,
    /// Why nothing can be said.
    pub(super) reason: Option<String>,
}

impl Verdict {
    pub(super) fn reach(grown: &Grown, report: &Report) -> Self {
        let probed = report.stacks.iter().filter(|stack| !is_by_page(stack));
        let survivors: Vec<&StackEvidence> = probed.filter(|stack| stack.survives()).collect();
        let kept = survivors.iter().fold(0_u64, |sum, stack| sum.saturating_add(stack.live_bytes));
        // the same memory seen in two ways
        let (paged, explained) =
            (steady(report), |kept| grown.case.as_ref().is_some_and(|case| explains(kept, grown, case)));
        let by_page = outweighs(paged.0, kept) || (explained(paged.0) && !explained(kept));
        let (kept, keepers) = if by_page { paged } else { (kept, survivors.len()) };
        let (kind, reason) = match &grown.case {
            Some(case) if case.stage == Stage::Leaking => (Kind::Leak, None),
            Some(case) if explains(kept, grown, case) => (Kind::Leak, None),
            Some(_) => (Kind::Growing, None),
            None => match too_little(grown) {
                Some(reason) => (Kind::Unknown, Some(reason)),
                None => (Kind::Calm, None),
            },
        };
        let case = grown.case.as_ref();
        Self {
            kind,
            confidence: case.and_then(|case| case.confidence),
            trend: case.map(|case| case.trend),
            onset: case.map(|case| case.onset),
            time_to_oom_s: case.and_then(|case| case.exhaustion_s),
            kept,
            keepers,
            by_page,
            reason,
        }
    }
}

/// Whether what the stacks have kept makes up the growth.
fn explains(kept: u64, grown: &Grown, case: &Case) -> bool {
    let grown = grown.after.saturating_sub(grown.before).max(case.trend.grown);
    kept > 0 && kept as f64 >= EXPLAINED * grown as f64
}

/// So long a look lets the detector speak.
pub(super) fn enough() -> Duration {
    Rules::SUSPECT_WINDOW.mul_f64(ENOUGH)
}

/// Why silence of the detector says nothing.
fn too_little(grown: &Grown) -> Option<String> {
    let enough = enough();
    if grown.seen_for.is_zero() {
        let trouble = grown.trouble.as_deref().unwrap_or("it ended at once");
        return Some(format!("its memory could not be followed ({trouble})"));
    }
    if grown.seen_for < enough {
        let (seen, enough) = (span(grown.seen_for), span(enough));
        return Some(format!("its memory was followed for {seen}, and steady growth takes {enough} to show"));
    }
    (grown.age < Rules::SUSPECT_AGE).then(|| {
        let (age, enough) = (span(grown.age), span(Rules::SUSPECT_AGE));
        format!("it is {age} old, and what starts up grows: it can be judged from {enough} on")
    })
}

#[cfg(test)]
mod tests {
    use crate::investigate::report::GrowthStack;
    use mlh_detect::alloc::{self, Survival};
    use mlh_detect::growth_stacks::{Figures, Pattern};
    use mlh_detect::{About, ProcessKey};

    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn grown(stage: Option<Stage>, seen_s: u64, age_s: u64) -> Grown {
        let trend = Trend {
            velocity: 50_000.0,
            interval: (4e4, 6e4),
            window: seconds(48),
            grown: 2_400_000,
            samples: 9,
        };
        let case = stage.map(|stage| Case {
            about: About::Process(ProcessKey { pid: 1, start_ns: 0 }),
            stage,
            trend,
            onset: seconds(7),
            confidence: (stage == Stage::Leaking).then_some(0.9),
            exhaustion_s: Some(5400.0),
        });
        Grown {
            case,
            before: 10_000_000,
            after: 13_000_000,
            peak: 13_000_000,
            seen_for: seconds(seen_s),
            age: seconds(age_s),
            ..Grown::default()
        }
    }

    /// The verdict on a look in which one stack has kept so many bytes.
    fn verdict(grown: &Grown, kept: u64) -> Verdict {
        let survival = Some(Survival {
            pattern: alloc::Pattern::Kept,
            velocity: 50_000.0,
            interval: (4e4, 6e4),
            retention: 1.0,
            followed: 1_000_000,
            watched: seconds(60),
        });
        let kept =
            StackEvidence { live_bytes: kept, allocated_bytes: kept, survival, ..StackEvidence::default() };
        // what does not stay explains nothing, however much it is
        let cache = StackEvidence { live_bytes: 9_000_000, ..StackEvidence::default() };
        Verdict::reach(grown, &Report { stacks: vec![cache, kept], ..Report::default() })
    }

    /// Guarantees: the table at the head of this file.
    #[test]
    fn table() {
        let of = |stage, kept| {
            let verdict = verdict(&grown(stage, 60, 600), kept);
            (verdict.kind, verdict.confidence)
        };
        assert_eq!(of(Some(Stage::Leaking), 0), (Kind::Leak, Some(0.9)));
        assert_eq!(of(Some(Stage::Suspected), 1_500_000), (Kind::Leak, None));
        assert_eq!(of(Some(Stage::Suspected), 1_499_000), (Kind::Growing, None));
        assert_eq!(of(None, 1_500_000), (Kind::Calm, None));
    }

    /// Guarantees: what grows steadily by pages explains growth as allocations do, once, and what is not steady does not.
    #[test]
    fn by_page() {
        let of = |pattern, bytes| {
            // what it had touched at the beginning is no growth
            let (all, steady_bytes) = (bytes + 5_000_000, bytes);
            let figures = Figures { pattern, bytes: all, steady_bytes, ..Figures::default() };
            let growth = GrowthStack { figures, ..GrowthStack::default() };
            let report = Report { growth: vec![growth], ..Report::default() };
            let suspected = grown(Some(Stage::Suspected), 60, 600);
            let verdict = Verdict::reach(&suspected, &report);
            (verdict.kind, verdict.kept, verdict.keepers)
        };
        assert_eq!(of(Pattern::Steady, 1_500_000), (Kind::Leak, 1_500_000, 1));
        assert_eq!(of(Pattern::Steady, 1_499_000), (Kind::Growing, 1_499_000, 1));
        assert_eq!(of(Pattern::StartUp, 9_000_000), (Kind::Growing, 0, 0));
    }

    /// Guarantees: silence of the detector counts only where it could have spoken, and the reason is told.
    #[test]
    fn silence() {
        let of = |seen, age| verdict(&grown(None, seen, age), 0);
        assert_eq!(of(54, 48).kind, Kind::Calm);
        for (seen, age, said) in
            [(53, 600, "for 53 s"), (60, 47, "47 s old"), (0, 600, "could not be followed")]
        {
            let verdict = of(seen, age);
            assert_eq!(verdict.kind, Kind::Unknown);
            assert!(verdict.reason.as_ref().is_some_and(|reason| reason.contains(said)), "{verdict:?}");
        }
        let blind = Grown { trouble: Some("no /proc".to_owned()), ..Grown::default() };
        assert!(verdict(&blind, 0).reason.is_some_and(|reason| reason.contains("no /proc")));
    }

    /// Guarantees: what the case rests on is handed on.
    #[test]
    fn figures() {
        let verdict = verdict(&grown(Some(Stage::Suspected), 60, 600), 2_000_000);
        assert_eq!((verdict.kept, verdict.keepers), (2_000_000, 1));
        assert_eq!(verdict.onset, Some(seconds(7)));
        assert_eq!(verdict.time_to_oom_s, Some(5400.0));
        assert_eq!(verdict.trend.map(|trend| trend.velocity), Some(50_000.0));
    }
}
