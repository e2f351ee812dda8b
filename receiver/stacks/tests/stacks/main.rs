//! Real stacks of real programs that the tests compile and start, without frame pointers unless said otherwise.
//!
//! Needs: a C and a C++ compiler, rustc, strip; the right to look into one's own processes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a fixture that cannot go on has failed")]

mod chains;
mod hostile;
mod lifetimes;
mod target;
