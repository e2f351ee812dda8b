//! One process as one pass saw it, whichever way the pass was made.

use crate::os;

/// Why a pass shows no process by a pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// There is none.
    Nobody,
    /// It has ended, and its parent has not been told yet.
    Ended {
        /// Its name.
        name: String,
        /// The parent's pid; 0 where it cannot be seen.
        parent: u32,
    },
    /// It is a thread of the kernel, by this name.
    Kernel(String),
}

impl Absence {
    /// Of a pid in the reader's pid namespace that a pass has not shown.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        os::absence(pid)
    }
}

/// All that a pass learns of a process. Fields that this host or way of looking cannot give are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessReading {
    /// Thread group id in the observer's pid namespace.
    pub pid: u32,
    /// Thread group id in the host's (initial) pid namespace, where known.
    pub host_pid: Option<u32>,
    /// Thread group id in the process's own (innermost) pid namespace, where known.
    pub own_pid: Option<u32>,
    /// Parent, in the observer's pid namespace; 0 where it has none there.
    pub parent: u32,
    /// Nanoseconds from boot (`CLOCK_BOOTTIME`) to its start. `/proc` rounds this to 10 ms.
    pub start_ns: u64,
    /// The thread group leader's name, at most 15 bytes.
    pub comm: String,
    /// The executable: its base name from a pass (its `comm` where the host hides it), or its path where a trace
    /// gives that.
    pub executable: String,
    /// Identifies the program the process runs; 0 where unknown. It changes with an exec. Two processes of one
    /// executable may have different ones.
    pub image: u64,
    /// Inode of the cgroup v2 directory.
    pub cgroup_id: Option<u64>,
    /// Inode of the cgroup that its memory is charged to. It differs from `cgroup_id` on v1 and hybrid hosts, and where
    /// the memory controller is switched on for a cgroup around that alone. Where only the cgroup's path could be seen,
    /// a number made from it ([`crate::cgroup_reading::is_made_up`]).
    pub memory_cgroup_id: Option<u64>,
    /// Anonymous memory, bytes.
    pub anon: u64,
    /// File pages, bytes.
    pub file: u64,
    /// Shared memory, bytes.
    pub shmem: u64,
    /// Swapped out, bytes.
    pub swap: u64,
    /// How far anon + shmem + swap may be from the truth, bytes.
    pub slack: u64,
    /// Address space (`total_vm`), bytes.
    pub virtual_size: u64,
    /// Page tables, bytes.
    pub page_tables: Option<u64>,
    /// Threads.
    pub threads: u32,
    /// CPU time of all its threads, nanoseconds.
    pub cpu_ns: Option<u64>,
}

impl ProcessReading {
    /// Whether `/proc` shows this very process under its pid now. It does not once the process has ended, even if
    /// the pid is another's by then, nor where `/proc` is of another pid namespace. Ask before looking for more
    /// under `/proc/PID`.
    #[must_use]
    pub fn is_at_its_pid(&self) -> bool {
        // `/proc` cuts the start time to whole ticks, the kernel's own reading does not
        os::start_ns(self.pid)
            .and_then(|start| self.start_ns.checked_sub(start))
            .is_some_and(|off| off < os::tick_ns())
    }
}
