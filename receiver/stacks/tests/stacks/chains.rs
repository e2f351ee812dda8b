//! Whole stacks, with names.

use std::process::Command;

use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Library, Unwind, Unwinder};

use crate::target::{MAX_FRAMES, Target, blamed, build, functions, run_tool};

fn assert_chain(trace: &Trace, expected: &[&str]) {
    let found = functions(trace);
    let mut rest = found.iter();
    for name in expected {
        assert!(rest.any(|function| function == name), "{name} is missing, or out of order, in {found:#?}");
    }
}

const LEVELS: [&str; 12] = [
    "in_between",
    "level_12",
    "level_11",
    "level_10",
    "level_8",
    "level_7",
    "level_6",
    "level_5",
    "level_4",
    "level_3",
    "level_2",
    "level_1",
];

/// Guarantees: a C program's stack is followed to its end through frames of all sorts (large, of variable size, aligned,
/// with arguments on the stack); inlined functions are frames of their own, with lines; the innermost is to blame.
#[test]
fn c_with_debug_information() {
    let room = tempfile::tempdir().unwrap();
    let trace = Target::run(&build(room.path(), "chain.c", &["-g"]), &[]).trace();
    assert_eq!(trace.incomplete, None, "{trace:#?}");
    assert_eq!(functions(&trace)[..12], LEVELS);
    assert_chain(&trace, &["level_1", "main", "_start"]);
    assert!(trace.frames[0].inlined && !trace.frames[1].inlined);
    assert_eq!(trace.frames[0].address, trace.frames[1].address);
    assert!(trace.frames[0].file.as_deref().unwrap().ends_with("chain.c"));
    assert_eq!(trace.frames[0].line, Some(11));
    assert_eq!(trace.frames[1].line, Some(15));
    assert_eq!((trace.culprit, trace.caller_ip()), (Some(0), Some(trace.frames[0].address)));
}

/// Guarantees: without debug information functions are named by symbols; without those too the stack is as deep, its
/// frames say module and offset; and its identity is the same in every process, with and without names.
#[test]
fn stripped() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "chain.c", &["-g"]);
    let whole = Target::run(&program, &[]).trace();
    run_tool(Command::new("strip").arg("--strip-debug").arg(&program));
    let symbols = Target::run(&program, &[]).trace();
    assert_eq!(functions(&symbols)[..11], LEVELS[1..]);
    let bare = build(room.path(), "chain.c", &["-g", "-Wl,--no-export-dynamic"]);
    let full = Target::run(&bare, &[]).trace();
    run_tool(Command::new("strip").arg(&bare));
    let bare = Target::run(&bare, &[]).trace();
    assert_eq!(symbols.hash, whole.hash);
    assert_eq!(full.hash, bare.hash);
    assert_ne!(full.hash, 0);
    assert_eq!(symbols.frames.len() + 1, whole.frames.len());
    assert_eq!(bare.frames.len() + 1, full.frames.len());
    assert_eq!((functions(&bare)[0], bare.culprit), ("?", Some(0)));
    assert!(bare.frames[0].module.ends_with("/chain"));
    assert_eq!(bare.frames[0].offset, full.frames[0].offset);
    let other = build(room.path(), "leak.cc", &[]);
    assert_ne!(Target::run(&other, &[]).trace().hash, whole.hash);
}

/// Guarantees: C++ names are demangled without return types; `operator new` and `std::` are passed over, whichever
/// linker and standard library, linked dynamically or statically; the lambda and main are in the chain.
#[test]
fn cpp() {
    let room = tempfile::tempdir().unwrap();
    for flags in [&["-g"][..], &["-g", "-static-libstdc++"], &["-g", "-no-pie"], &["-g", "-static"]] {
        let trace = Target::run(&build(room.path(), "leak.cc", flags), &[]).trace();
        assert_eq!(trace.incomplete, None, "{flags:?}: {trace:#?}");
        assert_eq!(blamed(&trace), "app::Session<double>::remember(double const&)", "{flags:?}: {trace:#?}");
        assert_eq!(functions(&trace)[0], "operator new(unsigned long)");
        assert_chain(&trace, &["app::serve(std::function<int (int)> const&, int)", "main", "_start"]);
        assert!(functions(&trace).iter().any(|name| name.contains("{lambda(int)#1}")), "{trace:#?}");
        assert!(trace.frames.iter().any(|frame| frame.inlined));
    }
}

/// Guarantees: in a thread of an optimised Rust program its own allocator and the standard library are passed over, and
/// the stack is followed to the thread's beginning.
#[test]
fn rust() {
    let room = tempfile::tempdir().unwrap();
    let trace = Target::run(&build(room.path(), "leak.rs", &["-g"]), &[]).trace();
    assert_eq!(trace.incomplete, None, "{trace:#?}");
    assert_eq!(blamed(&trace), "leak::cache::remember", "{trace:#?}");
    assert_chain(&trace, &["<leak::Counting as core::alloc::global::GlobalAlloc>::alloc", "leak::serve"]);
}

/// Guarantees: code that was made at run time has the name that its maker has written for it, and the stack goes on
/// behind it; without that file it has none, and is all the same followed.
/// Needs: a writable /tmp.
#[test]
fn made_at_run_time() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "made.c", &["-g"]);
    for named in [true, false] {
        let arguments = [room.path()];
        let target = Target::run(&program, &arguments[..usize::from(named)]);
        let trace = target.trace();
        drop(std::fs::remove_file(format!("/tmp/perf-{}.map", target.pid())));
        let name = if named { "serve" } else { "?" };
        assert_chain(&trace, &["called", name, "main", "_start"]);
        let made = trace.frames.iter().find(|frame| frame.module == "[anon]").unwrap();
        assert_eq!((made.offset, &trace.incomplete), (64 + 5, &None));
        let place = named.then_some(("/srv/app.js", 12));
        assert_eq!(made.file.as_deref().zip(made.line), place);
    }
}

/// Guarantees: where files say nothing of frames the chain of frame pointers is followed, and where there is none
/// either callers are looked for, and the trace says so; by unwind information alone it ends there, says in which file, and has
/// no invented frames; what debug information says is used.
#[test]
fn no_unwind_information() {
    let room = tempfile::tempdir().unwrap();
    let without = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let debug = [&without[..], &["-g"]].concat();
    let trace = Target::run(&build(room.path(), "chain.c", &debug), &[]).trace();
    assert_chain(&trace, &LEVELS);
    assert_eq!(trace.incomplete, None);
    let pointers = [&without[..], &["-fno-omit-frame-pointer"]].concat();
    let trace = Target::run(&build(room.path(), "chain.c", &pointers), &[]).trace();
    assert_chain(&trace, &LEVELS[1..]);
    assert_chain(&trace, &["level_1", "main", "_start"]);
    let target = Target::run(&build(room.path(), "chain.c", &without), &[]);
    let trace = target.trace();
    assert_chain(&trace, &LEVELS[1..]);
    let reason = "level_12 has no unwind information: its caller was found by looking for a return address";
    assert_eq!(trace.incomplete.as_deref(), Some(reason));
    let mut by_dwarf = Unwinder::with_library(target.pid(), MAX_FRAMES, Unwind::Dwarf, &Library::default());
    by_dwarf.refresh(&target.modules());
    let trace = by_dwarf.trace(&target.captured());
    assert_eq!(functions(&trace), ["level_12"]);
    let reason = trace.incomplete.as_deref().unwrap();
    assert!(reason.ends_with("/chain has no unwind information for level_12"), "{reason}");
}
