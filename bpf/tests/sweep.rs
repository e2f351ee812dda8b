//! The sweep in this kernel, compared with /proc for processes that the test starts.
#![cfg(all(target_os = "linux", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::process::Command;

use mlh_bpf::error::SweepError;
use mlh_bpf::kernel;
use mlh_bpf::pass::Pass;
use mlh_bpf::sweep::{SweepOptions, Sweeper};
use mlh_bpf::wire::WATCHED_MAX;
use support::{Subject, can, copy_for_everybody, example, full, nobody_with, run, sweeper, watched};

const MIB: u64 = 1 << 20;

/// Guarantees: an unwatched process's anonymous memory is within its slack of what its page tables hold.
/// Needs: eBPF.
#[test]
fn anonymous_memory_is_within_the_slack() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut subject = Subject::start();
    subject.ask("touch 32");
    let row = subject.row(&full(&mut sweeper));
    let truth = subject.anonymous();
    assert!(truth >= 32 * MIB);
    assert!(row.anon.abs_diff(truth) <= row.slack, "{} is not within {} of {truth}", row.anon, row.slack);
}

/// Guarantees: a watched process's anonymous memory is right to the page, in both kinds of pass, before and after it grows.
/// Needs: eBPF, contiguous CPU ids.
#[test]
fn a_watched_process_is_exact_to_the_page() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut subject = Subject::start();
    sweeper.watch(&[subject.pid()], &[]).expect("room");
    let before = subject.row(&watched(&mut sweeper));
    assert_eq!((before.anon, before.slack), (subject.anonymous(), 0));
    subject.ask("touch 7");
    let after = subject.row(&watched(&mut sweeper));
    assert_eq!((after.anon, after.slack), (subject.anonymous(), 0));
    assert!(after.anon - before.anon >= 7 * MIB);
    assert_eq!(subject.row(&full(&mut sweeper)).anon, after.anon);
}

/// Guarantees: a watched pass holds the watched processes and no others; one no longer watched is gone from it.
/// Needs: eBPF.
#[test]
fn a_watched_pass_holds_the_watched_only() {
    let Some(mut sweeper) = sweeper() else { return };
    let (one, other) = (Subject::start(), Subject::start());
    let pids = |pass: &Pass| {
        let mut pids: Vec<u32> = pass.processes.iter().map(|row| row.pid).collect();
        pids.sort_unstable();
        pids
    };
    assert!(watched(&mut sweeper).processes.is_empty());
    sweeper.watch(&[one.pid(), other.pid()], &[]).expect("room");
    let mut both = [one.pid(), other.pid()];
    both.sort_unstable();
    assert_eq!(pids(&watched(&mut sweeper)), both);
    sweeper.watch(&[other.pid()], &[]).expect("room");
    assert_eq!(pids(&watched(&mut sweeper)), [other.pid()]);
    assert!(pids(&full(&mut sweeper)).contains(&one.pid()));
}

/// Guarantees: a few watched among many are passed over one by one with the same result as in a pass over all: threads' time,
/// exact memory, an exit seen as absence.
/// Needs: eBPF; 6.1 for the passes over one process (before, the same holds of the pass over all).
#[test]
fn a_few_among_many_are_the_same() {
    let Some(mut sweeper) = sweeper() else { return };
    let crowd: Vec<Subject> = (0..40).map(|_| Subject::start()).collect();
    let mut subject = Subject::start();
    subject.ask("threads 3");
    subject.ask("touch 5");
    sweeper.watch(&[subject.pid(), crowd[0].pid()], &[]).expect("room");
    // before the first full pass nothing is known of how many there are, and the pass goes over all
    let over_all = subject.row(&watched(&mut sweeper));
    assert!(full(&mut sweeper).processes.len() > 40);
    for _ in 0..3 {
        let each = watched(&mut sweeper);
        assert_eq!(each.processes.len(), 2);
        let row = subject.row(&each);
        assert_eq!(
            (row.start_ns, row.image, row.threads),
            (over_all.start_ns, over_all.image, over_all.threads)
        );
        assert_eq!((row.anon, row.slack), (subject.anonymous(), 0));
        assert!(row.cpu_ns >= over_all.cpu_ns);
    }
    drop(subject);
    assert_eq!(watched(&mut sweeper).processes.len(), 1);
    sweeper.watch(&[], &[]).expect("room");
    assert!(watched(&mut sweeper).processes.is_empty());
}

