//! What the rungs of the ladder testify, against verdicts: given earlier, held back, taken back.

use std::time::Duration;

use mlh_detect::{
    About, Cleared, Detector, FindingKind, Memory, Pass, ProcessKey, Rules, Rung, Sample, Says, Spare, Sweep,
    Testimony, Verdict,
};

const MIB: f64 = 1024.0 * 1024.0;
const KEY: ProcessKey = ProcessKey { pid: 7, start_ns: 0 };

/// What came of it, in seconds from the start of the program.
#[derive(Debug, Default)]
struct Told {
    suspected: Option<f64>,
    detected: Option<(f64, Verdict)>,
    cleared: Option<(f64, Cleared)>,
}

/// A program swept each second; `says` gives what a rung testifies every half minute.
fn run(seconds: u64, memory: impl Fn(f64) -> f64, says: impl Fn(f64) -> Option<(Rung, Says)>) -> Told {
    run_by(Rules::default(), seconds, memory, says)
}

/// The rules of a live host.
fn live() -> Rules {
    Rules { trend_alone: Rules::CONVICT_WINDOW, ..Rules::default() }
}

fn run_by(
    rules: Rules,
    seconds: u64,
    memory: impl Fn(f64) -> f64,
    says: impl Fn(f64) -> Option<(Rung, Says)>,
) -> Told {
    let mut detector = Detector::new(rules);
    let mut told = Told::default();
    for second in 1..seconds {
        let (at, age) = (Duration::from_secs(second), second as f64);
        if second % 30 == 0
            && let Some((rung, says)) = says(age)
        {
            let watched = Duration::from_secs(60);
            detector.hear(&About::Process(KEY), Testimony { rung, source: "test", at, watched, says });
        }
        let memory = Memory { anon: memory(age) as u64, ..Memory::default() };
        let sample = Sample { key: KEY, memory, image: 1, ..Sample::default() };
        for finding in detector.sweep(&Sweep { samples: &[sample], ..Sweep::empty(at, Pass::Full) }) {
            match finding.kind {
                FindingKind::Suspected(_) => told.suspected = told.suspected.or(Some(age)),
                FindingKind::Detected(verdict) => told.detected = told.detected.or(Some((age, verdict))),
                FindingKind::Cleared { reason, .. } => told.cleared = told.cleared.or(Some((age, reason))),
                _ => {}
            }
        }
    }
    told
}

fn leak(age: f64) -> f64 {
    5.0 * MIB + age * 2.0 * MIB / 60.0
}

fn kept(share: f64) -> Says {
    Says::Kept { velocity: 35_000.0, interval: (30_000.0, 40_000.0), share }
}

/// Guarantees: what a rung sees kept brings the verdict earlier, makes it the surer the more that rung sees, and stands in it beside the trend; what
/// explains little of the growth, or cannot tell, changes nothing; growth must have gone on for four minutes all the same, and for two
/// where it is never referenced again.
#[test]
fn kept_speaks_earlier() {
    let verdict = |says: Option<(Rung, Says)>| run(1200, leak, |_| says).detected.expect("detected");
    let (alone_at, alone) = verdict(None);
    let mut surer = Vec::new();
    for rung in [Rung::GrowthStacks, Rung::Outside, Rung::Coldness, Rung::GateProbes, Rung::FullProbes] {
        let (at, with) = verdict(Some((rung, kept(0.9))));
        let due = if rung == Rung::Coldness { 120.0..=160.0 } else { 230.0..=270.0 };
        assert!(due.contains(&at) && at + 300.0 < alone_at, "{rung:?}: {at} s, alone {alone_at} s");
        assert!(with.trend.window >= Rules::CONVICT_WINDOW, "{:?}", with.trend);
        assert!(with.trend.grown >= 1 << 20, "{:?}", with.trend);
        let rungs: Vec<_> = with.evidence.iter().map(|held| held.rung).collect();
        assert_eq!(rungs, [Rung::Trend, rung]);
        assert!(with.confidence < alone.confidence, "what lasts longer is surer: {}", with.confidence);
        if rung != Rung::Coldness {
            surer.push(with.confidence);
        }
    }
    assert!(surer.is_sorted() && surer[0] < surer[3], "who sees more is surer: {surer:?}");
    for says in [kept(0.2), Says::Unclear("no allocator known")] {
        let (at, with) = verdict(Some((Rung::Outside, says)));
        assert_eq!((at, with.confidence), (alone_at, alone.confidence), "{says:?}");
    }
}

