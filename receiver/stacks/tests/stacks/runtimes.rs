//! Runtimes that make code while they run.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

use mlh_stacks::trace::{Frame, Trace};
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::target::{functions, trace_of_stopped};

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
    let trace = waiting(command);
    let own: Vec<_> = trace
        .frames
        .iter()
        .filter(|frame| frame.file.as_deref() == script.to_str())
        .map(|frame| (frame.function.as_deref().unwrap(), frame.line))
        .collect();
    let expected = [("waits", 5), ("Pool.grow", 7), ("serve", 8), ("main", 9)];
    let found: Vec<_> = expected.iter().filter(|(name, line)| own.contains(&(name, Some(*line)))).collect();
    assert_eq!(found.len(), expected.len(), "{:?}\n{:#?}\n{:?}", own, functions(&trace), trace.incomplete);
    assert_eq!(
        trace.culprit_frame().and_then(|frame| frame.function.as_deref()),
        Some("waits"),
        "{trace:#?}"
    );
}

/// The stack of a process that has said something and reads: the whole of it, and its map of names is no more.
fn waiting(mut command: Command) -> Trace {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let call = || fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
    while !call().starts_with(&format!("{} ", nix::libc::SYS_read)) {
        std::thread::yield_now();
    }
    ptrace::attach(pid).unwrap();
    waitpid(pid, None).unwrap();
    let trace = trace_of_stopped(child.id(), pid);
    drop(fs::remove_file(format!("/tmp/perf-{pid}.map")));
    child.kill().unwrap();
    child.wait().unwrap();
    trace
}

/// Guarantees: nothing has to be turned on: functions of JavaScript have names, files and lines, whether V8 interprets them, compiles
/// them or has inlined them into each other; methods are told as those of their classes, but where they are inlined; of those in between
/// that are Node's own as well, and the innermost of the program is to blame.
/// Needs: node, the right to trace one's own children.
#[test]
fn node_as_it_is() {
    let room = tempfile::tempdir().unwrap();
    let script = room.path().join("app.js");
    let text = "const fs = require('fs');
const buffer = Buffer.alloc(1);
function waits(from) {
  const wide = 'w\u{e9}it';
  return fs.readSync(from, buffer) + wide.length;
}
class Pool {
  constructor(from) {
    this.from = from;
    this.grow();
  }
  grow() {
    return waits(this.from);
  }
}
const serve = (from) => {
  return new Pool(from);
};
function main(from) {
  return serve(from);
}
const nothing = fs.openSync('/dev/null');
PREPARE
for (let i = 0; i < 100; i++) main(nothing);
OPTIMISE
fs.writeSync(1, 'x');
main(0);
";
    // where each of them calls the next, and where each of them begins
    let (calls, beginnings) = ([5, 13, 10, 17, 20], [3, 12, 8, 16, 19]);
    let prepare = "%PrepareFunctionForOptimization(main);";
    let optimise = "%OptimizeFunctionOnNextCall(main); main(nothing);";
    for (flags, prepare, optimise, lines, method) in [
        (&["--no-opt", "--no-sparkplug"][..], "", "", calls, "Pool.grow"),
        (&["--no-opt", "--always-sparkplug"], "", "", beginnings, "Pool.grow"),
        (&["--allow-natives-syntax"], prepare, optimise, calls, "grow"),
    ] {
        fs::write(&script, text.replace("PREPARE", prepare).replace("OPTIMISE", optimise)).unwrap();
        let mut command = Command::new("node");
        command.args(flags).arg(&script).current_dir(room.path());
        let trace = waiting(command);
        let told = |frame: &Frame| (frame.function.clone().unwrap_or_default(), frame.line);
        let own = trace.frames.iter().filter(|frame| frame.file.as_deref() == script.to_str());
        let own: Vec<_> = own.map(told).take(5).collect();
        let names = ["waits", method, "Pool", "serve", "main"].map(str::to_owned);
        let expected: Vec<_> = names.into_iter().zip(lines.map(Some)).collect();
        let shown = functions(&trace);
        assert_eq!(own, expected, "{flags:?}\n{shown:#?}\n{:?}", trace.incomplete);
        let nodes =
            trace.frames.iter().any(|it| it.file.as_deref().is_some_and(|it| it.starts_with("node:")));
        assert!(nodes, "{flags:?}: {shown:#?}");
        assert_eq!(trace.culprit_frame().map(told).as_ref(), expected.first(), "{flags:?}: {shown:#?}");
    }
}
