//! The census of real heaps, against what their programs know of them.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_targets::outside::census::{Census, Occupant};
use mlh_targets::outside::{Class, OutsideError, Reader, Reading, Source};
use mlh_targets::pagemap::Pagemap;

/// What a program has that its own books do not: caches of threads, streams, what the C library needs for a thread.
const BESIDE: u64 = 24 << 10;

/// A program that does as it is told.
struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

/// Builds a source of this folder; the tool's own words where it fails.
fn build(folder: &Path, compiler: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/census").join(source);
    let program = folder.join("program");
    let mut command = Command::new(compiler);
    command.arg("-O1").arg("-fno-builtin-malloc").arg("-pthread").arg(source).arg("-o").arg(&program);
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

impl Program {
    fn start(compiler: &str, source: &str, arguments: &[&str], preloaded: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(build(folder.path(), compiler, source, arguments));
        if let Some(library) = preloaded {
            command.env("LD_PRELOAD", library);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, orders, answers, _folder: folder }
    }

    fn heap(arguments: &[&str]) -> Self {
        Self::start("cc", "heap.c", arguments, None)
    }

    /// Has it do something, and waits for its answer.
    fn does(&mut self, order: &str) -> u64 {
        writeln!(self.orders, "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|e| panic!("{order}: {line:?}: {e}"))
    }

    fn census(&self) -> Census {
        Census::of(self.child.id()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn class<'a>(reading: &'a Reading, name: &str) -> &'a Class {
    let classes = &reading.classes;
    classes.iter().find(|class| class.name == name).unwrap_or_else(|| panic!("no {name} in {classes:#?}"))
}

fn near(found: u64, truth: u64, off: u64) -> bool {
    found.abs_diff(truth) <= off
}

/// Guarantees: what is in use is told to some KiB, of a heap that grows by `brk`, of four threads' arenas and of blocks that are mappings,
/// while hundreds of chunks wait in caches and fast bins; of programs with and without symbols, linked in any way. What
/// is held is no less, and nothing is said to be missing where nothing is.
/// Needs: cc, a static C library.
#[test]
fn truth() {
    for arguments in [&[][..], &["-s"], &["-static", "-s"], &["-static-pie"], &["-no-pie"]] {
        let mut program = Program::heap(arguments);
        program.does("fill 60000");
        program.does("fills 4");
        let live = program.does("large 5");
        let mut census = program.census();
        assert_eq!(census.source(), Source::GlibcCensus);
        for _ in 0..2 {
            let reading = census.read().unwrap();
            let in_use = reading.in_use.unwrap();
            println!("{arguments:?}: {live} {reading:?}");
            assert!(near(in_use, live, BESIDE), "{arguments:?}: {in_use}, in truth {live}");
            assert!(reading.held.unwrap() >= in_use);
            assert_eq!(reading.not_seen, Vec::<String>::new());
            assert!(!reading.cost.is_zero());
            assert_eq!(class(&reading, "blocks of 1,048,576 to 1,179,647 bytes").count, 5);
            assert!(
                reading.classes.len() <= 64 && reading.classes.iter().all(|class| class.stack.is_empty())
            );
        }
    }
}

/// Guarantees: a leak among the churn of four threads is the class of size that grows most, by what was leaked, each time that it is
/// looked.
/// Needs: cc.
#[test]
fn leak_among_churn() {
    let mut program = Program::heap(&[]);
    program.does("churns 4");
    program.does("leak 1000");
    let mut census = program.census();
    let mut before = census.read().unwrap();
    for _ in 0..5 {
        program.does("leak 1000");
        let after = census.read().unwrap();
        let grown = |class: &Class| {
            let was = before.classes.iter().find(|was| was.name == class.name).map_or(0, |was| was.count);
            class.count.saturating_sub(was)
        };
        let most =
            after.classes.iter().max_by_key(|class| grown(class) * (class.bytes / class.count)).unwrap();
        assert_eq!(most.name, "blocks of 1,040 bytes", "{before:#?} {after:#?}");
        assert!(near(grown(most), 1000, 150), "{}", grown(most));
        before = after;
    }
}

/// Guarantees: leaked objects of a class with virtual functions are counted by their type, of a program without symbols as well, among
/// objects of another class and the same size that come and go; types stand before sizes, and an object is in one class.
/// Needs: c++.
#[test]
fn types() {
    for arguments in [&["-s"][..], &["-static", "-s"]] {
        let mut program = Program::start("c++", "shop.cc", arguments, None);
        let mut leaked = program.does("500");
        let mut census = program.census();
        for _ in 0..4 {
            let reading = census.read().unwrap();
            let orders = class(&reading, "shop::Order");
            assert!(near(orders.count, leaked, 10), "{}, in truth {leaked}", orders.count);
            assert_eq!(orders.bytes, orders.count * 112);
            assert!(near(class(&reading, "shop::(anonymous namespace)::Quote").count, 2000, 100));
            let of_size = reading.classes.iter().position(|class| class.name == "blocks of 112 bytes");
            assert!(
                of_size.is_none_or(|place| place >= 2 && reading.classes[place].count < 100),
                "{reading:#?}"
            );
            leaked = program.does("300");
        }
    }
}

/// Guarantees: the block in which an address lies is told by where it begins, up to its last byte; when it has been freed its memory is
/// free; and what is no heap is elsewhere.
/// Needs: cc.
#[test]
fn places() {
    let mut program = Program::heap(&[]);
    let block = program.does("block 5000");
    // what lies behind it stays
    program.does("leak 1");
    let mut census = program.census();
    let (found, _) = census.at(&[0x1000, block, block + 4999]).unwrap();
    assert_eq!(found, [Occupant::Elsewhere, Occupant::Block(block), Occupant::Block(block)]);
    program.does("free 1");
    assert_eq!(census.at(&[block + 2500]).unwrap().0, [Occupant::Free]);
}

/// Guarantees: memory that arenas keep after it was freed is held, and not in use.
/// Needs: cc.
#[test]
fn retention() {
    let mut program = Program::heap(&[]);
    program.does("retains 1");
    let mut census = program.census();
    let before = census.read().unwrap();
    let live = program.does("retains 3");
    let after = census.read().unwrap();
    let grown = |of: fn(&Reading) -> Option<u64>| of(&after).unwrap().saturating_sub(of(&before).unwrap());
    assert!(grown(|reading| reading.held) > 50 << 20, "{before:?} {after:?}");
    assert!(grown(|reading| reading.in_use) < 1 << 20, "{before:?} {after:?}");
    assert!(near(after.in_use.unwrap(), live, BESIDE));
}

/// Guarantees: a heap larger than what may be walked is walked in part, the figures stand for all of it, and it is said; the next look
/// sees the same windows.
/// Needs: cc.
#[test]
fn windows() {
    let mut program = Program::heap(&[]);
    let live = program.does("fill 200000");
    let mut census = program.census().walking_at_most(16 << 20);
    let reading = census.read().unwrap();
    assert!(near(reading.in_use.unwrap(), live, live / 4), "{:?}, in truth {live}", reading.in_use);
    assert!(
        reading.not_seen.iter().any(|said| said.contains("windows chosen at random")),
        "{:?}",
        reading.not_seen
    );
    assert_eq!(census.read().unwrap().in_use, reading.in_use);
}

/// Guarantees: a reading brings no page of a heap into memory, though pages are missing all over it; what lives is told all the same.
/// Needs: cc.
#[test]
fn absent_pages() {
    let mut program = Program::heap(&[]);
    program.does("retains 2");
    let live = program.does("trim");
    let pid = program.child.id();
    let pages = Pagemap::open(pid).unwrap();
    let resident = || {
        let modules = Modules::read(pid).unwrap();
        let parts = modules.anonymous.iter().filter(|part| !part.name.starts_with("[v"));
        let there = parts.flat_map(|part| {
            let starts = (part.start..part.end).step_by(16 << 20);
            starts
                .flat_map(|from| pages.resident(from, part.end.min(from + (16 << 20))).unwrap())
                .collect::<Vec<_>>()
        });
        there.map(|part| part.end - part.start).sum::<u64>()
    };
    let before = resident();
    let reading = program.census().read().unwrap();
    assert_eq!(resident(), before);
    assert!(reading.held.unwrap() > before, "nothing was missing");
    assert!(near(reading.in_use.unwrap(), live, BESIDE), "{reading:?}, in truth {live}");
}

/// Guarantees: where another malloc serves a program, it is named instead of a heap that is none.
/// Needs: cc; the other allocators, each where it is there.
#[test]
fn other_allocators() {
    let libraries = ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    for name in ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc.so.4"] {
        let Some(library) = libraries.iter().map(|at| Path::new(at).join(name)).find(|at| at.exists()) else {
            println!("skipped: {name} is not installed");
            continue;
        };
        let mut program = Program::start("cc", "heap.c", &[], Some(&library));
        program.does("fill 1000");
        let Err(OutsideError::Unknown(why)) = program.census().read() else { panic!("a heap of {name}") };
        assert!(why.contains(name.split('.').next().unwrap()), "{why}");
    }
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        println!("skipped: musl-gcc is not installed");
        return;
    }
    let mut program = Program::start("musl-gcc", "heap.c", &[], None);
    program.does("fill 1000");
    let Err(OutsideError::Unknown(why)) = program.census().read() else { panic!("a heap of musl") };
    assert!(why.contains("musl"), "{why}");
}

/// Guarantees: a process that runs another program, or has ended, is gone.
/// Needs: cc.
#[test]
fn ends() {
    let mut program = Program::heap(&[]);
    program.does("fill 1000");
    let mut census = program.census();
    assert!(census.read().is_ok());
    program.orders.write_all(b"become\nhello").unwrap();
    // the next program echoes what it is sent
    program.answers.read_exact(&mut [0]).unwrap();
    assert_eq!(census.read(), Err(OutsideError::Gone));
    let mut next = program.census();
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert_eq!(next.read(), Err(OutsideError::Gone));
    assert_eq!(Census::of(program.child.id()).err(), Some(OutsideError::Gone));
}