/// Guarantees: what keeps nothing is suspected and gets no verdict while that is known to be so; a leak of which nobody
/// speaks any more gets its verdict, and so does what has gone on for more than an hour.
#[test]
fn spare_holds_back() {
    for spare in [Spare::Garbage, Spare::Retained, Spare::Copies, Spare::InUse] {
        let held = run(3000, leak, |_| Some((Rung::Outside, Says::Spare(spare))));
        assert!(held.suspected.is_some() && held.detected.is_none() && held.cleared.is_none(), "{held:?}");
    }
    let spare = Some((Rung::Outside, Says::Spare(Spare::Retained)));
    let (at, _) =
        run(2000, leak, |age| spare.filter(|_| age < 900.0)).detected.expect("nobody speaks any more");
    assert!((1160.0..=1300.0).contains(&at), "{at}");
    let (at, _) = run(4500, leak, |_| spare).detected.expect("goes on");
    assert!((3600.0..=3800.0).contains(&at), "{at}");
}

/// Guarantees: a suspicion of what keeps nothing is cleared once its growth slows down, sooner than one of which nothing
/// is known.
#[test]
fn spare_clears() {
    let slows = |age: f64| leak(age.min(120.0)) + (age - 120.0).max(0.0) * 0.7 * MIB / 60.0;
    let spare = Some((Rung::Outside, Says::Spare(Spare::Garbage)));
    let with = run(600, slows, |_| spare);
    assert!(with.cleared.is_some_and(|(at, reason)| at < 240.0 && reason == Cleared::Stopped), "{with:?}");
    assert!(run(600, slows, |_| None).cleared.is_none());
}

/// Guarantees: what was said before there was a case is not remembered, nor what is said of one that nobody knows.
#[test]
fn nobody_to_speak_of() {
    let early = |age| (age < 40.0).then_some((Rung::Outside, kept(1.0)));
    let (at, _) = run(1200, leak, early).detected.expect("detected");
    let (alone, _) = run(1200, leak, |_| None).detected.expect("detected");
    assert_eq!(at, alone);
}

/// Guarantees: what fills for three minutes and stops is no leak, though a rung sees all of it being kept; without patience it would be
/// called one, and what fills on is, whether a rung has spoken or not.
#[test]
fn what_fills_has_time() {
    let fills = |age: f64| 5.0 * MIB + age.min(190.0) * 6.0 * MIB / 60.0;
    let census = |_| Some((Rung::Outside, kept(1.0)));
    let hasty = Rules { patience: Duration::ZERO, ..live() };
    assert!(run_by(hasty, 900, fills, census).detected.is_some());
    assert!(run_by(live(), 900, fills, census).detected.is_none());
    for says in [None, Some((Rung::Outside, kept(1.0)))] {
        let (at, _) = run_by(live(), 900, leak, |_| says).detected.expect("never stops");
        assert!((230.0..=270.0).contains(&at), "{says:?} {at}");
    }
}

/// Guarantees: a load that ebbs when four minutes are over does not put the verdict off, as growth was even before and still goes on;
/// where it has come to rest there is none.
#[test]
fn ebb_is_no_end() {
    // the load of four minutes of which two are above the mean
    let tide = |age: f64| age + 0.8 * 38.2 * (1.0 - (age / 38.2).cos());
    let (at, _) = run_by(live(), 400, |age| leak(2.0 * tide(age)), |_| None).detected.expect("goes on");
    assert!(at < 300.0, "{at}");
    let rests = |age: f64| leak(2.0 * tide(age.min(190.0)));
    assert!(run_by(live(), 900, rests, |_| None).detected.is_none());
    // a collected heap that is full makes teeth: what they rise to was there before
    let full = |age: f64| leak(5.0 * age.min(160.0)) + ((age - 160.0).max(0.0) % 60.0) * 0.12 * MIB;
    assert!(run_by(live(), 900, full, |_| None).detected.is_none());
}

/// What a heap of Node.js does that makes ready for 40 s, is collected, and from then on gives back 7 MiB each 70 s and takes them again in ten.
fn with_falls(growth: impl Fn(f64) -> f64) -> impl Fn(f64) -> f64 {
    move |age| {
        let starts = if age < 40.0 { 30.0 * age / 60.0 } else { 0.0 };
        let since = (age - 50.0).max(0.0) % 70.0;
        let given_back = if age > 50.0 { 7.0 * (1.0 - since / 10.0).max(0.0) } else { 0.0 };
        growth(age) + (30.0 + starts - given_back) * MIB
    }
}

/// Guarantees: a leak is found through falls that last for seconds, and not taken for over at one of them; where there is none nobody is
/// accused, however long it goes on, nor where something has filled.
#[test]
fn falls_of_seconds() {
    let told = run_by(live(), 400, with_falls(leak), |_| None);
    let (at, verdict) = told.detected.expect("it leaks");
    assert!((250.0..=330.0).contains(&at), "{at}");
    assert!((verdict.trend.velocity / (2.0 * MIB / 60.0) - 1.0).abs() < 0.3, "{:?}", verdict.trend);
    assert!(told.cleared.is_none_or(|(at, _)| at < 180.0), "{:?}", told.cleared);
    for filled in [0.0, 60.0, 150.0] {
        let calm = run_by(live(), 3600, with_falls(move |age| leak(age.min(filled))), |_| None);
        assert!(calm.detected.is_none(), "{filled} {calm:?}");
    }
}

