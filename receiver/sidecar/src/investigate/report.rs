//! What a look has found.

use std::time::Duration;

use mlh_detect::alloc::{Pattern, Survival};
use mlh_detect::growth_stacks::Figures;
use mlh_stacks::trace::Trace;
use mlh_targets::points::{BlindSpot, Runtime};

use super::plan::{End, Rung};

/// All that is known at one moment, or at the end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// How closely was looked.
    pub rung: Rung,
    /// When it began, since boot.
    pub started: Duration,
    /// For how long it has been going on.
    pub lasted: Duration,
    /// Every process that was looked at, those that have ended too.
    pub members: Vec<Member>,
    /// By live bytes, the most first; of blocks and of mappings (see [`StackEvidence::mapped`]).
    pub stacks: Vec<StackEvidence>,
    /// By bytes, the most first: who touched the memory that is still there. Empty where nobody looked.
    pub growth: Vec<GrowthStack>,
    /// The sums.
    pub totals: Totals,
    /// What it has cost.
    pub cost: Cost,
    /// What was not seen, in sentences, each once.
    pub not_seen: Vec<String>,
    /// Why it has ended; absent while it goes on.
    pub ended: Option<End>,
}

/// One process that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// In the sidecar's own pid namespace.
    pub pid: u32,
    /// Its name in the kernel.
    pub command: String,
    /// Path of its executable, where it can be read.
    pub executable: Option<String>,
    /// What runs in it.
    pub runtime: Runtime,
    /// Its container.
    pub container_id: Option<String>,
    /// Its cgroup.
    pub cgroup_id: u64,
    /// Probes that are in it.
    pub probes: usize,
    /// Allocators that are seen, e.g. `glibc`.
    pub allocators: Vec<String>,
    /// How they are placed: `entry`, `gate`, ...
    pub placements: Vec<String>,
    /// What cannot be seen of it.
    pub blind_spots: Vec<BlindSpot>,
    /// It has ended, or runs another program now.
    pub gone: bool,
    /// Its probes are out for good: they cost more than the budget.
    pub braked: bool,
}

/// What one stack has allocated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StackEvidence {
    /// Whose.
    pub pid: u32,
    /// Named, as far as it could be.
    pub trace: Trace,
    /// The operation that was met first, e.g. `malloc`, `mmap`.
    pub operation: &'static str,
    /// Mappings, not blocks.
    pub mapped: bool,
    /// Not freed yet.
    pub live_bytes: u64,
    /// So many blocks or mappings.
    pub live_count: u64,
    /// Half of the width of the 95 % interval around `live_bytes`: 0 where nothing is sampled.
    pub error_bytes: u64,
    /// Allocated since the look began.
    pub allocated_bytes: u64,
    /// So many.
    pub allocated_count: u64,
    /// Freed of these.
    pub freed_bytes: u64,
    /// So many.
    pub freed_count: u64,
    /// Bytes a second over the last minute at most that was watched.
    pub allocation_rate: f64,
    /// The same, freed.
    pub free_rate: f64,
    /// Live blocks by age: below 1 s, 10 s, 30 s, 1 min, 5 min, and older.
    pub ages: [u64; 6],
    /// Age of the oldest.
    pub oldest: Duration,
    /// The largest live block.
    pub largest: u64,
    /// What becomes of what it allocates, with its age; `None`: nothing of it was seen.
    pub survival: Option<Survival>,
    /// Of mappings: address space that was reserved and may not be touched, bytes still there; not among `live_bytes`.
    pub reserved_bytes: u64,
    /// Of mappings: mapped files, bytes still there; not among `live_bytes`.
    pub file_bytes: u64,
    /// Something was lost or did not fit: there may be more.
    pub at_least: bool,
    /// The process has ended, or runs another program: this is what the stack held then.
    pub gone: bool,
}

impl StackEvidence {
    /// What it allocates stays, and more comes all the time.
    #[must_use]
    pub fn survives(&self) -> bool {
        self.survival.is_some_and(|seen| seen.pattern == Pattern::Kept)
    }
}

/// Growth by the stack that touched new memory first: sampled page faults of which the pages are still there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GrowthStack {
    /// Whose.
    pub pid: u32,
    /// Named, as far as it could be.
    pub trace: Trace,
    /// What it has touched since the look began, and what is left of that.
    pub figures: Figures,
}

/// Sums over everything, requested bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Blocks allocated by allocators and tracked.
    pub allocated_count: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Freed of these.
    pub freed_count: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Blocks alive.
    pub live_count: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes mapped since and still mapped, beside what serves allocations; memory, reservations and files.
    pub mapped_bytes: u64,
    /// Mappings of these.
    pub mapped_count: u64,
    /// Of these the memory: anonymous, and not merely reserved.
    pub mapped_anonymous_bytes: u64,
    /// Of these what is merely reserved.
    pub mapped_reserved_bytes: u64,
    /// Bytes unmapped of what was mapped since.
    pub unmapped_bytes: u64,
    /// Held by processes at their end, which came since; not among `live_bytes`.
    pub gone_bytes: u64,
    /// Blocks of these.
    pub gone_count: u64,
    /// The largest single allocation.
    pub largest: u64,
    /// Blocks the table forgot before they were freed.
    pub evicted: u64,
    /// Blocks and mappings that were there when a burst ended: of their end nothing is known, and they are not live.
    pub forgone_count: u64,
    /// Their bytes.
    pub forgone_bytes: u64,
    /// Allocations that were not tracked for want of room.
    pub not_fitted: u64,
    /// Records that were lost between the kernel and here.
    pub lost: u64,
    /// Records that `max_events_per_second` held back.
    pub rate_limited: u64,
    /// Frees of blocks from before, or not tracked.
    pub unknown_frees: u64,
    /// Allocations that failed.
    pub failed: u64,
}

/// What a look costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Of the target's CPU time since the look began, or of one CPU where it used less, 0.001 for 0.1 %.
    pub target_cpu_share: f64,
    /// CPU seconds of this process since then.
    pub agent_cpu_s: f64,
    /// Kernel memory of all maps, bytes.
    pub kernel_bytes: u64,
    /// Probe hits.
    pub hits: u64,
    /// Of the time, so much had probes in place: 1.0 where they cost so little that they could stay.
    pub watched_share: f64,
    /// Bursts in which it was watched; 1 where they stayed.
    pub bursts: u64,
}
