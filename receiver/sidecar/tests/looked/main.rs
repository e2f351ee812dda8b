//! A look at a real program through the real kernel.

#![cfg(all(target_os = "linux", feature = "ebpf"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected is to fail")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use memory_leak_hunter::investigate::investigation::{Investigation, OpenError};
use memory_leak_hunter::investigate::plan::{End, Filters, Origin, Plan, Rung, Target};
use memory_leak_hunter::investigate::report::{Report, StackEvidence};
use mlh_targets::host::HostClock;

/// A program that works on a line of input and then tells what it did.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Builds and starts it.
    fn start(folder: &Path) -> Self {
        let (source, binary) =
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/looked/work.c"), folder.join("work"));
        let built = Command::new("cc").args(["-O2", "-g", "-o"]).arg(&binary).arg(&source).status().unwrap();
        assert!(built.success());
        let mut command = Command::new(binary);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut program = Self { child, input, output };
        assert_eq!(program.says(), "ready");
        program
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has it work: blocks and bytes leaked, and blocks given back.
    fn work(&mut self) -> [u64; 3] {
        self.input.write_all(b"\n").unwrap();
        let told = self.says();
        let mut numbers = told.split(' ').map(|number| number.parse().unwrap());
        [(); 3].map(|()| numbers.next().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn plan(pid: u32, rung: Rung, filters: Filters) -> Plan {
    Plan { target: Target::Pid(pid), rung, duration: None, filters, origin: Origin::Command }
}

/// A look at the program; `None` where this host allows none.
fn open(program: &Program, rung: Rung, filters: Filters) -> Option<Investigation> {
    match Investigation::open(&plan(program.child.id(), rung, filters)) {
        Ok(look) => Some(look),
        Err(OpenError::Host(reason)) if std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|v| v != "1") => {
            eprintln!("SKIPPED: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What comes of a look at the program while it works; `None` where this host allows none.
fn looked(rung: Rung, filters: Filters) -> Option<([u64; 3], Report)> {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let mut look = open(&program, rung, filters)?;
    let truth = program.work();
    let now = HostClock::now_boot().unwrap();
    assert_eq!(look.step(now).ended, None);
    let (_, report) = look.close(HostClock::now_boot().unwrap(), usize::MAX, End::Elapsed);
    Some((truth, report))
}

fn by<'a>(report: &'a Report, function: &str) -> &'a StackEvidence {
    let blamed = |stack: &&StackEvidence| {
        stack.trace.culprit_frame().and_then(|frame| frame.function.as_deref()) == Some(function)
    };
    let found: Vec<_> = report.stacks.iter().filter(blamed).collect();
    assert_eq!(found.len(), 1, "{function} in {:#?}", report.stacks);
    found[0]
}

/// Guarantees: in debug mode every block and byte of every function is known exactly, what was given back is not held,
/// half of a mapping that was unmapped is not either, and whoever is to blame is named with file and line.
///
/// Needs: eBPF with `CAP_BPF`, `CAP_PERFMON` and `CAP_SYS_PTRACE` (else it is skipped, or fails with `MLH_REQUIRE_EBPF=1`),
/// and a C compiler.
#[test]
fn debug_mode_is_exact() {
    let filters = Filters { overhead_budget: None, ..Filters::default() };
    let Some(([leaked, leaked_bytes, freed], report)) = looked(Rung::Debug, filters) else { return };
    let stack = by(&report, "leak");
    assert_eq!((stack.live_count, stack.live_bytes, stack.freed_count), (leaked, leaked_bytes, 0));
    assert_eq!(
        (stack.operation, stack.mapped, stack.error_bytes, stack.at_least),
        ("malloc", false, 0, false)
    );
    let frame = stack.trace.culprit_frame().unwrap();
    assert!(
        frame.file.as_deref().is_some_and(|file| file.ends_with("work.c")) && frame.line.is_some(),
        "{frame:?}"
    );
    let stack = by(&report, "give_back");
    assert_eq!((stack.live_count, stack.allocated_count, stack.freed_count), (0, freed, freed));
    assert_eq!((stack.operation, stack.freed_bytes), ("calloc", 3000 * freed));
    let stack = by(&report, "map_half");
    assert_eq!((stack.mapped, stack.live_bytes, stack.freed_bytes), (true, 1 << 19, 1 << 19));
    let totals = report.totals;
    assert_eq!((totals.live_count, totals.live_bytes), (leaked, leaked_bytes));
    assert_eq!((totals.mapped_bytes, totals.lost, totals.not_fitted), (1 << 19, 0, 0));
    assert!(report.cost.hits >= leaked + 2 * freed && report.cost.kernel_bytes <= 100 << 20);
}

/// Guarantees: in targeted mode what is below `min_allocation_size` is not seen, and what is sampled is an estimate whose
/// interval holds the truth; heap that the allocator maps for itself does not count on top.
///
/// Needs: as above.
#[test]
fn targeted_mode_estimates() {
    let filters = Filters {
        min_allocation_size: 4096,
        large_allocation_size: 1 << 20,
        sampling_rate: 4,
        overhead_budget: None,
        ..Filters::default()
    };
    let Some((_, report)) = looked(Rung::Targeted, filters) else { return };
    // of the sizes 100 to 5099 those from 4096 on
    let (count, bytes) = (1004, (4096..5100).sum::<u64>());
    let stack = by(&report, "leak");
    assert!(stack.error_bytes > 0 && stack.error_bytes < bytes / 2, "{stack:?}");
    // three times the interval: it fails once in a hundred million runs
    assert!(stack.live_bytes.abs_diff(bytes) <= 3 * stack.error_bytes, "{stack:?}");
    assert!(stack.live_count.abs_diff(count) < count / 2, "{stack:?}");
    let names = report.stacks.iter().filter_map(|stack| stack.trace.culprit_frame()?.function.as_deref());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, ["leak", "map_half"]);
}

/// Guarantees: a process that executes a program anew goes on being looked at, with all that it allocates from then on, also where
/// that program executes yet another one at once.
///
/// Needs: as above.
#[test]
fn another_program_is_looked_at() {
    for times in ["x", "xx"] {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Program::start(folder.path());
        let filters = Filters { overhead_budget: None, ..Filters::default() };
        let Some(mut look) = open(&program, Rung::Debug, filters) else { return };
        program.input.write_all(times.as_bytes()).unwrap();
        times.chars().for_each(|_| assert_eq!(program.says(), "ready"));
        let mut members = 1;
        while members < 2 {
            assert!(look.wait(Duration::from_secs(30)), "the exec is not told");
            let now = HostClock::now_boot().unwrap();
            assert_eq!(look.step(now).ended, None);
            members = look.report(now, 0).members.len();
        }
        let [leaked, leaked_bytes, _] = program.work();
        let (_, report) = look.close(HostClock::now_boot().unwrap(), usize::MAX, End::Elapsed);
        let stack = by(&report, "leak");
        assert_eq!((stack.live_count, stack.live_bytes, stack.gone), (leaked, leaked_bytes, false));
        let executed = report.not_seen.iter().find(|sentence| sentence.contains("executed"));
        assert_eq!(executed, None);
    }
}

/// Guarantees: stacks have at most `max_frames` frames, and one that has more says so.
///
/// Needs: as above.
#[test]
fn stacks_are_cut() {
    for (max_frames, is_cut) in [(1, true), (64, false)] {
        let filters = Filters { overhead_budget: None, max_frames, ..Filters::default() };
        let Some((_, report)) = looked(Rung::Debug, filters) else { return };
        let trace = &by(&report, "leak").trace;
        let called = trace.frames.iter().filter(|frame| !frame.inlined).count();
        assert_eq!((called == max_frames, trace.incomplete.is_some()), (is_cut, is_cut), "{trace:?}");
    }
}
