use std::time::Duration;

use super::*;
use crate::sample::{About, ContainerKey, ProcessKey};

const DAY: u64 = 86_400;
const REMEMBER: Place<'static> = Place::Function { module: "api", name: "remember" };
const FORGET: Place<'static> = Place::Function { module: "api", name: "forget" };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(20_000 * DAY + seconds)
}

fn api() -> Program<'static> {
    Program { build_id: Some("c0ffee"), executable: "/bin/api", command: "api", service: None }
}

/// A process, 100 s old at its verdict.
fn of(pid: u32, seconds: u64, place: Option<Place<'static>>) -> Sighting<'static> {
    let key = ProcessKey { pid, start_ns: seconds };
    Sighting {
        at: at(seconds),
        about: About::Process(key),
        process: Some(key),
        container: None,
        started: Some(at(seconds) - Duration::from_secs(100)),
        program: api(),
        place,
        velocity: f64::from(pid) * 1000.0,
        bytes: 1 << 20,
    }
}

fn inside(container: &'static str, pid: u32, place: Option<Place<'static>>) -> Sighting<'static> {
    Sighting { container: Some(container), ..of(pid, 0, place) }
}

/// The container itself.
fn whole(container: &'static str, key: u64, pid: u32, place: Option<Place<'static>>) -> Sighting<'static> {
    Sighting { about: About::Container(ContainerKey(key)), ..inside(container, pid, place) }
}

/// Guarantees: the id of a leak is what users were promised: the same on every host and in every version. It depends on
/// the image and on what is to blame; the path does not matter where there is a build id, nor command and service where
/// there is a place.
#[test]
fn ids_are_for_ever() {
    let id =
        |program: Program<'_>, place: Option<Place<'_>>| LeakId::of(&program, place.as_ref()).to_string();
    assert_eq!(id(api(), Some(REMEMBER)), "d897f94ebf1c2838");
    assert_eq!(id(api(), None), "5d912649178c73d8");
    let moved = Program { executable: "/opt/api", command: "worker", service: Some("shop"), ..api() };
    assert_eq!(id(moved, Some(REMEMBER)), id(api(), Some(REMEMBER)));
    assert_ne!(id(moved, None), id(api(), None), "another service of the same interpreter");
    let others = [
        id(api(), None),
        id(api(), Some(REMEMBER)),
        id(api(), Some(FORGET)),
        id(api(), Some(Place::Stack(7))),
        id(api(), Some(Place::Class("shop::Order"))),
        id(Program { build_id: None, ..api() }, Some(REMEMBER)),
        id(api(), Some(Place::Function { module: "a", name: "piremember" })),
    ];
    for (index, one) in others.iter().enumerate() {
        assert!(!others[..index].contains(one), "{others:?}");
        assert_eq!(LeakId::parse(one).map(|id| id.to_string()).as_ref(), Some(one));
    }
    for wrong in ["", "12", "+123456789abcdef", "0123456789abcdefg", "０１２３４５６７"] {
        assert_eq!(LeakId::parse(wrong), None, "{wrong}");
    }
}

/// Guarantees: one leak in several containers is one finding with its members; two leaks of one program are two.
#[test]
fn over_containers() {
    let mut registry = Registry::default();
    let first = registry.sighted(&inside("a", 1, Some(REMEMBER)));
    assert_eq!((first.occurrences, first.members, first.containers), (1, 1, 1));
    let other = registry.sighted(&inside("b", 9, Some(FORGET)));
    assert_eq!((other.occurrences, other.members), (1, 1));
    let second = registry.sighted(&inside("b", 2, Some(REMEMBER)));
    assert_eq!((second.id, second.occurrences, second.members, second.containers), (first.id, 2, 2, 2));
    let third = registry.sighted(&inside("b", 3, Some(REMEMBER)));
    assert_eq!(
        (third.occurrences, third.members, third.containers),
        (3, 3, 2),
        "two workers of one container"
    );
    assert_eq!(third.velocity, Some(2000.0));
    let velocities: Vec<_> =
        registry.leaks().iter().map(|leak| (leak.id == first.id, leak.velocity())).collect();
    assert!(velocities.contains(&(true, 6000.0)) && velocities.contains(&(false, 9000.0)), "{velocities:?}");
}

