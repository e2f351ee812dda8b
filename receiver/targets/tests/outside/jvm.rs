//! The counters of a JVM.

use std::process::Command;
use std::time::Duration;

use mlh_targets::outside::{OutsideError, Source};

use crate::program::{Program, is_there};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/Kept.java");

/// What it keeps when it is told to.
pub(crate) const KEPT: u64 = 32_000_000;

pub(crate) fn start(flags: &[&str]) -> Program {
    Program::start(Command::new("java").args(["-Xmx256m"]).args(flags).arg(PROGRAM))
}

/// Guarantees: what a JVM keeps is in use after a collection, in the old generation, and no more once it has let go; the
/// collections count; its threads and classes are told. With every collector that a JVM has. When it has ended, that is said.
/// Needs: java.
#[test]
fn kept_and_let_go() {
    if !is_there("java") {
        return;
    }
    for collector in ["-XX:+UseG1GC", "-XX:+UseParallelGC", "-XX:+UseSerialGC"] {
        let mut program = start(&[collector]);
        let mut reader = program.reader(Source::JvmCounters);
        program.order("let go");
        let before = reader.read().unwrap();
        program.order("keep");
        let kept = reader.read().unwrap();
        program.order("let go");
        let after = reader.read().unwrap();
        let in_use = [&before, &kept, &after].map(|reading| reading.in_use.unwrap());
        assert!(in_use[1] - in_use[0] > KEPT * 9 / 10, "{collector}: {in_use:?}");
        assert!(in_use[1] - in_use[0] < KEPT * 12 / 10, "{collector}: {in_use:?}");
        assert!(in_use[2] < in_use[0] + KEPT / 10, "{collector}: {in_use:?}");
        assert!(before.collections < kept.collections && kept.collections < after.collections);
        assert!(kept.held.unwrap() >= in_use[1]);
        assert_eq!(kept.classes[0].name, "old generation", "{kept:?}");
        let count = |name: &str| kept.classes.iter().find(|class| class.name == name).unwrap().count;
        assert!(count("metaspace") > 100 && count("threads") > 1, "{kept:?}");
        program.end();
        assert_eq!(reader.read(), Err(OutsideError::Gone));
    }
}

/// Guarantees: what is new is seen as it comes, before anything is collected. With every collector of which it is told.
/// Needs: java.
#[test]
fn what_is_young() {
    if !is_there("java") {
        return;
    }
    for collector in ["-XX:+UseG1GC", "-XX:+UseParallelGC", "-XX:+UseSerialGC"] {
        let mut program = start(&[collector, "-Xmn96m"]);
        let mut reader = program.reader(Source::JvmCounters);
        program.order("let go");
        let before = reader.read().unwrap().young.unwrap();
        program.order("make some");
        // two of the collectors say so twenty times a second
        std::thread::sleep(Duration::from_millis(500));
        let after = reader.read().unwrap().young.unwrap();
        assert_eq!((before.collections, before.old), (after.collections, after.old), "{collector}");
        let new = after.used - before.used;
        assert!((18_000_000..26_000_000).contains(&new), "{collector}: {new}");
        assert!(after.used <= after.room && after.room <= 110 << 20, "{collector}: {after:?}");
        program.order("let go");
        let collected = reader.read().unwrap().young.unwrap();
        assert!(collected.collections > after.collections && collected.used < new / 2, "{collected:?}");
    }
}

/// Guarantees: a JVM that was told to publish nothing is said to do so, with the option.
/// Needs: java.
#[test]
fn without_counters() {
    if !is_there("java") {
        return;
    }
    let program = start(&["-XX:-UsePerfData"]);
    let read = program.reader(Source::JvmCounters).read();
    assert!(matches!(&read, Err(OutsideError::Unknown(why)) if why.contains("-XX:-UsePerfData")), "{read:?}");
}
