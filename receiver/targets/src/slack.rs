//! How far the memory counters in `/proc/PID/status`, and in a cgroup's `memory.stat`, may lag behind the truth.
//!
//! The kernel batches them (`include/linux/mm.h`, `lib/percpu_counter.c`, `fs/proc/task_mmu.c`):
//! * before 6.2 each thread keeps up to 64 page events to itself (`TASK_RSS_EVENTS_THRESH`), over all counters;
//! * from 6.2 each counter is a `percpu_counter`: every CPU keeps less than max(32, 2 x CPUs) pages to itself, and
//!   reading adds none of them;
//! * from 6.17 (commit 82241a83cd15) `/proc/PID/status` sums every CPU, so what it shows is exact.
//!
//! Stable branches may carry that commit under an older number; the bound is then wider than it need be, never
//! narrower.

/// The counters whose sum is judged: anonymous, swapped, shared. Each lags for itself.
const COUNTERS: u64 = 3;
/// `TASK_RSS_EVENTS_THRESH`, and the event that crosses it.
const EVENTS_PER_THREAD: u64 = 65;

/// The form of the kernel's memory counters, as far as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counters {
    /// Each thread batches (before 6.2).
    PerThread,
    /// Each possible CPU batches (6.2 to 6.16).
    PerCpu {
        /// CPUs that may ever be online.
        cpus: u32,
    },
    /// Summed by the reader (from 6.17).
    Exact,
}

impl Counters {
    /// The form that a kernel of this version has.
    #[must_use]
    pub fn of_kernel(major: u32, minor: u32, cpus: u32) -> Self {
        match (major, minor) {
            version if version < (6, 2) => Self::PerThread,
            version if version < (6, 17) => Self::PerCpu { cpus },
            _ => Self::Exact,
        }
    }

    /// The most by which anonymous + swapped + shared memory of a process may be off, in bytes.
    #[must_use]
    pub fn slack(self, threads: u32, page_size: u64) -> u64 {
        let pages = match self {
            Self::PerThread => EVENTS_PER_THREAD * u64::from(threads.max(1)),
            Self::PerCpu { cpus } => {
                let cpus = u64::from(cpus.max(1));
                let batch = (2 * cpus).max(32);
                COUNTERS.saturating_mul(batch - 1).saturating_mul(cpus)
            }
            Self::Exact => 0,
        };
        pages.saturating_mul(page_size)
    }
}

/// `MEMCG_CHARGE_BATCH`: pages that a CPU keeps to itself before it tells a memory cgroup.
const CGROUP_BATCH: u64 = 64;
/// Pages that a CPU puts on the LRU lists together (`PAGEVEC_SIZE`, later `FOLIO_BATCH_SIZE`), the most of all
/// kernels.
const LRU_BATCH: u64 = 31;

/// The most by which the anonymous memory in a cgroup's `memory.stat` may be off, in bytes, on a kernel of this
/// version with this many CPUs. Reading the file has the CPUs' counts summed up, but not while few changes are
/// waiting: each CPU may keep a batch to itself, and as many batches as there are CPUs may wait. Before 5.13 nothing
/// was summed up, and each CPU kept a batch of each of the three lists.
#[must_use]
pub fn of_cgroup(major: u32, minor: u32, cpus: u32, page_size: u64) -> u64 {
    let batches = if (major, minor) < (5, 13) { 3 } else { 2 };
    let pages = u64::from(cpus.max(1)) * (batches * CGROUP_BATCH + LRU_BATCH);
    pages.saturating_mul(page_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the form follows the kernel's version at exactly the versions that changed it.
    #[test]
    fn the_form_follows_the_version() {
        assert_eq!(Counters::of_kernel(5, 10, 4), Counters::PerThread);
        assert_eq!(Counters::of_kernel(6, 1, 4), Counters::PerThread);
        assert_eq!(Counters::of_kernel(6, 2, 4), Counters::PerCpu { cpus: 4 });
        assert_eq!(Counters::of_kernel(6, 16, 4), Counters::PerCpu { cpus: 4 });
        assert_eq!(Counters::of_kernel(6, 17, 4), Counters::Exact);
        assert_eq!(Counters::of_kernel(7, 0, 4), Counters::Exact);
    }

    /// Guarantees: the bound is the batch times who batches, in bytes of the page size given, and cannot overflow.
    #[test]
    fn the_bound() {
        assert_eq!(Counters::PerThread.slack(1, 4096), 65 * 4096);
        assert_eq!(Counters::PerThread.slack(0, 4096), 65 * 4096);
        assert_eq!(Counters::PerThread.slack(10, 65536), 650 * 65536);
        assert_eq!(Counters::PerCpu { cpus: 2 }.slack(9, 4096), 3 * 31 * 2 * 4096);
        assert_eq!(Counters::PerCpu { cpus: 64 }.slack(9, 4096), 3 * 127 * 64 * 4096);
        assert_eq!(Counters::Exact.slack(9, 4096), 0);
        assert_eq!(Counters::PerCpu { cpus: u32::MAX }.slack(1, u64::MAX), u64::MAX);
    }

    /// Guarantees: a cgroup's bound grows with the CPUs, is wider where kernels sum nothing up, and cannot overflow.
    #[test]
    fn the_bound_of_a_cgroup() {
        assert_eq!(of_cgroup(6, 18, 1, 4096), (128 + 31) * 4096);
        assert_eq!(of_cgroup(5, 13, 4, 65536), 4 * (128 + 31) * 65536);
        assert_eq!(of_cgroup(5, 12, 4, 4096), 4 * (192 + 31) * 4096);
        assert_eq!(of_cgroup(6, 18, 0, 4096), of_cgroup(6, 18, 1, 4096));
        assert_eq!(of_cgroup(6, 18, u32::MAX, u64::MAX), u64::MAX);
    }
}
