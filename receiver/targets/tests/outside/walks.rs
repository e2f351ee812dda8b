//! How often collectors have walked.

use std::process::Command;

use mlh_stacks::modules::Modules;
use mlh_targets::outside::walks::{Walked, Walks};

use crate::program::{Program, is_there};
use crate::{jvm, python};

fn walks(program: &Program) -> Result<Walks, String> {
    let modules = Modules::read(program.pid()).unwrap();
    Walks::find(program.pid(), &modules).map_err(|error| error.to_string())
}

fn after(program: &mut Program, walks: &Walks, order: &str) -> Walked {
    program.order(order);
    walks.read().unwrap()
}

/// Guarantees: of CPython each collection of all generations counts, and none of the youngest; there is no old generation that things are
/// moved to. With every version that is here.
/// Needs: python3.
#[test]
fn of_python() {
    if !is_there("python3") {
        return;
    }
    for interpreter in python::interpreters() {
        let at = interpreter.display();
        let mut program = Program::start(Command::new(&interpreter).arg(python::PROGRAM));
        let walks = walks(&program).unwrap_or_else(|why| panic!("{at}: {why}"));
        let mut after = |order| after(&mut program, &walks, order);
        let (first, young, second) = (after("let go"), after("collect the youngest"), after("let go"));
        assert_eq!((young.count, second.count), (first.count, first.count + 1), "{at}");
        assert!(first.count > 0 && !first.under_way && first.old.is_none(), "{at}: {first:?}");
    }
}

/// Guarantees: of a JVM each whole collection counts, and none of what is young; what the old generation holds is told. With every
/// collector of which that is known; of one that walks all the time it is said that it does.
/// Needs: java.
#[test]
fn of_java() {
    if !is_there("java") {
        return;
    }
    for collector in ["-XX:+UseG1GC", "-XX:+UseParallelGC", "-XX:+UseSerialGC"] {
        // else G1 walks by itself: for the classes of the compiler that the program is started with, and for what is kept
        let mut program =
            jvm::start(&[collector, "-XX:MetaspaceSize=128m", "-XX:InitiatingHeapOccupancyPercent=100"]);
        let walks = walks(&program).unwrap_or_else(|why| panic!("{collector}: {why}"));
        let mut after = |order| after(&mut program, &walks, order);
        let (before, kept, young) = (after("let go"), after("keep"), after("make garbage"));
        assert_eq!((kept.count, young.count), (before.count + 1, before.count + 1), "{collector}");
        let grown = kept.old.unwrap() - before.old.unwrap();
        assert!(grown > jvm::KEPT * 9 / 10 && grown < jvm::KEPT * 12 / 10, "{collector}: {grown}");
        assert!(!before.under_way, "{collector}");
    }
    let program = jvm::start(&["-XX:+UseZGC"]);
    assert!(walks(&program).is_err_and(|why| why.contains("at any time")));
}
