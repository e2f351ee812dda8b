//! What comes in: one pass over the host's processes and containers.

use std::time::Duration;

/// A process for its whole life. Pids are reused; a pid together with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ProcessKey {
    /// Thread group id in the pid namespace of the observer.
    pub pid: u32,
    /// Nanoseconds from the host's boot (`CLOCK_BOOTTIME`) to the start of the process.
    pub start_ns: u64,
}

/// A container for its whole life, by its memory cgroup: ids of cgroups are not given again while the host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerKey(pub u64);

/// Whom something is said of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum About {
    /// One process.
    Process(ProcessKey),
    /// All that a container holds, whichever of its processes asked for it.
    Container(ContainerKey),
}

/// Resident and swapped memory of a process or a container, in bytes.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// The container it runs in.
    pub container: Option<ContainerKey>,
    /// CPU time of all its threads, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Threads; 0 where unknown.
    pub threads: u32,
}

/// One container in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerSample {
    /// Which container.
    pub key: ContainerKey,
    /// What it holds. Its memory cgroup counts a page once, however many processes map it, and counts shared
    /// memory among the anonymous.
    pub memory: Memory,
    /// How far [`Memory::charged`] may be from the truth, in bytes.
    pub slack: u64,
    /// How much may still be had below each limit around it, the nearest first.
    pub rooms: [Option<Room>; Room::MOST],
    /// No memory cgroup counts for it: this is the sum of its processes, in which shared pages stand several times.
    pub upper_bound: bool,
    /// Whether a watched pass can see it. Not so what is worked out from all that a full pass saw.
    pub watchable: bool,
}

/// How much may still be had before a limit is reached, whoever takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The limit.
    pub limit: Limit,
    /// Bytes.
    pub left: u64,
    /// Whether this pass has seen it. Else it is as an earlier one did.
    pub fresh: bool,
}

impl Room {
    /// So many limits around a container are looked at, beside the host's: its own, a pod's, a node's.
    pub const MOST: usize = 4;

    /// What the host can still give.
    pub(crate) fn of_host(host: HostMemory, fresh: bool) -> Self {
        let limit = Limit { kind: LimitKind::Host, bytes: host.total, cgroup_id: None };
        Self { limit, left: host.available, fresh }
    }
}

/// What ends growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Of which sort.
    pub kind: LimitKind,
    /// Where it stands, bytes.
    pub bytes: u64,
    /// The cgroup that has it: the container's own or one around it.
    pub cgroup_id: Option<u64>,
}

/// Sorts of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// `memory.max`, or v1's `memory.limit_in_bytes`: beyond it the kernel kills.
    Max,
    /// `memory.high`: beyond it the kernel slows down.
    High,
    /// The host's memory.
    Host,
}

/// A process that the kernel chose to kill for lack of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomVictim {
    /// When.
    pub at: Duration,
    /// Which process. Its pid is 0 where the observer's pid namespace has none for it.
    pub key: ProcessKey,
    /// The container it ran in.
    pub container: Option<ContainerKey>,
    /// What it held.
    pub memory: Memory,
}

/// The host's own memory, for the prediction of its end. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostMemory {
    /// All of it.
    pub total: u64,
    /// What could still be handed out without swapping (`MemAvailable`) plus free swap.
    pub available: u64,
    /// The free swap in it.
    pub swap_free: u64,
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
    /// Processes of which the kernel told between two passes that each has grown by the threshold. That is all that
    /// is taken from it: its values are of other moments and of another exactness than those of the sweeps.
    Told,
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
    /// The containers, in any order. As with processes, a watched pass holds the watched ones.
    pub containers: &'a [ContainerSample],
    /// Processes that are known to have ended since the pass before, whatever the pass saw.
    pub exits: &'a [ProcessKey],
    /// Processes that were killed for lack of memory since the pass before.
    pub victims: &'a [OomVictim],
}

impl Sweep<'_> {
    /// A pass that saw nothing.
    #[must_use]
    pub fn empty(at: Duration, pass: Pass) -> Self {
        Self { at, pass, host: None, samples: &[], containers: &[], exits: &[], victims: &[] }
    }
}
