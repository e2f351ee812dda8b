//! What comes in: one pass over the host's processes.

use std::time::Duration;

/// A process for its whole life. Pids are reused; a pid together with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Thread group id in the pid namespace of the observer.
    pub pid: u32,
    /// Nanoseconds from the host's boot (`CLOCK_BOOTTIME`) to the start of the process.
    pub start_ns: u64,
}

/// A process's resident and swapped memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Anonymous pages: heap, stacks, private copies.
    pub anon: u64,
    /// Swapped-out pages. A leak that has been swapped out is still a leak.
    pub swap: u64,
    /// Shared memory: tmpfs, `shm_open`, System V segments.
    pub shmem: u64,
    /// File pages. The kernel can take them back, so they are never a leak by themselves.
    pub file: u64,
}

impl Memory {
    /// The memory that can leak: anonymous, swapped and shared, in bytes.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.anon.saturating_add(self.swap).saturating_add(self.shmem)
    }
    /// What the kernel calls the resident set: anonymous, file and shared, in bytes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.anon.saturating_add(self.file).saturating_add(self.shmem)
    }
}

/// One process in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Which process.
    pub key: ProcessKey,
    /// What it holds.
    pub memory: Memory,
    /// How far [`Memory::charged`] may be from the truth, in bytes: the kernel's counters are per CPU and lag.
    /// 0 where they have been summed exactly.
    pub slack: u64,
    /// Identifies the executable image (0: unknown). A change under one key is an exec: a new program.
    pub image: u64,
}

/// The host's own memory, for the prediction of its end. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostMemory {
    /// All of it.
    pub total: u64,
    /// What could still be handed out without swapping (`MemAvailable`) plus free swap.
    pub available: u64,
}

/// Whether a pass saw every process or only those under suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Every visible process: one that is absent has exited.
    Full,
    /// Only the watched ones; absence of others means nothing. A watched one that is absent has exited.
    Watched,
    /// Some processes, by another's choice, as in a trace: absence means nothing.
    Partial,
}

/// One pass over the host.
#[derive(Debug, Clone, Copy)]
pub struct Sweep<'a> {
    /// When, since boot (`CLOCK_BOOTTIME`), or since the beginning of a trace. Never goes back.
    pub at: Duration,
    /// How much of the host it saw.
    pub pass: Pass,
    /// The host's memory, where known.
    pub host: Option<HostMemory>,
    /// The processes, in any order.
    pub samples: &'a [Sample],
    /// Processes that are known to have ended since the pass before, whatever the pass saw.
    pub exits: &'a [ProcessKey],
}
