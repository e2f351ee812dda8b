//! What came of a run.

use serde_json::{Value, json};

use super::case::Set;
use super::heard::Heard;
use super::run::Split;
use super::story::{MIB, Story};

/// A run that is over, with what the sidecar said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The case's name.
    pub id: String,
    /// Where the case is from.
    pub set: Set,
    /// The run's seed.
    pub seed: u64,
    /// The cgroup in which it ran.
    pub cgroup_id: u64,
    /// What it did in truth.
    pub story: Story,
    /// Seconds since 1970.
    pub ended: f64,
    /// It was not ended, but ended by itself: a calm one was not watched for long enough then.
    pub by_itself: bool,
    /// The records about it, in their order.
    pub heard: Vec<Heard>,
}

/// What a run is to the tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has leaked 1 MiB or more.
    Leak,
    /// It leaks nothing.
    Calm,
    /// It ended before it could count.
    Short,
}

impl Outcome {
    /// Whether it counts as a leak.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.story.truth {
            // one that was accused was watched for long enough for that
            Some(truth) if !truth.leaks && self.by_itself && self.detected().is_none() => Kind::Short,
            Some(truth) if !truth.leaks => Kind::Calm,
            Some(_) if self.story.one_mib.is_some() => Kind::Leak,
            _ => Kind::Short,
        }
    }

    /// For tuning or for the test.
    #[must_use]
    pub fn split(&self) -> Split {
        Split::of(self.seed)
    }

    fn first(&self, kind: &str) -> Option<f64> {
        self.heard.iter().find(|record| record.kind == kind).map(|record| record.at)
    }

    /// When it was first called a leak.
    #[must_use]
    pub fn detected(&self) -> Option<f64> {
        self.first("leak_detected")
    }

    /// When it was first suspected; a verdict is a suspicion too.
    #[must_use]
    pub fn suspected(&self) -> Option<f64> {
        self.first("leak_suspected").into_iter().chain(self.detected()).reduce(f64::min)
    }

    /// A moment as seconds after 1 MiB had leaked; none were needed where it came before.
    #[must_use]
    pub fn after_one_mib(&self, moment: Option<f64>) -> Option<f64> {
        Some((moment? - self.story.one_mib?).max(0.0))
    }

    /// How often it was called a leak: once is right.
    #[must_use]
    pub fn verdicts(&self) -> usize {
        self.heard.iter().filter(|record| record.kind == "leak_detected").count()
    }

    /// What looks into it have cost, the dearest: of its CPU time, or of one CPU where it used less. `None`: it was not looked into.
    #[must_use]
    pub fn paid(&self) -> Option<f64> {
        let records = self.heard.iter().filter(|record| record.kind == "mode_changed");
        let told = records.filter_map(|record| {
            let event: Value = serde_json::from_str(&record.line).ok()?;
            let overhead = &event["event_data"]["custom"]["overhead"];
            overhead.as_f64().or_else(|| overhead.as_str()?.parse().ok())
        });
        told.max_by(f64::total_cmp)
    }

    /// The rank of the first culprit told that is one in truth, by the last verdict that told any. From 1.
    #[must_use]
    pub fn rank(&self) -> Option<usize> {
        let functions = &self.story.truth.as_ref()?.functions;
        let right = |culprit: &String| functions.iter().any(|function| names(culprit, function));
        self.culprits().iter().position(right).map(|at| at + 1)
    }

    /// Who was blamed, the foremost first, by the last verdict that told any.
    #[must_use]
    pub fn culprits(&self) -> &[String] {
        let told = |record: &&Heard| record.kind == "leak_detected" && !record.culprits.is_empty();
        self.heard.iter().rev().find(told).map_or(&[], |record| &record.culprits)
    }

    /// What is wrong with it, if something is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match (self.kind(), self.detected()) {
            (Kind::Leak, None) => Some("missed"),
            (Kind::Calm, Some(_)) => Some("false alarm"),
            (Kind::Short, _) => Some("did not count"),
            _ => None,
        }
    }

    /// For those who reckon on.
    #[must_use]
    pub fn json(&self) -> Value {
        let begun = self.story.begun.unwrap_or(self.ended);
        let since = |moment: Option<f64>| moment.map(|at| ((at - begun) * 10.0).round() / 10.0);
        json!({
            "case": self.id, "set": self.set.name(), "split": self.split().name(), "seed": self.seed,
            "leaks": self.story.truth.as_ref().map(|truth| truth.leaks),
            "mb_per_min": self.story.truth.as_ref().and_then(|truth| truth.mb_per_min),
            "leaked_mb": self.story.leaked / MIB,
            "one_mb_s": since(self.story.one_mib), "suspected_s": since(self.suspected()),
            "detected_s": since(self.detected()), "ended_s": since(Some(self.ended)),
            "verdicts": self.verdicts(), "rank": self.rank(), "culprits": self.culprits(), "fault": self.fault(),
        })
    }
}

