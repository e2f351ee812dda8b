//! What stacks are known by: the same wherever the same files run.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use mlh_stacks::modules::{Anonymous, FileId, Modules};
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Unwinder};

use crate::target::{MAX_FRAMES, Target, build, run_tool};

/// Guarantees: a stack has one identity in every process, at whatever address and under whatever path its files are loaded;
/// also where they have no build id; and no two stacks of a program have the same.
#[test]
fn the_same_everywhere() {
    for flags in [&["-g"][..], &["-g", "-Wl,--build-id=none"], &["-static-pie"], &["-no-pie"]] {
        let here = tempfile::tempdir().unwrap();
        let there = tempfile::tempdir().unwrap();
        let program = build(here.path(), "chain.c", flags);
        let other = there.path().join("opt");
        fs::create_dir(&other).unwrap();
        let copy = other.join(program.file_name().unwrap());
        // by another process: what a thread here starts meanwhile would hold it open for writing
        run_tool(Command::new("cp").args([&program, &copy]));
        let traces: Vec<_> = [&program, &program, &copy].map(|it| Target::run(it, &[]).trace()).into();
        assert!(traces.iter().all(|trace| trace.hash == traces[0].hash), "{flags:?}");
        let target = Target::run(&program, &[]);
        let mut unwinder = target.unwinder();
        let depths = (0..8).map(|depth| {
            let mut captured = target.captured();
            captured.ip = traces_of(&target)[depth];
            unwinder.trace(&captured).hash
        });
        assert_eq!(depths.collect::<HashSet<_>>().len(), 8, "{flags:?}");
    }
}

fn traces_of(target: &Target) -> Vec<u64> {
    let trace: Trace = target.trace();
    trace.frames.iter().filter(|frame| !frame.inlined).map(|frame| frame.address).collect()
}

/// Guarantees: where the kernel's code is on a stack, another kernel makes no difference; nor does it where code was made at
/// run time, and what has a name is told apart by it.
#[test]
fn without_a_file() {
    let part = |start: u64| mlh_stacks::modules::Part {
        start,
        end: start + 0x1000,
        offset: 0,
        executable: true,
        writable: false,
    };
    let vdso = |start: u64| mlh_stacks::modules::Module {
        path: Path::new("[vdso]").to_owned(),
        deleted: false,
        file: FileId::default(),
        parts: vec![part(start)],
    };
    let made = |start: u64| Anonymous { start, end: start + 0x1000, name: String::new(), executable: true };
    let hash = |modules: Modules, ip: u64| {
        let mut unwinder = Unwinder::new(std::process::id(), MAX_FRAMES);
        unwinder.refresh(&modules);
        unwinder.trace(&Captured { ip, sp: 0x1000, stack: &[0; 64], ..Captured::default() }).hash
    };
    let kernel = |start, ip| hash(Modules { modules: vec![vdso(start)], ..Modules::default() }, ip);
    assert_eq!(kernel(0x7f00_0000_0000, 0x7f00_0000_0123), kernel(0x7e00_0000_0000, 0x7e00_0000_0456));
    let code = |start, ip| hash(Modules { anonymous: vec![made(start)], ..Modules::default() }, ip);
    assert_eq!(code(0x7f00_0000_0000, 0x7f00_0000_0123), code(0x7e00_0000_0000, 0x7e00_0000_0456));
    assert_ne!(kernel(0x7f00_0000_0000, 0x7f00_0000_0123), code(0x7f00_0000_0000, 0x7f00_0000_0123));
}
