use mlh_targets::cgroup_reading::CgroupMemory;

use super::*;
use crate::observe::{BlindSpot, Listen, Sink};
use crate::semconv;

mod leaks;

fn bench(limit: Option<u32>, threshold: u64) -> Bench {
    Bench {
        host: Arc::default(),
        page_size: 4096,
        growth_threshold: threshold,
        oom_horizon: Duration::from_secs(3600),
        max_events_per_second: limit,
        detail: Detail::Recorded,
        scope: Scope::default(),
    }
}

/// Two processes, one of which leaks and both of which grow by 2 MiB a sweep, for a quarter of an hour.
fn judged(limit: Option<u32>, threshold: u64) -> (Vec<Vec<String>>, u64) {
    let bench = bench(limit, threshold);
    let (mut judge, mut names, mut dropped) = (Judge::new(&bench), Vec::new(), 0);
    for sweep in 0..64_u64 {
        let reading = |pid| ProcessReading { pid, anon: sweep << 21, ..ProcessReading::default() };
        let readings = [reading(1), reading(2)];
        let at = Duration::from_secs(100 + sweep * 15);
        let seen = Seen { readings: &readings, ..Seen::empty(at, Pass::Full) };
        let outcome = judge.pass(&seen, &HostClock::starting_at(SystemTime::UNIX_EPOCH));
        let records = outcome.records.iter().flat_map(|logs| &logs.scope_logs).flat_map(|s| &s.log_records);
        names.push(records.map(|record| record.event_name.clone()).collect());
        dropped += outcome.dropped;
    }
    (names, dropped)
}

fn count(names: &[Vec<String>], name: &str) -> usize {
    names.iter().flatten().filter(|found| found.ends_with(name)).count()
}

/// Guarantees: `max_events_per_second` holds back what is over it and counts it, and verdicts pass first.
#[test]
fn the_limit_holds_and_verdicts_pass_first() {
    let (all, none) = judged(None, 256);
    assert_eq!((none, count(&all, "leak.detected")), (0, 2));
    let (some, dropped) = judged(Some(2), 256);
    assert!(some.iter().all(|pass| pass.len() <= 2), "{some:?}");
    assert_eq!(some.iter().flatten().count() as u64 + dropped, all.iter().flatten().count() as u64);
    assert!(dropped > 0);
    assert_eq!(count(&some, "leak.detected"), 2);
}

/// The sweeps, every 15 s, at which a leak was told, and a leak or suspicion taken back, of a process that grows until it ends, and those
/// after which the docket said that a verdict waits. From the suspicion on `awaits` says at each whether it will soon be known who is
/// to blame.
fn waiting(ends: u64, awaits: impl Fn(u64) -> bool) -> (Vec<u64>, Vec<String>, Vec<u64>) {
    let (mut judge, docket) = (Judge::new(&bench(None, 1 << 40)), Arc::new(Docket::default()));
    judge.consult(Arc::default(), Some(Arc::clone(&docket)));
    let (mut told, mut cleared, mut taken, mut due) = (Vec::new(), Vec::new(), None, Vec::new());
    for sweep in 0..=ends {
        let reading = ProcessReading { pid: 1, anon: sweep << 21, ..ProcessReading::default() };
        let readings = if sweep < ends { vec![reading] } else { Vec::new() };
        taken = taken.or_else(|| Some(docket.take(|_| true)?.about));
        if let Some(about) = &taken {
            docket.set_awaits(about, awaits(sweep));
        }
        let at = Duration::from_secs(100 + sweep * 15);
        let seen = Seen { readings: &readings, ..Seen::empty(at, Pass::Full) };
        let records = judge.pass(&seen, &HostClock::starting_at(SystemTime::UNIX_EPOCH)).records;
        let records =
            records.into_iter().flat_map(|logs| logs.scope_logs).flat_map(|scope| scope.log_records);
        for record in records {
            if record.event_name.ends_with("leak.detected") {
                told.push(sweep);
            } else if record.event_name.ends_with("leak.cleared") {
                cleared.push(format!("{:?}", record.body));
            }
        }
        due.extend(taken.is_some_and(|about| docket.is_due(&about)).then_some(sweep));
    }
    (told, cleared, due)
}

