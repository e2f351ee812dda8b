//! The whole way of what Python runs: a process is looked into, probed, and its stacks name the line of Python that allocates.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mlh_bpf::alloc::heard::{CallSite, Heard, ProcessEvent, Slot, StackCopy};
use mlh_bpf::alloc::point::Operation;
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_bpf::capture::Capture;
use mlh_bpf::error::SweepError;
use mlh_bpf::faults::{self, Sampler, Whom};
use mlh_stacks::modules::Modules;
use mlh_stacks::python::{MODULE, PythonFrame};
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Unwinder};
use mlh_targets::interpreters::python::{self, Python};
use mlh_targets::points::{self, Wish};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/leaks.py");
/// Blocks are of this size or more: no others are of interest.
const LEAST: u64 = 16_384;
/// Not by Python's allocator.
const MAPPINGS: [Operation; 5] =
    [Operation::Mmap, Operation::Munmap, Operation::Mremap, Operation::Brk, Operation::Madvise];
/// Within this time what has happened has been told, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// The interpreters of Python 3.`minor`: by its name, and below `~/.pyenv/versions`.
fn interpreters(minor: u32) -> Vec<PathBuf> {
    let name = format!("python3.{minor}");
    let path = std::env::var_os("PATH").unwrap_or_default();
    // those of pyenv in the path run whichever version is chosen
    let named: Vec<_> = std::env::split_paths(&path).filter(|folder| !folder.ends_with("shims")).collect();
    let versions = std::env::home_dir().map(|home| home.join(".pyenv/versions"));
    let folders = versions.and_then(|it| std::fs::read_dir(it).ok()).into_iter().flatten().flatten();
    let installed = folders.map(|folder| folder.path().join("bin"));
    let mut found: Vec<PathBuf> = installed.chain(named).map(|folder| folder.join(&name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.dedup_by_key(|path| path.canonicalize().unwrap());
    found
}

/// The program, under observation.
struct Subject {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    probes: Probes,
    told: Receiver<Heard>,
    unwinder: Unwinder,
    python: Python,
}

impl Subject {
    /// `None`: see [`had`].
    fn start(interpreter: &Path) -> Option<Self> {
        let (sender, told) = channel();
        let options = AllocOptions {
            btf_path: None,
            debug: false,
            min_allocation_size: LEAST,
            large_allocation_size: LEAST,
            sampling_rate: 1,
            max_tracked_allocations: 100_000,
            emit: false,
            max_events_per_second: 0,
        };
        let mut probes = had(Probes::load(&options, move |heard| drop(sender.send(heard))))?;
        let (child, input, output) = run(interpreter);
        let pid = child.id();
        let modules = Modules::read(pid).unwrap();
        let python = python::find(pid, &modules).unwrap().unwrap();
        let slot = probes.admit(pid).unwrap();
        probes.set_python(slot, Some(&python.layout)).unwrap();
        probe(&mut probes, slot, pid, &modules);
        let mut unwinder = Unwinder::new(pid, 64);
        unwinder.refresh(&modules);
        unwinder.set_python(Some(python.code));
        Some(Self { child, input, output, probes, told, unwinder, python })
    }

    /// Has it keep memory in one way. What was captured of that.
    fn keep(&mut self, way: &str) -> Vec<StackCopy> {
        writeln!(self.input, "{way}").unwrap();
        answer(&mut self.output, "done");
        let mut copies = Vec::new();
        loop {
            match self.told.recv_timeout(PATIENCE).unwrap() {
                // to make a thread takes a stack for it
                Heard::Stack(copy) if !MAPPINGS.contains(&copy.operation) => copies.push(copy),
                // it says so by a child that it has done
                Heard::Process(ProcessEvent::Forked { .. }) => return copies,
                _ => {}
            }
        }
    }

    fn traces(&mut self, way: &str) -> Vec<Trace> {
        let copies = self.keep(way);
        copies.iter().map(|copy| trace(&mut self.unwinder, &copy.capture, false)).collect()
    }
}

fn trace(unwinder: &mut Unwinder, capture: &Capture, interrupted: bool) -> Trace {
    let frame = |it: &mlh_bpf::capture::PythonFrame| PythonFrame {
        code: it.code,
        instruction: it.instruction,
        is_entry: it.is_entry,
    };
    let frames: Vec<PythonFrame> = capture.python.iter().map(frame).collect();
    unwinder.trace(&Captured {
        ip: capture.ip,
        interrupted,
        sp: capture.sp,
        bp: capture.bp,
        stack: &capture.stack,
        truncated: capture.truncated,
        chain: &capture.chain,
        returns: &capture.returns,
        python: &frames,
    })
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None`: eBPF cannot be had, and the test is skipped, or fails if `MLH_REQUIRE_EBPF=1`.
fn had<T>(result: Result<T, SweepError>) -> Option<T> {
    let skip = |error: &SweepError| {
        let required = std::env::var_os("MLH_REQUIRE_EBPF").is_some_and(|it| it == "1");
        assert!(!required, "cannot run: {error}");
        eprintln!("SKIPPED: {error}");
    };
    result.inspect_err(skip).ok()
}

fn run(interpreter: &Path) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut command = Command::new(interpreter);
    command.arg(PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    answer(&mut output, "ready");
    (child, input, output)
}

fn answer(output: &mut BufReader<ChildStdout>, expected: &str) {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), expected);
}

fn probe(probes: &mut Probes, slot: Slot, pid: u32, modules: &Modules) {
    let points = points::find(pid, modules, &Wish { min_allocation_size: LEAST });
    assert!(!points.images.is_empty());
    for image in &points.images {
        probes.attach(slot, &image.opened.path(), &image.points).unwrap();
    }
}

/// In the program, the line of code that ends with this name.
fn line_of(name: &str) -> u32 {
    let source = std::fs::read_to_string(PROGRAM).unwrap();
    let at = source.lines().position(|line| line.ends_with(&format!("# {name}"))).unwrap();
    u32::try_from(at + 1).unwrap()
}

/// As a person would read it.
fn shown(trace: &Trace) -> String {
    let frames = trace.frames.iter().map(|frame| {
        let (function, file) = (frame.function.as_deref(), frame.file.as_deref());
        let place = file.unwrap_or(&frame.module).rsplit('/').next().unwrap_or_default();
        format!("  {} {place}:{}", function.unwrap_or("?"), frame.line.unwrap_or_default())
    });
    let frames: Vec<String> = frames.collect();
    format!("culprit {:?}, {:?}\n{}", trace.culprit, trace.incomplete, frames.join("\n"))
}

/// Guarantees: whatever way a Python program keeps memory in, every stack blames the very line that does, in a main thread and another,
/// in generators, methods, deep recursion, and when C code calls; what an extension allocates is the extension's, called by the line.
/// Needs: eBPF, root, python3.8 to python3.14, those that there are.
#[test]
fn the_line_that_leaks() {
    let mut tried = 0;
    for minor in 8..=14 {
        let interpreters = interpreters(minor);
        if interpreters.is_empty() {
            eprintln!("SKIPPED: there is no python3.{minor}");
        }
        for interpreter in interpreters {
            let Some(mut subject) = Subject::start(&interpreter) else { return };
            assert_eq!(u32::from(subject.python.minor), minor);
            for (way, function) in [
                ("main_thread", "main_thread"),
                ("second_thread", "work"),
                ("generator", "produce"),
                ("method", "put"),
                ("recursion", "recursion"),
                ("called_from_c", "add"),
                ("expression", "<listcomp>"),
                ("unicode_naïve", "unicode_naïve"),
            ] {
                let traces = subject.traces(way);
                assert!(!traces.is_empty(), "{}: {way}", interpreter.display());
                for trace in &traces {
                    let frame = trace.culprit_frame().unwrap();
                    let blamed = (frame.file.as_deref(), frame.line);
                    let told = format!("{}: {way}: {}", interpreter.display(), shown(trace));
                    assert_eq!(blamed, (Some(PROGRAM), Some(line_of(way))), "{told}");
                    let name = frame.function.as_deref().unwrap();
                    // comprehensions are part of the function from 3.12 on
                    let expected = if minor >= 12 && way == "expression" { way } else { function };
                    assert_eq!(name.rsplit('.').next(), Some(expected), "{told}");
                    assert_eq!(trace.incomplete.is_some(), way == "recursion", "{told}");
                }
            }
            let traces = subject.traces("extension");
            let line = line_of("extension");
            let by_line = traces.iter().filter(|trace| {
                let python = trace
                    .frames
                    .iter()
                    .position(|frame| frame.line == Some(line) && frame.file.as_deref() == Some(PROGRAM));
                let native = trace.frames.iter().position(|frame| frame.module.contains("libsqlite3"));
                native < python && native.is_some()
            });
            assert!(
                by_line.count() > 0,
                "{}: {}",
                interpreter.display(),
                traces.iter().map(shown).collect::<String>()
            );
            tried += 1;
        }
    }
    assert!(tried > 0, "there is no Python at all");
}

/// Guarantees: two lines of Python that allocate at the same depth of the stack are two call sites, each with its own stacks and its own
/// sums: what one keeps is not put down to the other.
/// Needs: eBPF, root, python3.8 to python3.14, those that there are.
#[test]
fn lines_are_call_sites() {
    for interpreter in (8..=14).flat_map(interpreters) {
        let Some(mut subject) = Subject::start(&interpreter) else { return };
        let mut lines: BTreeMap<CallSite, BTreeSet<Option<u32>>> = BTreeMap::new();
        for copy in subject.keep("same_depth") {
            let trace = trace(&mut subject.unwinder, &copy.capture, false);
            lines.entry(copy.call_site).or_default().insert(trace.culprit_frame().unwrap().line);
        }
        assert!(lines.values().all(|lines| lines.len() == 1), "{lines:?}");
        let sums = |line| {
            let sites = subject.probes.call_sites().unwrap().into_iter();
            let of =
                sites.filter(|(site, _)| lines.get(site).is_some_and(|it| it.contains(&Some(line_of(line)))));
            of.fold((0, 0), |sum, (_, it)| (sum.0 + it.exact.allocated, sum.1 + it.exact.freed))
        };
        assert_eq!(sums("same_depth"), (200, 0), "{}", interpreter.display());
        assert_eq!(sums("same_depth_drop"), (200, 200), "{}", interpreter.display());
    }
}

/// Guarantees: without a probe in the process, the line of Python that makes it touch new pages is told by the faults on them.
/// Needs: eBPF, root, python3.8 to python3.14, those that there are.
#[test]
fn by_page_faults() {
    for interpreter in (8..=14).flat_map(interpreters) {
        let (mut child, mut input, mut output) = run(&interpreter);
        let pid = child.id();
        let modules = Modules::read(pid).unwrap();
        let python = python::find(pid, &modules).unwrap().unwrap();
        let mut unwinder = Unwinder::new(pid, 64);
        unwinder.refresh(&modules);
        unwinder.set_python(Some(python.code));
        let options = faults::Options { btf_path: None, frequency: 1000, whom: Whom::Processes(vec![pid]) };
        let (sender, told) = channel();
        let opened = Sampler::open(&options, move |heard| drop(sender.send(heard)));
        let Some(mut sampler) = had(opened) else { return };
        sampler.set_python(pid, Some(&python.layout)).unwrap();
        writeln!(input, "pages").unwrap();
        answer(&mut output, "done");
        drop(sampler);
        let (mut all, mut right) = (0, 0);
        for heard in told {
            let faults::Heard::Touch(touch) = heard else { continue };
            if touch.pid == pid {
                let trace = trace(&mut unwinder, &touch.capture, true);
                let line = trace.culprit_frame().and_then(|frame| frame.line);
                all += touch.weight;
                right += if line == Some(line_of("pages")) { touch.weight } else { 0 };
            }
        }
        assert!(all > 20_000 && right * 20 > all * 19, "{}: {right} of {all}", interpreter.display());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Guarantees: of a process that has ended the stacks that it left are told, with Python's functions as gone: no panic, and no names
/// that are none.
/// Needs: eBPF, root, python3.8 to python3.14, one of them.
#[test]
fn a_process_that_has_ended() {
    let Some(interpreter) = (8..=14).find_map(|minor| interpreters(minor).pop()) else {
        panic!("there is no Python at all");
    };
    let Some(mut subject) = Subject::start(&interpreter) else { return };
    let capture = subject.keep("main_thread").pop().unwrap().capture;
    assert_eq!(capture.python.len(), 2);
    let named = |trace: &Trace| -> Vec<Option<String>> {
        let frames = trace.frames.iter().filter(|frame| frame.module == MODULE);
        frames.map(|frame| frame.function.clone()).collect()
    };
    let mut stranger = Unwinder::new(subject.child.id(), 64);
    stranger.refresh(&Modules::read(subject.child.id()).unwrap());
    stranger.set_python(Some(subject.python.code));
    subject.child.kill().unwrap();
    subject.child.wait().unwrap();
    let gone = Some("<gone>".to_owned());
    assert_eq!(named(&trace(&mut stranger, &capture, false)), [gone.clone(), gone]);
}
