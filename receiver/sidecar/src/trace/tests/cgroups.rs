//! Cgroups and kills in traces.

use mlh_targets::cgroup_reading::{is_made_up, made_up_id};
use mlh_targets::hierarchy::Hierarchy;

use super::*;

const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

fn cgroup(id: u64, parent: u64, name: &str, memory: Option<CgroupMemory>) -> CgroupReading {
    CgroupReading { id, parent, unified: true, name: name.into(), memory, node_name: String::new() }
}

fn memory(anon: u64) -> CgroupMemory {
    CgroupMemory {
        usage: anon + 9,
        anon,
        file: 8,
        swap: 7,
        slack: 6,
        max: Some(5000),
        high: Some(4000),
        swap_max: Some(0),
        total_max: Some(3000),
    }
}

/// A trace of these observations, each with the victims that were heard of before it.
fn recorded(anonymize: bool, passes: &[(Observation, Vec<(f64, ProcessReading)>)]) -> String {
    let clock = HostClock::starting_at(std::time::UNIX_EPOCH);
    let mut bytes = Vec::new();
    let mut writer = TraceWriter::new(&mut bytes, &HostIdentity::read(), anonymize);
    for (observation, victims) in passes {
        for (at, victim) in victims {
            writer.killed(secs(*at), victim).unwrap();
        }
        writer.pass(observation, &clock).unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

fn with_cgroups(at: f64, pass: Pass, cgroups: Vec<CgroupReading>) -> Observation {
    Observation { cgroups, ..observation(at, pass, vec![reading(1, 10)]) }
}

/// Guarantees: every member of every cgroup comes back, of both trees where their ids meet, in full passes and in
/// watched ones that do not tell of the cgroups around; so does a kill, at its own time, with all that the record of
/// it needs.
#[test]
fn round_trip() {
    let named = CgroupReading { node_name: "pod-7".into(), ..cgroup(30, 20, ID, Some(memory(100))) };
    let v1 = |reading: CgroupReading| CgroupReading { unified: false, ..reading };
    let full = vec![
        v1(cgroup(1, 0, "", None)),
        cgroup(1, 0, "", None),
        cgroup(20, 1, "docker", Some(CgroupMemory { max: None, high: None, ..memory(120) })),
        named.clone(),
        v1(cgroup(31, 1, "other.service", Some(CgroupMemory { swap_max: None, ..memory(5) }))),
        cgroup(40, 39, "way-unknown", None),
    ];
    let later = CgroupReading { memory: Some(memory(200)), ..named };
    let victim = ProcessReading { pid: 0, host_pid: Some(77), ..reading(0, 99) };
    let early = (0.5, reading(9, 1));
    let passes = [
        (with_cgroups(1.0, Pass::Full, full.clone()), vec![early]),
        (with_cgroups(2.0, Pass::Watched, vec![later.clone()]), vec![]),
        (with_cgroups(31.0, Pass::Full, full.clone()), vec![(5.25, reading(1, 11)), (7.0, victim.clone())]),
    ];
    let (found, errors) = super::passes(&recorded(false, &passes));
    assert!(errors.is_empty(), "{errors:?}");
    let times: Vec<_> = found.iter().map(|pass| (pass.t.as_secs_f64(), pass.coverage)).collect();
    let (whole, some) = (Some(Pass::Full), Some(Pass::Watched));
    assert_eq!(times, [(0.0, whole), (1.0, some), (4.25, None), (6.0, None), (30.0, whole)]);
    assert_eq!((&found[0].cgroups, &found[4].cgroups), (&full, &full));
    assert_eq!(found[1].cgroups, [later]);
    assert_eq!(found[2].oom_kills, [reading(1, 11)]);
    let told = &found[3].oom_kills[0];
    assert_eq!((told.pid, told.host_pid, told.anon, told.shmem), (0, Some(77), 99, 3));
    assert_eq!((&told.comm, told.memory_cgroup_id), (&victim.comm, victim.memory_cgroup_id));
    assert_eq!(told.start_ns, victim.start_ns);
}

/// Guarantees: in an anonymised trace containers and services are still told from other cgroups, a user's service
/// manager is still none, each known again under its new name; no name, id or guessable number of the host remains.
#[test]
fn anonymized() {
    let ecs = "0123456789abcdef0123456789abcdef-1234567890";
    let pod = "kubepods-besteffort-pod8a3b2c1d_0e4f_4a5b_8c6d_7e8f90a1b2c3.slice";
    let made_up = made_up_id("/acme");
    let full = vec![
        cgroup(2, 0, pod, None),
        cgroup(3, 2, &format!("cri-containerd-{ID}.scope"), None),
        cgroup(4, 0, "acme.service", None),
        cgroup(5, 0, "user@1000.service", None),
        cgroup(6, 0, ecs, None),
        cgroup(7, 0, &format!("libpod-conmon-{ID}.scope"), None),
        CgroupReading { node_name: "acme-pod".into(), ..cgroup(made_up, 2, "acme", None) },
    ];
    let mut inside = reading(1, 10);
    inside.memory_cgroup_id = Some(made_up);
    let mut observation = with_cgroups(1.0, Pass::Full, full);
    observation.readings = vec![inside.clone()];
    let again = Observation { at: secs(2.0), ..observation.clone() };
    let text = recorded(true, &[(observation, vec![]), (again, vec![(1.5, inside)])]);
    for name in [ID, "acme", "pod8a", "@1000", "0123456789", "libpod", "cri-", "api", &made_up.to_string()] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    let (found, errors) = super::passes(&text);
    assert!(errors.is_empty(), "{errors:?}");
    let mut hierarchy = Hierarchy::default();
    hierarchy.full(&found[0].cgroups);
    let unit = |hierarchy: &mut Hierarchy, id| hierarchy.unit_of(id);
    let id = |hierarchy: &mut Hierarchy, key| {
        unit(hierarchy, key).unwrap().container_id.as_ref().unwrap().as_str().to_owned()
    };
    assert_eq!(id(&mut hierarchy, 3).len(), 64);
    assert_eq!(id(&mut hierarchy, 6).split_once('-').unwrap().0.len(), 32);
    assert!(unit(&mut hierarchy, 4).unwrap().path.ends_with(".service"));
    for other in [2, 5, 7] {
        assert_eq!(unit(&mut hierarchy, other), None, "{other}");
    }
    let hidden = found[0].readings[0].memory_cgroup_id.unwrap();
    assert!(
        is_made_up(hidden) && found[0].cgroups.iter().any(|cgroup| cgroup.id == hidden && cgroup.parent == 2)
    );
    assert_eq!(found[1].oom_kills[0].memory_cgroup_id, Some(hidden));
    assert_eq!(found[0].cgroups, found[2].cgroups);
}

fn line(t: f64, id: u64, rest: &str) -> String {
    format!("{{\"kind\":\"cgroup\",\"t\":{t},\"cgroup_id\":{id}{rest}}}\n")
}

/// A time, and cgroups with how much anonymous memory each has then.
type Shown = (f64, Vec<(u64, Option<u64>)>);

/// The full passes of a trace.
fn shown(text: &str) -> Vec<Shown> {
    let (found, errors) = super::passes(text);
    assert!(errors.is_empty(), "{errors:?}");
    let anon = |cgroup: &CgroupReading| (cgroup.id, cgroup.memory.map(|memory| memory.anon));
    let full = found.iter().filter(|pass| pass.coverage == Some(Pass::Full));
    full.map(|pass| (pass.t.as_secs_f64(), pass.cgroups.iter().map(anon).collect())).collect()
}

/// Guarantees: in a trace without marks a cgroup that was told of once stays known, and the memory that was told at
/// other times than that of the processes counts, until it has not been told for three times its spacing.
#[test]
fn what_was_told_holds() {
    let mut text = line(0.0, 5, ",\"path\":\"/a\"");
    for n in 0..8 {
        let t = f64::from(n) * 10.0;
        text += &process(t, 1, 1);
        if n < 3 {
            text += &line(t + 1.0, 6, &format!(",\"anon\":{n}"));
        }
    }
    let expected =
        [None, Some(Some(0)), Some(Some(1)), Some(Some(2)), Some(Some(2)), Some(Some(2)), Some(None)];
    for ((t, cgroups), memory) in shown(&text).into_iter().zip(expected) {
        let known: Vec<_> = [(5, None)].into_iter().chain(memory.map(|memory| (6, memory))).collect();
        assert_eq!(cgroups, known, "at {t}");
    }
}

/// Guarantees: a cgroup whose parents are in the trace has its own name and place, in whatever order they are told; of
/// one whose parents are not, or that names itself as its parent, the whole path is the name; of two lines at one time
/// the later holds.
#[test]
fn places() {
    let text = [
        line(1.0, 7, ",\"parent\":6,\"path\":\"/a/b\",\"anon\":1"),
        line(1.0, 6, ",\"parent\":1,\"path\":\"/a\""),
        line(1.0, 8, &format!(",\"parent\":99,\"path\":\"/x/y/{ID}\"")),
        line(1.0, 9, ""),
        line(1.0, 10, ",\"parent\":10,\"path\":\"/self\""),
        line(1.0, 7, ",\"parent\":6,\"path\":\"/a/c\",\"anon\":2.0,\"limit\":0,\"high\":0"),
        process(1.0, 1, 1),
    ]
    .concat();
    let (found, errors) = super::passes(&text);
    assert!(errors.is_empty(), "{errors:?}");
    let whole = format!("x/y/{ID}");
    let places: Vec<_> =
        found[0].cgroups.iter().map(|cgroup| (cgroup.id, cgroup.parent, cgroup.name.as_str())).collect();
    assert_eq!(places, [(6, 0, "a"), (7, 6, "c"), (8, 0, whole.as_str()), (9, 0, ""), (10, 10, "self")]);
    let memory = CgroupMemory { usage: 2, anon: 2, ..CgroupMemory::default() };
    assert_eq!(found[0].cgroups[1].memory, Some(memory));
    let mut hierarchy = Hierarchy::default();
    hierarchy.full(&found[0].cgroups);
    assert_eq!(hierarchy.unit_of(8).unwrap().container_id.as_ref().unwrap().as_str(), ID);
    assert_eq!(hierarchy.unit_of(10), None, "a circle is walked once");
}

/// Guarantees: more cgroups and more kills than a host can have are told as faults and not kept, names are cut, and
/// numbers that are no counts are refused.
#[test]
fn bounds() {
    let mut text: String =
        (1..=super::super::cgroups::MAX_CGROUPS + 2).map(|id| line(1.0, id as u64, "")).collect();
    text += &(0..4100).map(|_| "{\"kind\":\"oom_kill\",\"t\":1,\"pid\":3}\n").collect::<String>();
    let (found, errors) = super::passes(&text);
    assert_eq!(
        (found[0].cgroups.len(), found[0].oom_kills.len()),
        (super::super::cgroups::MAX_CGROUPS, 4096)
    );
    assert_eq!(errors.len(), 2 + 4);
    assert!(matches!(errors[0], TraceError::TooMany { what: "cgroups", .. }), "{}", errors[0]);
    assert_eq!(errors[5].to_string(), "line 69638: more than 4096 kills");

    let long = "é".repeat(5000);
    let (found, _) = super::passes(&line(1.0, 5, &format!(",\"path\":\"/{long}\",\"node_name\":\"{long}\"")));
    let cgroup = &found[0].cgroups[0];
    assert!(cgroup.name.len() < 4096 && cgroup.node_name.len() <= 64);
    for bad in [",\"anon\":-1", ",\"limit\":1e300", ",\"parent\":-4", ",\"path\":5"] {
        assert_eq!(super::passes(&line(1.0, 5, bad)).1.len(), 1, "{bad}");
    }
}

/// Guarantees: a kill that says only who was killed is filled up with what the trace showed of the process last, by
/// its pid alone if need be; of one that was never seen nothing is made up.
#[test]
fn a_kill_is_filled_up() {
    let text = [
        process(1.0, 5, 4096),
        process(2.0, 5, 8192),
        "{\"kind\":\"oom_kill\",\"t\":2.5,\"pid\":5}\n".to_owned(),
        "{\"kind\":\"oom_kill\",\"t\":3,\"pid\":6,\"start\":1.0}\n".to_owned(),
        "{\"kind\":\"oom_kill\",\"t\":3,\"pid\":5,\"start\":1.5,\"anon\":9000,\"comm\":\"x\"}\n".to_owned(),
    ]
    .concat();
    let (found, errors) = super::passes(&text);
    assert!(errors.is_empty(), "{errors:?}");
    let kills: Vec<_> = found.iter().flat_map(|pass| &pass.oom_kills).collect();
    let told: Vec<_> = kills.iter().map(|k| (k.pid, k.start_ns, k.anon, k.comm.as_str())).collect();
    assert_eq!(
        told,
        [(5, 1_500_000_000, 8192, ""), (6, 1_000_000_000, 0, ""), (5, 1_500_000_000, 9000, "x")]
    );
}

/// Guarantees: a pass that thinning fills up shows every cgroup with what was told of it last.
#[test]
fn thinned() {
    let mut text = String::new();
    for n in 0..4 {
        let t = f64::from(n) * 10.0;
        text += &process(t, 1, 1);
        text += &line(t + 0.5, 6, &format!(",\"anon\":{n}"));
        text += &process(t + 1.0, 2, 1);
    }
    let (found, errors) = split(thin(Passes::new(Cursor::new(text)), secs(10.0)));
    assert!(errors.is_empty(), "{errors:?}");
    let due = found.iter().filter(|(_, due)| *due);
    let anon = |pass: &TracePass| pass.cgroups.iter().map(|c| c.memory.unwrap().anon).collect::<Vec<_>>();
    let shown: Vec<_> = due.map(|(pass, _)| (pass.t.as_secs_f64(), anon(pass))).collect();
    assert_eq!(shown, [(0.0, vec![]), (10.0, vec![0]), (20.0, vec![1]), (30.0, vec![2])]);
}