/// Guarantees: a verdict waits while somebody is about to find out who is to blame, no longer than for as long as that is so, nor for more
/// than a minute, and is told once; of one that was taken back meanwhile nobody hears but of the suspicion.
#[test]
fn a_verdict_waits_for_the_culprit() {
    let (at_once, _, none) = waiting(64, |_| false);
    let [fell] = at_once[..] else { panic!("{at_once:?}") };
    assert!(none.is_empty(), "{none:?}");
    let (told, _, due) = waiting(64, |_| true);
    assert_eq!((told, due), (vec![fell + 4], (fell..fell + 4).collect()));
    let (told, _, due) = waiting(64, |sweep| sweep <= fell + 1);
    assert_eq!((told, due), (vec![fell + 2], vec![fell, fell + 1]));
    let (told, cleared, due) = waiting(fell + 2, |_| true);
    assert_eq!(due, [fell, fell + 1]);
    assert!(
        told.is_empty() && cleared.len() == 1 && cleared[0].contains("suspected"),
        "{told:?} {cleared:?}"
    );
    assert!(waiting(fell + 2, |_| false).1[0].contains("was leaking"));
}

/// Guarantees: `rss_growth_threshold` is in pages and decides which growth makes a record.
#[test]
fn the_threshold_decides() {
    assert_eq!(count(&judged(None, 512).0, "rss.growth"), 126, "2 MiB each sweep");
    assert_eq!(count(&judged(None, 513).0, "rss.growth"), 62, "4 MiB every other sweep");
}

const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

/// A container whose one worker is another process in each sweep, and what its cgroup counts.
fn recycled(sweep: u64) -> (ProcessReading, Vec<CgroupReading>) {
    let held = (10 + 3 * sweep) << 20;
    let reading = ProcessReading {
        pid: 100 + u32::try_from(sweep).unwrap(),
        start_ns: sweep * 15_000_000_000,
        comm: "worker".to_owned(),
        executable: "worker".to_owned(),
        anon: held,
        memory_cgroup_id: Some(9),
        ..ProcessReading::default()
    };
    let root = CgroupReading { id: 1, ..CgroupReading::default() };
    let memory = CgroupMemory { usage: held, anon: held, max: Some(256 << 20), ..CgroupMemory::default() };
    let container = CgroupReading {
        id: 9,
        parent: 1,
        name: format!("libpod-{ID}"),
        memory: Some(memory),
        node_name: "api-7".to_owned(),
        ..CgroupReading::default()
    };
    (reading, vec![root, container])
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key);
    format!("{:?}", value.and_then(|attribute| attribute.value.clone()?.value))
}

/// Remembers which cgroups it was asked for.
struct Asked(Vec<u64>);

impl Observer for Asked {
    fn full(&mut self) -> Result<Observation, ObserveError> {
        Err(ObserveError::Kernel("it sees nothing".to_owned()))
    }

    fn watched(&mut self, _: &[u32], cgroups: &[WatchedCgroup]) -> Result<Observation, ObserveError> {
        self.0 = cgroups.iter().map(|cgroup| cgroup.id).collect();
        self.full()
    }

    fn listen(&mut self, _: &Listen, _: Sink) -> Vec<BlindSpot> {
        Vec::new()
    }

    fn describe(&self) -> &'static str {
        "asked"
    }
}

