//! The detector against the shapes memory takes in the field, sampled as a live host would be: a sweep every
//! 30 s, and whoever the detector asks for in between.

use std::time::Duration;

use mlh_detect::{
    About, Cleared, Detector, Finding, FindingKind, HostMemory, Memory, Pass, Pattern, ProcessKey, Rules,
    Sample, Sweep,
};

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// One process: when it starts and ends, and its charged memory in bytes by its age in seconds.
struct Program {
    pid: u32,
    start: f64,
    end: f64,
    memory: Box<dyn Fn(f64) -> f64>,
    slack: u64,
}

fn program(pid: u32, memory: impl Fn(f64) -> f64 + 'static) -> Program {
    Program { pid, start: 5.0, end: f64::MAX, memory: Box::new(memory), slack: 0 }
}

fn sample(program: &Program, at: f64) -> Option<Sample> {
    (program.start <= at && at < program.end).then(|| Sample {
        key: ProcessKey { pid: program.pid, start_ns: (program.start * 1e9) as u64 },
        memory: Memory { anon: (program.memory)(at - program.start).max(0.0) as u64, ..Memory::default() },
        slack: program.slack,
        image: 1,
        ..Sample::default()
    })
}

/// Verdicts that rest on the shortest stretch there may be: what the trend must show by itself, it must show there as well.
fn soon() -> Rules {
    Rules { trend_alone: Rules::CONVICT_WINDOW, patience: Duration::ZERO, ..Rules::default() }
}

/// Runs the programs for `seconds` under `detector`, the first sweep at `phase` seconds.
fn run_with(detector: &mut Detector, programs: &[Program], phase: f64, seconds: f64) -> Vec<Finding> {
    let host = Some(HostMemory { total: 24 << 30, available: 20 << 30, swap_free: 0 });
    let (mut findings, mut at, mut next_full) = (Vec::new(), phase, phase);
    while at < seconds {
        let pass = if at >= next_full { Pass::Full } else { Pass::Watched };
        let mut samples: Vec<_> = programs.iter().filter_map(|program| sample(program, at)).collect();
        if pass == Pass::Watched {
            samples.retain(|sample| detector.watched().contains(&sample.key));
        } else {
            next_full += 30.0;
        }
        findings.extend(detector.sweep(&Sweep {
            host,
            samples: &samples,
            ..Sweep::empty(Duration::from_secs_f64(at), pass)
        }));
        let soon = detector.watch_again_in().map_or(f64::MAX, |wait| at + wait.as_secs_f64());
        at = soon.min(next_full);
    }
    findings
}

fn run(programs: &[Program], phase: f64, seconds: f64) -> Vec<Finding> {
    run_with(&mut Detector::new(soon()), programs, phase, seconds)
}

fn suspected_at(findings: &[Finding]) -> Option<f64> {
    findings.iter().find(|f| matches!(f.kind, FindingKind::Suspected(_))).map(|f| f.at.as_secs_f64())
}

fn detected_at(findings: &[Finding]) -> Option<f64> {
    findings.iter().find(|f| matches!(f.kind, FindingKind::Detected(_))).map(|f| f.at.as_secs_f64())
}

fn cleared(findings: &[Finding]) -> Vec<Cleared> {
    let reason = |f: &Finding| match f.kind {
        FindingKind::Cleared { reason, .. } => Some(reason),
        _ => None,
    };
    findings.iter().filter_map(reason).collect()
}

/// A small deterministic generator, 0..1.
fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn leak(mb_per_min: f64) -> impl Fn(f64) -> f64 {
    move |age| 3.0 * MIB + age * mb_per_min * MIB / 60.0
}

