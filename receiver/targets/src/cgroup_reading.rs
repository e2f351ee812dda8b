//! One cgroup as one pass saw it, whichever way the pass was made.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Set in ids that [`made_up_id`] gives. The kernel's own stay below it: the inode's number in the lower half, how
/// often that number has come round in the upper.
const MADE_UP: u64 = 1 << 62;

/// All that a pass learns of a cgroup. A pass tells of every cgroup that memory of a process is charged to, and of
/// the cgroups around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupReading {
    /// The inode of its directory; where that cannot be seen, a number made from its path (see [`is_made_up`]).
    pub id: u64,
    /// The cgroup around it; 0 where it is the root, or the topmost that can be seen.
    pub parent: u64,
    /// Whether it is of the v2 tree. Each tree counts its own inodes: where the memory controller sits on v1 beside
    /// a v2 tree, two cgroups may have one id.
    pub unified: bool,
    /// The directory's name, the root's empty.
    pub name: String,
    /// What it holds. `None` where no memory controller counts for it, or its counters cannot be read.
    pub memory: Option<CgroupMemory>,
    /// The UTS node name of a process in it: a container's hostname. Empty where unknown.
    pub node_name: String,
}

/// The memory of a cgroup and of all below it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CgroupMemory {
    /// Everything charged: what the limits apply to.
    pub usage: u64,
    /// Anonymous and shared memory, which only swap can take: `inactive_anon + active_anon + unevictable`.
    pub anon: u64,
    /// File pages, which the kernel can take back: `inactive_file + active_file`.
    pub file: u64,
    /// Swapped out; 0 where swap is not accounted.
    pub swap: u64,
    /// How far `anon` may be from the truth.
    pub slack: u64,
    /// `memory.max`, or v1's `memory.limit_in_bytes`. `None` is unlimited, here and below.
    pub max: Option<u64>,
    /// `memory.high`.
    pub high: Option<u64>,
    /// `memory.swap.max`.
    pub swap_max: Option<u64>,
    /// v1's limit on memory and swap together, `memory.memsw.limit_in_bytes`.
    pub total_max: Option<u64>,
}

/// An id for a cgroup of which only the path can be seen: the same for the same path while this program runs.
#[must_use]
pub fn made_up_id(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    // the top bit stays clear as well: the hierarchy marks v2 cgroups with it
    hasher.finish() >> 2 | MADE_UP
}

/// Whether an id was made from a path, and so means nothing outside of this program.
#[must_use]
pub fn is_made_up(id: u64) -> bool {
    id & MADE_UP != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a made-up id is known as one, is the same for the same path alone, and no id that a kernel gives
    /// is taken for one, be it of a 32-bit inode or of one that came round many times.
    #[test]
    fn made_up_ids() {
        let id = made_up_id("/../a");
        assert!(is_made_up(id) && is_made_up(made_up_id("")));
        assert_eq!(id, made_up_id("/../a"));
        assert_ne!(id, made_up_id("/../b"));
        assert_eq!(id >> 63, 0);
        for given in [1, 0xffff_ffff, 4096 << 32 | 77] {
            assert!(!is_made_up(given), "{given}");
        }
    }
}
