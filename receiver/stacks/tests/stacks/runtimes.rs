//! Runtimes that make code while they run.

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_stacks::unwind::{Captured, Unwinder};
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::target::{MAX_FRAMES, functions};

/// Guarantees: functions of JavaScript are on the stack, interpreted as they are, with file and line,
/// between those of Node itself, and the innermost of the program is to blame.
/// Needs: node, a writable /tmp, the right to trace one's own children.
#[test]
fn node() {
    let room = tempfile::tempdir().unwrap();
    let script = room.path().join("app.js");
    // Node writes its names down some at a time: those of many more functions bring them out.
    let text = "const fs = require('fs');
function waits(now) {
  if (!now) return;
  fs.writeSync(1, 'x');
  fs.readSync(0, Buffer.alloc(1));
}
class Pool { grow(now) { return waits(now); } }
function serve(pool, now) { return pool.grow(now); }
function main(now) { return serve(new Pool(), now); }
main(false);
for (let i = 0; i < 60000; i++) new Function('return ' + i)();
main(true);
";
    fs::write(&script, text).unwrap();
    let mut command = Command::new("node");
    command
        .args(["--perf-basic-prof", "--interpreted-frames-native-stack", "--no-flush-bytecode"])
        .arg(&script)
        .current_dir(room.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    ptrace::attach(pid).unwrap();
    waitpid(pid, None).unwrap();
    let registers = ptrace::getregs(pid).unwrap();
    let mut stack = vec![0; 16 * 1024];
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let copied = memory.read_at(&mut stack, registers.rsp).unwrap();
    stack.truncate(copied);
    let mut unwinder = Unwinder::new(child.id(), MAX_FRAMES);
    unwinder.refresh(&Modules::read(child.id()).unwrap());
    let (ip, sp, bp) = (registers.rip, registers.rsp, registers.rbp);
    let captured =
        Captured { ip, interrupted: true, sp, bp, stack: &stack, truncated: true, ..Captured::default() };
    let trace = unwinder.trace(&captured);
    drop(fs::remove_file(format!("/tmp/perf-{pid}.map")));
    child.kill().unwrap();
    child.wait().unwrap();
    let own: Vec<_> = trace
        .frames
        .iter()
        .filter(|frame| frame.file.as_deref() == script.to_str())
        .map(|frame| (frame.function.as_deref().unwrap(), frame.line))
        .collect();
    let expected = [("waits", 2), ("grow", 7), ("serve", 8), ("main", 9)];
    let found: Vec<_> = expected.iter().filter(|(name, line)| own.contains(&(name, Some(*line)))).collect();
    assert_eq!(found.len(), expected.len(), "{:?}\n{:#?}\n{:?}", own, functions(&trace), trace.incomplete);
    assert_eq!(
        trace.culprit_frame().and_then(|frame| frame.function.as_deref()),
        Some("waits"),
        "{trace:#?}"
    );
}
