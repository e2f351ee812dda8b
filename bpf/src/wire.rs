//! The records of `c/abi.h` in Rust. Portable; [`records`](crate::records) reads them out of bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kinds of `enum mlh_kind`.
pub mod kind {
    /// A process that has memory of its own.
    pub const PROCESS: u16 = 1;
    /// A further thread of a process.
    pub const THREAD: u16 = 2;
    /// A cgroup.
    pub const CGROUP: u16 = 3;
    /// The kernel killed a process for want of memory.
    pub const OOM_KILL: u16 = 4;
    /// A process grew by the threshold.
    pub const CROSSING: u16 = 5;
}

/// The bits of `enum mlh_flag`: how a row's counters were kept and read.
pub mod flag {
    /// Kept per CPU; each lags by up to a batch on each online CPU.
    pub const PERCPU: u32 = 1;
    /// The parts of all CPUs were added in.
    pub const EXACT: u32 = 2;
    /// Threads hold back parts, which stand in their rows.
    pub const CACHED: u32 = 4;
    /// All that are defined.
    pub const ALL: u32 = PERCPU | EXACT | CACHED;
}

/// The bits of `enum mlh_cgroup_flag`: what a cgroup's row holds.
pub mod cgroup_flag {
    /// In the v2 hierarchy; else in that of v1's memory controller.
    pub const UNIFIED: u32 = 1;
    /// The memory controller works here, and its numbers are in the row.
    pub const MEMORY: u32 = 2;
    /// `lru` is a sum that each CPU adds to a batch at a time.
    pub const BATCHED: u32 = 4;
    /// All that are defined.
    pub const ALL: u32 = UNIFIED | MEMORY | BATCHED;
}

/// `MLH_LRU_COUNT`.
pub const LRU_COUNT: usize = 5;
/// `MLH_CGROUP_NAME_LEN`.
pub const CGROUP_NAME_LEN: usize = 256;
/// `MLH_NODE_NAME_LEN`.
pub const NODE_NAME_LEN: usize = 72;
/// `MLH_COMM_LEN`.
pub const COMM_LEN: usize = 16;
/// `MLH_EXECUTABLE_LEN`.
pub const EXECUTABLE_LEN: usize = 64;
/// `MLH_WATCHED_MAX`: how many processes can be watched at once.
pub const WATCHED_MAX: usize = 1024;
/// `MLH_WATCHED_CGROUPS_MAX`: how many cgroups can be watched at once.
pub const WATCHED_CGROUPS_MAX: usize = 1024;
/// `MLH_CPUS_MAX`: on a host with more possible CPUs nothing is summed exactly.
pub const CPUS_MAX: u32 = 1024;

/// `struct mlh_header`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u16,
    /// Of the whole row, bytes.
    pub size: u16,
}

/// `struct mlh_pages`: counts of pages, below zero where a counter lags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pages {
    /// Anonymous.
    pub anon: i64,
    /// Of files.
    pub file: i64,
    /// Shared.
    pub shmem: i64,
    /// Swapped out.
    pub swap: i64,
}

/// `struct mlh_process`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessRecord {
    /// Kind and size.
    pub header: Header,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `CLOCK_BOOTTIME` of its start, nanoseconds.
    pub start_ns: u64,
    /// Thread group id in the initial pid namespace.
    pub host_pid: u32,
    /// Thread group id in the reader's pid namespace.
    pub pid: u32,
    /// Thread group id in the process's own pid namespace.
    pub own_pid: u32,
    /// The parent in the reader's pid namespace; 0: it is not there.
    pub parent: u32,
    /// What the process's counters say.
    pub base: Pages,
    /// What the task of this row holds back beside them.
    pub cached: Pages,
    /// Address space, pages.
    pub total_vm: u64,
    /// Page tables, bytes.
    pub page_tables: u64,
    /// CPU time of the task of this row, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of the threads that have ended, nanoseconds.
    pub ended_cpu_ns: u64,
    /// Inode of the cgroup v2 directory; 0: none.
    pub cgroup_id: u64,
    /// Inode of the memory controller's cgroup; 0: none.
    pub memory_cgroup_id: u64,
    /// Inode of the executable; 0: none.
    pub inode: u64,
    /// Goes up with each exec.
    pub exec_id: u64,
    /// Device of the executable's file system.
    pub device: u32,
    /// Threads alive.
    pub threads: u32,
    /// Name of the thread group leader, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Base name of the executable, NUL-terminated, cut where it is longer.
    pub executable: [u8; EXECUTABLE_LEN],
}

/// `struct mlh_thread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ThreadRecord {
    /// Kind and size.
    pub header: Header,
    /// Thread group id of its process in the initial pid namespace.
    pub host_pid: u32,
    /// Start of its process, nanoseconds.
    pub start_ns: u64,
    /// Its CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// The process's counters at this moment (zeros where they are per CPU, and of a thread that is ending).
    pub base: Pages,
    /// What the thread holds back beside them.
    pub cached: Pages,
}

/// `struct mlh_cgroup`. Numbers of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CgroupRecord {
    /// Kind and size.
    pub header: Header,
    /// Bits of [`cgroup_flag`].
    pub flags: u32,
    /// Inode of its directory.
    pub id: u64,
    /// The same of its parent; 0: this is the root.
    pub parent: u64,
    /// What is charged to it and to those below it.
    pub usage: u64,
    /// `memory.max`; the kernel's largest counter value where there is none, as for the others.
    pub max: u64,
    /// `memory.high`.
    pub high: u64,
    /// Swapped out; in v1 memory and swap together.
    pub swap: u64,
    /// The limit on `swap`.
    pub swap_max: u64,
    /// Inactive and active anonymous, inactive and active file, and unevictable pages.
    pub lru: [i64; LRU_COUNT],
    /// Of its directory, NUL-terminated, cut where it is longer.
    pub name: [u8; CGROUP_NAME_LEN],
    /// UTS node name of one of the tasks in it, NUL-terminated.
    pub node_name: [u8; NODE_NAME_LEN],
}

/// `struct mlh_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventRecord {
    /// Kind and size.
    pub header: Header,
    /// Nothing.
    pub reserved: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub at_ns: u64,
    /// To whom it happened. Its pid is 0 where the listener's pid namespace has none for it.
    pub process: ProcessRecord,
}

/// `struct mlh_choice`: what a pass is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Choice {
    /// Of the pass: each has its own.
    pub number: u64,
    /// Not 0: only what is watched.
    pub watched_only: u32,
    /// 0: no cgroups at all.
    pub cgroups: u32,
}

/// `struct mlh_crossings`: which growth is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CrossingsConfig {
    /// Pages.
    pub threshold: u64,
    /// Not 0: only that of the watched processes.
    pub watched_only: u32,
    /// Nothing.
    pub reserved: u32,
}
