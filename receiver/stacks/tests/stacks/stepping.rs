//! A program is stopped at each of its instructions: what a page fault or a timer may interrupt.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Library, Unwind, Unwinder};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::target::{MAX_FRAMES, build_bare, functions, run_tool, source};

/// Bytes of the stack that are copied.
const COPIED: usize = 8 * 1024;
/// Instructions; the program has some hundred.
const MAX_STEPS: usize = 20_000;

/// A program under control.
struct Stepped {
    child: Child,
    memory: File,
}

/// Where it stands.
struct Stop {
    ip: u64,
    sp: u64,
    bp: u64,
    stack: Vec<u8>,
}

impl Stepped {
    fn run(program: &Path) -> Self {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
        let stepped = Self { child, memory };
        ptrace::attach(stepped.pid()).unwrap();
        waitpid(stepped.pid(), None).unwrap();
        stepped.child.stdin.as_ref().unwrap().write_all(b"x").unwrap();
        stepped
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Goes on by an instruction. `None` once it has ended.
    fn step(&self) -> Option<Stop> {
        ptrace::step(self.pid(), None).unwrap();
        if !matches!(waitpid(self.pid(), None).unwrap(), WaitStatus::Stopped(..)) {
            return None;
        }
        let registers = ptrace::getregs(self.pid()).unwrap();
        let mut stack = vec![0; COPIED];
        let copied = self.memory.read_at(&mut stack, registers.rsp).unwrap_or_default();
        stack.truncate(copied);
        Some(Stop { ip: registers.rip, sp: registers.rsp, bp: registers.rbp, stack })
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Stop {
    fn captured<'a>(&'a self, chain: &'a [u64]) -> Captured<'a> {
        let stack = if chain.is_empty() { &self.stack[..] } else { &[] };
        let (ip, sp, bp) = (self.ip, self.sp, self.bp);
        Captured { ip, interrupted: true, sp, bp, stack, truncated: false, chain, ..Captured::default() }
    }

    /// As the kernel follows frame pointers.
    fn chain(&self) -> Vec<u64> {
        let word = |address: u64| {
            let offset = usize::try_from(address.checked_sub(self.sp)?).ok()?;
            self.stack.get(offset..)?.first_chunk().copied().map(u64::from_le_bytes)
        };
        let mut frame = self.bp;
        let mut chain = Vec::new();
        while let (Some(next), Some(address)) = (word(frame), word(frame.saturating_add(8))) {
            chain.push(address);
            if next <= frame {
                break;
            }
            frame = next;
        }
        chain
    }
}

/// Whoever must be on the stack while one of the functions runs, from the innermost to `main`.
fn callers(function: &str) -> Option<Vec<String>> {
    let depth: usize = match function {
        "main" => 0,
        _ => function.strip_prefix("level_")?.parse().ok()?,
    };
    let levels = (1..=depth).rev().map(|level| format!("level_{level}"));
    Some(levels.chain(["main".to_owned()]).collect())
}

/// What of the true stack a trace has, in order, up to `main`; `None` if it has anything else.
fn known(trace: &Trace, truth: &[String]) -> Option<usize> {
    let found = functions(trace);
    let own: Vec<_> = found.iter().filter(|name| callers(name).is_some()).collect();
    let mut rest = truth.iter();
    own.iter().all(|name| rest.any(|known| known == **name)).then_some(own.len())
}

/// Steps through all functions; `see` is told of each stop within them: the stack, the program's process and who is on it.
fn step_through(flags: &[&str], mut see: impl FnMut(&Stop, &Modules, u32, &[String])) {
    let room = tempfile::tempdir().unwrap();
    let program = Stepped::run(&build_bare(room.path(), "steps.c", flags));
    let pid = program.child.id();
    let modules = Modules::read(pid).unwrap();
    let mut unwinder = Unwinder::new(pid, MAX_FRAMES);
    unwinder.refresh(&modules);
    let mut met = HashSet::new();
    for _ in 0..MAX_STEPS {
        let Some(stop) = program.step() else { break };
        let here = unwinder.trace(&Captured { ip: stop.ip, interrupted: true, ..Captured::default() });
        let function = here.frames[0].function.clone().unwrap_or_default();
        if let Some(truth) = callers(&function) {
            see(&stop, &modules, pid, &truth);
            met.insert(function);
        }
        if met.len() == 13 && met.contains("level_12") && here.frames[0].function.as_deref() == Some("main") {
            break;
        }
    }
    assert_eq!(met.len(), 13, "{met:?}");
}

fn unwinder(pid: u32, modules: &Modules, unwind: Unwind, library: &Library) -> Unwinder {
    let mut unwinder = Unwinder::with_library(pid, MAX_FRAMES, unwind, library);
    unwinder.refresh(modules);
    unwinder
}

/// Guarantees: by unwind information the stack is whole at every instruction: before a frame is made, while it is, and when
/// it is gone again, in functions without one, with frame pointers and without.
/// Needs: the right to trace one's own children.
#[test]
fn whole_at_each_instruction() {
    for flags in [&["-fomit-frame-pointer"][..], &["-fno-omit-frame-pointer"], &["-O0"]] {
        let library = Library::default();
        let mut known = HashMap::new();
        step_through(flags, |stop, modules, pid, truth| {
            for unwind in [Unwind::Auto, Unwind::Dwarf] {
                let unwinder =
                    known.entry(unwind).or_insert_with(|| unwinder(pid, modules, unwind, &library));
                let trace = unwinder.trace(&stop.captured(&[]));
                let found = functions(&trace);
                let whole = found.len() >= truth.len() && found[..truth.len()] == *truth;
                assert!(
                    whole && trace.incomplete.is_none(),
                    "{flags:?} at {:#x}, {truth:?}: {trace:#?}",
                    stop.ip
                );
            }
        });
    }
}

/// Guarantees: by frame pointers, followed here or by the kernel, nobody is on the stack who was not, and where somebody is
/// missing the trace says that it may be; between prologue and epilogue nobody is, and nothing is said.
/// Needs: the right to trace one's own children.
#[test]
fn doubtful_by_frame_pointers() {
    let library = Library::default();
    let (mut whole, mut doubted) = (0, 0);
    let mut unwinder = None;
    step_through(&["-fno-omit-frame-pointer", "-static"], |stop, modules, pid, truth| {
        let chain = stop.chain();
        let unwinder =
            unwinder.get_or_insert_with(|| self::unwinder(pid, modules, Unwind::FramePointers, &library));
        for chain in [&[][..], &chain] {
            let trace = unwinder.trace(&stop.captured(chain));
            let known = known(&trace, truth).unwrap_or_else(|| panic!("{truth:?}: {:?}", functions(&trace)));
            let says =
                trace.incomplete.as_deref().is_some_and(|why| why.contains("its caller may be missing"));
            assert!(
                known == truth.len() || says,
                "{truth:?}: {:?} {:?}",
                functions(&trace),
                trace.incomplete
            );
            whole += usize::from(known == truth.len() && !says);
            doubted += usize::from(says);
        }
    });
    assert!(whole > 100 && doubted > 20, "{whole} whole, {doubted} doubted");
}

/// Guarantees: the callers of a C library without unwind information and frame pointers are found at each of its instructions,
/// nobody is taken for one who is none, and it is said that they were looked for; by unwind information alone they are not.
/// Needs: musl-gcc, the right to trace one's own children.
#[test]
fn sought_through_musl() {
    for flags in
        [&["-O2"][..], &["-O2", "-static"], &["-O0"], &["-O2", "-static-pie", "-fcf-protection=none"]]
    {
        let room = tempfile::tempdir().unwrap();
        let program = room.path().join("musl");
        let mut gcc = Command::new("musl-gcc");
        run_tool(gcc.arg("-fno-builtin").args(flags).arg(source("musl.c")).arg("-o").arg(&program));
        let program = Stepped::run(&program);
        let pid = program.child.id();
        let (modules, library) = (Modules::read(pid).unwrap(), Library::default());
        let [mut unwinder, mut by_dwarf] =
            [Unwind::Auto, Unwind::Dwarf].map(|unwind| self::unwinder(pid, &modules, unwind, &library));
        let mut caller = String::new();
        let (mut met, mut missed, mut all) = (HashSet::new(), Vec::new(), 0);
        for _ in 0..MAX_STEPS {
            let Some(stop) = program.step() else { break };
            let trace = unwinder.trace(&stop.captured(&[]));
            let found = functions(&trace);
            if is_own(found[0]) {
                found[0].clone_into(&mut caller);
                continue;
            }
            if !caller.starts_with("inner_") {
                continue;
            }
            met.insert(caller.clone());
            all += 1;
            let own: Vec<_> = found.iter().copied().filter(|name| is_own(name)).collect();
            // the linker's stubs have unwind information
            let is_sought = trace.incomplete.as_deref().is_none_or(|why| why.contains("by looking for a"));
            if own != [&caller, "outer", "main"] || !is_sought {
                missed.push(format!("{:#x}: {}", stop.ip, found.join(" < ")));
            }
            if trace.incomplete.is_some() && all % 16 == 0 {
                assert_eq!(by_dwarf.trace(&stop.captured(&[])).frames.len(), 1);
            }
        }
        assert_eq!(met.len(), 9, "{met:?}");
        assert!(all > 3000 && missed.is_empty(), "{flags:?}: {} of {all} missed: {missed:#?}", missed.len());
    }
}

/// A function of the program.
fn is_own(name: &str) -> bool {
    name.starts_with("inner_") || ["outer", "main"].contains(&name)
}
