//! C++ and its exceptions.

use std::process::Command;

use mlh_integration::scenario::scenario;
use mlh_integration::{compile, need};

use super::allocators::holds;

fn with(allocator: Option<&str>) {
    scenario(|world| {
        need::ebpf()?;
        let library = allocator.map(|allocator| format!("-l{allocator}"));
        if let Some(allocator) = allocator {
            compile::library(&format!("lib{allocator}.so"))?;
        }
        // out of memory, its `new` ends the process
        let aborts = (allocator == Some("mimalloc")).then_some("-DNEW_ABORTS");
        let flags: Vec<&str> = aborts.into_iter().chain(["-lpthread"]).chain(library.as_deref()).collect();
        let program = compile::cpp(world, "leak", "cpp/leak.cc", &flags)?;
        holds(world, &mut Command::new(program))
    });
}

/// Guarantees: of a C++ program every kind of `new` and every container is told to the byte by the function that uses
/// it, each once, although `new` calls `malloc`; and 10,000 exceptions pass through probed functions unharmed.
/// Needs: root, eBPF, g++.
#[test]
fn new_of_libstdcxx() {
    with(None);
}

/// Guarantees: the same with jemalloc's own `new`.
/// Needs: root, eBPF, g++, jemalloc.
#[test]
fn new_of_jemalloc() {
    with(Some("jemalloc"));
}

/// Guarantees: the same with tcmalloc's own `new`, which throws by itself.
/// Needs: root, eBPF, g++, tcmalloc.
#[test]
fn new_of_tcmalloc() {
    with(Some("tcmalloc"));
}

/// Guarantees: the same with mimalloc's own `new`.
/// Needs: root, eBPF, g++, mimalloc.
#[test]
fn new_of_mimalloc() {
    with(Some("mimalloc"));
}
