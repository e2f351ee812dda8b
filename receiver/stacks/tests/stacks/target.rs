//! Programs that the tests build and run: each tells the registers and the stack of one call, and waits to be let on.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Unwinder};
use nix::sys::ptrace;
use nix::unistd::Pid;

pub(crate) const MAX_FRAMES: usize = 64;

pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks/programs").join(name)
}

/// Compiles a program together with what tells its stack; with the distribution's defaults but for `flags`.
pub(crate) fn build(room: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let spill = room.join("spill.o");
    run_tool(Command::new("cc").args(["-O2", "-fPIC", "-c"]).arg(source("spill.c")).arg("-o").arg(&spill));
    let output = room.join(Path::new(name).file_stem().unwrap());
    let source = source(name);
    match source.extension().unwrap().to_str().unwrap() {
        "rs" => {
            let object = format!("-Clink-arg={}", spill.display());
            let mut rustc = Command::new("rustc");
            run_tool(
                rustc.args(["--edition=2024", "-O", &object]).args(flags).arg(source).arg("-o").arg(&output),
            );
        }
        language => {
            let mut cc = Command::new(if language == "cc" { "c++" } else { "cc" });
            let base = ["-O2", "-fomit-frame-pointer", "-Wl,--build-id", "-rdynamic"];
            run_tool(cc.args(base).args(flags).arg(source).arg(&spill).args(["-ldl", "-o"]).arg(&output));
        }
    }
    output
}

/// Compiles a program by itself, with nothing but `-O2` before `flags`.
pub(crate) fn build_bare(room: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let output = room.join(Path::new(name).file_stem().unwrap());
    run_tool(Command::new("cc").arg("-O2").args(flags).arg(source(name)).arg("-o").arg(&output));
    output
}

/// Compiles the library that the program `host` loads; it uses the program's own `spill`.
pub(crate) fn build_plugin(room: &Path) -> PathBuf {
    let output = room.join("plugin.so");
    let flags = ["-O2", "-g", "-fomit-frame-pointer", "-fPIC", "-shared", "-Wl,--build-id"];
    run_tool(Command::new("cc").args(flags).arg(source("plugin.c")).arg("-o").arg(&output));
    output
}

pub(crate) fn run_tool(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The stack of a thread that is being traced and has stopped.
pub(crate) fn trace_of_stopped(pid: u32, thread: Pid) -> Trace {
    let registers = ptrace::getregs(thread).unwrap();
    let mut stack = vec![0; 16 * 1024];
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let copied = memory.read_at(&mut stack, registers.rsp).unwrap();
    stack.truncate(copied);
    let mut unwinder = Unwinder::new(pid, MAX_FRAMES);
    unwinder.refresh(&Modules::read(pid).unwrap());
    let (ip, sp, bp) = (registers.rip, registers.rsp, registers.rbp);
    let captured =
        Captured { ip, interrupted: true, sp, bp, stack: &stack, truncated: true, ..Captured::default() };
    unwinder.trace(&captured)
}

/// A program that waits in the call that it has told of.
pub(crate) struct Target {
    child: Child,
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
    pub(crate) stack: Vec<u8>,
}

impl Target {
    pub(crate) fn run(program: &Path, arguments: &[&Path]) -> Self {
        Self::start(Command::new(program).args(arguments))
    }

    /// Runs a command that becomes the program.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let told = child.stdout.as_mut().unwrap();
        let mut number = || {
            let mut bytes = [0; 8];
            told.read_exact(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        let (ip, sp, bp, length) = (number(), number(), number(), number());
        let mut stack = vec![0; usize::try_from(length).unwrap()];
        told.read_exact(&mut stack).unwrap();
        Self { child, ip, sp, bp, stack }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn modules(&self) -> Modules {
        Modules::read(self.pid()).unwrap()
    }

    pub(crate) fn captured(&self) -> Captured<'_> {
        let truncated = self.stack.len() >= 16 * 1024;
        Captured {
            ip: self.ip,
            sp: self.sp,
            bp: self.bp,
            stack: &self.stack,
            truncated,
            ..Captured::default()
        }
    }

    pub(crate) fn unwinder(&self) -> Unwinder {
        let mut unwinder = Unwinder::new(self.pid(), MAX_FRAMES);
        unwinder.refresh(&self.modules());
        unwinder
    }

    pub(crate) fn trace(&self) -> Trace {
        self.unwinder().trace(&self.captured())
    }

    /// Lets the program go on, and waits for its end.
    pub(crate) fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The functions, innermost first, those without a name as `?`.
pub(crate) fn functions(trace: &Trace) -> Vec<&str> {
    trace.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect()
}

pub(crate) fn blamed(trace: &Trace) -> &str {
    trace.culprit_frame().and_then(|frame| frame.function.as_deref()).unwrap_or("?")
}
