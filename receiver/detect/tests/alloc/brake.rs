//! When a look has become too dear.

use std::time::Duration;

use mlh_detect::alloc::{Brake, HitCosts, Spent, Verdict};

use crate::model::at;

const COSTS: HitCosts = HitCosts { emulated: 700, stepped: 9_500, returned: 1_000 };
const BUDGET: f64 = 0.001;

/// Second by second: hits a second, and CPU milliseconds a second. The second at which the brake acts, and its verdict.
fn braked(seconds: impl IntoIterator<Item = (u64, u64)>) -> Option<(usize, Verdict)> {
    let mut brake = Brake::new(Some(BUDGET), COSTS);
    let mut spent = Spent::default();
    brake.judge(at(0), spent);
    seconds.into_iter().enumerate().find_map(|(second, (hits, cpu_ms))| {
        spent.emulated_hits += hits;
        spent.target_cpu += Duration::from_millis(cpu_ms);
        let verdict = brake.judge(at((second as u64 + 1) * 1000), spent);
        matches!(verdict, Verdict::Over { .. }).then_some((second + 1, verdict))
    })
}

/// Guarantees: one second over the budget, and it acts, saying by how much; below it never does.
#[test]
fn acts_within_a_second() {
    // of one CPU 0.1 % are 1 ms: 1,428 hits
    assert_eq!(braked([(1_400, 1000); 100]), None);
    let (second, verdict) = braked([(1_400, 1000), (1_400, 1000), (3_000, 1000)]).unwrap();
    assert_eq!(second, 3);
    let Verdict::Over { share, budget } = verdict else { panic!("{verdict:?}") };
    assert!((share - 0.0021).abs() < 1e-9 && budget == BUDGET, "{verdict:?}");
    // of eight CPUs it is eight times as much
    assert_eq!(braked([(11_000, 8000); 100]), None);
}

/// Guarantees: a target that idles keeps its probes over a few hits, and loses them over many.
#[test]
fn an_idle_target() {
    assert_eq!(braked([(1_400, 0); 100]), None);
    assert_eq!(braked([(2_000, 0); 100]).map(|(second, _)| second), Some(1));
}

/// Guarantees: a burst shorter than a second is let pass, where it is looked at more often; one that lasts is not.
#[test]
fn bursts() {
    for (over, expected) in [(4, false), (9, false), (10, true)] {
        let costly = |tenth: u64| tenth % 20 < over;
        let mut brake = Brake::new(Some(BUDGET), COSTS);
        let mut spent = Spent::default();
        let mut acted = false;
        for tenth in 0..100_u64 {
            acted |= matches!(brake.judge(at(tenth * 100), spent), Verdict::Over { .. });
            spent.emulated_hits += if costly(tenth) { 5_000 } else { 10 };
            spent.target_cpu += Duration::from_millis(100);
        }
        assert_eq!(acted, expected, "{over}");
    }
}

/// Guarantees: every kind of cost counts: hits by what they cost, returns, and time in the programs.
#[test]
fn all_costs() {
    let brake = Brake::new(None, COSTS);
    let spent = Spent {
        emulated_hits: 10,
        stepped_hits: 20,
        returns: 30,
        handler: Duration::from_nanos(5),
        ..Spent::default()
    };
    assert_eq!(brake.cost(&spent), Duration::from_nanos(7_000 + 190_000 + 30_000 + 5));
}

/// Guarantees: without a budget it never acts, and still says what is spent.
#[test]
fn no_budget() {
    let mut brake = Brake::new(None, COSTS);
    brake.judge(at(0), Spent::default());
    let cpu = Duration::from_secs(1);
    let spent = Spent { handler: Duration::from_millis(500), target_cpu: cpu, ..Spent::default() };
    assert_eq!(brake.judge(at(1000), spent), Verdict::Within { share: 0.5 });
}

/// Guarantees: counters that begin anew, or a clock that does not move, are no reason to act, nor to panic; nor are numbers
/// beyond all measure.
#[test]
fn odd_counters() {
    let mut brake = Brake::new(Some(BUDGET), COSTS);
    let spent = Spent { emulated_hits: 1_000_000, ..Spent::default() };
    brake.judge(at(0), spent);
    let fewer = Spent { emulated_hits: 100, handler: Duration::from_secs(2), ..Spent::default() };
    assert_eq!(brake.judge(at(1000), fewer), Verdict::Within { share: 0.0 });
    assert_eq!(brake.judge(at(1000), spent), Verdict::Within { share: 0.0 });
    let most = Spent {
        emulated_hits: u64::MAX,
        stepped_hits: u64::MAX,
        returns: u64::MAX,
        handler: Duration::MAX,
        target_cpu: Duration::ZERO,
    };
    assert!(matches!(brake.judge(at(2000), most), Verdict::Over { .. }));
}