/// Guarantees: a program leaking 2 MB/min is suspected within 60 s of having leaked 1 MB, which takes it 30 s, and may be
/// convicted within 180 s of its start, at whatever moment between two sweeps it starts, and its velocity lies within the
/// stated interval.
#[test]
fn two_megabytes_a_minute() {
    for step in 0..30 {
        let program = Program { start: 35.0 + f64::from(step), ..program(7, leak(2.0)) };
        let start = program.start;
        let findings = run(&[program], 3.0, 400.0);
        let suspected = suspected_at(&findings).expect("suspected") - start;
        let detected = detected_at(&findings).expect("detected") - start;
        assert!(suspected <= 90.0, "step {step}: suspected after {suspected} s");
        assert!(detected <= 180.0, "step {step}: detected after {detected} s");
        let verdicts: Vec<_> = findings
            .iter()
            .filter_map(|f| match f.kind {
                FindingKind::Detected(verdict) => Some(verdict),
                _ => None,
            })
            .collect();
        assert_eq!(verdicts.len(), 1, "one verdict, not a stream of them");
        let (velocity, interval) = (verdicts[0].trend.velocity, verdicts[0].trend.interval);
        let truth = 2.0 * MIB / 60.0;
        assert!((velocity / truth - 1.0).abs() < 0.1, "{velocity}");
        assert!(interval.0 <= truth * 1.05 && truth * 0.95 <= interval.1, "{interval:?}");
        assert!(verdicts[0].confidence > 0.6);
        assert_eq!(verdicts[0].pattern, Pattern::Steady);
        let gone = verdicts[0].exhaustion.expect("host known");
        assert!(gone.earliest_s <= gone.expected_s && gone.expected_s <= gone.latest_s);
        assert!((gone.expected_s / (20.0 * 1024.0 * 30.0) - 1.0).abs() < 0.1, "{gone:?}");
    }
}

/// Guarantees: leaks from 0.2 to 200 MB/min, also in a process that was calm for an hour and in one that first
/// grew to its working size, are suspected and convicted within 5 minutes of having leaked 1 MB.
#[test]
fn other_velocities() {
    for mb_per_min in [0.2, 0.5, 1.0, 5.0, 20.0, 200.0] {
        for calm in [0.0, 3600.0] {
            let grow = leak(mb_per_min);
            let memory = move |age: f64| 40.0 * MIB * (age / 3.0).min(1.0) + grow((age - calm).max(0.0));
            let findings = run(&[program(7, memory)], 3.0, calm + 1500.0);
            let onset = 5.0 + calm + 60.0 / mb_per_min;
            let detected = detected_at(&findings).unwrap_or(f64::MAX) - onset;
            assert!(detected <= 300.0, "{mb_per_min} MB/min after {calm} s: verdict {detected} s after 1 MB");
        }
    }
}

/// Guarantees: leaks that come unevenly are found too: a block per random request, bursts, collected heaps with
/// small dips, a leak under a sawtooth, and load that doubles and halves.
#[test]
fn uneven_leaks() {
    let requests = |age: f64| {
        let blocks = (0..age as u64).map(|s| (noise(s) * 3.0).floor()).sum::<f64>();
        5.0 * MIB + blocks * 64.0 * KIB
    };
    let bursts = |age: f64| 5.0 * MIB + (age / 10.0).floor() * MIB;
    let heap = |age: f64| {
        let step = (age / 7.0).floor();
        20.0 * MIB + step * 1.2 * MIB - if step as u64 % 4 == 3 { 1.5 * MIB } else { 0.0 }
    };
    let under_teeth = |age: f64| 20.0 * MIB + age * 5.0 * MIB / 60.0 + (age % 15.0) * MIB;
    let load = |age: f64| 20.0 * MIB + (age + 20.0 * (age / 30.0).sin()) * 4.0 * MIB / 60.0;
    let programs: [(&str, Program, f64); 5] = [
        ("requests", program(7, requests), 300.0),
        ("bursts", program(7, bursts), 300.0),
        ("heap", program(7, heap), 300.0),
        ("under teeth", program(7, under_teeth), 400.0),
        ("load", program(7, load), 400.0),
    ];
    for (name, program, by) in programs {
        let findings = run(&[program], 3.0, 900.0);
        let detected = detected_at(&findings).unwrap_or(f64::MAX);
        assert!(detected <= by, "{name}: {detected}");
    }
}

/// Guarantees: a verdict tells in which way the memory grew.
#[test]
fn patterns() {
    let timer = |age: f64| 20.0 * MIB + (age / 30.0).floor() * 2.0 * MIB;
    let faster = |age: f64| 20.0 * MIB + (age / 200.0).powi(2) * 2.0 * MIB;
    let told = |memory: Box<dyn Fn(f64) -> f64>| {
        let findings = run_with(&mut Detector::new(Rules::default()), &[program(7, memory)], 3.0, 3000.0);
        findings.iter().find_map(|f| match f.kind {
            FindingKind::Detected(verdict) => Some(verdict.pattern),
            _ => None,
        })
    };
    assert_eq!(told(Box::new(leak(2.0))), Some(Pattern::Steady));
    assert_eq!(told(Box::new(timer)), Some(Pattern::Periodic));
    assert_eq!(told(Box::new(faster)), Some(Pattern::Accelerating));
}

