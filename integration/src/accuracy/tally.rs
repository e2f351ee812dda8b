//! Many outcomes as a few figures.

use serde_json::{Value, json};

use super::outcome::{Kind, Outcome};

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// So many.
    pub hits: usize,
    /// Of so many.
    pub of: usize,
}

impl Share {
    fn count<'a>(outcomes: impl Iterator<Item = &'a Outcome>, hit: impl Fn(&Outcome) -> bool) -> Self {
        outcomes.fold(Self::default(), |share, outcome| Self {
            hits: share.hits + usize::from(hit(outcome)),
            of: share.of + 1,
        })
    }

    /// From 0 to 1; nothing of nothing is 0.
    #[must_use]
    pub fn value(self) -> f64 {
        self.hits as f64 / self.of.max(1) as f64
    }

    /// Wilson's 95 % interval: right for few and for extreme shares too.
    #[must_use]
    pub fn interval(self) -> (f64, f64) {
        const Z: f64 = 1.959_964;
        if self.of == 0 {
            return (0.0, 1.0);
        }
        let (count, share) = (self.of as f64, self.value());
        let middle = share + Z * Z / (2.0 * count);
        let half = Z * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
        let width = 1.0 + Z * Z / count;
        (((middle - half) / width).max(0.0), ((middle + half) / width).min(1.0))
    }

    fn json(self) -> Value {
        json!({"hits": self.hits, "of": self.of, "share": self.value(), "interval": self.interval()})
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.interval();
        let [value, low, high] = [self.value(), low, high].map(|share| share * 100.0);
        write!(f, "{value:.1} % ({low:.1} to {high:.1}; {} of {})", self.hits, self.of)
    }
}

/// Seconds: the middle and the slow end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Times {
    /// The median.
    pub median: f64,
    /// No longer than this in 95 of 100.
    pub p95: f64,
    /// The longest.
    pub longest: f64,
    /// Of so many.
    pub count: usize,
}

impl Times {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        // the smallest value that so many are not above
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil().max(1.0);
            values.iter().take(rank as usize).next_back().copied().unwrap_or(0.0)
        };
        Self { median: at(0.5), p95: at(0.95), longest: at(1.0), count: values.len() }
    }

    fn json(self) -> Value {
        json!({"median_s": self.median, "p95_s": self.p95, "longest_s": self.longest, "count": self.count})
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, p95, longest, count } = self;
        write!(f, "median {median:.0} s, 95 % within {p95:.0} s, all within {longest:.0} s (of {count})")
    }
}

/// What many runs come to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Leaks called so.
    pub recall: Share,
    /// Calm ones called leaks.
    pub false_positives: Share,
    /// Calm ones that were suspected and not accused.
    pub only_suspected: Share,
    /// From 1 MiB to the suspicion, of leaks of 1 MB a minute and more that were suspected.
    pub to_suspicion: Times,
    /// From 1 MiB to the verdict, of leaks of 1 MB a minute and more that were found.
    pub to_verdict: Times,
    /// The same of all leaks that were found.
    pub to_verdict_of_all: Times,
    /// Found leaks whose foremost culprit is one; where none was told it is none.
    pub culprit_first: Share,
    /// Found leaks with a true culprit among those told.
    pub culprit_told: Share,
    /// Found leaks that were told once and not again.
    pub told_once: Share,
    /// Runs that ended before they could count.
    pub short: usize,
}