/// Guarantees: as many as the map has entries can be watched; one more is refused as a value and changes nothing.
/// Needs: eBPF.
#[test]
fn too_many_watched_are_refused() {
    let Some(mut sweeper) = sweeper() else { return };
    let subject = Subject::start();
    let mut pids: Vec<u32> =
        (0..u32::try_from(WATCHED_MAX).expect("small")).map(|n| 1_000_000_000 + n).collect();
    sweeper.watch(&pids, &[]).expect("as many as there are entries");
    pids.push(subject.pid());
    let refused = sweeper.watch(&pids, &[]);
    assert!(matches!(refused, Err(SweepError::TooManyWatched { asked: 1025, max: 1024, .. })), "{refused:?}");
    assert!(watched(&mut sweeper).processes.is_empty());
    sweeper.watch(&[subject.pid()], &[]).expect("the others make room");
    assert_eq!(watched(&mut sweeper).processes.len(), 1);
}

/// Guarantees: identity, parent, names, sizes and thread count are those of /proc.
/// Needs: eBPF.
#[test]
fn describes_a_process_as_proc_does() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut subject = Subject::start();
    subject.ask("threads 3");
    let row = subject.row(&full(&mut sweeper));
    let process = procfs::process::Process::new(subject.pid().cast_signed()).expect("alive");
    let status = process.status().expect("status");
    let stat = process.stat().expect("stat");
    assert_eq!((row.comm.as_str(), row.executable.as_str()), ("subject", "subject"));
    assert_eq!((row.host_pid, row.own_pid), (row.pid, row.pid));
    assert_eq!(row.parent, std::process::id());
    assert_eq!(u64::from(row.threads), status.threads);
    assert_eq!(row.threads, 4);
    assert_eq!(row.virtual_size, stat.vsize);
    assert_eq!(Some(row.page_tables), status.vmpte.map(|kib| kib * 1024));
    assert_eq!(row.start_ns / 10_000_000, stat.starttime);
    assert_ne!(row.image, 0);
    assert!(row.cgroup_id.is_some());
}

/// Guarantees: CPU time is that of all threads, to the nanosecond for the living, and of those that have ended too.
/// Needs: eBPF, scheduler statistics in /proc.
#[test]
fn cpu_time_is_that_of_all_threads() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut subject = Subject::start();
    subject.ask("threads 3");
    // The subject goes to sleep right after its answer; until then the two readings may differ.
    let settled = (0..200).any(|_| {
        let before = subject.cpu_of_living_threads();
        let row = subject.row(&full(&mut sweeper));
        row.cpu_ns == before && before == subject.cpu_of_living_threads()
    });
    assert!(settled, "never equal to the sum over /proc/PID/task/*/schedstat");
    let living = subject.row(&full(&mut sweeper)).cpu_ns;
    subject.ask("ended 2");
    let all = subject.row(&full(&mut sweeper)).cpu_ns;
    let one_thread = living / 4;
    assert!(all > subject.cpu_of_living_threads() + one_thread, "{all} does not hold the threads that ended");
    let stat = procfs::process::Process::new(subject.pid().cast_signed())
        .and_then(|process| process.stat())
        .expect("stat");
    let of_proc = (stat.utime + stat.stime) * 10_000_000;
    assert!(all.abs_diff(of_proc) <= 40_000_000, "{all} where /proc says {of_proc}");
}

/// Guarantees: a process whose main thread has ended, of which /proc/PID/status shows no memory, is seen once and with all of it.
/// Needs: eBPF.
#[test]
fn a_process_without_its_main_thread_is_seen() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut subject = Subject::start();
    subject.ask("touch 8");
    subject.ask("threads 2");
    subject.ask("orphan");
    sweeper.watch(&[subject.pid()], &[]).expect("room");
    let row = subject.row(&full(&mut sweeper));
    assert!(row.anon >= 8 * MIB, "{row:?}");
    assert_eq!((row.slack, row.comm.as_str(), row.executable.as_str()), (0, "subject", "subject"));
    assert_eq!(subject.row(&watched(&mut sweeper)).start_ns, row.start_ns);
}

/// Guarantees: an exec changes the image, also when it is of the same file, and leaves pid and start time.
/// Needs: eBPF.
#[test]
fn an_exec_changes_the_image() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut subject = Subject::start();
    let before = subject.row(&full(&mut sweeper));
    assert_eq!(subject.row(&full(&mut sweeper)).image, before.image);
    subject.ask("exec");
    let after = subject.row(&full(&mut sweeper));
    assert_eq!((after.pid, after.start_ns), (before.pid, before.start_ns));
    assert_ne!(after.image, before.image);
}

/// Guarantees: from the host's namespace a process in another one is seen by its host pid, and with its own.
/// Needs: eBPF, root in the initial pid namespace, unshare.
#[test]
fn a_process_in_a_namespace_has_both_pids() {
    let Some(mut sweeper) = sweeper() else { return };
    let Some(subject) = Subject::start_in_pid_namespace() else { return };
    let pass = full(&mut sweeper);
    let row = pass.processes.iter().find(|row| row.parent == subject.pid()).expect("the child of unshare");
    assert_eq!(row.own_pid, 1);
    assert_eq!(row.pid, row.host_pid);
    assert_ne!(row.pid, 1);
}

