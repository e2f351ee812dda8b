//! What the allocation probes tell, and what their tables hold. Portable.

use std::time::Duration;

use super::point::Operation;
use crate::capture::Capture;

/// One address space under observation: a process between two execs. Never used again while the probes are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// Where an operation was called from, as cheaply as it can be told: whoever calls from the same place at the same
/// depth of the stack has, as a rule, the same stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallSite {
    /// In which address space.
    pub slot: Slot,
    /// The return address, past all [`Wrapper`](super::point::Wrapper)s. 0: the sum of all that did not fit the table.
    pub ip: u64,
    /// Bytes of stack in use there, from where the thread's stack begins; [`u32::MAX`] on a stack that the kernel does not know,
    /// as coroutines have. Where stacks are told apart further
    /// (`Probes::tell_apart`, `Probes::set_python`), a number that all of it goes into.
    pub depth: u32,
}

/// Something told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A copy of a stack.
    Stack(StackCopy),
    /// The address space changed.
    Mapping(Mapping),
    /// One allocation or deallocation.
    Block(Block),
    /// Something happened to a process.
    Process(ProcessEvent),
    /// So many of the above did not fit the ring.
    Lost(u64),
}

/// The caller's registers and its stack, for unwinding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackCopy {
    /// Since boot (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// Whose.
    pub call_site: CallSite,
    /// What it did.
    pub operation: Operation,
    /// In the reader's pid namespace.
    pub pid: u32,
    /// From where the operation returns to (its immediate caller; wrappers are not passed over). Of a probe within a function that
    /// has pushed something by then, and of what a program tells itself, from the place of the probe: from there on the function's
    /// own unwind information holds.
    pub capture: Capture,
}

/// A change of the address space that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Since boot, behind the system call.
    pub at: Duration,
    /// By whom.
    pub call_site: CallSite,
    /// In the reader's pid namespace.
    pub pid: u32,
    /// Which.
    pub change: Change,
    /// Made by an allocator while it served an allocation that is counted by itself.
    pub serves_allocation: bool,
    /// Resident memory of the process then, pages; what is kept per CPU may lag.
    pub rss_pages: u64,
}

/// What happened to the address space. Lengths in bytes as the program gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `mmap`.
    Map {
        /// Where.
        address: u64,
        /// How long.
        length: u64,
        /// `PROT_*`.
        protection: u32,
        /// `MAP_*`.
        flags: u32,
    },
    /// `munmap`.
    Unmap {
        /// Where.
        address: u64,
        /// How long.
        length: u64,
    },
    /// `mremap`.
    Remap {
        /// Where it was.
        old: u64,
        /// How long.
        old_length: u64,
        /// Where it is.
        new: u64,
        /// How long.
        new_length: u64,
        /// `MREMAP_*`.
        flags: u32,
    },
    /// `brk`.
    Break {
        /// The new end of the heap.
        to: u64,
    },
    /// `madvise`, with advice that gives memory back (`MADV_DONTNEED`, `MADV_FREE`, `MADV_REMOVE`, `MADV_DONTNEED_LOCKED`).
    Advise {
        /// Where.
        address: u64,
        /// How long.
        length: u64,
        /// `MADV_*`.
        advice: u32,
    },
}

/// One allocation or deallocation of a tracked block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Since boot.
    pub at: Duration,
    /// Who allocated it; for a deallocation still that one.
    pub call_site: CallSite,
    /// In the reader's pid namespace.
    pub pid: u32,
    /// What was done.
    pub operation: Operation,
    /// It was given back.
    pub freed: bool,
    /// Of the block.
    pub address: u64,
    /// Bytes asked for.
    pub size: u64,
    /// How many such it stands for.
    pub weight: u32,
    /// Resident memory of the process then, pages; what is kept per CPU may lag.
    pub rss_pages: u64,
}

/// Something that happened to a process under observation. Pids are of the reader's pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It has a child, which is not under observation.
    Forked {
        /// The parent.
        slot: Slot,
        /// The child; 0 where the reader's pid namespace has none for it.
        child: u32,
    },
    /// It runs another program: what was allocated before is gone.
    Executed {
        /// The address space that is gone.
        slot: Slot,
        /// The new one.
        next: Slot,
        /// The process.
        pid: u32,
    },
    /// It has ended, or has run so many programs that this one is followed no further.
    Exited {
        /// The address space that is gone.
        slot: Slot,
    },
    /// The dynamic linker has loaded or unloaded something.
    LoadedCode {
        /// Where.
        slot: Slot,
    },
}

/// What one call site has done since it was first seen. Blocks that could not be entered into the table of live ones are
/// in none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Of blocks that each stand for themselves. A block that the program itself has sampled and told of (`otel_memory`) counts
    /// here as often as its weight says: what the program knows of the rest is in that.
    pub exact: Sums,
    /// Of sampled blocks, not multiplied.
    pub sampled: Sums,
    /// When it last allocated, since boot.
    pub last: Duration,
}

/// Counts and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Blocks allocated.
    pub allocated: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// The squares of their sizes, saturating; of sampled blocks alone: an estimate's variance rests on them.
    pub allocated_squares: u64,
    /// Blocks freed of these.
    pub freed: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// The squares of their sizes, saturating; of sampled blocks alone.
    pub freed_squares: u64,
}

/// A block that has not been freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveBlock {
    /// Who allocated it.
    pub call_site: CallSite,
    /// Where.
    pub address: u64,
    /// Bytes asked for.
    pub size: u64,
    /// How many such it stands for.
    pub weight: u32,
    /// When, since boot.
    pub born: Duration,
    /// How.
    pub operation: Operation,
}

/// What the probes count, since they were loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocCounters {
    /// Hits of probes on instructions that the kernel emulates.
    pub emulated_hits: u64,
    /// Hits of probes on others.
    pub stepped_hits: u64,
    /// Returns that were caught by a return probe.
    pub returns: u64,
    /// Time spent in our programs, nanoseconds, over all CPUs.
    pub handler_ns: u64,
    /// Blocks entered into the table of live ones.
    pub tracked: u64,
    /// Blocks taken out of it by a free, or a `realloc`.
    pub untracked: u64,
    /// Blocks taken out of it because their address space is gone.
    pub gone: u64,
    /// Allocations that were smaller than asked for.
    pub too_small: u64,
    /// Allocations that were not among the sampled ones.
    pub sampled_out: u64,
    /// Allocations that failed.
    pub failed: u64,
    /// Frees of blocks that are not in the table: from before, too small, sampled out, evicted or not fitted.
    pub unknown_frees: u64,
    /// Allocations that did not fit the table of live blocks, or that of operations under way.
    pub table_full: u64,
    /// Call sites that did not fit their table.
    pub call_sites_full: u64,
    /// Operations whose end was never seen: an exception left them, or a jump.
    pub abandoned: u64,
    /// Records of blocks that `max_events_per_second` held back.
    pub rate_limited: u64,
    /// Records that did not fit the ring.
    pub ring_full: u64,
    /// The largest allocation seen, whatever the filters: bytes.
    pub largest: u64,
}

/// What one hit costs the target, nanoseconds, the time in our programs not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HitCosts {
    /// On an emulated instruction.
    pub emulated: u64,
    /// On a single-stepped one.
    pub stepped: u64,
    /// Of a return probe, beside its entry.
    pub returned: u64,
}