/// Whether a culprit's text names a function: as a whole word, since `keep` is not `keep_longer`; generic or not.
fn names(culprit: &str, function: &str) -> bool {
    let culprit = without_parameters(culprit);
    let part = |character: char| character.is_alphanumeric() || character == '_';
    culprit.match_indices(function).any(|(at, _)| {
        let before = culprit[..at].chars().next_back();
        let after = culprit[at + function.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// What stands in angle brackets left out: `Cache<K,V>::insert` is `Cache::insert`. Names that begin with one are not so written.
fn without_parameters(text: &str) -> String {
    let (mut told, mut depth) = (String::with_capacity(text.len()), 0_usize);
    for character in text.chars() {
        match character {
            '<' if told.ends_with(|before: char| before.is_alphanumeric() || before == '_') || depth > 0 => {
                depth += 1;
            }
            '>' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            _ => told.push(character),
        }
    }
    told
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::accuracy::story::Truth;

    pub(in crate::accuracy) fn outcome(leaks: bool, seed: u64, heard: &[(&str, f64, &[&str])]) -> Outcome {
        let truth = Truth { leaks, functions: vec!["keep".to_owned()], mb_per_min: Some(2.0) };
        let heard = heard.iter().map(|(kind, at, culprits)| Heard {
            at: *at,
            kind: (*kind).to_owned(),
            culprits: culprits.iter().map(|name| (*name).to_owned()).collect(),
            line: String::new(),
        });
        Outcome {
            id: "x".to_owned(),
            set: Set::Programs,
            seed,
            cgroup_id: 1,
            story: Story {
                truth: Some(truth),
                begun: Some(100.0),
                one_mib: leaks.then_some(130.0),
                leaked: 3.0 * MIB,
            },
            ended: 500.0,
            by_itself: false,
            heard: heard.collect(),
        }
    }

    /// Guarantees: times count from the first MiB and never below nought, and a verdict without a suspicion is one.
    #[test]
    fn times_count_from_the_first_mib() {
        let found = outcome(true, 1, &[("leak_suspected", 120.0, &[]), ("leak_detected", 190.0, &[])]);
        assert_eq!(found.after_one_mib(found.suspected()), Some(0.0));
        assert_eq!(found.after_one_mib(found.detected()), Some(60.0));
        let at_once = outcome(true, 1, &[("leak_detected", 190.0, &[])]);
        assert_eq!(at_once.suspected(), Some(190.0));
        assert_eq!((found.fault(), outcome(true, 1, &[]).fault()), (None, Some("missed")));
    }

    /// Guarantees: only a verdict makes a false alarm; what has not leaked a MiB is neither found nor missed, and a calm program
    /// that ended by itself proves nothing.
    #[test]
    fn faults_are_told_apart() {
        assert_eq!(outcome(false, 1, &[("leak_suspected", 120.0, &[])]).fault(), None);
        assert_eq!(outcome(false, 1, &[("leak_detected", 120.0, &[])]).fault(), Some("false alarm"));
        let mut early = outcome(true, 1, &[]);
        early.story.one_mib = None;
        assert_eq!((early.kind(), early.fault()), (Kind::Short, Some("did not count")));
        let by_itself =
            |heard: &[(&str, f64, &[&str])]| Outcome { by_itself: true, ..outcome(false, 1, heard) };
        assert_eq!(by_itself(&[]).fault(), Some("did not count"));
        assert_eq!(by_itself(&[("leak_detected", 120.0, &[])]).fault(), Some("false alarm"));
    }

    /// Guarantees: of several looks the dearest counts, and who was not looked into has paid nothing that is known.
    #[test]
    fn the_dearest_look_counts() {
        let mut seen = outcome(true, 1, &[("mode_changed", 130.0, &[]), ("mode_changed", 190.0, &[])]);
        assert_eq!(seen.paid(), None);
        for (record, paid) in seen.heard.iter_mut().zip(["\"0.0004\"", "0.00021"]) {
            record.line = format!("{{\"event_data\":{{\"custom\":{{\"overhead\":{paid}}}}}}}");
        }
        assert_eq!(seen.paid(), Some(0.0004));
    }

    /// Guarantees: the culprit's rank is that in the last verdict which told any, by its whole name.
    #[test]
    fn culprits_are_ranked() {
        let rank = |culprits: &[&str]| outcome(true, 1, &[("leak_detected", 190.0, culprits)]).rank();
        assert_eq!(rank(&["other (a.c:1)", "svc::keep (a.c:9) 80 %"]), Some(2));
        assert_eq!(rank(&["keep_longer (a.c:1)", "upkeep"]), None);
        assert_eq!(rank(&["<svc::Cache<K,V> as svc::Store>::keep<T> (a.rs:1)"]), Some(1));
        assert_eq!(rank(&["Cache<keep>::add (a.rs:1)"]), None);
        assert_eq!(rank(&[]), None);
        let later = [("leak_detected", 190.0, &["keep"][..]), ("leak_detected", 260.0, &[][..])];
        assert_eq!(outcome(true, 1, &later).rank(), Some(1));
    }
}