/// Guarantees: an agent in a pid namespace sees what a /proc of that namespace shows: itself, and processes in namespaces below
/// under the pid they have in its own; nothing of the host.
/// Needs: eBPF, root, unshare.
#[test]
fn inside_a_namespace_only_its_processes_are_visible() {
    let Some(_) = sweeper() else { return };
    let script = r#"
        unshare --pid --fork sleep 1000 &
        tries=0
        until pass=$("$0" 1) && echo "$pass" | grep -q '"sleep"'; do
            tries=$((tries + 1)); [ $tries -lt 50 ] || exit 1
        done
        echo "$pass""#;
    let own = ["--pid", "--fork", "--kill-child"];
    if !can("unshare", &own) {
        return;
    }
    let output = run(Command::new("unshare").args(own).args(["sh", "-c", script]).arg(example("pass")));
    let rows: Vec<Vec<&str>> = output.lines().map(|line| line.split('\t').collect()).collect();
    let name = |row: &Vec<&str>| row.get(6).copied().unwrap_or_default().to_owned();
    let mut names: Vec<String> = rows.iter().map(name).collect();
    names.sort();
    assert_eq!(rows.len(), 4, "the shell, unshare, sleep and the reader: {output}");
    assert!(names.contains(&"\"sleep\"".to_owned()) && names.contains(&"\"pass\"".to_owned()), "{output}");
    for row in &rows {
        let id = |at: usize| row.get(at).and_then(|id| id.parse::<u32>().ok()).expect("a number");
        let (pid, host_pid, own_pid) = (id(0), id(1), id(2));
        assert_ne!(pid, host_pid, "{output}");
        assert_eq!(own_pid, if name(row) == "\"sleep\"" { 1 } else { pid }, "{output}");
    }
    // The shell is pid 1 there; it was watched by that pid.
    let first = rows.iter().find(|row| row.first() == Some(&"1")).expect("pid 1");
    assert_eq!((first.get(3), first.get(4)), (Some(&"0"), Some(&"0")), "{output}");
}

/// Guarantees: with `CAP_BPF` and `CAP_PERFMON` alone a user other than root gets the whole pass, and exact sums.
/// Needs: eBPF, root, setpriv, kernel 5.11 (before, memory for BPF needs a raised limit).
#[test]
fn two_capabilities_are_enough() {
    let Some(mut sweeper) = sweeper() else { return };
    let subject = Subject::start();
    let user = nobody_with("-all,+bpf,+perfmon");
    if !can("setpriv", &user) {
        return;
    }
    let program = copy_for_everybody(&example("pass"));
    let output = run(Command::new("setpriv").args(user).arg(program.path()).arg(subject.pid().to_string()));
    sweeper.watch(&[subject.pid()], &[]).expect("room");
    let row = subject.row(&full(&mut sweeper));
    let line =
        output.lines().find(|line| line.starts_with(&format!("{}\t", subject.pid()))).expect("its line");
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields.get(4), Some(&"0"), "no slack: {line}");
    assert_eq!(fields.get(5).copied(), Some(row.anon.to_string().as_str()), "{line}");
}

/// Guarantees: without `CAP_PERFMON` the refusal names it.
/// Needs: eBPF, root, setpriv.
#[test]
fn a_missing_capability_is_named() {
    let Some(_) = sweeper() else { return };
    let user = nobody_with("-all,+bpf");
    if !can("setpriv", &user) {
        return;
    }
    let program = copy_for_everybody(&example("pass"));
    let output = Command::new("setpriv").args(user).arg(program.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(r#"missing: ["CAP_PERFMON"]"#), "{said}");
}

/// Guarantees: type information that is not there is an error that names the path, and so is a file that is none.
/// Needs: eBPF.
#[test]
fn bad_type_information_is_an_error() {
    let Some(_) = sweeper() else { return };
    let open = |path: &str| Sweeper::open(&SweepOptions { btf_path: Some(path.into()) });
    let absent = open("/nonexistent/btf").expect_err("there is none");
    assert!(
        matches!(absent, SweepError::NoBtf { .. }) && absent.to_string().contains("/nonexistent/btf"),
        "{absent}"
    );
    let other = open("/proc/self/status").expect_err("that is no BTF");
    assert!(matches!(other, SweepError::Io { .. }), "{other}");
}

/// Guarantees: the kernel's own type information, named as a custom path, is used and gives the same rows.
/// Needs: eBPF.
#[test]
fn custom_type_information_is_used() {
    let Some(_) = sweeper() else { return };
    let subject = Subject::start();
    let options = SweepOptions { btf_path: Some(kernel::BTF_PATH.into()) };
    let row = subject.row(&full(&mut Sweeper::open(&options).expect("the kernel's own")));
    assert_eq!(row.comm, "subject");
}
