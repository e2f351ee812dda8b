//! Probe points of programs that the tests build and run, held against what binutils say of the same files.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot go on has failed")]

mod allocators;
mod files;
mod gates;
mod listing;
mod program;
mod runtimes;
