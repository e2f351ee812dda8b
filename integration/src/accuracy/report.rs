//! What is written at the end: a page for people, the same for those who reckon on, and a folder for each run that went wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::case::Set;
use super::outcome::{Kind, Outcome};
use super::run::Split;
use super::said::said;
use super::suite::Done;
use super::tally::Tally;

/// Sets and splits in their order, with their outcomes.
fn parts(outcomes: &[Outcome]) -> BTreeMap<(Set, Split), Vec<&Outcome>> {
    let mut parts: BTreeMap<_, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        parts.entry((outcome.set, outcome.split())).or_default().push(outcome);
    }
    parts
}

/// The page. `without`: cases that could not be run, with the reason.
#[must_use]
pub fn markdown(outcomes: &[Outcome], without: &[String]) -> String {
    let mut page = "# How often the sidecar is right\n".to_owned();
    for ((set, split), outcomes) in parts(outcomes) {
        let _ = write!(
            page,
            "\n## {}, seeds to {}\n\n{}",
            set.name(),
            split.name(),
            figures(&Tally::of(&outcomes))
        );
        let _ = write!(page, "\n{}", by_case(&outcomes));
    }
    let faults: Vec<_> = outcomes.iter().filter(|outcome| outcome.fault().is_some()).collect();
    let _ = writeln!(page, "\n## What went wrong: {}\n", faults.len());
    for outcome in faults {
        let _ = writeln!(page, "- {}", wrong(outcome));
    }
    if !without.is_empty() {
        let _ = writeln!(page, "\n## Not run\n");
        for reason in without {
            let _ = writeln!(page, "- {}", reason.replace('\n', " "));
        }
    }
    page
}

fn figures(tally: &Tally) -> String {
    let rows = [
        ("leaks of 1 MiB and more that were found", ">= 99 %", tally.recall.to_string()),
        ("calm programs that were called leaks", "<= 1 %", tally.false_positives.to_string()),
        ("calm programs that were suspected, no more", "", tally.only_suspected.to_string()),
        ("suspicion after 1 MiB, at 1 MB/min and more", "median <= 60 s", tally.to_suspicion.to_string()),
        ("verdict after 1 MiB, at 1 MB/min and more", "median <= 150 s", tally.to_verdict.to_string()),
        ("verdict after 1 MiB, at any rate", "all <= 300 s", tally.to_verdict_of_all.to_string()),
        ("found leaks whose first culprit is right", ">= 95 %", tally.culprit_first.to_string()),
        ("found leaks with a right culprit among those told", "", tally.culprit_told.to_string()),
        ("found leaks that were told once", "all", tally.told_once.to_string()),
        ("runs that did not count", "0", tally.short.to_string()),
    ];
    let mut table = "| what | goal | result |\n|---|---|---|\n".to_owned();
    for (what, goal, result) in rows {
        let _ = writeln!(table, "| {what} | {goal} | {result} |");
    }
    table
}

fn by_case(outcomes: &[&Outcome]) -> String {
    let mut cases: BTreeMap<(bool, &str), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        cases.entry((outcome.kind() == Kind::Calm, &outcome.id)).or_default().push(outcome);
    }
    let mut table =
        "| case | leaks | runs | suspected | called a leak | suspicion, s | verdict, s | culprit's rank |\n\
                     |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for ((calm, id), runs) in cases {
        let count = |hit: fn(&Outcome) -> bool| runs.iter().filter(|run| hit(run)).count();
        let list = |value: &dyn Fn(&Outcome) -> Option<f64>| {
            let values = runs.iter().filter_map(|run| value(run)).map(|value| format!("{value:.0}"));
            values.collect::<Vec<_>>().join(" ")
        };
        let leaks = if calm { "no" } else { "yes" };
        let suspected = count(|run| run.suspected().is_some());
        let detected = count(|run| run.detected().is_some());
        let (suspicion, verdict, rank) = (
            list(&|run| run.after_one_mib(run.suspected())),
            list(&|run| run.after_one_mib(run.detected())),
            list(&|run| run.rank().map(|rank| rank as f64)),
        );
        let runs = runs.len();
        let _ = writeln!(
            table,
            "| {id} | {leaks} | {runs} | {suspected} | {detected} | {suspicion} | {verdict} | {rank} |"
        );
    }
    table
}

fn wrong(outcome: &Outcome) -> String {
    let story = &outcome.story;
    let rate = story.truth.as_ref().and_then(|truth| truth.mb_per_min);
    let rate = rate.map(|rate| format!(" at {rate:.2} MB/min")).unwrap_or_default();
    let leaked = story.leaked / super::story::MIB;
    let lasted = outcome.ended - story.begun.unwrap_or(outcome.ended);
    let at = |moment: Option<f64>| match (moment, story.begun) {
        (Some(at), Some(begun)) => format!("{:.0} s", at - begun),
        _ => "never".to_owned(),
    };
    format!(
        "{}.{}, {}: leaked {leaked:.1} MiB{rate} in {lasted:.0} s; suspected {}, accused {}",
        outcome.id,
        outcome.seed,
        outcome.fault().unwrap_or("right"),
        at(outcome.suspected()),
        at(outcome.detected()),
    )
}