/// Guarantees: no verdict on what looks like a leak for a while: warm-ups, one-off steps, plateaus, sawtooths
/// short and long, periodic load, noise, a file cache, and a process that only shrinks.
#[test]
fn calm_shapes() {
    let exponential =
        |tau: f64, mib: f64| move |age: f64| 10.0 * MIB + mib * MIB * (1.0 - (-age / tau).exp());
    let ramp = |seconds: f64, mib: f64| move |age: f64| 10.0 * MIB + mib * MIB * (age / seconds).min(1.0);
    let teeth = |period: f64, mib: f64| move |age: f64| 10.0 * MIB + mib * MIB * ((age % period) / period);
    let shapes: Vec<(&str, Program)> = vec![
        ("idle", program(1, |_| 10.0 * MIB)),
        ("quick warm-up", program(1, exponential(5.0, 50.0))),
        ("warm-up", program(1, exponential(30.0, 50.0))),
        ("slow warm-up", program(1, exponential(90.0, 30.0))),
        ("long warm-up", program(1, exponential(200.0, 60.0))),
        ("warm-up with a tail", program(1, |age| 20.0 * MIB * (age.min(600.0) / 600.0).powf(0.3))),
        ("cache fills for 20 s", program(1, ramp(20.0, 64.0))),
        ("cache fills for 90 s", program(1, ramp(90.0, 64.0))),
        ("one step", program(1, |age| if age < 200.0 { 10.0 * MIB } else { 90.0 * MIB })),
        ("three steps", program(1, |age| 10.0 * MIB + (age / 700.0).floor().min(3.0) * 20.0 * MIB)),
        ("teeth of 5 s", program(1, teeth(5.0, 20.0))),
        ("teeth of 40 s", program(1, teeth(40.0, 20.0))),
        ("teeth of 100 s", program(1, teeth(100.0, 20.0))),
        (
            "tide of 200 s",
            program(1, |age| 30.0 * MIB + 10.0 * MIB * (age / 200.0 * std::f64::consts::TAU).sin()),
        ),
        ("noise", program(1, |age| 30.0 * MIB + 8.0 * MIB * noise(age as u64))),
        ("shrinks", program(1, |age| 90.0 * MIB - (age * 50.0 * KIB).min(80.0 * MIB))),
    ];
    for (name, program) in shapes {
        for phase in [3.0, 11.0, 24.0] {
            let findings = run(std::slice::from_ref(&program), phase, 7200.0);
            let about: Vec<_> =
                findings.iter().filter(|f| !matches!(f.kind, FindingKind::Growth { .. })).collect();
            assert_eq!(detected_at(&findings), None, "{name} at phase {phase}: {about:#?}");
        }
    }
}

/// Guarantees: the calmest shapes are not even suspected.
#[test]
fn calm_without_suspicion() {
    let shapes: Vec<(&str, Program)> = vec![
        ("idle", program(1, |_| 10.0 * MIB)),
        ("quick warm-up", program(1, |age| 10.0 * MIB + 50.0 * MIB * (1.0 - (-age / 5.0).exp()))),
        ("cache fills for 20 s", program(1, |age| 10.0 * MIB + 64.0 * MIB * (age / 20.0).min(1.0))),
        ("one step", program(1, |age| if age < 200.0 { 10.0 * MIB } else { 90.0 * MIB })),
        ("teeth of 5 s", program(1, |age| 10.0 * MIB + MIB * (age % 5.0))),
        ("noise", program(1, |age| 30.0 * MIB + 8.0 * MIB * noise(age as u64))),
    ];
    for (name, program) in shapes {
        for phase in [3.0, 11.0, 24.0] {
            let findings = run(std::slice::from_ref(&program), phase, 7200.0);
            assert_eq!(suspected_at(&findings), None, "{name} at phase {phase}");
        }
    }
}

