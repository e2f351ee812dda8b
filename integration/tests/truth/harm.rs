//! Being looked at does a program no harm: it works on while probes come and go, checks itself, and its code is as it
//! was afterwards, byte for byte.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_integration::code::Code;
use mlh_integration::inspection::Inspection;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, scenario};
use mlh_integration::wait::until;
use mlh_integration::{compile, need};
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Wish, find};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(120);

/// Rounds of placing probes and taking them out again: `MLH_NO_HARM_ROUNDS`, else 50.
fn rounds() -> anyhow::Result<u32> {
    match std::env::var("MLH_NO_HARM_ROUNDS") {
        Ok(rounds) => rounds.parse().context("MLH_NO_HARM_ROUNDS"),
        Err(_) => Ok(50),
    }
}

/// A program at work. It prints a dot now and then, and at its end whether all that it checked was right.
struct Worker(Process);

impl Worker {
    fn start(world: &World, command: &mut Command) -> anyhow::Result<Self> {
        let mut worker = Self(world.spawn("worker", command)?);
        worker.works_on()?;
        Ok(worker)
    }

    /// Waits for two more dots: the first may have been on its way.
    fn works_on(&mut self) -> anyhow::Result<()> {
        let before = self.dots();
        until("the program working on", PATIENCE, || {
            self.0.lives()?;
            Ok((self.dots() >= before + 2).then_some(()))
        })
    }

    fn dots(&self) -> usize {
        self.0.stdout().lines().filter(|line| *line == ".").count()
    }

    /// Ends it: all that it checked was right.
    fn sound(mut self) -> anyhow::Result<()> {
        self.0.end_input();
        let status = self.0.end(PATIENCE)?;
        ensure!(status.success(), "the program: {status}: {}", self.0.stderr());
        ensure!(self.0.stdout().lines().any(|line| line == "sound"), "it has not said that all was right");
        Ok(())
    }
}

/// Every allocation, none of them told.
pub(crate) fn everything() -> AllocOptions {
    AllocOptions {
        btf_path: None,
        debug: true,
        min_allocation_size: 0,
        large_allocation_size: 1 << 20,
        sampling_rate: 1,
        max_tracked_allocations: 10_000,
        emit: false,
        max_events_per_second: 0,
    }
}

/// Places every probe in a working program and takes it out again, many times.
fn unharmed(world: &World, command: &mut Command) -> anyhow::Result<()> {
    need::ebpf()?;
    let mut worker = Worker::start(world, command)?;
    let pid = worker.0.pid();
    let points = find(pid, &Modules::read(pid)?, &Wish { min_allocation_size: 0 });
    ensure!(!points.images.is_empty(), "nothing to probe: {:?}", points.blind_spots);
    let mut probes = Probes::load(&everything(), |_| {})?;
    let before = Code::of(pid)?;
    let rounds = rounds()?;
    for round in 0..rounds {
        let slot = probes.admit(pid)?;
        probes.wrappers(slot, &points.wrappers)?;
        for image in &points.images {
            let attached = probes.attach(slot, &image.opened.path(), &image.points)?;
            ensure!(
                attached.placed > 0,
                "no probe is placed in {}: {:?}",
                image.name.display(),
                attached.refused
            );
        }
        let hits = || -> anyhow::Result<u64> {
            let counters = probes.counters()?;
            Ok(counters.emulated_hits + counters.stepped_hits)
        };
        let begin = hits()?;
        until("probes that are hit", PATIENCE, || {
            worker.0.lives()?;
            Ok((hits()? > begin).then_some(()))
        })?;
        if round == 0 {
            ensure!(!Code::of(pid)?.differences(&before).is_empty(), "probes are hit that change no code");
        }
        probes.release(slot);
        probes.forget(slot);
        worker.0.lives()?;
    }
    let left = Code::of(pid)?.differences(&before);
    ensure!(left.is_empty(), "the code is not as it was after {rounds} rounds: {left:?}");
    worker.works_on()?;
    worker.sound()
}

/// Guarantees: probes come and go 50 times (`MLH_NO_HARM_ROUNDS` times) in a C program at work, in both of its threads;
/// it finds all of its memory as it left it, and its code is as it was.
/// Needs: root, eBPF, gcc.
#[test]
fn c() {
    scenario(|world| {
        unharmed(world, &mut Command::new(compile::c(world, "churn", "c/churn.c", &["-lpthread"])?))
    });
}

/// Guarantees: the same under seccomp, where any system call that the program does not make itself would be its death.
/// Needs: root, eBPF, gcc.
#[test]
fn under_seccomp() {
    scenario(|world| {
        let program = compile::c(world, "churn", "c/churn.c", &["-lpthread"])?;
        unharmed(world, Command::new(program).arg("seccomp"))
    });
}

/// Guarantees: the same of a program that glibc is linked into.
/// Needs: root, eBPF, gcc, glibc's static library.
#[test]
fn glibc_linked_statically() {
    scenario(|world| {
        let program = compile::c(world, "churn", "c/churn.c", &["-static", "-lpthread"])?;
        unharmed(world, &mut Command::new(program))
    });
}