/// Guarantees: beside a watched container the cgroups around it that have a limit are asked for, the others not; what they hold is
/// not taken for growth of their own, also where one is a unit by itself.
#[test]
fn limits_around_the_watched_are_read_as_often() {
    let bench = bench(None, 256);
    let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
    let mut judge = Judge::new(&bench);
    let cgroups = |sweep| {
        let (_, mut cgroups) = recycled(sweep);
        let held = cgroups[1].memory.unwrap().usage;
        let memory = |max| Some(CgroupMemory { usage: held, anon: held, max, ..CgroupMemory::default() });
        let around = |id, parent, name: &str, max| CgroupReading {
            id,
            parent,
            name: name.to_owned(),
            memory: memory(max),
            ..CgroupReading::default()
        };
        cgroups.extend([around(5, 1, "shop.slice", None), around(6, 5, "shop.service", Some(1 << 30))]);
        cgroups[1].parent = 6;
        cgroups
    };
    let still =
        |pid| ProcessReading { pid, anon: 4096, memory_cgroup_id: Some(6), ..ProcessReading::default() };
    let mut records = Vec::new();
    for sweep in 0..4 {
        let (reading, cgroups) = (recycled(sweep).0, cgroups(sweep));
        let at = Duration::from_secs(15 * sweep + 15);
        let seen = Seen { readings: &[reading, still(7)], cgroups: &cgroups, ..Seen::empty(at, Pass::Full) };
        judge.pass(&seen, &clock);
    }
    let mut asked = Asked(Vec::new());
    assert!(judge.look(&mut asked, Pass::Watched).is_err());
    asked.0.sort_unstable();
    assert_eq!(asked.0, [6, 9]);
    for second in 61..130 {
        let (reading, cgroups) = (recycled(4).0, cgroups(second - 57));
        let seen = Seen {
            readings: &[reading, still(7)],
            cgroups: &cgroups,
            ..Seen::empty(Duration::from_secs(second), Pass::Watched)
        };
        records.extend(judge.pass(&seen, &clock).records);
    }
    let of_service = records.iter().filter(|logs| {
        let attributes =
            logs.scope_logs.iter().flat_map(|scope| &scope.log_records).flat_map(|r| &r.attributes);
        attributes
            .into_iter()
            .any(|a| a.key == semconv::MEMORY_CGROUP_ID && format!("{a:?}").contains("IntValue(6)"))
    });
    assert_eq!(of_service.count(), 0);
    assert!(!records.is_empty(), "the container itself is a suspect");
}

