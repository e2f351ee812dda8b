//! What becomes of objects on heaps whose collector moves them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use mlh_stacks::memory::Memory;
use mlh_stacks::modules::Modules;
use mlh_targets::outside::OutsideError;
use mlh_targets::outside::moving::{Birth, Fate, Object, Objects, Place};

use crate::program::{Program, is_there};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/Sessions.java");

/// Where the elements of an array begin, bytes.
const ELEMENTS: u64 = 16;

/// How often it is looked at them, and for how long at most.
const PACE: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(90);

/// So much is seen, then it is enough.
const ENOUGH_DEAD: u32 = 60;
const ENOUGH_OLD: u32 = 4;
const ENOUGH_TWICE: u32 = 2;

fn start(collector: &str) -> Program {
    let flags = ["-Xmx256m", "-Xmn4m", collector];
    Program::start(Command::new("java").args(flags).arg(PROGRAM))
}

pub(crate) fn objects(program: &Program) -> Result<Objects, OutsideError> {
    Objects::find(program.pid(), &Modules::read(program.pid()).unwrap())
}

/// What the program says that an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Garbage,
    Kept,
    Other,
}

fn kind(memory: Memory, object: &Object) -> Kind {
    match memory.word(object.address() + ELEMENTS).map(u64::to_le_bytes) {
        Some([7, 1, 9, 3, ..]) => Kind::Garbage,
        Some([7, 2, 9, 3, ..]) => Kind::Kept,
        _ => Kind::Other,
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    ended: HashMap<(Kind, Fate), u32>,
    born: u32,
    missed: u32,
    /// Those that survived two collections, the same one once for each look.
    twice: u32,
    threads: Vec<u32>,
}

impl Seen {
    fn count(&self, kind: Kind, fate: Fate) -> u32 {
        self.ended.get(&(kind, fate)).copied().unwrap_or(0)
    }

    fn is_enough(&self) -> bool {
        let old = self.count(Kind::Kept, Fate::Old);
        let much = self.twice >= ENOUGH_TWICE || old >= 2 * ENOUGH_OLD;
        self.count(Kind::Garbage, Fate::Dead) >= ENOUGH_DEAD && old >= ENOUGH_OLD && much
    }
}

/// Looks at places, and at what lies there, until it has seen enough.
fn watch(program: &Program, objects: &mut Objects) -> Seen {
    let memory = Memory::of(program.pid());
    let mut seen = Seen::default();
    let mut places: Vec<Place> = Vec::new();
    let mut followed: Vec<(Object, Kind)> = Vec::new();
    let (mut dice, began) = (1_u64, Instant::now());
    while !seen.is_enough() && began.elapsed() < LONG {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        places.extend(objects.place(dice >> 8, &[]).filter(|_| places.len() < 8));
        places.retain(|place| {
            seen.threads.push(place.thread);
            match objects.birth(place) {
                Birth::Awaited => return true,
                Birth::Missed => seen.missed += 1,
                Birth::Object(object) => {
                    seen.born += 1;
                    followed.push((object, kind(memory, &object)));
                }
            }
            false
        });
        objects.look();
        followed.retain_mut(|(object, kind)| {
            let fate = objects.fate(object);
            if let Fate::Young(survived) = fate {
                seen.twice += u32::from(survived >= 2);
                return true;
            }
            *seen.ended.entry((*kind, fate)).or_default() += 1;
            false
        });
        std::thread::sleep(PACE);
    }
    seen
}

/// Guarantees: of what a Java program makes it is told what dies and what comes to be old, and as it is: of what it keeps nothing is
/// dead, and of its garbage next to nothing is old. With each collector of which it can be told.
/// Needs: java.
#[test]
fn of_java() {
    if !is_there("java") {
        return;
    }
    for collector in ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC"] {
        let program = start(collector);
        let mut objects = objects(&program).unwrap();
        assert!(objects.is_there());
        let seen = watch(&program, &mut objects);
        println!("{collector}: born {}, missed {}, {:?}", seen.born, seen.missed, seen.ended);
        assert!(seen.is_enough(), "{collector}: {seen:?}");
        assert_eq!(seen.count(Kind::Kept, Fate::Dead), 0, "{collector}: {seen:?}");
        // the last piece of garbage is referred to, and may survive
        let old = [Kind::Garbage, Kind::Kept].map(|kind| seen.count(kind, Fate::Old));
        assert!(old[0] * 4 <= old[1], "{collector}: {seen:?}");
        assert!(seen.missed < seen.born, "{collector}: {seen:?}");
        let there = |thread: &u32| PathBuf::from(format!("/proc/{}/task/{thread}", program.pid())).exists();
        assert!(seen.threads.iter().all(there), "{collector}");
    }
}

/// Guarantees: of a JVM whose collector is none of those it is said which can be looked at; once it has ended, it is not there.
/// Needs: java.
#[test]
fn of_other_collectors() {
    if !is_there("java") {
        return;
    }
    let program = start("-XX:+UseZGC");
    let found = objects(&program);
    assert!(matches!(&found, Err(OutsideError::Unknown(why)) if why.contains("Serial, Parallel and G1")));
    let mut program = start("-XX:+UseSerialGC");
    let mut objects = objects(&program).unwrap();
    program.end();
    assert!(!objects.is_there());
    assert_eq!(objects.place(1, &[]), None);
}
