//! Memory beside the work that is done meanwhile: a load that rises, a pool of threads, a night without work; and how long a
//! trend must last when nothing else speaks.

use std::time::Duration;

use mlh_detect::{Detector, FindingKind, Memory, Pass, ProcessKey, Rules, Sample, Sweep};

const MIB: f64 = 1024.0 * 1024.0;

/// What a program holds and does at an age in seconds.
struct Now {
    bytes: f64,
    /// CPU seconds a second; `None`: the pass does not tell.
    load: Option<f64>,
    threads: u32,
}

/// Whether it was suspected and when its verdict fell, seconds.
fn run(rules: Rules, seconds: u64, program: impl Fn(f64) -> Now) -> (bool, Option<u64>) {
    let told = accusations(rules, seconds, program);
    (!told.is_empty(), told.iter().find(|(_, verdict)| *verdict).map(|(at, _)| *at))
}

/// When it was suspected, and when a verdict fell, seconds.
fn accusations(rules: Rules, seconds: u64, program: impl Fn(f64) -> Now) -> Vec<(u64, bool)> {
    let mut detector = Detector::new(rules);
    let (mut told, mut cpu_s) = (Vec::new(), 0.0);
    for second in 0..seconds {
        let Now { bytes, load, threads } = program(second as f64);
        cpu_s += load.unwrap_or(0.0);
        let sample = Sample {
            key: ProcessKey { pid: 7, start_ns: 0 },
            memory: Memory { anon: bytes as u64, ..Memory::default() },
            image: 1,
            cpu_ns: load.map(|_| (cpu_s * 1e9) as u64),
            threads,
            ..Sample::default()
        };
        let at = Duration::from_secs(second);
        for finding in detector.sweep(&Sweep { samples: &[sample], ..Sweep::empty(at, Pass::Full) }) {
            match finding.kind {
                FindingKind::Suspected(_) => told.push((second, false)),
                FindingKind::Detected(_) => told.push((second, true)),
                _ => {}
            }
        }
    }
    told
}

fn leak(age: f64) -> f64 {
    20.0 * MIB + age * 2.0 * MIB / 60.0
}

fn soon() -> Rules {
    Rules { trend_alone: Rules::CONVICT_WINDOW, patience: Duration::ZERO, ..Rules::default() }
}

/// Guarantees: the rule for how long the trend must last decides when the verdict falls, and no verdict rests on less.
#[test]
fn alone_it_must_last() {
    let steady = |age| Now { bytes: leak(age), load: Some(0.1), threads: 4 };
    let verdict_by = |seconds| {
        let trend_alone = Duration::from_secs(seconds);
        let rules = Rules { trend_alone, patience: Duration::ZERO, ..Rules::default() };
        run(rules, 3000, steady).1.expect("a verdict")
    };
    let usual = run(Rules::default(), 3000, steady).1.expect("a verdict");
    assert_eq!(usual, verdict_by(768));
    assert!((700..900).contains(&usual), "{usual}");
    assert!((230..330).contains(&verdict_by(256)), "{}", verdict_by(256));
    assert_eq!(verdict_by(0), verdict_by(128));
}

/// Guarantees: memory that rises with the load is suspected, and gets no verdict before the load has stopped rising; where
/// nobody tells the load, or it does not rise, the same memory gets one.
#[test]
fn memory_that_follows_the_load() {
    let rising = |age: f64| 1.0 + (age / 2400.0).min(1.0);
    let memory = |age: f64| 20.0 * MIB + 30.0 * MIB * rising(age);
    let told = |age| Now { bytes: memory(age), load: Some(0.2 * rising(age)), threads: 4 };
    assert_eq!(run(Rules::default(), 7200, told), (true, None));
    let untold = run(Rules::default(), 7200, |age| Now { load: None, ..told(age) });
    let level = run(Rules::default(), 7200, |age| Now { load: Some(0.2), ..told(age) });
    assert!(untold.1.is_some() && level.1.is_some(), "{untold:?} {level:?}");
}