/// Guarantees: a container and its processes are not counted beside each other, whichever verdict comes first; the kill of
/// a worker is the container's, which goes on, and its end no second life.
#[test]
fn containers_and_their_processes() {
    let mut registry = Registry::default();
    registry.sighted(&inside("a", 1, Some(REMEMBER)));
    registry.sighted(&inside("a", 2, Some(REMEMBER)));
    let whole_a = registry.sighted(&whole("a", 7, 2, Some(REMEMBER)));
    assert_eq!((whole_a.occurrences, whole_a.members, whole_a.containers), (2, 1, 1));
    let again = registry.sighted(&inside("a", 3, Some(REMEMBER)));
    assert_eq!((again.occurrences, again.members), (2, 1));
    let about = About::Container(ContainerKey(7));
    assert_eq!(
        registry.ended(&of(3, 0, None).about, at(50), End::Killed),
        None,
        "the container stands for it"
    );
    let killed = registry.ended(&about, at(50), End::Killed).unwrap();
    assert_eq!((killed.id, killed.members, killed.kills), (again.id, 1, 1));
    assert_eq!(registry.of(&about), Some(killed));
    assert!(registry.ended(&about, at(60), End::Gone).is_some());
    assert_eq!(registry.of(&about), None);
    let leak = registry.leaks()[0];
    assert_eq!((leak.members.len(), leak.lives.iter().collect::<Vec<_>>()), (0, vec![150.0]));
}

/// Guarantees: a leak that returns after a restart is recognised, with how often, since when, how fast and how long it
/// takes to the end; who lives on without leaking has no life of it; the same verdict told again is no new occurrence.
#[test]
fn over_restarts() {
    let mut registry = Registry::default();
    for (run, (lived, end)) in
        [(900, End::Killed), (1100, End::Killed), (700, End::Gone), (9, End::Stopped)].into_iter().enumerate()
    {
        let run = run as u64;
        let sighting = of(run as u32 + 1, run * DAY, Some(REMEMBER));
        let seen = registry.sighted(&sighting);
        assert_eq!((seen.occurrences, seen.members, seen.first_seen), (run + 1, 1, at(0)));
        assert_eq!(seen.returned, run > 0);
        let again = registry.sighted(&sighting);
        assert_eq!((again.occurrences, again.returned), (run + 1, false));
        let ended = registry.ended(&sighting.about, sighting.at + Duration::from_secs(lived), end);
        assert_eq!(ended.map(|ended| (ended.id, ended.members)), Some((seen.id, 0)));
        assert_eq!(registry.ended(&sighting.about, sighting.at, end), None, "it has ended already");
    }
    let seen = registry.sighted(&of(9, 9 * DAY, Some(REMEMBER)));
    assert_eq!((seen.occurrences, seen.kills), (5, 2));
    assert_eq!((seen.velocity, seen.life), (Some(3000.0), Some(1000.0)));
}

/// Guarantees: a verdict that does not say what is to blame is that of the program's only known leak, and of the program
/// alone where there are none or several.
#[test]
fn without_a_place() {
    let mut registry = Registry::default();
    let unknown = registry.sighted(&of(1, 0, None));
    assert_eq!((unknown.place.as_deref(), unknown.occurrences), (None, 1));
    registry.ended(&of(1, 0, None).about, at(10), End::Gone);
    let placed = registry.sighted(&of(2, 20, Some(REMEMBER)));
    let known = registry.sighted(&of(3, 30, None));
    assert_eq!((known.id, known.place.as_deref()), (placed.id, Some("remember in api")));
    registry.sighted(&of(4, 40, Some(FORGET)));
    assert_eq!(registry.sighted(&of(5, 50, None)).id, unknown.id);
    let elsewhere = Sighting { program: Program { service: Some("shop"), ..api() }, ..of(6, 60, None) };
    assert_eq!(registry.sighted(&elsewhere).occurrences, 1, "another service");
}