/// Guarantees: a leak that stops is cleared as stopped, one that is given back as given back, one whose process
/// ends as exited; and a second process with the same pid starts with a clean slate.
#[test]
fn cleared_by_what_happened() {
    let stops = run(&[program(7, |age| leak(2.0)(age.min(300.0)))], 3.0, 3000.0);
    assert_eq!(cleared(&stops), [Cleared::Stopped]);
    let returned = |age: f64| if age < 300.0 { leak(6.0)(age) } else { 4.0 * MIB };
    assert_eq!(cleared(&run(&[program(7, returned)], 3.0, 3000.0)), [Cleared::GivenBack]);
    let first = Program { end: 300.0, ..program(7, leak(2.0)) };
    let second = Program { start: 301.0, ..program(7, |_| 80.0 * MIB) };
    let findings = run(&[first, second], 3.0, 3000.0);
    assert_eq!(cleared(&findings), [Cleared::Exited]);
    assert!(
        findings.iter().all(|f| matches!(f.about, About::Process(key) if key.start_ns == 5_000_000_000)),
        "nothing is said of the second"
    );
}

/// Guarantees: an exec under one pid and start time closes the case, and the new program is judged by itself.
#[test]
fn exec_is_a_new_program() {
    let mut detector = Detector::new(soon());
    let mut findings = Vec::new();
    for second in 0..600u64 {
        let sample = Sample {
            key: ProcessKey { pid: 7, start_ns: 0 },
            memory: Memory {
                anon: if second < 300 { (4 << 20) + second * 40_000 } else { 90 << 20 },
                ..Memory::default()
            },
            slack: 0,
            image: if second < 300 { 1 } else { 2 },
            ..Sample::default()
        };
        let at = Duration::from_secs(second);
        let sweep = Sweep { samples: &[sample], ..Sweep::empty(at, Pass::Full) };
        findings.extend(detector.sweep(&sweep));
    }
    assert!(detected_at(&findings).is_some());
    assert_eq!(cleared(&findings), [Cleared::Executed]);
    let grown_after = findings
        .iter()
        .filter(|f| f.at >= Duration::from_secs(300) && matches!(f.kind, FindingKind::Growth { .. }));
    assert_eq!(grown_after.count(), 0, "the new program's size is no growth of the old one");
}

/// Guarantees: a growth record comes when, and only when, the threshold has been passed since the last one; the
/// baseline follows shrinkage down.
#[test]
fn growth_records() {
    let memory = [10.0, 10.9, 11.1, 12.0, 12.2, 5.0, 5.5, 6.1, 6.1];
    let expected = [false, false, true, false, true, false, false, true, false];
    let mut detector = Detector::new(soon());
    for (index, (mib, expected)) in memory.into_iter().zip(expected).enumerate() {
        let program = program(7, move |_| mib * MIB);
        let at = 30.0 * (index + 1) as f64;
        let sweep = Sweep {
            samples: &[sample(&program, at).expect("alive")],
            ..Sweep::empty(Duration::from_secs_f64(at), Pass::Full)
        };
        let grown = detector.sweep(&sweep).iter().any(|f| matches!(f.kind, FindingKind::Growth { .. }));
        assert_eq!(grown, expected, "sweep {index}");
    }
}

/// Guarantees: counters that lag by 96 MiB, as on 64 CPUs, never look like growth, while a leak larger than the
/// lag is still found.
#[test]
fn lag_of_64_cpus() {
    let slack = 96 << 20;
    let jitter = |age: f64| 500.0 * MIB + 90.0 * MIB * (age / 600.0).min(1.0) + 6.0 * MIB * noise(age as u64);
    let lagging = Program { slack, ..program(1, jitter) };
    assert_eq!(run(&[lagging], 3.0, 3600.0), []);
    let leaking = Program { slack, ..program(2, leak(60.0)) };
    assert!(detected_at(&run(&[leaking], 3.0, 1800.0)).is_some());
}

/// Guarantees: when lagging values give way to exact ones, the difference is no growth.
#[test]
fn exact_after_lagging() {
    let mut detector = Detector::new(soon());
    let mut findings = Vec::new();
    for second in (0..1800u64).step_by(2) {
        let exact = second >= 600;
        let sample = Sample {
            key: ProcessKey { pid: 7, start_ns: 0 },
            memory: Memory { anon: if exact { 130 << 20 } else { 100 << 20 }, ..Memory::default() },
            slack: if exact { 0 } else { 32 << 20 },
            image: 1,
            ..Sample::default()
        };
        let at = Duration::from_secs(second);
        findings.extend(detector.sweep(&Sweep { samples: &[sample], ..Sweep::empty(at, Pass::Full) }));
    }
    assert_eq!(findings, []);
}

