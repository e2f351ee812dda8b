//! The detector against containers: who of them leaks when no process tells it, who does not although processes seem to,
//! and when their limits are reached.

use std::time::Duration;

use mlh_detect::{
    About, ContainerKey, ContainerSample, Detector, Exhaustion, Finding, FindingKind, Limit, LimitKind,
    Memory, OomVictim, Pass, ProcessKey, Room, Rules, Sample, Stage, Sweep,
};

const MIB: f64 = 1024.0 * 1024.0;
const CONTAINER: ContainerKey = ContainerKey(77);

/// What one container holds at a time: its processes, each with its anonymous and shared memory, and what its memory
/// cgroup counts. In bytes.
struct View {
    processes: Vec<(ProcessKey, f64, f64)>,
    counted: f64,
}

fn process(pid: u32, start: f64) -> ProcessKey {
    ProcessKey { pid, start_ns: (start * 1e9) as u64 }
}

struct World<'a> {
    view: &'a dyn Fn(f64) -> View,
    limit: Option<f64>,
    upper_bound: bool,
}

/// Sweeps a container as a live host would, each 30 s and whenever the detector asks for it.
/// Verdicts that rest on the shortest stretch there may be: what the trend must show by itself, it must show there as well.
fn soon() -> Rules {
    Rules { trend_alone: Rules::CONVICT_WINDOW, patience: Duration::ZERO, ..Rules::default() }
}

fn run_with(detector: &mut Detector, world: &World<'_>, seconds: f64) -> Vec<Finding> {
    let (mut findings, mut at, mut next_full) = (Vec::new(), 10.0, 10.0);
    while at < seconds {
        let pass = if at >= next_full { Pass::Full } else { Pass::Watched };
        let View { processes, counted } = (world.view)(at);
        let mut samples: Vec<Sample> = processes
            .iter()
            .map(|(key, anon, shmem)| Sample {
                key: *key,
                memory: Memory { anon: *anon as u64, shmem: *shmem as u64, ..Memory::default() },
                image: 1,
                container: Some(CONTAINER),
                ..Sample::default()
            })
            .collect();
        let room = |limit: f64| Room {
            limit: Limit { kind: LimitKind::Max, bytes: limit as u64, cgroup_id: Some(77) },
            left: (limit - counted).max(0.0) as u64,
            fresh: true,
        };
        let mut containers = vec![ContainerSample {
            key: CONTAINER,
            memory: Memory { anon: counted as u64, ..Memory::default() },
            slack: 0,
            rooms: [world.limit.map(room), None, None, None],
            upper_bound: world.upper_bound,
            watchable: true,
        }];
        if pass == Pass::Watched {
            samples.retain(|sample| detector.watched().contains(&sample.key));
            containers
                .retain(|sample| detector.watched_containers().any(|watched| watched.key == sample.key));
        } else {
            next_full += 30.0;
        }
        let sweep = Sweep {
            samples: &samples,
            containers: &containers,
            ..Sweep::empty(Duration::from_secs_f64(at), pass)
        };
        findings.extend(detector.sweep(&sweep));
        let soon = detector.watch_again_in().map_or(f64::MAX, |wait| at + wait.as_secs_f64());
        at = soon.min(next_full);
    }
    findings
}

fn run(view: &dyn Fn(f64) -> View, limit: Option<f64>, seconds: f64) -> Vec<Finding> {
    run_with(&mut Detector::new(soon()), &World { view, limit, upper_bound: false }, seconds)
}

fn is_case(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::Suspected(_) | FindingKind::Detected(_))
}

fn detected(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|f| matches!(f.kind, FindingKind::Detected(_))).collect()
}

fn risks(findings: &[Finding]) -> Vec<(f64, Exhaustion, Stage)> {
    let risk = |f: &Finding| match f.kind {
        FindingKind::OomRisk(risk) => Some((f.at.as_secs_f64(), risk.exhaustion, risk.stage)),
        _ => None,
    };
    findings.iter().filter_map(risk).collect()
}

