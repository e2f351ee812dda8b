//! What the Go runtime knows of its own memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use mlh_stacks::modules::Modules;
use mlh_stacks::unwind::{Captured, Unwinder};
use mlh_targets::outside::census::Occupant;
use mlh_targets::outside::{Class, GoObjects, OutsideError, Reading, Source};

use crate::program::{Program, is_there};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside");

/// What the program keeps when it is told to: so many blocks of 1 KiB, and a slice of them.
const KEPT: u64 = 32_000 << 10;

/// Goroutines that it leaves behind.
const ABANDONED: u64 = 1000;

/// Go itself, and the versions of it that it has fetched before.
fn toolchains() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("go")];
    let fetched = std::env::home_dir().map(|home| home.join("go/pkg/mod/golang.org"));
    for folder in fetched.and_then(|it| std::fs::read_dir(it).ok()).into_iter().flatten().flatten() {
        if folder.file_name().to_string_lossy().starts_with("toolchain@") {
            found.push(folder.path().join("bin/go"));
        }
    }
    found
}

fn build(go: &Path, room: &Path, files: &[&str], flags: &str) -> Program {
    let program = room.join("kept");
    let built = Command::new(go)
        .args(["build", "-ldflags", flags, "-o"])
        .arg(&program)
        .args(files)
        .current_dir(SOURCES)
        .env("GOTOOLCHAIN", "local")
        .env_remove("GOROOT")
        .env("CGO_ENABLED", "0")
        .status();
    assert!(built.unwrap().success());
    Program::start(&mut Command::new(program))
}

fn bytes(reading: &Reading, of: impl Fn(&Class) -> bool) -> u64 {
    reading.classes.iter().filter(|class| of(class)).map(|class| class.bytes).sum()
}

/// The function that is to blame for a class.
fn function(program: &Program, class: &Class) -> String {
    let mut unwinder = Unwinder::new(program.pid(), 64);
    unwinder.refresh(&Modules::read(program.pid()).unwrap());
    let (ip, chain) = class.stack.split_first().unwrap();
    let trace = unwinder.trace(&Captured { ip: *ip, chain, ..Captured::default() });
    trace.culprit_frame().and_then(|frame| frame.function.clone()).unwrap_or_default()
}

/// Guarantees: what a Go program keeps is in use after a collection, and no more once it has let go; what it allocates and loses
/// is not; collections count. Its heap profile names the function that keeps first, with nearly all that it keeps, and
/// goroutines that never end are told by the function that started them. With every version of Go that is here.
/// Needs: go.
#[test]
fn kept_and_let_go() {
    if !is_there("go") {
        return;
    }
    for go in toolchains() {
        let room = tempfile::tempdir().unwrap();
        let mut program = build(&go, room.path(), &["kept.go", "profiled.go"], "");
        assert_eq!(program.sources(), [Source::GoHeap], "glibc's heap is not in it");
        let mut reader = program.reader(Source::GoHeap);
        let mut after = |order: &str| {
            program.order(order);
            reader.read().unwrap_or_else(|why| panic!("{}: {why}", go.display()))
        };
        let (before, churned, kept) = (after("let go"), after("churn"), after("keep"));
        let (left, abandoned) = (after("let go"), after("abandon"));
        let in_use = [&before, &churned, &kept, &left, &abandoned].map(|reading| reading.in_use.unwrap());
        let at = go.display();
        assert!(in_use[1] < in_use[0] + KEPT / 10, "{at}: {in_use:?}");
        assert!((KEPT..KEPT * 12 / 10).contains(&(in_use[2] - in_use[0])), "{at}: {in_use:?}");
        assert!(in_use[3] < in_use[0] + KEPT / 10, "{at}: {in_use:?}");
        assert!(in_use[4] >= in_use[3] + ABANDONED * 2048, "{at}: {in_use:?}");
        assert!(kept.collections.unwrap() >= churned.collections.unwrap() + 3, "{at}: {kept:?}");
        assert!(kept.held.unwrap() > in_use[2], "{at}: {kept:?}");

        assert_eq!(function(&program, &kept.classes[0]), "main.remember", "{at}: {:?}", kept.classes[0]);
        // some sixty samples: an eighth more or less is nothing unusual
        assert!((KEPT / 2..KEPT * 3 / 2).contains(&kept.classes[0].bytes), "{at}: {kept:?}");
        assert!(bytes(&left, |class| class.stack == kept.classes[0].stack) < KEPT / 10, "{at}: {left:?}");
        let started = abandoned.classes.iter().find(|class| class.count == ABANDONED).unwrap();
        assert_eq!(function(&program, started), "main.abandon", "{at}");
        assert!(started.bytes >= ABANDONED * 2048, "{at}: {started:?}");
        program.end();
        assert_eq!(reader.read(), Err(OutsideError::Gone), "{at}");
    }
}