/// Guarantees: the same of a program that musl is linked into.
/// Needs: root, eBPF, musl-gcc.
#[test]
fn musl() {
    scenario(|world| {
        let program = compile::musl(world, "churn", "c/churn.c", &["-static"])?;
        unharmed(world, &mut Command::new(program))
    });
}

fn with(allocator: &str) {
    scenario(|world| {
        let library = compile::library(&format!("lib{allocator}.so"))?.canonicalize()?;
        let program = compile::c(world, "churn", "c/churn.c", &["-lpthread"])?;
        unharmed(world, Command::new(program).env("LD_PRELOAD", library))
    });
}

/// Guarantees: the same with jemalloc preloaded.
/// Needs: root, eBPF, gcc, jemalloc.
#[test]
fn jemalloc() {
    with("jemalloc");
}

/// Guarantees: the same with tcmalloc preloaded.
/// Needs: root, eBPF, gcc, tcmalloc.
#[test]
fn tcmalloc() {
    with("tcmalloc");
}

/// Guarantees: the same with mimalloc preloaded.
/// Needs: root, eBPF, gcc, mimalloc.
#[test]
fn mimalloc() {
    with("mimalloc");
}

/// Guarantees: the same of a C++ program while exceptions unwind through functions that allocate, out of constructors,
/// and out of `new` itself.
/// Needs: root, eBPF, g++.
#[test]
fn exceptions() {
    scenario(|world| {
        let program = compile::cpp(world, "leak", "cpp/leak.cc", &["-lpthread"])?;
        unharmed(world, Command::new(program).arg("churn"))
    });
}

/// Guarantees: the same where `new` is tcmalloc's own and throws by itself.
/// Needs: root, eBPF, g++, tcmalloc.
#[test]
fn exceptions_out_of_tcmalloc() {
    scenario(|world| {
        compile::library("libtcmalloc.so")?;
        let program = compile::cpp(world, "leak", "cpp/leak.cc", &["-lpthread", "-ltcmalloc"])?;
        unharmed(world, Command::new(program).arg("churn"))
    });
}

/// Guarantees: the same of a Rust program while panics unwind.
/// Needs: root, eBPF, rustc.
#[test]
fn rust() {
    scenario(|world| {
        let program = compile::rust(world, "leak", "rust/leak.rs")?;
        unharmed(world, Command::new(program).arg("churn"))
    });
}

/// Guarantees: the same of a Go program whose stacks grow and move meanwhile.
/// Needs: root, eBPF, go.
#[test]
fn go() {
    scenario(|world| {
        let program = compile::go(world, "leak", "go/pure")?;
        unharmed(world, Command::new(program).arg("churn"))
    });
}

/// Guarantees: the same of one that calls C.
/// Needs: root, eBPF, go, gcc.
#[test]
fn go_with_c() {
    scenario(|world| {
        need::program("gcc")?;
        let program = compile::go(world, "leak", "go/cgo")?;
        unharmed(world, Command::new(program).arg("churn"))
    });
}

/// Guarantees: the same of Python with two threads.
/// Needs: root, eBPF, python3.
#[test]
fn python() {
    scenario(|world| {
        let mut command = Command::new(need::program("python3")?);
        unharmed(world, command.arg(compile::source("python/leak.py")).arg("churn"))
    });
}

/// Guarantees: the same of Node.
/// Needs: root, eBPF, node.
#[test]
fn node() {
    scenario(|world| {
        let mut command = Command::new(need::program("node")?);
        unharmed(world, command.arg(compile::source("node/leak.js")).arg("churn"))
    });
}

/// Guarantees: the same of the JVM.
/// Needs: root, eBPF, java.
#[test]
fn java() {
    scenario(|world| {
        let classes = compile::java(world, "java/Leak.java")?;
        let mut command = Command::new(need::program("java")?);
        unharmed(world, command.args(["-Xmx256m", "-cp"]).arg(classes).args(["Leak", "churn"]))
    });
}

/// Guarantees: when the sidecar is killed in the middle of a look, the kernel takes its probes out: the program's code
/// is as it was, byte for byte, and the program works on.
/// Needs: root, eBPF, gcc.
#[test]
fn the_sidecar_killed_in_the_middle() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "churn", "c/churn.c", &["-lpthread"])?;
        let mut worker = Worker::start(world, &mut Command::new(program))?;
        let pid = worker.0.pid();
        let before = Code::of(pid)?;
        let mut look = Inspection::debug(world, "inspect", pid)?;
        ensure!(!Code::of(pid)?.differences(&before).is_empty(), "a look without probes");
        look.process.signal(Signal::SIGKILL)?;
        look.process.end(PATIENCE)?;
        until("code that is as it was", PATIENCE, || {
            worker.0.lives()?;
            Ok(Code::of(pid)?.differences(&before).is_empty().then_some(()))
        })?;
        worker.works_on()?;
        worker.sound()
    });
}