/// Guarantees: workers that live for 12 s each and hand what they leaked on to their successors are no suspects
/// themselves, and their container is found within three minutes, with a living process as the one that grew most.
#[test]
fn recycled_workers() {
    let view = |at: f64| {
        let born = (at / 12.0).floor() * 12.0;
        let leaked = 10.0 * MIB + at * 0.5 * MIB;
        View {
            processes: vec![
                (process(1, 0.0), 2.0 * MIB, 0.0),
                (process(100 + (born / 12.0) as u32, born), leaked, 0.0),
            ],
            counted: 2.0 * MIB + leaked,
        }
    };
    let findings = run(&view, None, 240.0);
    let verdicts = detected(&findings);
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(verdicts[0].about, About::Container(CONTAINER));
    assert!(verdicts[0].at.as_secs_f64() <= 190.0, "{:?}", verdicts[0].at);
    assert!(verdicts[0].leader.is_some_and(|leader| leader.pid > 1), "{:?}", verdicts[0].leader);
    assert!(findings.iter().filter(|f| is_case(f)).all(|f| matches!(f.about, About::Container(_))));
}

/// Guarantees: forty processes that each grow by 1 KiB/s, far below what makes one of them a case soon, are one
/// growing container.
#[test]
fn many_that_each_grow_a_little() {
    let view = |at: f64| View {
        processes: (0..40).map(|pid| (process(100 + pid, 1.0), 5.0 * MIB + at * 1024.0, 0.0)).collect(),
        counted: 40.0 * (5.0 * MIB + at * 1024.0),
    };
    let findings = run(&view, None, 300.0);
    assert!(detected(&findings).iter().any(|f| f.about == About::Container(CONTAINER)));
    assert!(detected(&findings).iter().all(|f| f.about == About::Container(CONTAINER)));
}

/// Guarantees: workers forked one after the other over one table, and a shared mapping that each of them touches
/// little by little, make sums of processes grow; where the memory cgroup stands still there is no case at all.
#[test]
fn forked_workers_over_a_shared_table() {
    let workers = |at: f64| (0..8).map(move |n| (n, 20.0 * f64::from(n))).filter(move |(_, born)| at > *born);
    let view = |at: f64| View {
        processes: workers(at)
            .map(|(n, born)| (process(100 + n, born), 48.0 * MIB, ((at - born) * 0.4 * MIB).min(48.0 * MIB)))
            .collect(),
        counted: 98.0 * MIB,
    };
    let findings = run(&view, Some(256.0 * MIB), 400.0);
    let told: Vec<_> =
        findings.iter().filter(|f| is_case(f) || matches!(f.kind, FindingKind::OomRisk(_))).collect();
    assert!(told.is_empty(), "{told:?}");
}

/// Guarantees: the same mapping is a case where the container grows with it.
#[test]
fn shared_memory_that_is_new() {
    let view = |at: f64| View {
        processes: vec![(process(100, 0.0), 4.0 * MIB, at * 0.4 * MIB)],
        counted: 4.0 * MIB + at * 0.4 * MIB,
    };
    let findings = run(&view, None, 300.0);
    assert!(detected(&findings).iter().any(|f| f.about == About::Process(process(100, 0.0))));
}

/// Guarantees: a sum of processes is told as an upper bound in each of its findings.
#[test]
fn upper_bounds_say_so() {
    let view = |at: f64| View { processes: vec![(process(100, 0.0), at * MIB, 0.0)], counted: at * MIB };
    let world = World { view: &view, limit: None, upper_bound: true };
    let findings = run_with(&mut Detector::new(soon()), &world, 700.0);
    let of_container: Vec<_> = findings.iter().filter(|f| matches!(f.about, About::Container(_))).collect();
    assert!(of_container.iter().any(|f| matches!(f.kind, FindingKind::Detected(_))));
    assert!(of_container.iter().all(|f| f.upper_bound));
    assert!(findings.iter().all(|f| f.upper_bound == matches!(f.about, About::Container(_))));
}