/// The same for those who reckon on.
fn json(outcomes: &[Outcome], without: &[String]) -> Value {
    let tallies = parts(outcomes).into_iter().map(|((set, split), outcomes)| {
        json!({"set": set.name(), "split": split.name(), "tally": Tally::of(&outcomes).json()})
    });
    let runs = outcomes.iter().map(Outcome::json);
    json!({"tallies": tallies.collect::<Vec<_>>(), "runs": runs.collect::<Vec<_>>(), "not_run": without})
}

/// Writes all of it into the folder that `OUT` says, else into `otherwise`: `report.md`, `report.json` and `faults`. Returns the
/// page, and the folder.
///
/// # Errors
/// Files cannot be read or written.
pub fn write(
    otherwise: &Path,
    outputs: &Path,
    done: &Done,
    without: &[String],
) -> anyhow::Result<(String, PathBuf)> {
    let out = said("OUT").map_or_else(|| otherwise.to_owned(), PathBuf::from);
    std::fs::create_dir_all(&out)?;
    keep_faults(&out.join("faults"), outputs, done)?;
    let page = markdown(&done.outcomes, without);
    std::fs::write(out.join("report.md"), &page)?;
    std::fs::write(out.join("report.json"), format!("{:#}\n", json(&done.outcomes, without)))?;
    Ok((page, out))
}

/// For each run that went wrong a folder below `folder`: what the program said (taken from `outputs`), the records about it, and the
/// part of the trace that is about it, to be replayed.
///
/// # Errors
/// Files cannot be read or written.
fn keep_faults(folder: &Path, outputs: &Path, done: &Done) -> anyhow::Result<()> {
    let mut traces = BTreeMap::new();
    for outcome in done.outcomes.iter().filter(|outcome| outcome.fault().is_some()) {
        let name = format!("{}.{}", outcome.id, outcome.seed);
        let own = folder.join(&name);
        std::fs::create_dir_all(&own)?;
        for ending in ["out", "err"] {
            let file = format!("{name}.{ending}");
            std::fs::copy(outputs.join(&file), own.join(&file)).with_context(|| file.clone())?;
        }
        let lines: String = outcome.heard.iter().map(|record| format!("{}\n", record.line)).collect();
        std::fs::write(own.join("records.jsonl"), lines)?;
        traces.insert(outcome.cgroup_id, std::fs::File::create(own.join("trace.jsonl"))?);
    }
    let Some(trace) = done.trace.as_ref().filter(|_| !traces.is_empty()) else { return Ok(()) };
    for line in BufReader::new(std::fs::File::open(trace)?).lines() {
        let line = line?;
        let Ok(sample) = serde_json::from_str::<Value>(&line) else { continue };
        if sample["kind"] == "host" {
            for file in traces.values_mut() {
                writeln!(file, "{line}")?;
            }
        } else if let Some(file) = sample["cgroup_id"].as_u64().and_then(|id| traces.get_mut(&id)) {
            writeln!(file, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::outcome::tests::outcome;

    /// Guarantees: seeds for tuning and for the test stand apart, and whatever went wrong is listed.
    #[test]
    fn splits_stand_apart_and_faults_are_listed() {
        let outcomes = [
            outcome(true, 2, &[("leak_detected", 190.0, &["keep"])]),
            outcome(true, 3, &[]),
            outcome(false, 3, &[("leak_detected", 190.0, &[])]),
        ];
        let page = markdown(&outcomes, &["c-swapped: needs swap space".to_owned()]);
        assert!(
            page.contains("## programs, seeds to tune") && page.contains("## programs, seeds to test"),
            "{page}"
        );
        assert!(page.contains("were found | >= 99 % | 100.0 % (20.7 to 100.0; 1 of 1) |"), "{page}");
        assert!(
            page.contains("## What went wrong: 2") && page.contains("x.3, missed: leaked 3.0 MiB at 2.00"),
            "{page}"
        );
        assert!(
            page.contains("x.3, false alarm") && page.contains("- c-swapped: needs swap space"),
            "{page}"
        );
        let json = json(&outcomes, &[]);
        assert_eq!(json["tallies"].as_array().map(Vec::len), Some(2));
        assert_eq!((&json["runs"][0]["rank"], &json["runs"][1]["fault"]), (&json!(1), &json!("missed")));
    }

    /// Guarantees: a fault's folder holds its own records and the samples of its own cgroup, and nobody else's.
    #[test]
    fn faults_are_kept_with_their_own_trace() -> anyhow::Result<()> {
        let (folder, outputs) = (tempfile::tempdir()?, tempfile::tempdir()?);
        for ending in ["out", "err"] {
            std::fs::write(outputs.path().join(format!("x.3.{ending}")), "said")?;
        }
        let trace = outputs.path().join("trace.jsonl");
        let lines = ["{\"kind\":\"host\"}", "{\"cgroup_id\":1}", "{\"cgroup_id\":2}"].join("\n");
        std::fs::write(&trace, lines)?;
        let done = Done {
            outcomes: vec![outcome(true, 3, &[("leak_suspected", 1.0, &[])])],
            trace: Some(trace),
            resident: Vec::new(),
        };
        keep_faults(folder.path(), outputs.path(), &done)?;
        let kept = |name: &str| std::fs::read_to_string(folder.path().join("x.3").join(name));
        assert_eq!(kept("trace.jsonl")?, "{\"kind\":\"host\"}\n{\"cgroup_id\":1}\n");
        assert_eq!((kept("x.3.out")?.as_str(), kept("records.jsonl")?.as_str()), ("said", "\n"));
        Ok(())
    }
}
