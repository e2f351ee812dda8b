//! Stacks and files as nobody honest makes them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use mlh_stacks::modules::{FileId, Modules};
use mlh_stacks::unwind::{Library, Unwind, Unwinder};

use crate::target::{MAX_FRAMES, Target, build, functions};

/// Fixed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.roll() % most as u64).unwrap()
    }
}

/// Guarantees: whatever the stack and the registers hold, a trace has one frame or more and no more than wanted, and
/// names its first one right if there is code.
#[test]
fn stacks_of_any_bytes() {
    let room = tempfile::tempdir().unwrap();
    let target = Target::run(&build(room.path(), "leak.cc", &["-g"]), &[]);
    let mut unwinder = target.unwinder();
    let modules = target.modules();
    let code: Vec<_> = modules.modules.iter().flat_map(|m| &m.parts).filter(|p| p.executable).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let edges = [0, 1, 7, 8, u64::MAX, u64::MAX - 7, i64::MAX.cast_unsigned(), 1 << 47, target.sp];
    for round in 0..20_000 {
        let mut captured = target.captured();
        let mut stack = target.stack.clone();
        let somewhere = code[dice.below(code.len())];
        let inside = somewhere.start + dice.roll() % (somewhere.end - somewhere.start);
        for _ in 0..=dice.below(64) {
            let at = dice.below(stack.len() - 8);
            let value = match dice.below(3) {
                0 => dice.roll(),
                1 => inside,
                _ => target.sp + dice.roll() % 4096,
            };
            stack[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        captured.stack = &stack[..dice.below(stack.len())];
        captured.truncated = round % 2 == 0;
        match dice.below(4) {
            0 => captured.ip = inside,
            1 => captured.bp = edges[dice.below(edges.len())],
            2 => captured.sp = edges[dice.below(edges.len())],
            _ => captured.ip = dice.roll(),
        }
        let trace = unwinder.trace(&captured);
        let steps = trace.frames.iter().filter(|frame| !frame.inlined).count();
        assert!((1..=MAX_FRAMES).contains(&steps), "{round}");
        assert_eq!(trace.frames[0].address, captured.ip);
        let is_code = modules.at(captured.ip.saturating_sub(1)).is_some_and(|(_, part)| part.executable);
        assert_eq!(trace.frames[0].module != "[unknown]", is_code);
    }
}

/// Guarantees: a file with any bytes changed, in headers, unwind tables, symbols or debug information, is read without
/// a panic, in bounded time.
#[test]
fn files_of_any_bytes() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "leak.cc", &["-g"]);
    let target = Target::run(&program, &[]);
    let whole = fs::read(&program).unwrap();
    let broken = room.path().join("broken");
    let mut dice = Dice(0xdead_beef_cafe_f00d);
    let mut named = 0;
    // Keeps the libraries open: reading them anew each time would be most of the work.
    let library = Library::default();
    let mut sound = Unwinder::with_library(target.pid(), MAX_FRAMES, Unwind::Auto, &library);
    sound.refresh(&target.modules());
    let expected = sound.trace(&target.captured());
    for round in 0..600 {
        let mut bytes = whole.clone();
        let (from, range) = if round % 3 == 0 { (0, 1024) } else { (0, whole.len()) };
        for _ in 0..1 << dice.below(12) {
            let at = from + dice.below(range);
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, dice.roll().to_le_bytes()[0]][dice.below(6)];
        }
        if round % 10 == 0 {
            bytes.truncate(dice.below(whole.len()));
        }
        fs::write(&broken, &bytes).unwrap();
        let began = Instant::now();
        let mut unwinder = Unwinder::with_library(std::process::id(), MAX_FRAMES, Unwind::Auto, &library);
        unwinder.refresh(&instead(target.modules(), &program, &broken));
        let trace = unwinder.trace(&target.captured());
        assert!(!trace.frames.is_empty());
        named += usize::from(functions(&trace) == functions(&expected));
        assert!(began.elapsed() < Duration::from_secs(60), "round {round}");
    }
    assert_eq!(sound.trace(&target.captured()), expected);
    assert!((50..550).contains(&named), "{named} of the files could still be read: the test tests nothing");
}

/// The address space as if another file had been mapped.
fn instead(mut modules: Modules, old: &Path, new: &Path) -> Modules {
    let it = fs::metadata(new).unwrap();
    let module = modules.modules.iter_mut().find(|module| module.path == old).unwrap();
    module.path = new.to_owned();
    let (major, minor) = (nix::sys::stat::major(it.dev()), nix::sys::stat::minor(it.dev()));
    module.file = FileId {
        major: u32::try_from(major).unwrap(),
        minor: u32::try_from(minor).unwrap(),
        inode: it.ino(),
    };
    modules
}

/// Guarantees: unwind instructions that never end are given up, and so is debug information without a bottom; what is
/// sound of the file is used.
#[test]
fn endless_programs() {
    let room = tempfile::tempdir().unwrap();
    let target = Target::run(&build(room.path(), "hostile.c", &[]), &[]);
    let began = Instant::now();
    let trace = target.trace();
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(functions(&trace), ["honest", "endless"]);
    assert!(trace.incomplete.unwrap().contains("endless says that it has a caller"));
}
