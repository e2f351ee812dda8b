//! A small fixed part of the accuracy suite on traces, so that a rule that loses leaks or accuses the calm is seen at once. All of
//! it: `make accuracy-traces`.

mod calm;
mod judge;
mod leaks;
mod set;
mod sketch;
mod tally;

use set::Set;

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
    assert_eq!(sums(Set::Test), sums(Set::Test));
    assert!(sums(Set::Test).iter().all(|sum| !sums(Set::Train).contains(sum)));
}
