//! A small fixed part of the accuracy suite on traces, so that a rule that loses leaks or accuses the calm is seen at once. All of
//! it: `make accuracy-traces`.

mod calm;
mod judge;
mod leaks;
mod set;
mod sketch;
mod tally;

use set::{SETS, Set};

/// Five of each shape of leak, and four of each that is none.
const TRACES: usize = 152;

/// Guarantees: on a part of the training set no more leaks are missed and no more of the calm accused than chance explains where
/// the goals are met.
#[test]
fn a_part_of_the_training_set() {
    let tally = Set::Train.run(TRACES);
    let (leaks, calm) = (&tally.all_leaks, &tally.all_calm);
    let table = tally.markdown();
    assert_eq!((leaks.recall.of, calm.accused_ever.of), (76, 76));
    assert!(leaks.recall.value() >= 0.97, "{table}");
    assert!(leaks.in_time.value() >= 0.92, "{table}");
    assert!(calm.accused_ever.value() <= 0.08, "{table}");
    assert!(calm.accused_at_end.value() <= 0.02, "{table}");
    assert!(calm.suspected_after_an_hour.value() <= 0.25, "{table}");
}

/// Guarantees: a set gives the same traces each time, and no two sets share one.
#[test]
fn sets_are_fixed_and_apart() {
    let sums = |set: Set| -> Vec<u64> {
        let sum = |trace: sketch::Trace| trace.seconds.iter().map(|second| second.anon + second.cpu_ns).sum();
        (0..12).map(|index| sum(set.draw(index))).collect()
    };
    let mut seen = Vec::new();
    for set in SETS {
        let sums_of_set = sums(set);
        assert_eq!(sums_of_set, sums(set), "{}", set.name());
        assert!(sums_of_set.iter().all(|sum| !seen.contains(sum)), "{}", set.name());
        seen.extend(sums_of_set);
    }
}

/// Guarantees: the results for machines say what the table for people says: each goal with its interval, each shape by name.
#[test]
fn results_for_machines_and_people() {
    let tally = Set::Train.run(8);
    let (json, table) = (tally.json(), tally.markdown());
    assert_eq!(json["goals"].as_array().map(Vec::len), Some(tally.goals().len()));
    assert_eq!(json["leaks"]["recall_after_an_hour"]["of"], 4);
    for (goal, share, met) in tally.goals() {
        assert!(table.contains(goal), "{goal} in {table}");
        let (low, high) = share.wilson();
        assert!(low <= share.value() && share.value() <= high, "{goal}: {low} to {high}");
        let told = json["goals"].as_array().and_then(|goals| goals.iter().find(|told| told["goal"] == goal));
        assert_eq!(told.map(|told| told["met"] == met), Some(true), "{goal}");
    }
    for shape in json["calm_by_shape"].as_object().expect("an object").keys() {
        assert!(table.contains(shape.as_str()), "{shape} in {table}");
    }
}
