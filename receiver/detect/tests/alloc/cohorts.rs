//! What becomes of blocks with their age.

use std::time::Duration;

use mlh_detect::alloc::{Block, Cohorts, Pattern, Survival};

use crate::model::at;

const KIB: u64 = 1024;

/// What a stack does in a tenth of a second: how much of it is allocated, and when that goes, both in tenths since the beginning.
type Does<'a> = dyn Fn(u64) -> Option<(u64, u64)> + 'a;

const NEVER: u64 = u64::MAX;

/// Reads the table each second of a burst from `from` until `to`, both in seconds.
fn burst(cohorts: &mut Cohorts<u32>, does: &Does<'_>, from: u64, to: u64) {
    cohorts.begin(at(from * 1000));
    for second in from + 1..=to {
        let now = second * 10;
        let live = (from * 10..now).filter_map(|tenth| {
            let (size, until) = does(tenth)?;
            let block = Block { address: tenth, size, weight: 1, born: at(tenth * 100) };
            (until > now).then_some((1, block))
        });
        cohorts.read(at(second * 1000), live.collect::<Vec<_>>());
    }
}

fn seen(does: &Does<'_>, seconds: u64) -> Survival {
    let mut cohorts = Cohorts::default();
    burst(&mut cohorts, does, 0, seconds);
    assert_eq!(cohorts.watched(), Duration::from_secs(seconds));
    let nothing = Survival {
        pattern: Pattern::Unclear,
        velocity: -1.0,
        interval: (0.0, 0.0),
        retention: 0.0,
        followed: 0,
        watched: at(0),
    };
    cohorts.of(&1).unwrap_or(nothing)
}

fn pattern(does: &Does<'_>, seconds: u64) -> Pattern {
    seen(does, seconds).pattern
}

/// Guarantees: what comes all the time and stays is kept: evenly, in steps, with a tenth of it given back after a while, beside much
/// that lives for less than a second, and after much that was set up at the start. The velocity is right, and its interval holds it.
#[test]
fn leaks() {
    for seconds in [8, 13, 20, 60, 240] {
        let even = seen(&|_| Some((KIB, NEVER)), seconds);
        assert_eq!((even.pattern, even.retention), (Pattern::Kept, 1.0), "{seconds}");
        assert!((even.velocity - 10.0 * KIB as f64).abs() < 1.0, "{even:?}");
        let garbage = |tenth| Some((KIB, if tenth % 10 == 0 { NEVER } else { tenth + 5 }));
        let among = seen(&garbage, seconds);
        assert_eq!(among.pattern, Pattern::Kept, "{seconds}: {among:?}");
        let set_up = |tenth| Some((if tenth < 5 { 1000 * KIB } else { KIB }, NEVER));
        assert_eq!(pattern(&set_up, seconds), Pattern::Kept, "{seconds}");
    }
    assert_eq!(pattern(&|tenth| (tenth % 90 == 0).then_some((KIB, NEVER)), 240), Pattern::Kept, "in steps");
    let most = |tenth: u64| Some((KIB, if tenth % 20 == 3 { tenth + 300 } else { NEVER }));
    assert_eq!(pattern(&most, 120), Pattern::Kept, "a twentieth of it freed");
    let mut random = fastrand::Rng::with_seed(1);
    let sizes: Vec<u64> = (0..1200).map(|_| random.u64(1..200) * KIB).collect();
    let uneven = seen(&|tenth| Some((sizes[tenth as usize], NEVER)), 120);
    let (least, most) = uneven.interval;
    assert!(least < 1000.0 * KIB as f64 && 1000.0 * (KIB as f64) < most && least > 0.0, "{uneven:?}");
    assert!(most - least < uneven.velocity / 2.0, "{uneven:?}");
}

/// Guarantees: nothing that goes is kept: a full cache by age or by chance, a queue, a collected heap, what is set up at the start, and
/// a cache that is full and idle.
#[test]
fn non_leaks() {
    assert_eq!(pattern(&|tenth| Some((KIB, tenth + 100)), 60), Pattern::TurnsOver, "a cache of ten seconds");
    assert_eq!(pattern(&|tenth| Some((KIB, tenth + 3)), 30), Pattern::Unclear, "no cohort of it is ever old");
    let mut random = fastrand::Rng::with_seed(2);
    let lives: Vec<u64> = (0..2400).map(|_| (-(random.f64().ln()) * 200.0) as u64).collect();
    let chance = |tenth: u64| Some((KIB, tenth + lives[tenth as usize]));
    assert_ne!(pattern(&chance, 240), Pattern::Kept, "who goes is chosen by chance");
    let collected = |tenth: u64| Some((KIB, (tenth / 150 + 1) * 150));
    assert_eq!(pattern(&collected, 120), Pattern::Sawtooth);
    assert_eq!(pattern(&|tenth| (tenth < 20).then_some((KIB, NEVER)), 60), Pattern::Once, "start-up");
    assert_eq!(pattern(&|tenth| (tenth < 300).then_some((KIB, NEVER)), 60), Pattern::Once, "full and idle");
    assert_eq!(pattern(&|_| Some((KIB, NEVER)), 4), Pattern::Unclear, "too short");
}

/// Guarantees: no cohort outlives its burst: what was there before a gap is taken for neither kept nor gone, bursts add up, and between
/// them it stays known what a stack is.
#[test]
fn bursts_add_up() {
    let mut cohorts = Cohorts::default();
    for from in [0, 100, 170] {
        burst(&mut cohorts, &|_| Some((KIB, NEVER)), from, from + 20);
        let seen = cohorts.of(&1).expect("it was seen");
        assert_eq!(seen.pattern, Pattern::Kept);
        assert!((seen.velocity - 10.0 * KIB as f64).abs() < 1.0, "{seen:?}");
    }
    assert_eq!((cohorts.watched(), cohorts.longest()), (Duration::from_secs(60), Duration::from_secs(20)));
    // blocks from before a burst are nobody's
    let old = Block { address: 1, size: KIB, weight: 1, born: at(175_000) };
    cohorts.begin(at(300_000));
    cohorts.read(at(301_000), [(2, old)]);
    assert_eq!(cohorts.of(&2), None);
    assert_eq!(cohorts.of(&1).map(|seen| seen.pattern), Some(Pattern::Kept));
    // a burst in which nothing was read
    cohorts.begin(at(400_000));
    assert_eq!(cohorts.all().count(), 1);
    cohorts.retain(|_| false);
    assert_eq!(cohorts.all().count(), 0);
}

/// Guarantees: a crowd of stacks is bounded, and those that found no room are counted; readings out of order and blocks from the future
/// change nothing.
#[test]
fn bounds() {
    let mut cohorts = Cohorts::default();
    let block = |born| Block { address: 1, size: u64::MAX, weight: u32::MAX, born: at(born) };
    cohorts.read(at(500), [(0, block(400))]);
    assert_eq!(cohorts.all().count(), 0, "nothing has begun");
    cohorts.begin(at(1000));
    cohorts.read(at(2000), (0..5000).map(|key| (key, block(1500))));
    assert_eq!((cohorts.all().count(), cohorts.unfitted()), (4096, 904));
    cohorts.read(at(1500), [(0, block(1400))]);
    cohorts.read(at(9000), [(0, block(10_000))]);
    let gone = cohorts.all().filter(|(_, seen)| seen.pattern == Pattern::Sawtooth).count();
    assert_eq!(gone, 4096, "all that was there has gone at once");
    cohorts.begin(Duration::ZERO);
    cohorts.read(Duration::MAX, [(0, block(1))]);
    assert!(cohorts.of(&0).is_some());
}
