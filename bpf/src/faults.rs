//! Samples of page faults: which code makes a process touch memory that it had not before. On Linux the [`Sampler`] takes them.
//!
//! At each minor fault of a chosen thread (`PERF_COUNT_SW_PAGE_FAULTS_MIN`) the kernel runs `c/faults.bpf.c`, which throws dice: about
//! a given number a second is told of each thread, so that one that faults rarely is heard beside one that faults all the time.
//! What a sample stands for is counted, not estimated: the thread's faults since the last one of it.
//!
//! It costs the process [`FAULT_COST`] a fault (a fifth of the fault itself) and [`SAMPLE_COST`] a sample, and every other process on
//! the host some 20 ns a fault.
//!
//! Faults on files are told like all others: to look in the kernel at what is mapped there (`bpf_find_vma`) takes longer than the whole
//! rest of a sample. Told is always a gross number: what the process has given back since is not known here.

use std::path::PathBuf;
use std::time::Duration;

use crate::capture::Capture;

pub mod wire;

pub mod decode;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod perf;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod coverage;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod sampler;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub use sampler::Sampler;

/// What is asked for where nobody says otherwise: samples a second.
pub const DEFAULT_FREQUENCY: u32 = 49;

/// Threads that can be sampled at once; each takes two file descriptors.
pub const THREADS_MAX: usize = 4096;

/// What counting a fault costs the process, whether it is told or not.
pub const FAULT_COST: Duration = Duration::from_nanos(300);

/// What a sample costs the process beside that: its registers, and the copy of its stack.
pub const SAMPLE_COST: Duration = Duration::from_nanos(2400);

/// What to sample. Fixed once the sampler is open, but for processes that are followed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Type information of the running kernel; `None`: where the kernel shows it.
    pub btf_path: Option<PathBuf>,
    /// Samples a second that are aimed at, of each thread; of all together about sixteen times as many at most. Between 1 and 1000.
    pub frequency: u32,
    /// Whose faults.
    pub whom: Whom,
}

/// Whose faults are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Those of these processes, by pid in the reader's pid namespace, of all their threads, and of the children that they
    /// fork from now on: these carry their own pids, and are known without a gap. A fork takes the process some 100 us longer
    /// for it (measured; 300 without).
    Processes(Vec<u32>),
    /// Those of all processes in this directory of a cgroup hierarchy, and below it: of the one that has the controller
    /// `perf_event`, which is v2's unless the host gave it to v1. CPUs that come online later are not seen.
    Cgroup(PathBuf),
}

/// Something told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A fault.
    Touch(Touch),
    /// So many did not fit the ring. Their [`weight`](Touch::weight) is in that of the next one of the same thread.
    Lost(u64),
}

/// A page fault that gave a process a page, as a rule a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Since boot (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// Of the process, in the reader's pid namespace; 0 where that has none for it.
    pub pid: u32,
    /// Of the thread, likewise.
    pub thread: u32,
    /// What was touched. One fault may have brought a huge page: ask the process's page map.
    pub address: u64,
    /// Faults that it stands for: those of this thread since the last that was told of it, this one included. 1 at least.
    pub weight: u64,
    /// It was told by a chance of one in so many, 1 at least. Over some of the faults, those of a stack or those whose pages stay, these
    /// sum up to what is right on average, where `weight` is not: the first fault after a pause stands for all those before the
    /// pause by it.
    pub one_of: u32,
    /// The thread's user code at the fault, also where the kernel touched the page in its stead. Where the kernel has walked it
    /// by frame pointers and the fault is in a function that has set up none, as `memset` has not, that function's caller is missing.
    pub capture: Capture,
}
