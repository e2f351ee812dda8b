//! Who writes to single addresses of a process: hardware watchpoints, of which a processor has four for each thread. On x86-64 the
//! [`Watcher`] sets them.
//!
//! They change no byte of the process, and need to know nothing of its allocator or runtime. While one is set, switching to its thread
//! takes up to 0.3 us longer; a write to it costs the thread [`WRITE_COST`]. A program may write to one place in every nanosecond, so
//! the kernel itself takes a watchpoint off its thread after as many writes as it was given (`PERF_EVENT_IOC_REFRESH`), whoever of us is
//! scheduled then. The same way writes by the kernel in the thread's stead, as of `read`, are told and counted.
//!
//! A watchpoint belongs to a thread. One that begins later has none until [`Watcher::cover`] gives it one, which is why each beginning is
//! told. Other processes that share the memory are not seen to write to it.

use std::path::PathBuf;
use std::time::Duration;

use crate::capture::Capture;

pub mod wire;

pub mod decode;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod breakpoint;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod watcher;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub use watcher::Watcher;

/// Of the four watchpoints of a thread so many are used at most; the others are a debugger's.
pub const WATCHES_MAX: usize = 3;

/// Threads of a process that can be watched, those included that come while an address is.
pub const THREADS_MAX: usize = 128;

/// What a write to an address that is watched costs its thread: the trap, and the copy of its stack. 6.1 to 6.7 microseconds were
/// measured in a virtual machine, which is dearer than none.
pub const WRITE_COST: Duration = Duration::from_nanos(7_000);

/// What switching to a thread costs it that has a watchpoint: up to so much was measured in a virtual machine.
pub const SWITCH_COST: Duration = Duration::from_nanos(300);

/// What to watch. Fixed once the watcher is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Type information of the running kernel; `None`: where the kernel shows it.
    pub btf_path: Option<PathBuf>,
    /// The process, by pid in the reader's pid namespace.
    pub pid: u32,
}

/// Something told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A write.
    Write(Write),
    /// A thread of the process begins, and has no watchpoint yet.
    Born {
        /// Since boot (`CLOCK_BOOTTIME`).
        at: Duration,
        /// In the reader's pid namespace; 0 where that has none for it.
        thread: u32,
    },
    /// So many records did not fit the ring.
    Lost(u64),
}

/// A write to an address that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Since boot (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// Of the process, in the reader's pid namespace; 0 where that has none for it.
    pub pid: u32,
    /// Of the thread, likewise.
    pub thread: u32,
    /// The number that the watch was given.
    pub watch: u64,
    /// The thread's user code behind the write.
    pub capture: Capture,
}
