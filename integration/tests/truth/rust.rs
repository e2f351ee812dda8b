//! Rust.

use std::process::Command;

use mlh_integration::scenario::scenario;
use mlh_integration::{compile, need};

use super::allocators::holds;

/// Guarantees: of a Rust program boxes, vectors that grow, strings, zeroed and aligned memory are told to the byte by
/// the function that uses them, and so is what a panic takes down.
/// Needs: root, eBPF, rustc.
#[test]
fn boxes_and_vectors() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::rust(world, "leak", "rust/leak.rs")?;
        holds(world, &mut Command::new(program))
    });
}