/// Guarantees: over leaks of different speeds the limit is reached within every interval that was told; a risk is told
/// before the limit is reached, of the container and not of its processes, and again only when half of the time is left.
#[test]
fn the_limit_is_reached_when_it_was_said() {
    for (speed, limit) in
        [(0.25, 64.0), (0.5, 64.0), (1.0, 200.0), (2.0, 300.0), (4.0, 500.0), (0.125, 256.0)]
    {
        let noise = |at: f64| ((at * 7.3).sin() + (at * 1.7).cos()) * 0.2 * MIB;
        let held = move |at: f64| 5.0 * MIB + at * speed * MIB + noise(at);
        let view =
            move |at: f64| View { processes: vec![(process(100, 0.0), held(at), 0.0)], counted: held(at) };
        let end = (limit - 5.0) / speed;
        let findings = run(&view, Some(limit * MIB), end);
        let risks = risks(&findings);
        assert!(!risks.is_empty(), "{speed} MiB/s to {limit} MiB");
        for (at, told, stage) in &risks {
            let left = end - at;
            assert!(
                told.earliest_s <= left && left <= told.latest_s,
                "{speed}, {limit}: {left} s and {told:?}"
            );
            assert!((told.latest_s - told.earliest_s) / 2.0 <= 0.25 * left.max(20.0), "{left} s, {told:?}");
            assert_eq!(told.limit.kind, LimitKind::Max);
            assert!(*stage == Stage::Leaking || told.expected_s <= 188.0);
        }
        for pair in risks.windows(2) {
            assert!(pair[1].1.expected_s <= 0.5 * pair[0].1.expected_s, "{pair:?}");
        }
        let about: Vec<_> =
            findings.iter().filter(|f| matches!(f.kind, FindingKind::OomRisk(_))).map(|f| f.about).collect();
        assert!(about.iter().all(|about| *about == About::Container(CONTAINER)), "{about:?}");
    }
}

/// Guarantees: a leak whose limit is farther away than the horizon is no risk, and the horizon is the user's.
#[test]
fn the_horizon_decides() {
    let view = |at: f64| View { processes: vec![(process(100, 0.0), at * MIB, 0.0)], counted: at * MIB };
    let seconds_at_limit = |horizon: u64| {
        let rules = Rules { oom_horizon: Duration::from_secs(horizon), ..soon() };
        let world = World { view: &view, limit: Some(2000.0 * MIB), upper_bound: false };
        risks(&run_with(&mut Detector::new(rules), &world, 600.0)).first().map(|(at, ..)| *at)
    };
    assert_eq!(seconds_at_limit(600), None);
    assert!(seconds_at_limit(3600).is_some_and(|at| at < 240.0));
}

/// Guarantees: an OOM kill is told with what was known of its process or else of its container, also of a process that
/// nobody ever saw.
#[test]
fn a_kill_tells_what_the_trend_had_been() {
    let held = |at: f64| 5.0 * MIB + at * MIB;
    let view = move |at: f64| View { processes: vec![(process(100, 0.0), held(at), 0.0)], counted: held(at) };
    let mut detector = Detector::new(soon());
    let world = World { view: &view, limit: Some(220.0 * MIB), upper_bound: false };
    let before = run_with(&mut detector, &world, 210.0);
    assert!(!risks(&before).is_empty());
    let victim = |pid, container| OomVictim {
        at: Duration::from_secs(211),
        key: process(pid, 0.0),
        container,
        memory: Memory { anon: 7, ..Memory::default() },
    };
    let victims = [victim(100, Some(CONTAINER)), victim(4711, Some(CONTAINER)), victim(4712, None)];
    let at = Duration::from_secs(212);
    let told = detector.sweep(&Sweep { victims: &victims, ..Sweep::empty(at, Pass::Partial) });
    let kill = |finding: &Finding| match finding.kind {
        FindingKind::OomKill(kill) => kill,
        other => panic!("{other:?}"),
    };
    let kills: Vec<_> = told.iter().map(kill).collect();
    assert_eq!(told.iter().map(|f| f.memory.anon).collect::<Vec<_>>(), [7, 7, 7]);
    assert_eq!(told[0].at, Duration::from_secs(211), "the time is the kill's own");
    for known in &kills[..2] {
        assert_eq!(known.stage, Stage::Leaking);
        let velocity = known.trend.expect("a case was open").velocity;
        assert!((velocity / MIB - 1.0).abs() < 0.1, "{velocity}");
        assert!(known.told.is_some() && known.grown > 0);
    }
    assert_eq!((kills[2].stage, kills[2].trend, kills[2].told), (Stage::Calm, None, None));
}

