//! From a cgroup's record to what it says, in bytes. Pure and portable.

use crate::pass::{Counters, text};
use crate::wire::{CgroupRecord, cgroup_flag};

/// A cgroup as one pass saw it: one that processes are in, or an ancestor of such a one. It is that of the memory controller,
/// or, for processes which that leaves in its root, of the v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRow {
    /// Inode of its directory.
    pub id: u64,
    /// The same of its parent; 0: this is the root.
    pub parent: u64,
    /// Name of its directory, which the kernel keeps to 255 bytes; empty for the root.
    pub name: String,
    /// In the v2 hierarchy; else in that of v1's memory controller.
    pub unified: bool,
    /// `None` where the memory controller does not work here.
    pub memory: Option<CgroupMemoryRow>,
    /// UTS node name (the pod's name, as a rule) of one of the tasks in it or below it.
    pub node_name: String,
}

/// The memory of a cgroup and of all below it, in bytes. Of the root, `usage` is the sum over those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupMemoryRow {
    /// All that is charged. It runs ahead by what each CPU has reserved, 64 pages at most.
    pub usage: u64,
    /// Anonymous and shared memory (active, inactive and unevictable). From 5.13 on the kernel brings it up to date every two
    /// seconds.
    pub anon: u64,
    /// Pages of files (active and inactive), as up to date as `anon`.
    pub file: u64,
    /// Swapped out. v1 without swap accounting: 0.
    pub swap: u64,
    /// How far `anon` may be from the truth of when it was brought up to date: pages that CPUs have not put on a list yet, and,
    /// before 5.13, have not counted yet.
    pub slack: u64,
    /// `memory.max`; `None`: unlimited, as for the others.
    pub max: Option<u64>,
    /// `memory.high`.
    pub high: Option<u64>,
    /// v2: `memory.swap.max`.
    pub swap_max: Option<u64>,
    /// v1: the limit on memory and swap together.
    pub total_max: Option<u64>,
}

/// Pages that a CPU gathers before it puts them on a list (`PAGEVEC_SIZE`: 31, and 15 before 6.10).
const LRU_BATCH: u64 = 31;
/// Pages of each counter that a CPU gathered before 5.13 (`MEMCG_CHARGE_BATCH`), for the three counters of `anon`.
const COUNTER_BATCHES: u64 = 3 * 32;

impl CgroupRow {
    pub(crate) fn new(record: &CgroupRecord, counters: &Counters) -> Self {
        let has = |flag| record.flags & flag != 0;
        Self {
            id: record.id,
            parent: record.parent,
            name: text(&record.name),
            unified: has(cgroup_flag::UNIFIED),
            memory: has(cgroup_flag::MEMORY).then(|| CgroupMemoryRow::new(record, counters)),
            node_name: text(&record.node_name),
        }
    }
}

impl CgroupMemoryRow {
    fn new(record: &CgroupRecord, counters: &Counters) -> Self {
        let unified = record.flags & cgroup_flag::UNIFIED != 0;
        let bytes = |pages: u64| pages.saturating_mul(counters.page_size);
        // PAGE_COUNTER_MAX
        let unlimited = i64::MAX.unsigned_abs() / counters.page_size.max(1);
        let limit = |pages: u64| (pages < unlimited).then(|| bytes(pages));
        let sum = |pages: &[i64]| bytes(pages.iter().sum::<i64>().max(0).unsigned_abs());
        let [inactive_anon, active_anon, inactive_file, active_file, unevictable] = record.lru;
        let batched = record.flags & cgroup_flag::BATCHED != 0;
        let held_back = LRU_BATCH + if batched { COUNTER_BATCHES } else { 0 };
        let swap = if unified { record.swap } else { record.swap.saturating_sub(record.usage) };
        Self {
            usage: bytes(record.usage),
            anon: sum(&[inactive_anon, active_anon, unevictable]),
            file: sum(&[inactive_file, active_file]),
            swap: bytes(swap),
            slack: bytes(held_back.saturating_mul(counters.online_cpus.into())),
            max: limit(record.max),
            high: limit(record.high),
            swap_max: limit(record.swap_max).filter(|_| unified),
            total_max: limit(record.swap_max).filter(|_| !unified),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::cgroup;

    const COUNTERS: Counters = Counters { page_size: 4096, online_cpus: 4 };
    const UNLIMITED: u64 = i64::MAX.unsigned_abs() / 4096;

    fn memory(record: &CgroupRecord) -> CgroupMemoryRow {
        CgroupRow::new(record, &COUNTERS).memory.expect("the record has it")
    }

    /// Guarantees: pages become bytes, the lists are summed into what can leak and what is a file's, and names are text.
    #[test]
    fn describes_a_cgroup_of_v2() {
        let row = CgroupRow::new(&cgroup(), &COUNTERS);
        assert_eq!((row.id, row.parent, row.unified), (5000, 17, true));
        assert_eq!((row.name.as_str(), row.node_name.as_str()), ("api.service", "api-7d4b9"));
        let memory = row.memory.expect("the record has it");
        assert_eq!(
            memory,
            CgroupMemoryRow {
                usage: 9000 * 4096,
                anon: (100 + 2000 + 5) * 4096,
                file: (30 + 4) * 4096,
                swap: 70 * 4096,
                slack: 31 * 4 * 4096,
                max: Some(16_384 * 4096),
                high: None,
                swap_max: Some(0),
                total_max: None,
            }
        );
    }

    /// Guarantees: v1 counts memory and swap together: swap is what exceeds memory, and the limit is one on both.
    #[test]
    fn takes_memory_out_of_the_counter_of_v1() {
        let mut record = cgroup();
        record.flags = cgroup_flag::MEMORY;
        (record.swap, record.swap_max) = (9500, 20_000);
        let memory_of = memory(&record);
        assert_eq!(
            (memory_of.swap, memory_of.swap_max, memory_of.total_max),
            (500 * 4096, None, Some(20_000 * 4096))
        );
        // without swap accounting the counter stays at zero
        (record.swap, record.swap_max) = (0, UNLIMITED);
        let memory_of = memory(&record);
        assert_eq!((memory_of.swap, memory_of.total_max), (0, None));
    }

    /// Guarantees: only the kernel's largest counter value means unlimited; sums below zero show as zero; batches that CPUs
    /// keep widen the slack; without the controller nothing is told.
    #[test]
    fn knows_the_edges() {
        let mut record = cgroup();
        (record.max, record.high) = (UNLIMITED - 1, 0);
        record.lru = [-9, 3, -1, 0, 0];
        record.flags |= cgroup_flag::BATCHED;
        let memory_of = memory(&record);
        assert_eq!((memory_of.max, memory_of.high), (Some((UNLIMITED - 1) * 4096), Some(0)));
        assert_eq!((memory_of.anon, memory_of.file), (0, 0));
        assert_eq!(memory_of.slack, (31 + 96) * 4 * 4096);
        record.max = UNLIMITED;
        assert_eq!(memory(&record).max, None);
        record.max = u64::MAX;
        assert_eq!(memory(&record).max, None);
        record.flags = cgroup_flag::UNIFIED;
        assert_eq!(CgroupRow::new(&record, &COUNTERS).memory, None);
    }
}