/// Guarantees: a container is found to leak by what its cgroup counts, its record names it and a process in it; what
/// is left until its limit becomes a risk and a metric, and the kill of a worker is told with the container's trend.
#[test]
fn a_container_from_cgroup_to_record() {
    let bench = bench(None, 256);
    let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
    let mut judge = Judge::new(&bench);
    let mut records = Vec::new();
    for sweep in 0..80 {
        let (reading, cgroups) = recycled(sweep);
        let seen = Seen {
            readings: &[reading],
            cgroups: &cgroups,
            ..Seen::empty(Duration::from_secs(15 * sweep + 15), Pass::Full)
        };
        records.extend(judge.pass(&seen, &clock).records);
    }
    let standing = judge.standing();
    assert_eq!((standing.leaks, standing.velocities.len()), (1, 1));
    assert_eq!(standing.velocities[0].container.as_deref(), Some(ID));
    assert_eq!(standing.times_to_oom[0].container, ID);

    let (reading, _) = recycled(80);
    let killed = [Killed { at: Duration::from_secs(1216), reading }];
    let seen = Seen { kills: &killed, ..Seen::empty(Duration::from_secs(1217), Pass::Partial) };
    records.extend(judge.pass(&seen, &clock).records);

    let named = |name: &str| {
        let found = records.iter().find(|logs| logs.scope_logs[0].log_records[0].event_name.ends_with(name));
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    for name in ["leak.suspected", "leak.detected", "oom.risk"] {
        let logs = named(name);
        let resource = &logs.resource.as_ref().unwrap().attributes;
        assert!(text(resource, "container.id").contains(ID), "{name}");
        assert!(text(resource, "memory_leak_hunter.uts_node_name").contains("api-7"), "{name}");
        assert!(text(resource, "process.executable.name").contains("worker"), "{name}");
        let attributes = &logs.scope_logs[0].log_records[0].attributes;
        assert!(text(attributes, "memory_leak_hunter.scope").contains("container"), "{name}");
    }
    let kill = &named("oom.kill").scope_logs[0].log_records[0];
    assert!(text(&kill.attributes, "memory_leak_hunter.pid").contains("180"));
    assert!(text(&kill.attributes, "memory_leak_hunter.stage").contains("leaking"));
    assert!(!text(&kill.attributes, "memory_leak_hunter.velocity_bytes_per_second").contains("None"));
}

/// A pass over one process that grows by 140 kB a second, two seconds after the one before.
fn passed(judge: &mut Judge, pass: u64) -> Outcome {
    let readings = [ProcessReading { pid: 1, anon: pass * 280_000, ..ProcessReading::default() }];
    let seen = Seen { readings: &readings, ..Seen::empty(at(pass), Pass::Full) };
    judge.pass(&seen, &HostClock::starting_at(SystemTime::UNIX_EPOCH))
}

fn at(pass: u64) -> Duration {
    Duration::from_secs(100 + pass * 2)
}

fn says(velocity: f64, at: Duration) -> Testimony {
    Testimony {
        rung: Rung::GrowthStacks,
        source: "growth_pages",
        at,
        watched: Duration::from_secs(30),
        says: Says::Kept { velocity, interval: (velocity * 0.9, velocity * 1.1), share: 1.0 },
    }
}

/// After how many passes the verdict falls on a process that is climbed for, where so much was seen to be kept; what the verdict
/// rests on; and how the case has ended.
fn verdict(velocity: f64, is_known: bool) -> (u64, String, Option<Closed>) {
    let (known, docket) = (Arc::<KnownStacks>::default(), Arc::<Docket>::default());
    let mut judge = Judge::new(&super::super::estate::tests::bench(1 << 30));
    judge.consult(Arc::clone(&known), Some(Arc::clone(&docket)));
    let mut case = None;
    for pass in 0..1000 {
        let logs = passed(&mut judge, pass).records;
        for record in logs.into_iter().flat_map(|logs| logs.scope_logs).flat_map(|s| s.log_records) {
            if record.event_name.ends_with("leak.suspected") {
                let taken = docket.take(|_| true).expect("the case is handed in at once");
                assert_eq!(taken.target(), Some(crate::investigate::plan::Target::Pid(1)));
                if is_known {
                    let leads = vec![crate::ladder::Lead::default()];
                    known.note(
                        taken.about,
                        Arc::new(crate::ladder::Knowledge { leads, ..Default::default() }),
                    );
                }
                case = Some(taken);
            } else if record.event_name.ends_with("leak.detected") {
                let about = case.expect("suspected before").about;
                let evidence = record.attributes.iter().find(|it| it.key.ends_with(".evidence"));
                return (pass, format!("{evidence:?}"), docket.closed(&about));
            }
        }
        if let Some(case) = &case {
            docket.testify(case.about, says(velocity, at(pass)));
        }
    }
    panic!("no verdict");
}

/// Guarantees: a suspicion is handed in at once; what is seen of it comes into the verdict, which falls earlier where what is kept
/// explains the growth than where it is a small part of it; a verdict that knows whom to blame closes the case.
#[test]
fn cases_are_followed_up() {
    let all = 140_000.0;
    let (early, evidence, closed) = verdict(all, true);
    assert!(evidence.contains("growth_pages:kept"), "{evidence}");
    assert_eq!(closed, Some(Closed::Verdict));
    let (late, _, closed) = verdict(all / 10.0, false);
    assert!(early < late, "{early} and {late}");
    assert_eq!(closed, None, "somebody is yet to be found");
}

/// Guarantees: where nothing follows from suspicions nothing is handed in and nothing lost; where it does and there is no room, the
/// case is counted.
#[test]
fn cases_that_find_no_room_are_counted() {
    for (room, expected) in [(None, 0), (Some(false), 1), (Some(true), 0)] {
        let mut judge = Judge::new(&super::super::estate::tests::bench(1 << 30));
        let docket = Arc::<Docket>::default();
        if room == Some(false) {
            docket.fill();
        }
        judge.consult(Arc::default(), room.map(|_| Arc::clone(&docket)));
        let mut passes = 0..200;
        let mut lost = 0;
        while judge.standing().suspects == 0 {
            lost += passed(&mut judge, passes.next().expect("a suspicion")).unclimbed;
        }
        assert_eq!(lost, expected, "{room:?}");
    }
}
