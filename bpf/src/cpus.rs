//! How many CPUs this host has, in the two senses that matter to per-CPU counters.

use std::fs;

use crate::wire::CPUS_MAX;

/// The kernel can be built for so many at most.
const CPUS_BOUND: usize = 8192;

/// CPU ids run from 0 to this; 0 where that is unknown, where they have gaps, or where they are too many to sum over.
pub(crate) fn possible() -> u32 {
    fs::read_to_string("/sys/devices/system/cpu/possible")
        .ok()
        .and_then(|list| contiguous(&list))
        .unwrap_or(0)
}

/// CPUs online now, 1 at least. Without sysfs it is taken to be every possible one.
pub(crate) fn online() -> u32 {
    fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|list| count(&list))
        .or_else(|| libbpf_rs::num_possible_cpus().ok().and_then(|cpus| cpus.try_into().ok()))
        .unwrap_or(1)
        .max(1)
}

/// The ids of the CPUs online now. Without sysfs they are taken to be the first ones.
pub(crate) fn online_ids() -> Vec<u32> {
    let ranges = fs::read_to_string("/sys/devices/system/cpu/online").ok().and_then(|list| ranges(&list));
    let ranges = ranges.unwrap_or_else(|| vec![(0, online() - 1)]);
    ranges.into_iter().flat_map(|(first, last)| first..=last).take(CPUS_BOUND).collect()
}

/// The ranges of a CPU list such as `0-3,8`: first and last of each.
fn ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
    };
    list.trim().split(',').map(range).collect()
}

fn count(list: &str) -> Option<u32> {
    ranges(list)?.iter().try_fold(0_u32, |sum, (first, last)| sum.checked_add((last - first).checked_add(1)?))
}

fn contiguous(list: &str) -> Option<u32> {
    match ranges(list)?.as_slice() {
        [(0, last)] => last.checked_add(1).filter(|cpus| *cpus <= CPUS_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: CPU lists are counted as the kernel writes them, and what is none is refused.
    #[test]
    fn counts_cpu_lists() {
        assert_eq!(count("0-3\n"), Some(4));
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        for bad in ["", "a", "3-1", "0-", "-1", "0,,1", "0-4294967295"] {
            assert_eq!(count(bad), None, "{bad:?}");
        }
    }

    /// Guarantees: exact sums are only offered where the CPU ids have no gaps and are within the program's bound.
    #[test]
    fn sums_only_over_ids_without_gaps() {
        assert_eq!(contiguous("0-127"), Some(128));
        assert_eq!(contiguous("0"), Some(1));
        assert_eq!(contiguous("0-1023"), Some(1024));
        for unfit in ["0-1024", "1-3", "0-3,8-11", "x", "0-4294967295"] {
            assert_eq!(contiguous(unfit), None, "{unfit:?}");
        }
    }

    /// Guarantees: on this host both are at least 1, and no more CPUs are online than are possible.
    #[test]
    fn reads_this_host() {
        assert!(online() >= 1);
        assert!(possible() == 0 || online() <= possible());
        assert_eq!(online_ids().len(), online() as usize);
    }
}
