//! Real stacks of real programs that the tests compile and start, without frame pointers unless said otherwise.
//!
//! Needs: a C and a C++ compiler, rustc, strip, go; the right to look into one's own processes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a fixture that cannot go on has failed")]

mod chains;
mod golang;
mod hostile;
mod identity;
mod java;
mod lifetimes;
mod separate;
mod pointers;
mod runtimes;
mod stepping;
mod target;
