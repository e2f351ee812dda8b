//! Java without any map of its code: interpreted, compiled by either compiler, inlined, and all of them on one stack.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mlh_stacks::trace::Trace;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::target::{functions, trace_of_stopped};

/// Calls until everything has been compiled, each of which reads a byte; the next one waits.
const WARM: usize = 60_000;

const PROGRAM: &str = "
final class Chain {
    static int waits() throws java.io.IOException {
        return System.in.read();
    }
    static final class Pool {
        int grow(String name, int[] sizes, long most) throws java.io.IOException {
            return waits();
        }
    }
    interface Handler {
        int handle(Pool pool) throws java.io.IOException;
    }
    static int serve(Pool pool) throws java.io.IOException {
        Handler handler = it -> it.grow(\"pool\", null, 1L << 40);
        return handler.handle(pool);
    }
    public static void main(String[] arguments) throws Exception {
        Pool pool = new Pool();
        int sum = 0;
        while (sum >= 0) {
            sum += serve(pool);
        }
    }
}
";

/// Functions of the program, innermost first, and their lines.
const CHAIN: [(&str, u32); 5] = [
    ("Chain.waits()", 4),
    ("Chain$Pool.grow(java.lang.String, int[], long)", 8),
    ("Chain.lambda$serve$0(Chain$Pool)", 15),
    ("Chain.serve(Chain$Pool)", 16),
    ("Chain.main(java.lang.String[])", 22),
];

/// The one of the path, and those of the system.
fn virtual_machines() -> BTreeSet<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|folder| folder.join("java")).find(|java| java.exists());
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let installed = installed.map(|version| version.path().join("bin/java"));
    first.into_iter().chain(installed).filter_map(|java| java.canonicalize().ok()).collect()
}

/// Waits until a thread other than the first one waits for input, and stops it.
fn stopped(child: &Child) -> Pid {
    let waits = |thread: &Path| {
        // `read` of standard input
        fs::read_to_string(thread.join("syscall")).is_ok_and(|call| call.starts_with("0 0x0 "))
    };
    loop {
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let found = threads.flatten().map(|thread| thread.path()).find(|thread| waits(thread));
        if let Some(thread) = found {
            let tid = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
            ptrace::attach(Pid::from_raw(tid)).unwrap();
            waitpid(Pid::from_raw(tid), Some(WaitPidFlag::__WALL)).unwrap();
            return Pid::from_raw(tid);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn trace(java: &Path, classes: &Path, flags: &[&str]) -> Trace {
    let mut command = Command::new(java);
    command.args(flags).arg("-cp").arg(classes).arg("Chain").stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&[1; WARM]).unwrap();
    let thread = stopped(&child);
    let trace = trace_of_stopped(child.id(), thread);
    ptrace::detach(thread, None).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    trace
}

/// Guarantees: methods are on the stack with file and line, whether they are interpreted, compiled or inlined, and no flag has been given
/// that a program in production has not; the innermost of the program is to blame. The process may be gone by then.
/// Needs: javac, one or more versions of java, the right to trace one's own children.
#[test]
#[cfg(target_arch = "x86_64")]
fn methods_without_a_map() {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("Chain.java");
    fs::write(&source, PROGRAM).unwrap();
    let mut javac = Command::new("javac");
    assert!(
        javac
            .args(["--release", "8", "-nowarn", "-d"])
            .arg(room.path())
            .arg(&source)
            .status()
            .unwrap()
            .success()
    );
    let modes: [&[&str]; 4] =
        [&["-Xint"], &["-XX:TieredStopAtLevel=1"], &[], &["-XX:-TieredCompilation", "-XX:+UseSerialGC"]];
    let machines = virtual_machines();
    assert!(!machines.is_empty(), "no java");
    for (java, flags) in machines.iter().flat_map(|java| modes.iter().map(move |flags| (java, flags))) {
        let trace = trace(java, room.path(), flags);
        let own: Vec<_> = trace
            .frames
            .iter()
            .filter(|frame| frame.file.as_deref() == Some("Chain.java"))
            .map(|frame| (frame.function.as_deref().unwrap(), frame.line.unwrap()))
            .collect();
        let about = format!("{} {flags:?}\n{:#?}\n{:?}", java.display(), functions(&trace), trace.incomplete);
        let named: Vec<_> = own.iter().copied().filter(|(name, _)| !name.contains("$$Lambda")).collect();
        assert_eq!(named, CHAIN, "{about}");
        assert_eq!(
            trace.culprit_frame().and_then(|frame| frame.function.as_deref()),
            Some(CHAIN[0].0),
            "{about}"
        );
        assert_eq!(trace.incomplete, None, "{about}");
    }
}
