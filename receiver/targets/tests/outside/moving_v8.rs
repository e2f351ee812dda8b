//! What becomes of objects on V8's heap.

use std::process::Command;
use std::time::{Duration, Instant};

use mlh_stacks::modules::Modules;
use mlh_targets::outside::OutsideError;
use mlh_targets::outside::moving::{Birth, Fate, Object, Objects};

use crate::moving::objects;
use crate::program::{Program, is_there};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/moving.js");
/// So many objects are followed to their end.
const ENOUGH: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// How many of the objects ended how.
#[derive(Debug, Default)]
struct Ends {
    old: usize,
    dead: usize,
    lost: usize,
    missed: usize,
}

/// Follows objects that are made where nobody watches, until enough have come to an end.
fn follow(objects: &mut Objects) -> Ends {
    let (mut ends, mut young, mut place) = (Ends::default(), Vec::<Object>::new(), None);
    let began = Instant::now();
    while ends.old + ends.dead < ENOUGH && began.elapsed() < PATIENCE {
        match place.take().or_else(|| objects.place(fastrand::u64(..), &[])) {
            None => {}
            Some(at) => match objects.birth(&at) {
                Birth::Awaited => place = Some(at),
                Birth::Missed => ends.missed += 1,
                Birth::Object(object) => young.push(object),
            },
        }
        objects.look();
        young.retain_mut(|object| match objects.fate(object) {
            Fate::Young(_) => true,
            Fate::Old => {
                ends.old += 1;
                false
            }
            Fate::Dead => {
                ends.dead += 1;
                false
            }
            Fate::Lost => {
                ends.lost += 1;
                false
            }
        });
        std::thread::sleep(Duration::from_millis(2));
    }
    ends
}

/// Guarantees: of the objects that V8 makes as many become old as the program keeps, and the others die; next to none is lost.
/// Needs: node.
#[test]
fn of_v8() {
    if !is_there("node") {
        return;
    }
    let program = Program::start(Command::new("node").arg(PROGRAM));
    let began = Instant::now();
    let mut objects = loop {
        match objects(&program) {
            Ok(objects) => break objects,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    let ends = follow(&mut objects);
    let ended = ends.old + ends.dead;
    assert!(ended >= ENOUGH && ends.lost + ends.missed < ended / 4, "{ends:?}");
    let share = ends.old as f64 / ended as f64;
    assert!((0.04..0.3).contains(&share), "a tenth of them is kept: {ends:?}");
}

/// Guarantees: of a process without such a heap it is said that none is known.
#[test]
fn of_others() {
    let own = std::process::id();
    let error = Objects::find(own, &Modules::read(own).unwrap()).unwrap_err();
    assert!(matches!(error, OutsideError::Unknown(_)), "{error}");
}
