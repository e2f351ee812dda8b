//! The malloc family, by whichever allocator, however it came into the process.

use std::path::Path;
use std::process::Command;

use mlh_integration::inspection::Inspection;
use mlh_integration::scenario::{World, scenario};
use mlh_integration::truth::{Subject, Truth};
use mlh_integration::{compile, need};
use serde_json::Value;

const GLIBC: [&str; 3] = ["-DHAVE_REALLOCARRAY", "-DHAVE_VALLOC", "-DHAVE_PVALLOC"];

/// Lets a program work under a look in debug mode.
pub(crate) fn looked_at(world: &World, command: &mut Command) -> anyhow::Result<(Truth, Value)> {
    let mut subject = Subject::start(world, "subject", command)?;
    let look = Inspection::debug(world, "inspect", subject.pid())?;
    let truth = subject.work()?;
    let report = look.report()?;
    subject.process.lives()?;
    Ok((truth, report))
}

/// The same: the report is its truth.
pub(crate) fn holds(world: &World, command: &mut Command) -> anyhow::Result<()> {
    let (truth, report) = looked_at(world, command)?;
    truth.equals(&report)
}

fn holds_for(program: &Path) -> impl FnOnce(&World) -> anyhow::Result<()> {
    let program = program.to_owned();
    move |world| holds(world, &mut Command::new(program))
}

/// What `families.c` finds in an allocator beside the standard's functions.
fn extent(allocator: &str) -> &'static [&'static str] {
    match allocator {
        // its own `pvalloc` is missing: the C library's would be freed by the wrong one
        "jemalloc" => &["-DHAVE_REALLOCARRAY", "-DHAVE_VALLOC"],
        "tcmalloc" => &["-DHAVE_VALLOC", "-DHAVE_PVALLOC", "-DHAVE_CFREE"],
        _ => &["-DHAVE_REALLOCARRAY", "-DHAVE_VALLOC", "-DHAVE_PVALLOC", "-DHAVE_CFREE"],
    }
}

fn linked(allocator: &str) {
    scenario(|world| {
        need::ebpf()?;
        compile::library(&format!("lib{allocator}.so"))?;
        let library = format!("-l{allocator}");
        let flags = [extent(allocator), &["-fno-builtin", &library]].concat();
        let program = compile::c(world, "families", "c/families.c", &flags)?;
        holds_for(&program)(world)
    });
}

fn preloaded(allocator: &str) {
    scenario(|world| {
        need::ebpf()?;
        let library = compile::library(&format!("lib{allocator}.so"))?;
        // compiled for the C library, so without what that has not
        let flags: Vec<_> =
            extent(allocator).iter().copied().filter(|flag| *flag != "-DHAVE_CFREE").collect();
        let program = compile::c(world, "families", "c/families.c", &flags)?;
        holds(world, Command::new(program).env("LD_PRELOAD", library.canonicalize()?))
    });
}

/// Guarantees: of a program on glibc every function of the malloc family is told to the byte, by place and in sum:
/// 50,000 blocks that stay, 10,000 failed and 10,000 moved reallocs, reallocs to nothing, requests that overflow,
/// blocks from before; and what malloc maps for itself counts for nothing beside it.
/// Needs: root, eBPF, gcc.
#[test]
fn glibc() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "families", "c/families.c", &GLIBC)?;
        holds_for(&program)(world)
    });
}

/// Guarantees: the same of a program that glibc is linked into.
/// Needs: root, eBPF, gcc, glibc's static library.
#[test]
fn glibc_linked_statically() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "families", "c/families.c", &[&GLIBC[..], &["-static"]].concat())?;
        holds_for(&program)(world)
    });
}

/// Guarantees: the same on musl.
/// Needs: root, eBPF, musl-gcc.
#[test]
fn musl() {
    scenario(|world| {
        need::ebpf()?;
        let flags = ["-DHAVE_REALLOCARRAY", "-DHAVE_VALLOC"];
        let program = compile::musl(world, "families", "c/families.c", &flags)?;
        holds_for(&program)(world)
    });
}

/// Guarantees: the same of a program that musl is linked into.
/// Needs: root, eBPF, musl-gcc.
#[test]
fn musl_linked_statically() {
    scenario(|world| {
        need::ebpf()?;
        let flags = ["-DHAVE_REALLOCARRAY", "-DHAVE_VALLOC", "-static"];
        let program = compile::musl(world, "families", "c/families.c", &flags)?;
        holds_for(&program)(world)
    });
}

/// Guarantees: the same of a program that is linked with jemalloc.
/// Needs: root, eBPF, gcc, jemalloc.
#[test]
fn jemalloc_linked() {
    linked("jemalloc");
}

/// Guarantees: the same of a program into which jemalloc is preloaded.
/// Needs: root, eBPF, gcc, jemalloc.
#[test]
fn jemalloc_preloaded() {
    preloaded("jemalloc");
}

/// Guarantees: the same of a program with jemalloc linked into it.
/// Needs: root, eBPF, gcc, jemalloc's static library.
#[test]
fn jemalloc_linked_statically() {
    scenario(|world| {
        need::ebpf()?;
        let library = compile::library("libjemalloc.a")?;
        let library = library.display().to_string();
        let flags = [extent("jemalloc"), &["-fno-builtin", &library, "-lpthread", "-ldl", "-lm", "-lstdc++"]];
        let program = compile::c(world, "families", "c/families.c", &flags.concat())?;
        holds_for(&program)(world)
    });
}

/// Guarantees: the same of a program that is linked with tcmalloc.
/// Needs: root, eBPF, gcc, tcmalloc.
#[test]
fn tcmalloc_linked() {
    linked("tcmalloc");
}

/// Guarantees: the same of a program into which tcmalloc is preloaded.
/// Needs: root, eBPF, gcc, tcmalloc.
#[test]
fn tcmalloc_preloaded() {
    preloaded("tcmalloc");
}

/// Guarantees: the same of a program that is linked with mimalloc.
/// Needs: root, eBPF, gcc, mimalloc.
#[test]
fn mimalloc_linked() {
    linked("mimalloc");
}

/// Guarantees: the same of a program into which mimalloc is preloaded.
/// Needs: root, eBPF, gcc, mimalloc.
#[test]
fn mimalloc_preloaded() {
    preloaded("mimalloc");
}
