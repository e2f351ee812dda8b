//! The part of the accuracy suite that runs every time: a few programs of each language side by side, with seeds that stay the same.
//! `make accuracy` runs all of it.

#![forbid(unsafe_code)]

use mlh_integration::accuracy::outcome::{Kind, Outcome};
use mlh_integration::accuracy::suite::{Patience, Plan, SIDE_BY_SIDE, run};
use mlh_integration::accuracy::tally::Tally;
use mlh_integration::accuracy::{programs, report};
use mlh_integration::need;
use mlh_integration::scenario::scenario;

const CASES: [&str; 14] = [
    "c-blocks-steady",
    "c-in-thread",
    "c-mmap",
    "c-in-worker",
    "cpp-sessions-under-load",
    "python-answers",
    "go-sessions",
    "rust-channel",
    "calm-c-cache",
    "calm-c-churn",
    "calm-c-page-cache",
    "calm-cpp-reports",
    "calm-python-knots",
    "calm-go-teeth",
];

/// Guarantees: with default settings, but for how many are followed up at once, most leaks of several kinds and languages are found and all are suspected, and none of the
/// programs that only look like it is called a leak, as long as the leaks take to be found.
/// Needs: root, eBPF; of the compilers and interpreters those that are there.
#[test]
fn most_leaks_are_found_and_calm_programs_are_not_accused() {
    scenario(|world| {
        need::ebpf()?;
        let (cases, without) = programs::cases(world.folder())?;
        let cases = cases.into_iter().filter(|case| CASES.contains(&case.id.as_str()));
        let plan = Plan {
            runs: cases.map(|case| (case, 11)).collect(),
            parallel: CASES.len(),
            // a leak ends with its verdict; only one that is missed takes all of the time
            patience: Patience { leak: 240.0, after_verdict: 0.0, calm: 180.0, longest: 360.0 },
            seed: 1,
            apart: 0.5,
            settings: SIDE_BY_SIDE.to_owned(),
            traced: false,
        };
        let outcomes = run(world, &plan)?.outcomes;
        let tally = Tally::of(&outcomes.iter().collect::<Vec<_>>());
        let page = report::markdown(&outcomes, &without);
        println!("{page}");
        let suspected = |outcome: &Outcome| outcome.kind() != Kind::Leak || outcome.suspected().is_some();
        anyhow::ensure!(tally.short == 0, "runs did not count:\n{page}");
        anyhow::ensure!(outcomes.iter().all(suspected), "leaks were not even suspected:\n{page}");
        // one of eight may be missed
        anyhow::ensure!(tally.recall.hits + 1 >= tally.recall.of, "leaks were missed:\n{page}");
        anyhow::ensure!(tally.false_positives.hits == 0, "calm programs were accused:\n{page}");
        Ok(())
    });
}
