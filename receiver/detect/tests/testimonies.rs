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
    let mut detector = Detector::new(Rules::default());
    let mut told = Told::default();
    for second in 1..seconds {
        let (at, age) = (Duration::from_secs(second), second as f64);
        if second % 30 == 0
            && let Some((rung, says)) = says(age)
        {
            let watched = Duration::from_secs(30);
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
/// explains little of the growth, or cannot tell, changes nothing; growth must have gone on for two minutes all the same.
#[test]
fn kept_speaks_earlier() {
    let verdict = |says: Option<(Rung, Says)>| run(1200, leak, |_| says).detected.expect("detected");
    let (alone_at, alone) = verdict(None);
    let mut surer = Vec::new();
    for rung in [Rung::GrowthStacks, Rung::Outside, Rung::GateProbes, Rung::FullProbes] {
        let (at, with) = verdict(Some((rung, kept(0.9))));
        assert!(
            (120.0..=160.0).contains(&at) && at + 300.0 < alone_at,
            "{rung:?}: {at} s, alone {alone_at} s"
        );
        assert!(with.trend.window >= Rules::CONVICT_WINDOW, "{:?}", with.trend);
        assert!(with.trend.grown >= 1 << 20, "{:?}", with.trend);
        let rungs: Vec<_> = with.evidence.iter().map(|held| held.rung).collect();
        assert_eq!(rungs, [Rung::Trend, rung]);
        assert!(with.confidence < alone.confidence, "what lasts longer is surer: {}", with.confidence);
        surer.push(with.confidence);
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
