//! Files and processes that are gone.

use std::fs::{self, File};

use mlh_stacks::modules::{Anonymous, Modules};
use mlh_stacks::unwind::{Captured, Library, Unwind, Unwinder};

use crate::target::{MAX_FRAMES, Target, blamed, build, build_plugin, functions};

/// Guarantees: an executable that has been removed is read all the same.
/// Needs: the right to follow `/proc/PID/map_files`, or `/proc/PID/exe`.
#[test]
fn removed_executable() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "leak.cc", &["-g"]);
    let target = Target::run(&program, &[]);
    fs::remove_file(&program).unwrap();
    let trace = target.trace();
    assert_eq!(blamed(&trace), "app::Session<double>::remember(double const&)");
    assert_eq!(trace.frames[0].module, program.to_str().unwrap());
}

/// Guarantees: once a process has been looked at, its stacks can be named after it has ended and its file is gone, in
/// another thread as well.
#[test]
fn ended_process() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "leak.cc", &["-g"]);
    let mut target = Target::run(&program, &[]);
    let mut unwinder = target.unwinder();
    let before = target.trace();
    target.end();
    fs::remove_file(&program).unwrap();
    assert!(Modules::read(target.pid()).is_err());
    let after =
        std::thread::scope(|scope| scope.spawn(|| unwinder.trace(&target.captured())).join().unwrap());
    assert_eq!(after, before);
}

/// Guarantees: a library that was loaded at run time is known after a refresh, not before; its stacks can be named
/// after it has been unloaded; a second unwinder of the same process shares what was read.
#[test]
fn library_that_comes_and_goes() {
    let room = tempfile::tempdir().unwrap();
    let (program, plugin) = (build(room.path(), "host.c", &["-g"]), build_plugin(room.path()));
    let target = Target::run(&program, &[&plugin]);
    let with = target.modules();
    let mut without = with.clone();
    without.modules.retain(|module| module.path != plugin);
    let library = Library::default();
    let mut unwinder = Unwinder::with_library(target.pid(), MAX_FRAMES, Unwind::Auto, &library);
    unwinder.refresh(&without);
    assert!(!unwinder.is_stale());
    let trace = unwinder.trace(&target.captured());
    assert_eq!((trace.frames.len(), trace.frames[0].module.as_str()), (1, "[unknown]"));
    assert!(trace.incomplete.unwrap().contains("nothing was mapped"));
    assert!(unwinder.is_stale());
    unwinder.refresh(&with);
    let expected = unwinder.trace(&target.captured());
    assert!(!unwinder.is_stale());
    assert_eq!(functions(&expected)[..3], ["inside", "plugin_entry", "main"]);
    assert_eq!((&expected.incomplete, blamed(&expected)), (&None, "inside"));
    unwinder.refresh(&without);
    assert_eq!(unwinder.trace(&target.captured()), expected);
    let mut second = Unwinder::with_library(target.pid(), MAX_FRAMES, Unwind::Auto, &library);
    second.refresh(&with);
    assert_eq!(second.trace(&target.captured()), expected);
    drop((unwinder, second));
}

/// Guarantees: a file that is cut short while it is looked at costs its names, and nothing else.
#[test]
fn file_cut_short() {
    let room = tempfile::tempdir().unwrap();
    let (program, plugin) = (build(room.path(), "host.c", &["-g"]), build_plugin(room.path()));
    let target = Target::run(&program, &[&plugin]);
    let mut unwinder = target.unwinder();
    File::options().write(true).open(&plugin).unwrap().set_len(0).unwrap();
    let trace = unwinder.trace(&target.captured());
    assert_eq!(trace.frames[0].module, plugin.to_str().unwrap());
    assert!(trace.incomplete.is_some());
    // Its code is gone: it cannot go on.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(target.pid()).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

/// Guarantees: a stack that is deeper than its copy, or than the frames that are wanted, says so, and its frames are
/// those of the whole one.
#[test]
fn cut_stacks() {
    let room = tempfile::tempdir().unwrap();
    let target = Target::run(&build(room.path(), "chain.c", &["-g"]), &[]);
    let whole = target.trace();
    let mut captured = target.captured();
    captured.stack = &target.stack[..1200];
    captured.truncated = true;
    let cut = target.unwinder().trace(&captured);
    assert_eq!(cut.incomplete.as_deref(), Some("it is deeper than the 1200 bytes that were copied"));
    assert!((2..whole.frames.len()).contains(&cut.frames.len()));
    assert_eq!(cut.frames[..], whole.frames[..cut.frames.len()]);
    let mut few = Unwinder::new(target.pid(), 5);
    few.refresh(&target.modules());
    let few = few.trace(&target.captured());
    assert_eq!(few.incomplete.as_deref(), Some("it has more than 5 frames"));
    assert_eq!(few.frames[..], whole.frames[..6]);
    assert_ne!(few.hash, whole.hash);
}

/// Guarantees: stacks through a file that cannot be opened are told apart by their places in it.
#[test]
fn closed_file() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "chain.c", &["-g"]);
    let target = Target::run(&program, &[]);
    let mut modules = target.modules();
    let module = modules.modules.iter_mut().find(|module| module.path == program).unwrap();
    module.path = room.path().join("nothing");
    // Nobody has this pid: there is no other way to the file.
    let mut unwinder = Unwinder::new(u32::MAX, MAX_FRAMES);
    unwinder.refresh(&modules);
    let mut captured = target.captured();
    let [here, again] = [(); 2].map(|()| unwinder.trace(&captured));
    captured.ip += 1;
    let there = unwinder.trace(&captured);
    assert_eq!(here.frames[0].function, None);
    assert_eq!(here.hash, again.hash);
    assert_ne!(here.hash, there.hash);
}

/// Guarantees: where somebody else's probe catches a function's return, that is said, and is no code that must be looked for.
#[test]
fn caught_returns() {
    let page = Anonymous { start: 0x7fff_f000, end: 0x7fff_ffff, name: "[uprobes]".into(), executable: true };
    let modules = Modules { anonymous: vec![page], ..Modules::default() };
    let mut unwinder = Unwinder::new(std::process::id(), MAX_FRAMES);
    unwinder.refresh(&modules);
    let captured = |ip| Captured { ip, sp: 0x1000, bp: 0, stack: &[0; 64], ..Captured::default() };
    let trace = unwinder.trace(&captured(0x7fff_f000));
    let why = trace.incomplete.unwrap();
    assert!(why.contains("catches the return") && !unwinder.is_stale(), "{why}");
    let why = unwinder.trace(&captured(0x5000)).incomplete.unwrap();
    assert!(!why.contains("catches the return") && unwinder.is_stale(), "{why}");
}