/// Guarantees: a container that is gone ends its case, and one that never moved is followed without a history.
#[test]
fn a_container_that_ends() {
    let view = |at: f64| View { processes: vec![(process(100, 0.0), at * MIB, 0.0)], counted: at * MIB };
    let mut detector = Detector::new(soon());
    let world = World { view: &view, limit: None, upper_bound: false };
    run_with(&mut detector, &world, 240.0);
    assert!(detector.follows(&About::Container(CONTAINER)));
    let ended = detector.sweep(&Sweep::empty(Duration::from_secs(300), Pass::Full));
    assert!(ended.iter().any(|f| f.about == About::Container(CONTAINER)), "{ended:?}");
    assert!(!detector.follows(&About::Container(CONTAINER)));
    assert_eq!(detector.ongoing().count(), 0);
}

/// Guarantees: what the kernel tells of growth between two sweeps is told at once, whatever the counters of the sweeps lag,
/// and has the process looked at; it makes no case by itself and forgets nothing.
#[test]
fn growth_that_the_kernel_told_of() {
    const LAG: u64 = 96 << 20;
    let mut detector = Detector::new(soon());
    let sample = |bytes: f64, slack| Sample {
        key: process(100, 0.0),
        memory: Memory { anon: bytes as u64, ..Memory::default() },
        slack,
        image: 1,
        ..Sample::default()
    };
    let mut at = |seconds: u64, pass, bytes, slack| {
        let samples = [sample(bytes, slack)];
        detector.sweep(&Sweep { samples: &samples, ..Sweep::empty(Duration::from_secs(seconds), pass) })
    };
    assert_eq!(at(1000, Pass::Full, 10.0 * MIB, LAG), []);
    for second in 1..=5 {
        let told = at(1000 + second, Pass::Told, (10.0 + second as f64) * MIB, 0);
        let [Finding { kind: FindingKind::Growth { grown, .. }, .. }] = told[..] else { panic!("{told:?}") };
        assert_eq!(grown, 1 << 20, "what was told is the baseline of the next");
    }
    assert_eq!(at(1030, Pass::Full, 10.0 * MIB, LAG), [], "counters that lag are no news");
    assert_eq!(detector.watched(), [process(100, 0.0)]);
}

/// Guarantees: where the container shows no growth, its leaking process tells of the limit itself.
#[test]
fn a_calm_container_leaves_the_risk_to_its_process() {
    let view = |at: f64| View { processes: vec![(process(100, 0.0), at * MIB, 0.0)], counted: 300.0 * MIB };
    let findings = run(&view, Some(500.0 * MIB), 200.0);
    let about: Vec<_> =
        findings.iter().filter(|f| matches!(f.kind, FindingKind::OomRisk(_))).map(|f| f.about).collect();
    assert_eq!(about.first(), Some(&About::Process(process(100, 0.0))));
}

/// Guarantees: that the container grew by a jump in the beginning, or seems to have because its counters were late, does not
/// make its workers guilty who map more and more of what is there.
#[test]
fn a_jump_at_the_beginning_accuses_nobody() {
    for jump in [11.0, 15.0, 30.0, 60.0] {
        let view = move |at: f64| View {
            processes: (0..4)
                .map(|n| (process(100 + n, 1.0), 1.0 * MIB, (at * 0.4 * MIB).min(96.0 * MIB)))
                .collect(),
            counted: if at < jump { 0.5 * MIB } else { 98.0 * MIB },
        };
        let findings = run(&view, None, 240.0);
        let accused: Vec<_> =
            findings.iter().filter(|f| matches!(f.kind, FindingKind::Detected(_))).collect();
        assert!(accused.is_empty(), "a jump at {jump} s: {accused:?}");
        let suspected = findings.iter().filter(|f| is_case(f)).count();
        assert!(jump > 20.0 || suspected == 0, "a jump at {jump} s: {suspected} suspicions");
    }
}
