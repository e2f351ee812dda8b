//! What the outcomes come to, by shape and over all, beside the goals.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::judge::Outcome;
use super::sketch::Trace;

/// Of how many so many, with the 95 % interval after Wilson.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) hits: usize,
    pub(crate) of: usize,
}

impl Share {
    fn count(&mut self, hit: bool) {
        self.add(Self { hits: usize::from(hit), of: 1 });
    }

    fn add(&mut self, other: Self) {
        *self = Self { hits: self.hits + other.hits, of: self.of + other.of };
    }

    /// 0 where there is nothing to count.
    pub(crate) fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }

    /// The interval.
    pub(crate) fn wilson(self) -> (f64, f64) {
        if self.of == 0 {
            return (0.0, 1.0);
        }
        let (n, p, z) = (self.of as f64, self.value(), 1.96);
        let middle = p + z * z / (2.0 * n);
        let reach = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        (((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0))
    }

    fn json(self) -> Value {
        let (low, high) = self.wilson();
        json!({ "hits": self.hits, "of": self.of, "share": self.value(), "wilson_95": [low, high] })
    }

    fn text(self) -> String {
        let (low, high) = self.wilson();
        format!("{:.1} % ({:.1} to {:.1})", 100.0 * self.value(), 100.0 * low, 100.0 * high)
    }
}

/// Of leaks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaks {
    /// Suspected within five minutes of having leaked 1 MiB.
    pub(crate) in_time: Share,
    /// Under a verdict an hour after it.
    pub(crate) recall: Share,
    /// From 1 MiB to the verdict, seconds; negative before it.
    pub(crate) to_verdict: Vec<f64>,
}

impl Leaks {
    fn add(&mut self, other: &Self) {
        self.in_time.add(other.in_time);
        self.recall.add(other.recall);
        self.to_verdict.extend(&other.to_verdict);
    }
}

/// Of those that leak nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calm {
    pub(crate) suspected_ever: Share,
    pub(crate) suspected_after_an_hour: Share,
    pub(crate) accused_ever: Share,
    pub(crate) accused_at_end: Share,
}

impl Calm {
    fn add(&mut self, other: &Self) {
        self.suspected_ever.add(other.suspected_ever);
        self.suspected_after_an_hour.add(other.suspected_after_an_hour);
        self.accused_ever.add(other.accused_ever);
        self.accused_at_end.add(other.accused_at_end);
    }
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) leaks: BTreeMap<&'static str, Leaks>,
    pub(crate) calm: BTreeMap<&'static str, Calm>,
    pub(crate) all_leaks: Leaks,
    pub(crate) all_calm: Calm,
    /// By tenths of confidence: verdicts on leaks among all.
    pub(crate) right_by_confidence: [Share; 10],
}

/// Seconds after 1 MiB within which a leak is to be suspected.
const IN_TIME: usize = 300;

impl Tally {
    /// Counts one in.
    pub(crate) fn count(&mut self, trace: &Trace, outcome: &Outcome) {
        for confidence in &outcome.confidence {
            let tenth = ((confidence * 10.0) as usize).min(9);
            self.right_by_confidence[tenth].count(trace.leaked_at.is_some());
        }
        let Some(leaked) = trace.leaked_at else {
            for calm in [self.calm.entry(trace.shape).or_default(), &mut self.all_calm] {
                calm.suspected_ever.count(outcome.suspected.is_some());
                calm.suspected_after_an_hour.count(outcome.open_after_an_hour);
                calm.accused_ever.count(outcome.accused().is_some());
                calm.accused_at_end.count(outcome.accused_at_end);
            }
            return;
        };
        for leaks in [self.leaks.entry(trace.shape).or_default(), &mut self.all_leaks] {
            leaks.in_time.count(outcome.suspected.is_some_and(|at| at <= leaked + IN_TIME));
            leaks.recall.count(outcome.accused_at_end);
            leaks.to_verdict.extend(outcome.accused().map(|at| at as f64 - leaked as f64));
        }
    }