impl Tally {
    /// Of these outcomes.
    #[must_use]
    pub fn of(outcomes: &[&Outcome]) -> Self {
        let of_kind = |kind| outcomes.iter().copied().filter(move |outcome| outcome.kind() == kind);
        let found = || of_kind(Kind::Leak).filter(|outcome| outcome.detected().is_some());
        let quick = |outcome: &&Outcome| {
            let rate = outcome.story.truth.as_ref().and_then(|truth| truth.mb_per_min);
            rate.is_some_and(|rate| rate >= 1.0)
        };
        let verdict = |outcome: &Outcome| outcome.after_one_mib(outcome.detected());
        let suspicion = |outcome: &Outcome| outcome.after_one_mib(outcome.suspected());
        Self {
            recall: Share::count(of_kind(Kind::Leak), |outcome| outcome.detected().is_some()),
            false_positives: Share::count(of_kind(Kind::Calm), |outcome| outcome.detected().is_some()),
            only_suspected: Share::count(of_kind(Kind::Calm), |outcome| {
                outcome.suspected().is_some() && outcome.detected().is_none()
            }),
            to_suspicion: Times::of(of_kind(Kind::Leak).filter(quick).filter_map(suspicion).collect()),
            to_verdict: Times::of(of_kind(Kind::Leak).filter(quick).filter_map(verdict).collect()),
            to_verdict_of_all: Times::of(of_kind(Kind::Leak).filter_map(verdict).collect()),
            culprit_first: Share::count(found(), |outcome| outcome.rank() == Some(1)),
            culprit_told: Share::count(found(), |outcome| outcome.rank().is_some()),
            told_once: Share::count(found(), |outcome| outcome.verdicts() == 1),
            short: of_kind(Kind::Short).count(),
        }
    }

    /// For those who reckon on.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "recall": self.recall.json(), "false_positives": self.false_positives.json(),
            "only_suspected": self.only_suspected.json(), "to_suspicion": self.to_suspicion.json(),
            "to_verdict": self.to_verdict.json(), "to_verdict_of_all": self.to_verdict_of_all.json(),
            "culprit_first": self.culprit_first.json(), "culprit_told": self.culprit_told.json(),
            "told_once": self.told_once.json(), "did_not_count": self.short,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::outcome::tests::outcome;

    /// Guarantees: intervals are Wilson's, as tables have them, and stay within 0 and 1.
    #[test]
    fn intervals_are_wilsons() {
        let close = |share: Share, low: f64, high: f64| {
            let (l, h) = share.interval();
            assert!((l - low).abs() < 1e-3 && (h - high).abs() < 1e-3, "{share:?}: {l} to {h}");
        };
        close(Share { hits: 0, of: 300 }, 0.0, 0.0126);
        close(Share { hits: 8, of: 10 }, 0.490, 0.943);
        close(Share { hits: 300, of: 300 }, 0.9874, 1.0);
        close(Share::default(), 0.0, 1.0);
    }

    /// Guarantees: the slow end is a value that occurred, and of nothing there is none.
    #[test]
    fn times_are_nearest_ranks() {
        let times = Times::of((1..=40).rev().map(f64::from).collect());
        assert_eq!((times.median, times.p95, times.longest, times.count), (20.0, 38.0, 40.0, 40));
        assert_eq!(Times::of(vec![7.0]).median, 7.0);
        assert_eq!(Times::of(Vec::new()), Times::default());
    }

    /// Guarantees: leaks and calm ones are tallied apart, suspicion is no accusation, and a culprit not told counts as missed.
    #[test]
    fn outcomes_add_up() {
        let outcomes = [
            outcome(true, 1, &[("leak_suspected", 150.0, &[]), ("leak_detected", 190.0, &["keep"])]),
            outcome(true, 1, &[("leak_detected", 230.0, &[]), ("leak_detected", 300.0, &[])]),
            outcome(true, 1, &[]),
            outcome(false, 1, &[("leak_suspected", 150.0, &[])]),
            outcome(false, 1, &[("leak_suspected", 150.0, &[]), ("leak_detected", 190.0, &[])]),
        ];
        let tally = Tally::of(&outcomes.iter().collect::<Vec<_>>());
        assert_eq!(tally.recall, Share { hits: 2, of: 3 });
        assert_eq!(tally.false_positives, Share { hits: 1, of: 2 });
        assert_eq!(tally.only_suspected, Share { hits: 1, of: 2 });
        assert_eq!(tally.culprit_first, Share { hits: 1, of: 2 });
        assert_eq!(tally.told_once, Share { hits: 1, of: 2 });
        assert_eq!((tally.to_suspicion.median, tally.to_verdict.longest), (20.0, 100.0));
    }
}
