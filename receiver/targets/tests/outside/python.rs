//! The objects of a Python program, and its pages that a child of it shares.

use std::path::PathBuf;
use std::process::Command;

use mlh_targets::outside::{OutsideError, Reading, Source};

use crate::program::{Program, is_there};

pub(crate) const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/kept.py");

/// Orders that it keeps, each with a list.
const KEPT: u64 = 20_000;

/// What it shares with its child, bytes.
const SHARED: u64 = 32 << 20;

/// Every version that is here.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/usr/bin/python3")];
    let versions = std::env::home_dir().map(|home| home.join(".pyenv/versions"));
    for folder in versions.and_then(|it| std::fs::read_dir(it).ok()).into_iter().flatten().flatten() {
        if (8..=13).any(|minor| folder.file_name().to_string_lossy().starts_with(&format!("3.{minor}."))) {
            found.push(folder.path().join("bin/python3"));
        }
    }
    found.retain(|path| path.exists());
    found
}

fn count(reading: &Reading, name: &str) -> u64 {
    reading.classes.iter().find(|class| class.name == name).map_or(0, |class| class.count)
}

/// Guarantees: objects of a class are counted to the last, by its name, also when they are frozen, with the lists that they hold; and no
/// more once they are gone. With every version that is here.
/// Needs: python3.
#[test]
fn kept_and_let_go() {
    if !is_there("python3") {
        return;
    }
    for interpreter in interpreters() {
        let at = interpreter.display();
        let mut program = Program::start(Command::new(&interpreter).arg(PROGRAM));
        let mut reader = program.reader(Source::PythonObjects);
        let mut after = |order: &str| {
            program.order(order);
            reader.read().unwrap_or_else(|why| panic!("{at}: {why}"))
        };
        let (before, kept, frozen, left) = (after("let go"), after("keep"), after("freeze"), after("let go"));
        assert_eq!(count(&before, "Order"), 0, "{at}: {before:?}");
        assert_eq!(count(&kept, "Order"), KEPT, "{at}: {kept:?}");
        assert_eq!(count(&kept, "list") - count(&before, "list"), KEPT, "{at}");
        assert_eq!(count(&frozen, "Order"), KEPT, "{at}: {frozen:?}");
        assert_eq!(count(&left, "Order"), 0, "{at}: {left:?}");
        let in_use = [&before, &kept, &left].map(|reading| reading.in_use.unwrap());
        assert!(in_use[1] - in_use[0] > KEPT * 100 && in_use[2] < in_use[0] + KEPT, "{at}: {in_use:?}");
        assert_eq!(kept.not_seen.len(), 1, "{at}: {kept:?}");
        program.end();
        assert_eq!(reader.read(), Err(OutsideError::Gone), "{at}");
    }
}

/// Guarantees: pages that a process shares with a child come to be charged to it when it writes to them, though it has no more of
/// them; and a process that shares nothing has no such reader.
/// Needs: python3.
#[test]
fn copies() {
    if !is_there("python3") {
        return;
    }
    let mut program = Program::start(Command::new("/usr/bin/python3").arg(PROGRAM));
    let mut reader = program.reader(Source::SharedPages);
    program.order("let go");
    let before = reader.read().unwrap();
    program.order("copy");
    let after = reader.read().unwrap();
    let grown = |of: fn(&Reading) -> Option<u64>| of(&after).unwrap().saturating_sub(of(&before).unwrap());
    assert!(grown(|reading| reading.in_use) < SHARED / 20, "{before:?} {after:?}");
    // of each page that two share half is charged to each
    assert!(
        (SHARED * 4 / 10..SHARED * 6 / 10).contains(&grown(|reading| reading.held)),
        "{before:?} {after:?}"
    );
    let private = |reading: &Reading| {
        reading.classes.iter().find(|class| class.name == "private pages").map(|class| class.bytes)
    };
    assert!(private(&after).unwrap() - private(&before).unwrap() >= SHARED * 9 / 10, "{before:?} {after:?}");

    let lone = Program::start(Command::new("sh").args(["-c", "echo ready; read order"]));
    assert_eq!(lone.sources(), [Source::GlibcCensus]);
}