    /// Counts in what another has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, leaks) in &other.leaks {
            self.leaks.entry(name).or_default().add(leaks);
        }
        for (name, calm) in &other.calm {
            self.calm.entry(name).or_default().add(calm);
        }
        self.all_leaks.add(&other.all_leaks);
        self.all_calm.add(&other.all_calm);
        for (mine, theirs) in self.right_by_confidence.iter_mut().zip(other.right_by_confidence) {
            mine.add(theirs);
        }
    }

    /// Each goal: what it is called, what was reached, whether that is enough.
    pub(crate) fn goals(&self) -> [(&'static str, Share, bool); 5] {
        let (leaks, calm) = (&self.all_leaks, &self.all_calm);
        let least = |share: Share, least: f64| share.value() >= least;
        let most = |share: Share, most: f64| share.value() <= most;
        [
            ("leaks under a verdict after an hour, at least 99 %", leaks.recall, least(leaks.recall, 0.99)),
            (
                "leaks suspected within 5 min of 1 MiB, at least 95 %",
                leaks.in_time,
                least(leaks.in_time, 0.95),
            ),
            ("calm accused at the end, at most 1 %", calm.accused_at_end, most(calm.accused_at_end, 0.01)),
            ("calm ever accused, at most 5 %", calm.accused_ever, most(calm.accused_ever, 0.05)),
            (
                "calm under suspicion after an hour, at most 20 %",
                calm.suspected_after_an_hour,
                most(calm.suspected_after_an_hour, 0.2),
            ),
        ]
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let leaks = |leaks: &Leaks| {
            json!({
                "suspected_in_time": leaks.in_time.json(),
                "recall_after_an_hour": leaks.recall.json(),
                "seconds_to_verdict_median": quantile(&leaks.to_verdict, 0.5),
                "seconds_to_verdict_95th": quantile(&leaks.to_verdict, 0.95),
            })
        };
        let calm = |calm: &Calm| {
            json!({
                "ever_suspected": calm.suspected_ever.json(),
                "suspected_after_an_hour": calm.suspected_after_an_hour.json(),
                "ever_accused": calm.accused_ever.json(),
                "accused_at_the_end": calm.accused_at_end.json(),
            })
        };
        let goals = self
            .goals()
            .map(|(name, share, met)| json!({ "goal": name, "reached": share.json(), "met": met }));
        json!({
            "goals": goals,
            "leaks": leaks(&self.all_leaks),
            "calm": calm(&self.all_calm),
            "leaks_by_shape": self.leaks.iter().map(|(name, one)| (name.to_string(), leaks(one))).collect::<BTreeMap<_, _>>(),
            "calm_by_shape": self.calm.iter().map(|(name, one)| (name.to_string(), calm(one))).collect::<BTreeMap<_, _>>(),
            "right_by_tenth_of_confidence": self.right_by_confidence.map(Share::json),
        })
    }

    /// For people: Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from("| Goal | Reached (95 % interval) | |\n|---|---|---|\n");
        for (name, share, met) in self.goals() {
            let _ = writeln!(out, "| {name} | {} | {} |", share.text(), if met { "met" } else { "not met" });
        }
        out += "\n| Leaks | Number | Suspected within 5 min of 1 MiB | Under a verdict after an hour | Median from 1 MiB to the verdict |\n|---|---|---|---|---|\n";
        for (name, one) in self.leaks.iter().chain([(&"all", &self.all_leaks)]) {
            let median =
                quantile(&one.to_verdict, 0.5).map_or("none".to_owned(), |median| format!("{median:.0} s"));
            let _ = writeln!(
                out,
                "| {name} | {} | {} | {} | {median} |",
                one.recall.of,
                one.in_time.text(),
                one.recall.text()
            );
        }
        out += "\n| Calm | Number | Ever suspected | Suspected after an hour | Ever accused | Accused at the end |\n|---|---|---|---|---|---|\n";
        for (name, one) in self.calm.iter().chain([(&"all", &self.all_calm)]) {
            let _ = writeln!(
                out,
                "| {name} | {} | {} | {} | {} | {} |",
                one.suspected_ever.of,
                one.suspected_ever.text(),
                one.suspected_after_an_hour.text(),
                one.accused_ever.text(),
                one.accused_at_end.text()
            );
        }
        out += "\n| Confidence of a verdict | Verdicts | Right |\n|---|---|---|\n";
        for (tenth, share) in self.right_by_confidence.iter().enumerate().filter(|(_, share)| share.of > 0) {
            let _ = writeln!(out, "| 0.{tenth} and above | {} | {} |", share.of, share.text());
        }
        out
    }
}

fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied()
}