/// Guarantees: a leak is told under a load that rises as well: at the latest once it has grown by more than the load explains.
#[test]
fn leak_under_rising_load() {
    let rising = |age: f64| 1.0 + (age / 6000.0).min(1.0);
    let (_, detected) = run(Rules::default(), 6000, |age| Now {
        bytes: 20.0 * MIB + age * 4.0 * MIB / 60.0,
        load: Some(0.2 * rising(age)),
        threads: 4,
    });
    assert!(detected.is_some_and(|at| at < 1800), "{detected:?}");
}

/// Guarantees: work that comes of what has leaked, a timer in each of it, is too little to be the load that the memory follows.
#[test]
fn leaks_that_work() {
    let leaked = |age: f64| 20.0 * MIB + age * 6.0 * MIB / 60.0;
    let told = |a_mebibyte: f64| {
        run(soon(), 900, |age| Now {
            bytes: leaked(age),
            load: Some(leaked(age) / MIB * a_mebibyte),
            threads: 4,
        })
        .1
    };
    assert!(told(0.0002).is_some_and(|at| at < 300), "a fiftieth of a percent for each MiB");
    assert!(told(0.01).is_none_or(|at| at > 600), "a service that is asked ever more often");
}

/// Guarantees: a pool of threads may grow for a while; who never stops adding threads leaks them.
#[test]
fn pools_and_threads_never_joined() {
    let threads = |age: f64, most: f64| (age / 10.0).min(most).floor();
    let with = |most: f64| {
        run(soon(), 4000, |age| Now {
            bytes: 20.0 * MIB + threads(age, most) * 0.2 * MIB,
            load: Some(0.2),
            threads: 4 + threads(age, most) as u32,
        })
    };
    assert_eq!(with(100.0), (true, None));
    let (_, never_joined) = with(f64::MAX);
    assert!(never_joined.is_some_and(|at| (1500..2400).contains(&at)), "{never_joined:?}");
}

/// Guarantees: a warm-up that slows down for many minutes, as of a program that meets ever fewer things it has not met
/// before, is no leak.
#[test]
fn long_warm_ups() {
    for end in [600.0, 1800.0, 5400.0] {
        for power in [0.25, 0.4, 0.55] {
            let bytes = |age: f64| 20.0 * MIB + 60.0 * MIB * (age.min(end) / end).powf(power);
            let (_, detected) =
                run(Rules::default(), 9000, |age| Now { bytes: bytes(age), load: Some(0.1), threads: 4 });
            assert_eq!(detected, None, "power {power} for {end} s");
        }
    }
}

/// Guarantees: a rise that came and went on earlier days is no news, although nobody tells the load: from the second day on
/// nothing is said.
#[test]
fn days_come_and_go() {
    let day = 6.0 * 3600.0;
    let bytes = |age: f64| 40.0 * MIB + 30.0 * MIB * (1.0 - (age / day * std::f64::consts::TAU).cos());
    let told =
        accusations(Rules::default(), 4 * 21_600, |age| Now { bytes: bytes(age), load: None, threads: 0 });
    assert!(told.iter().any(|(at, _)| *at < 21_600), "the first rise is like any other");
    assert!(told.iter().all(|(at, _)| *at < 21_600), "{told:?}");
}

/// Guarantees: on a live host a pool that fills up to the usual limit is given its time; more threads than that, added one after the
/// other, are leaked.
#[test]
fn more_threads_than_pools_hold() {
    let live = Rules { trend_alone: Rules::CONVICT_WINDOW, ..Rules::default() };
    let adds = |most: f64| {
        move |age: f64| {
            let added = age.min(most);
            Now { bytes: 20.0 * MIB + added * 0.06 * MIB, load: None, threads: 20 + added as u32 }
        }
    };
    let accused = run(live, 900, adds(900.0)).1.expect("a verdict");
    assert!((230..300).contains(&accused), "{accused}");
    assert_eq!(run(live, 900, adds(190.0)).1, None);
    let slowly =
        |age: f64| Now { bytes: 20.0 * MIB + age * 0.06 * MIB, load: None, threads: 20 + (age / 5.0) as u32 };
    assert_eq!(run(live, 900, slowly).1, None, "180 threads");
}