/// Guarantees: teeth that become higher over a floor that stays are no leak.
#[test]
fn higher_teeth() {
    let memory = |age: f64| 20.0 * MIB + (2.0 + age / 50.0) * (age % 16.0) / 16.0 * MIB;
    let told = run_by(Rules { patience: Duration::ZERO, ..live() }, 900, memory, |_| None);
    assert!(told.detected.is_none(), "{told:?}");
}

/// Guarantees: what a program was suspected of while it started does not put off the verdict on what comes then; later it does.
#[test]
fn starting_is_no_offence() {
    // a minute of growth, two without, and then a leak
    let waits = |began: f64| {
        let memory = |age: f64| {
            let since = age - began;
            5.0 * MIB + since.clamp(0.0, 60.0) * 0.1 * MIB + (since - 180.0).max(0.0) * 2.0 * MIB / 60.0
        };
        let patience = Duration::from_secs(140);
        let told = run_by(Rules { patience, ..live() }, 1800, memory, |_| None);
        assert!(told.cleared.is_some(), "{told:?}");
        told.detected.expect("it leaks").0 - began - 180.0
    };
    let (starting, later) = (waits(0.0), waits(400.0));
    assert!(starting < 200.0 && later > starting + 60.0, "{starting} {later}");
}

/// Guarantees: what is never referenced again is a leak below whatever comes and goes beside it, as soon as it is known, and is cleared by no
/// peak of that; without it the trend takes its time;
/// threads that are added beside it are a pool for some time, and memory that others know to be free is none.
#[test]
fn cold_growth_convicts_by_itself() {
    // a churn of eight times what leaks in a minute, and a load that ebbs
    let churn = |age: f64| if (age * 7.0) as u64 % 10 < 3 { 16.0 * MIB } else { 0.0 };
    let memory = |age: f64| {
        leak(age.min(70.0) + (age - 70.0).max(0.0) * 0.4) + if age > 60.0 { churn(age) } else { 0.0 }
    };
    let (at, _) = run_by(live(), 330, memory, |_| Some((Rung::Coldness, kept(0.9)))).detected.expect("cold");
    assert!((120.0..=200.0).contains(&at), "{at}");
    let without = run_by(live(), 330, memory, |_| None);
    let convicted = |told: &Told| told.detected.map(|(at, _)| at);
    assert!(
        convicted(&without).is_none_or(|later| later > at + 30.0) && without.cleared.is_none(),
        "{without:?}"
    );
    for says in [kept(0.4), Says::Unclear("some of it is")] {
        let told = run_by(live(), 330, memory, |_| Some((Rung::Coldness, says)));
        assert_eq!(convicted(&told), convicted(&without), "{says:?}");
    }
}

/// Guarantees: growth that has stopped convicts nobody when a little more comes, though nobody uses that; more of it is a leak.
#[test]
fn what_has_stopped_is_judged() {
    let grown = |later: fn(f64) -> f64| {
        let memory =
            move |age: f64| leak(8.0 * age.min(200.0)) + if age > 240.0 { later(age - 240.0) } else { 0.0 };
        let says = |age: f64| {
            let says = if age < 215.0 { Says::Spare(Spare::InUse) } else { kept(0.95) };
            (!(220.0..=245.0).contains(&age)).then_some((Rung::Coldness, says))
        };
        run_by(live(), 600, memory, says)
    };
    let pool = grown(|_| 430.0 * 1024.0);
    assert!(pool.cleared.is_some() && pool.detected.is_none(), "{pool:?}");
    let again = grown(|since| leak(2.0 * since));
    assert!(again.detected.is_some_and(|(at, _)| at > 240.0), "{again:?}");
}

/// Guarantees: what was seen to be in use still is when it has stopped growing and a new case begins, half an hour long; what was garbage is
/// none of a new case's growth, but what comes later is judged anew.
#[test]
fn use_outlives_a_case() {
    let fills = |age: f64| leak(2.0 * (age.min(270.0) + (age - 600.0).max(0.0)));
    let used = run_by(live(), 1400, fills, |age| {
        (age < 290.0).then_some((Rung::Coldness, Says::Spare(Spare::InUse)))
    });
    assert!(used.cleared.is_some() && used.detected.is_none(), "{used:?}");
    let garbage = run_by(live(), 1400, fills, |age| {
        (age < 290.0).then_some((Rung::Outside, Says::Spare(Spare::Garbage)))
    });
    assert!(garbage.cleared.is_some() && garbage.detected.is_some_and(|(at, _)| at > 600.0), "{garbage:?}");
}