/// Guarantees: what is learnt of a member later moves it to the leak that it is: what was told of it before is not counted
/// twice, and that leak was first seen then.
#[test]
fn what_is_to_blame_is_learnt_later() {
    let mut registry = Registry::default();
    let before = registry.sighted(&of(1, 0, None));
    let after = registry.sighted(&Sighting { at: at(90), ..of(1, 0, Some(REMEMBER)) });
    assert_ne!(before.id, after.id);
    assert_eq!((after.occurrences, after.members, after.first_seen), (1, 1, at(0)));
    assert_eq!(registry.leaks().len(), 1);
    assert!(registry.ended(&of(1, 0, None).about, at(100), End::Gone).is_some());
}

/// Guarantees: neither leaks nor members nor names grow beyond their bounds; the oldest go, of leaks those that nobody has
/// now first, and who was forgotten is not known as a member.
#[test]
fn bounds() {
    let mut registry = Registry::new(Bounds { leaks: 3, members: 2, name: 10 });
    let place = |name| Some(Place::Class(name));
    for (pid, name) in [(1, "a"), (2, "b"), (3, "c")] {
        registry.sighted(&of(pid, u64::from(pid), place(name)));
    }
    registry.ended(&of(2, 2, None).about, at(3), End::Gone);
    registry.sighted(&of(4, 4, place("d")));
    let left = |registry: &Registry| -> Vec<String> {
        registry.leaks().iter().filter_map(|leak| leak.place.clone()).collect()
    };
    assert_eq!(left(&registry), ["d", "c", "a"]);
    registry.sighted(&of(5, 5, place("e")));
    assert_eq!(left(&registry), ["e", "d", "c"]);
    assert_eq!(registry.ended(&of(1, 1, None).about, at(6), End::Gone), None);

    for pid in 10..20 {
        registry.sighted(&of(pid, u64::from(pid), place("many")));
    }
    let many = registry.leaks()[0];
    assert_eq!((many.occurrences, many.members.len()), (10, 2));
    assert_eq!(registry.ended(&of(10, 10, None).about, at(30), End::Gone), None);
    let long = registry.sighted(&of(30, 30, place("0123456é89")));
    assert_eq!(long.place.as_deref(), Some("0123456é8"), "whole characters");
    while registry.forget_oldest() {}
    assert!(registry.leaks().is_empty() && registry.of(&of(30, 30, None).about).is_none());
}

/// Guarantees: what was known before comes back as it was; what is known already stays; members that are gone meanwhile
/// are forgotten without a life of their own; every change is counted.
#[test]
fn what_was_known_before() {
    let mut before = Registry::default();
    before.sighted(&of(1, 0, Some(REMEMBER)));
    before.sighted(&of(2, 10, Some(REMEMBER)));
    let mut after = Registry::default();
    let leaks = || before.leaks().into_iter().cloned().collect::<Vec<_>>();
    after.restore(leaks());
    after.restore(leaks());
    assert_eq!(after.leaks(), before.leaks());
    let revision = after.revision();
    after.retain(|member| member.process.is_some_and(|process| process.pid == 2));
    assert!(after.revision() > revision);
    let seen = after.sighted(&of(2, 10, Some(REMEMBER)));
    assert_eq!((seen.occurrences, seen.members, seen.life), (2, 1, None), "the same process as before");
    assert!(!seen.returned, "nor does it return with the sidecar");
    assert_eq!(after.sighted(&of(3, 20, Some(REMEMBER))).occurrences, 3);
    let mut narrow = Registry::new(Bounds { leaks: 1, members: 1, name: 4 });
    narrow.restore(leaks());
    assert_eq!(narrow.leaks()[0].place.as_deref(), Some("reme"));
    assert_eq!(narrow.leaks()[0].members.len(), 1);
}

/// Guarantees: the median of the newest sixteen, and nothing of what is no figure.
#[test]
fn typical_figures() {
    assert_eq!(Recent::default().typical(), None);
    let odd = [f64::NAN, -1.0, f64::INFINITY, 3.0, 1.0, 2.0];
    assert_eq!(odd.into_iter().collect::<Recent>().typical(), Some(2.0));
    let many = (0..100).map(f64::from).collect::<Recent>();
    assert_eq!((many.iter().count(), many.typical()), (16, Some(91.5)));
}