/// Guarantees: without a heap profile, what lives is told by the size of its objects, and that nobody knows who allocates; also where
/// the program has been stripped, so that nothing says that it keeps none.
/// Needs: go.
#[test]
fn without_a_profile() {
    if !is_there("go") {
        return;
    }
    for (go, flags) in toolchains().iter().flat_map(|go| ["", "-s -w"].map(|flags| (go, flags))) {
        let room = tempfile::tempdir().unwrap();
        let mut program = build(go, room.path(), &["kept.go"], flags);
        let mut reader = program.reader(Source::GoHeap);
        program.order("keep");
        let kept = reader.read().unwrap();
        assert_eq!(kept.classes[0].name, "objects of 1024 bytes", "{kept:?}");
        assert!((KEPT..KEPT * 11 / 10).contains(&kept.classes[0].bytes), "{}: {kept:?}", go.display());
        assert!(kept.not_seen.iter().any(|what| what.contains("who allocates")), "{kept:?}");
    }
}

/// Guarantees: a program that has been stripped of its symbols, as those in containers often are, is read all the same: by what the
/// runtime's variables hold. With every version of Go that is here.
/// Needs: go.
#[test]
fn stripped() {
    if !is_there("go") {
        return;
    }
    for go in toolchains() {
        let at = go.display();
        let room = tempfile::tempdir().unwrap();
        let mut program = build(&go, room.path(), &["kept.go", "profiled.go"], "-s -w");
        let mut reader = program.reader(Source::GoHeap);
        let mut after = |order: &str| {
            program.order(order);
            reader.read().unwrap_or_else(|why| panic!("{at}: {why}"))
        };
        let (before, kept, abandoned) = (after("let go"), after("keep"), after("abandon"));
        let grown = kept.in_use.unwrap() - before.in_use.unwrap();
        assert!((KEPT..KEPT * 12 / 10).contains(&grown), "{at}: {kept:?}");
        assert!(kept.collections.unwrap() >= before.collections.unwrap() + 3, "{at}: {kept:?}");
        assert_eq!(function(&program, &kept.classes[0]), "main.remember", "{at}: {:?}", kept.classes[0]);
        assert!(abandoned.classes.iter().any(|class| class.count == ABANDONED), "{at}: {abandoned:?}");
        assert!(kept.not_seen.iter().any(|what| what.contains("stripped")), "{at}: {kept:?}");
    }
}

/// Guarantees: once a collection has ended since it was first asked, an object that is kept is there, from its beginning on, and one
/// that was lost is not, nor is one on a goroutine's stack; what is not Go's lies elsewhere. Before that nothing is told. With and without symbols,
/// and with every version of Go that is here.
/// Needs: go.
#[test]
fn objects_after_collections() {
    if !is_there("go") {
        return;
    }
    for (go, flags) in toolchains().iter().flat_map(|go| ["", "-s -w"].map(|flags| (go, flags))) {
        let at = format!("{} {flags}", go.display());
        let room = tempfile::tempdir().unwrap();
        let mut program = build(go, room.path(), &["objects.go"], flags);
        let answer = program.ask("where");
        let addresses: Vec<u64> = answer.split(' ').map(|word| word.parse().unwrap()).collect();
        let (keep, lose, stack) = (addresses[0], addresses[1], addresses[2]);
        let mut objects = GoObjects::of(program.pid(), &Modules::read(program.pid()).unwrap()).unwrap();
        let mut told = || objects.at(&[keep + 100, lose + 16, stack, 8]).unwrap().0;
        assert!(told().is_empty(), "{at}");
        program.order("collect");
        let found = told();
        assert_eq!(found.get(&(keep + 100)), Some(&Occupant::Block(keep)), "{at}: {answer}");
        assert_eq!(found.get(&(lose + 16)), Some(&Occupant::Free), "{at}: {answer}");
        assert_eq!(found.get(&stack), Some(&Occupant::Free), "{at}: {answer}");
        assert_eq!(found.get(&8), Some(&Occupant::Elsewhere), "{at}");
        program.end();
        assert_eq!(objects.at(&[keep]).map(|(found, _)| found), Err(OutsideError::Gone), "{at}");
    }
}
