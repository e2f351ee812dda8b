//! What a look costs its target stays within the budget, whatever the target does.

use std::time::Duration;

use mlh_detect::alloc::{Governor, HitCosts, Spent, Turn};

use crate::model::at;

const COSTS: HitCosts = HitCosts { emulated: 700, stepped: 9_500, returned: 1_000 };
const BUDGET: f64 = 0.001;
const MINUTE: u64 = 60_000;

/// A target, and the kernel's side of its probes, in steps of a millisecond.
struct Target {
    /// Of what the CPUs do, at a millisecond, so much would be the probes' if they were in place: CPUs.
    rate: Box<dyn Fn(u64) -> f64>,
    /// CPUs that it uses.
    cpus: f64,
    /// From the alarm until the last probe is out, milliseconds.
    latency: u64,
}

/// What has come of a look.
#[derive(Debug, PartialEq)]
struct Course {
    /// What had been paid by each millisecond, milliseconds.
    paid: Vec<f64>,
    /// When bursts began and ended, milliseconds.
    bursts: Vec<(u64, u64)>,
    gave_up: Option<f64>,
}

impl Course {
    fn watched(&self) -> u64 {
        self.bursts.iter().map(|(from, to)| to - from).sum()
    }

    /// Paid for a second of the look by each moment after its first fifteen seconds: its most, milliseconds.
    fn dearest(&self) -> f64 {
        let all = self.paid.iter().enumerate().skip(15_000);
        all.map(|(at, paid)| paid / (at as f64 / 1000.0)).fold(0.0, f64::max)
    }

    /// Most that was paid in a minute, milliseconds.
    fn dearest_minute(&self) -> f64 {
        let minute = MINUTE as usize;
        let all = (0..self.paid.len()).map(|end| {
            let before = end.checked_sub(minute).map_or(0.0, |begin| self.paid[begin]);
            self.paid[end] - before
        });
        all.fold(0.0, f64::max)
    }
}

fn looked(target: &Target, length: u64, seed: u64) -> Course {
    let mut governor = Governor::new(Some(BUDGET), COSTS, None, seed);
    let mut course = Course { paid: Vec::new(), bursts: Vec::new(), gave_up: None };
    let (mut paid, mut ceiling, mut due) = (0.0, f64::INFINITY, 0);
    // since when probes are in place, and since when they are to come out
    let (mut since, mut alarm) = (None, None);
    for now in 0..length {
        let is_spent = alarm.is_some();
        if now >= due && !(is_spent && since.is_some()) {
            let spent = Spent {
                handler: Duration::from_secs_f64(paid / 1000.0),
                target_cpu: Duration::from_secs_f64(target.cpus * now as f64 / 1000.0),
                ..Spent::default()
            };
            match governor.judge(at(now), spent, is_spent) {
                Turn::Watch { may_cost } => {
                    ceiling = paid + may_cost.map_or(f64::INFINITY, |cost| cost.as_secs_f64() * 1000.0);
                    since = since.or(Some(now));
                    due = now + 1000;
                    alarm = None;
                }
                Turn::Pause { until } => {
                    if let Some(since) = since.take() {
                        course.bursts.push((since, now));
                    }
                    // the clock of the one who asks is coarse
                    due = u64::try_from(until.as_millis()).unwrap_or(u64::MAX - 1) + 1;
                }
                Turn::GiveUp { share } => {
                    course.gave_up = Some(share);
                    break;
                }
            }
        }
        if let Some(began) = since {
            paid += (target.rate)(now);
            if alarm.is_none() && paid >= ceiling {
                alarm = Some(now);
            }
            if alarm.is_some_and(|alarm| now >= alarm + target.latency) {
                course.bursts.push((began, now));
                since = None;
            }
        }
        course.paid.push(paid);
    }
    course.bursts.extend(since.map(|since| (since, length)));
    course
}

fn steady(rate: f64) -> Target {
    Target { rate: Box::new(move |_| rate), cpus: 1.0, latency: 10 }
}

/// Guarantees: whatever a target does, in no minute more is paid than the budget's share of it, nor over the whole of a look: at any
/// steady rate up to one that leaves it no time for anything else, and at rates that leap.
#[test]
fn no_minute_is_dearer_than_the_budget() {
    for rate in [0.0001, 0.0007, 0.001, 0.002, 0.01, 0.1, 0.5, 1.0] {
        let course = looked(&steady(rate), 5 * MINUTE, 7);
        assert!(course.dearest_minute() <= 60.0 + 1e-6, "{rate}: {}", course.dearest_minute());
        assert!(course.dearest() <= 1.0 + 1e-6, "{rate}: {}", course.dearest());
        assert_eq!(course.gave_up, None, "{rate}");
        assert!(course.paid.last().unwrap() > &(0.2 * 300.0 * (rate / BUDGET).min(1.0)), "{rate}: too shy");
    }
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let rates: Vec<f64> =
            (0..300).map(|_| if random.bool() { 0.0 } else { 10_f64.powf(-4.0 * random.f64()) }).collect();
        let target =
            Target { rate: Box::new(move |now| rates[(now / 1000) as usize]), cpus: 1.0, latency: 20 };
        let course = looked(&target, 5 * MINUTE, seed);
        assert!(course.dearest_minute() <= 60.0 + 1e-6, "{seed}: {}", course.dearest_minute());
    }
}