/// Guarantees: a young process whose lagging counters give way to exact ones is not taken for one that grows: it is
/// looked at for seconds, not for minutes.
#[test]
fn lag_draws_no_look() {
    let mut detector = Detector::new(soon());
    let (mut at, mut watched_until) = (10u64, 0);
    while at < 200 {
        let pass = if at % 30 == 10 { Pass::Full } else { Pass::Watched };
        let exact = at > 10;
        let sample = Sample {
            key: ProcessKey { pid: 7, start_ns: 5_000_000_000 },
            memory: Memory { anon: if exact { 900 << 10 } else { 0 }, ..Memory::default() },
            slack: if exact { 0 } else { 1 << 20 },
            image: 1,
            ..Sample::default()
        };
        detector.sweep(&Sweep { samples: &[sample], ..Sweep::empty(Duration::from_secs(at), pass) });
        watched_until = if detector.watched().is_empty() { watched_until } else { at };
        at += 1;
    }
    assert!((11..60).contains(&watched_until), "{watched_until}");
}

/// Guarantees: swapped and shared memory count, file pages do not.
#[test]
fn what_counts() {
    for kind in 0..4 {
        let mut detector = Detector::new(soon());
        let mut findings = Vec::new();
        for second in 0..400u64 {
            let grown = second * 40_000;
            let mut memory = Memory { anon: 1 << 20, ..Memory::default() };
            match kind {
                0 => memory.anon += grown,
                1 => memory.swap += grown,
                2 => memory.shmem += grown,
                _ => memory.file += grown,
            }
            let sample =
                Sample { key: ProcessKey { pid: 7, start_ns: 0 }, memory, image: 1, ..Sample::default() };
            let at = Duration::from_secs(second);
            findings.extend(detector.sweep(&Sweep { samples: &[sample], ..Sweep::empty(at, Pass::Full) }));
        }
        assert_eq!(detected_at(&findings).is_some(), kind < 3, "kind {kind}");
    }
}

/// Guarantees: the processes followed and watched are bounded, what is passed over is counted, a clock that goes
/// back is ignored, and absurd values do not panic.
#[test]
fn bounds() {
    let rules = Rules { max_processes: 100, max_watched: 10, ..soon() };
    let mut detector = Detector::new(rules);
    for round in 0..50u64 {
        let samples: Vec<_> = (0..500u32)
            .map(|pid| Sample {
                key: ProcessKey { pid, start_ns: u64::from(pid) },
                memory: Memory {
                    anon: round * u64::from(pid) * 100_000,
                    swap: u64::MAX,
                    ..Memory::default()
                },
                slack: u64::MAX / 4,
                image: u64::from(pid),
                ..Sample::default()
            })
            .collect();
        let at = Duration::from_secs(round * 30);
        detector.sweep(&Sweep { samples: &samples, ..Sweep::empty(at, Pass::Full) });
        assert!(detector.followed() <= 100 && detector.watched().len() <= 10);
    }
    assert_eq!(detector.unfollowed(), 50 * 400);
    let back = detector.sweep(&Sweep::empty(Duration::ZERO, Pass::Full));
    assert_eq!((back.len(), detector.followed()), (0, 100));
}

/// Guarantees: in a pass that saw only some processes absence means nothing, and a stated exit ends a case.
#[test]
fn partial_passes_and_stated_exits() {
    let mut detector = Detector::new(soon());
    let key = ProcessKey { pid: 7, start_ns: 0 };
    let mut findings = Vec::new();
    for second in 0..400u64 {
        let memory = Memory { anon: (4 << 20) + second * 40_000, ..Memory::default() };
        let sample = Sample { key, memory, image: 1, ..Sample::default() };
        let samples = if second % 2 == 0 { &[sample][..] } else { &[] };
        let exits = if second == 399 { &[key][..] } else { &[] };
        let at = Duration::from_secs(second);
        findings.extend(detector.sweep(&Sweep { samples, exits, ..Sweep::empty(at, Pass::Partial) }));
    }
    assert!(detected_at(&findings).is_some());
    assert_eq!(cleared(&findings), [Cleared::Exited]);
    assert_eq!(detector.followed(), 0);
}
