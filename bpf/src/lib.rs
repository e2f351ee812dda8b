//! The kernel's side of Memory Leak Hunter and its ABI. It reads what the kernel counts and knows nothing of leaks.
//!
//! In reading order: `c/growth.bpf.c` runs in the kernel and writes the rows of `c/abi.h`, which [`wire`] mirrors; [`records`]
//! turns their bytes into rows, [`pass`] rows into processes and [`cgroup`]s. These four are portable. On Linux, with the feature
//! `kernel`, [`sweep`] loads the program and reads a pass, [`events`] tells what happens between passes (`c/oom.bpf.c` and
//! `c/rss.bpf.c`), [`alloc`] probes the allocators of chosen processes (`c/alloc.bpf.c`), [`faults`] samples their page faults
//! (`c/faults.bpf.c`), [`watch`] tells who writes to an address of theirs (`c/watch.bpf.c`), [`kernel`] says why this host refuses,
//! and [`messages`] leads libbpf's own messages to the caller's log. [`memory`] is about this process alone.

#![deny(unsafe_code)]

pub mod wire;

pub mod records;

pub mod pass;

pub mod cgroup;

pub mod capture;

pub mod python;

mod joining;

pub mod alloc;

pub mod faults;

pub mod watch;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod perf;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod capturing;

pub mod memory;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod layout;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub mod sweep;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod narrow;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub mod events;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod probe;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod worker;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod object;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod cpus;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub mod error;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub mod kernel;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub mod messages;