/// Guarantees: who uses more CPUs may be looked at for as much more.
#[test]
fn what_counts_is_the_targets_cpu_time() {
    let busy = Target { cpus: 8.0, ..steady(0.003) };
    assert_eq!(looked(&busy, 3 * MINUTE, 1).watched(), 3 * MINUTE);
    let idle = Target { cpus: 0.0, ..steady(0.003) };
    let course = looked(&idle, 3 * MINUTE, 1);
    assert!(course.watched() < MINUTE && course.dearest_minute() <= 60.0, "{course:?}");
}

/// Guarantees: a target whose probes cost less than half of the budget is watched all of the time; of one at twice the budget a good
/// part is seen (a quarter is what half of the budget pays for), in bursts of many seconds.
#[test]
fn who_is_quiet_is_watched_all_of_the_time() {
    for rate in [0.0, 0.0001, 0.00045] {
        assert_eq!(looked(&steady(rate), 5 * MINUTE, 3).bursts, [(0, 5 * MINUTE)], "{rate}");
    }
    let course = looked(&steady(0.002), 10 * MINUTE, 3);
    let share = course.watched() as f64 / (10 * MINUTE) as f64;
    assert!((0.15..0.25).contains(&share), "{share}");
    assert!(course.bursts.iter().any(|(from, to)| to - from > 10_000), "{:?}", course.bursts);
}

/// Guarantees: when bursts come nobody can foresee: pauses are of many lengths, and another seed makes others; the same seed makes the
/// same.
#[test]
fn bursts_come_at_random() {
    let pauses = |seed| {
        let bursts = looked(&steady(0.1), 20 * MINUTE, seed).bursts;
        bursts.windows(2).map(|two| two[1].0 - two[0].1).collect::<Vec<_>>()
    };
    let some = pauses(1);
    assert!(some.len() > 10, "{some:?}");
    let mut different = some.clone();
    different.sort_unstable();
    different.dedup_by(|one, other| one.abs_diff(*other) < 100);
    assert!(different.len() > some.len() / 2, "{some:?}");
    assert_ne!(some, pauses(2));
    assert_eq!(some, pauses(1));
}

/// Guarantees: a target that pays more than a minute allows before the probes are out is left alone for good, and it is said what it
/// paid.
#[test]
fn not_even_one_burst() {
    let hopeless = Target { latency: 100, ..steady(1.0) };
    let course = looked(&hopeless, 5 * MINUTE, 1);
    let share = course.gave_up.unwrap();
    assert!(share > 0.0015, "{share}");
    assert_eq!(course.bursts.len(), 1, "{:?}", course.bursts);
}

/// Guarantees: what a short look of a known length costs is within the budget by its end.
#[test]
fn a_short_look() {
    for seconds in [6, 12, 24, 45] {
        let length = Duration::from_secs(seconds);
        let mut governor = Governor::new(Some(BUDGET), COSTS, Some(length), 1);
        let mut paid = 0.0;
        for second in 0..=seconds {
            let spent = Spent { handler: Duration::from_secs_f64(paid), ..Spent::default() };
            if let Turn::Watch { may_cost } = governor.judge(at(second * 1000), spent, second > 0) {
                paid += may_cost.unwrap().as_secs_f64();
            }
            assert!(second > 0 || paid > 0.0, "it is looked at once");
        }
        assert!(paid <= BUDGET * length.as_secs_f64() + 1e-9, "{seconds}: {paid}");
    }
}

/// Guarantees: every kind of cost counts: hits by what they cost, returns, and time in the programs.
#[test]
fn all_costs() {
    let governor = Governor::new(None, COSTS, None, 1);
    let spent = Spent {
        emulated_hits: 10,
        stepped_hits: 20,
        returns: 30,
        handler: Duration::from_nanos(5),
        ..Spent::default()
    };
    assert_eq!(governor.cost(&spent), Duration::from_nanos(7_000 + 190_000 + 30_000 + 5));
    assert!((governor.overall(&spent, Duration::from_secs(1)) - 0.000_227_005).abs() < 1e-12);
}

/// Guarantees: without a budget it never acts, and still says what is spent.
#[test]
fn no_budget() {
    let mut governor = Governor::new(None, COSTS, None, 1);
    governor.judge(at(0), Spent::default(), false);
    let cpu = Duration::from_secs(1);
    let spent = Spent { handler: Duration::from_millis(500), target_cpu: cpu, ..Spent::default() };
    assert_eq!(governor.judge(at(1000), spent, false), Turn::Watch { may_cost: None });
    assert!((governor.share() - 0.5).abs() < 1e-9);
}

/// Guarantees: counters that begin anew, or a clock that does not move, are no reason to panic; nor are numbers beyond all measure,
/// which end it.
#[test]
fn odd_counters() {
    let mut governor = Governor::new(Some(BUDGET), COSTS, None, 1);
    let spent = Spent { emulated_hits: 1_000_000, ..Spent::default() };
    governor.judge(at(0), spent, false);
    let fewer = Spent { emulated_hits: 100, handler: Duration::from_secs(2), ..Spent::default() };
    assert!(matches!(governor.judge(at(1000), fewer, false), Turn::Watch { .. }));
    governor.judge(at(1000), fewer, false);
    let most = Spent {
        emulated_hits: u64::MAX,
        stepped_hits: u64::MAX,
        returns: u64::MAX,
        handler: Duration::MAX,
        target_cpu: Duration::MAX,
    };
    assert!(matches!(governor.judge(at(2000), most, true), Turn::GiveUp { .. } | Turn::Pause { .. }));
    assert!(governor.cost(&most) > Duration::ZERO);
}
