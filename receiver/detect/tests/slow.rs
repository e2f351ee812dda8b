//! Leaks that are slower than a look is long, where only a look reads exactly: counters that the kernel keeps for each CPU lag behind
//! by more than they leak in minutes.

use std::time::Duration;

use mlh_detect::{Detector, FindingKind, Memory, Pass, ProcessKey, Rules, Sample, Sweep};

const KIB: f64 = 1024.0;
const LAG: u64 = 768 << 10;

/// When it was suspected, and when accused, seconds; and for how many seconds it was looked at.
#[derive(Debug, Default)]
struct Told {
    suspected: Option<u64>,
    accused: Option<u64>,
    looked_at: u64,
}

/// A program that starts at nought and is swept each half minute, and each second while it is looked at.
fn run(seconds: u64, memory: impl Fn(f64) -> f64) -> Told {
    let mut detector = Detector::new(Rules { trend_alone: Rules::CONVICT_WINDOW, ..Rules::default() });
    let mut told = Told::default();
    for second in 0..seconds {
        let pass = if second % 30 == 0 { Pass::Full } else { Pass::Watched };
        let watched = !detector.watched().is_empty();
        if pass == Pass::Watched && !watched {
            continue;
        }
        told.looked_at += u64::from(watched);
        let sample = Sample {
            key: ProcessKey { pid: 7, start_ns: 0 },
            memory: Memory { anon: memory(second as f64) as u64, ..Memory::default() },
            slack: if watched { 0 } else { LAG },
            image: 1,
            ..Sample::default()
        };
        let at = Duration::from_secs(second);
        for finding in detector.sweep(&Sweep { samples: &[sample], ..Sweep::empty(at, pass) }) {
            match finding.kind {
                FindingKind::Suspected(_) => told.suspected = told.suspected.or(Some(second)),
                FindingKind::Detected(_) => told.accused = told.accused.or(Some(second)),
                _ => {}
            }
        }
    }
    told
}

/// Guarantees: a leak of a quarter of a mebibyte a minute is suspected before it has leaked two, and accused.
#[test]
fn slow_leaks_are_found() {
    for kib_a_minute in [210.0, 256.0, 340.0] {
        let told = run(900, |age| 2048.0 * KIB + age * kib_a_minute * KIB / 60.0);
        let second_mib = (2048.0 / kib_a_minute * 60.0) as u64;
        assert!(told.suspected.is_some_and(|at| at < second_mib), "{kib_a_minute} {told:?}");
        assert!(told.accused.is_some(), "{kib_a_minute} {told:?}");
    }
}

/// Guarantees: what goes up and down, or has stopped creeping, is not looked at for longer for it.
#[test]
fn looks_come_to_an_end() {
    let stands = run(1800, |_| 2048.0 * KIB);
    let stops = run(1800, |age| 2048.0 * KIB + 100.0 * KIB * (age.min(60.0) / 60.0));
    let churns = run(1800, |age| 2048.0 * KIB + if (age * 7.0) as u64 % 10 < 3 { 4096.0 * KIB } else { 0.0 });
    assert!(stands.looked_at < 20, "{stands:?}");
    assert!(stops.looked_at < 200, "{stops:?}");
    assert!(churns.looked_at < 900, "{churns:?}");
}
