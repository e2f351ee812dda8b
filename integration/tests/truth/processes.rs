//! Threads, forks, libraries that come and go, and the address space itself.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use mlh_integration::scenario::scenario;
use mlh_integration::{compile, need};

use super::allocators::{holds, looked_at};

/// Guarantees: 10,000 threads that live for a moment, eight at once, and free each other's blocks: told to the byte.
/// Needs: root, eBPF, gcc.
#[test]
fn thread_storms() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "threads", "c/threads.c", &["-lpthread"])?;
        holds(world, &mut Command::new(program))
    });
}

/// Guarantees: what 10,000 children and grandchildren allocate and free is not their parent's, nor is what 10,000
/// processes do that all have the same pid.
/// Needs: root, eBPF, gcc.
#[test]
fn fork_trees_and_reused_pids() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "forks", "c/forks.c", &[])?;
        let (truth, report) = looked_at(world, &mut Command::new(program))?;
        ensure!(truth.reused == Some(10_000), "{:?} of 10,000 pids could be chosen", truth.reused);
        let members = report["members"].as_array().context("members")?;
        ensure!(members.len() == 1, "a child is looked at as well: {members:?}");
        truth.equals(&report)
    });
}

/// Guarantees: 10,000 rounds of loading a library, having it allocate, and unloading it: told to the byte, by the
/// library's functions.
/// Needs: root, eBPF, gcc.
#[test]
fn libraries_that_come_and_go() {
    scenario(|world| {
        need::ebpf()?;
        let library = compile::c(world, "plugin.so", "c/plugin.c", &["-shared", "-fPIC"])?;
        let program = compile::c(world, "loads", "c/loads.c", &["-ldl"])?;
        holds(world, Command::new(program).arg(library))
    });
}

/// Guarantees: 10,000 each of partial unmappings, mappings over mappings, growing, shrinking and moving ones, memory
/// given back, and moves of the heap's end: the mapped bytes are told exactly, by function and in sum. Where the program
/// is too fast for this machine, the report says that records were lost, and a slower run is exact.
/// Needs: root, eBPF, gcc.
#[test]
fn the_address_space() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "maps", "c/maps.c", &[])?;
        for pause in ["0", "5", "50", "500"] {
            let (truth, report) = looked_at(world, Command::new(&program).arg(pause))?;
            let lost = report["totals"]["lost"].as_u64().context("lost")?;
            if lost == 0 {
                return truth.equals(&report);
            }
            println!("a pause of {pause} ms: {lost} records lost");
            let said = report["not_seen"].to_string();
            ensure!(said.contains(&format!("{lost} records were lost")), "losses are not told: {said}");
        }
        bail!("records are lost at any pace")
    });
}
