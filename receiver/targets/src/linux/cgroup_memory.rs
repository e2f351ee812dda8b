//! The memory files of one cgroup.

use super::unread::Unread;
use crate::cgroup_reading::CgroupMemory;

/// v1 writes "unlimited" as the highest number of whole pages; no machine comes near.
const V1_UNLIMITED: u64 = 1 << 62;

/// Gives the text of a file by its name; `None` where the cgroup has no such file.
pub(super) trait Files: Fn(&str) -> Result<Option<String>, Unread> {}
impl<F: Fn(&str) -> Result<Option<String>, Unread>> Files for F {}

/// The memory of a v2 cgroup; `None` where the controller does not count for it, and for the root.
pub(super) fn v2(file: impl Files) -> Result<Option<CgroupMemory>, Unread> {
    let Some(usage) = file("memory.current")? else { return Ok(None) };
    let limit = |name| {
        file(name)?.map_or(Ok(None), |text| match text.trim() {
            "max" => Ok(None),
            text => number(text).map(Some),
        })
    };
    let (anon, file_pages) = lists(&file("memory.stat")?.ok_or(Unread::Ended)?, "")?;
    Ok(Some(CgroupMemory {
        usage: number(&usage)?,
        anon,
        file: file_pages,
        // absent where the kernel or its command line leaves swap out of account
        swap: file("memory.swap.current")?.map_or(Ok(0), |text| number(&text))?,
        slack: 0,
        max: limit("memory.max")?,
        high: limit("memory.high")?,
        swap_max: limit("memory.swap.max")?,
        total_max: None,
    }))
}

/// The memory of a v1 cgroup.
pub(super) fn v1(file: impl Files) -> Result<Option<CgroupMemory>, Unread> {
    let Some(usage) = file("memory.usage_in_bytes")? else { return Ok(None) };
    let usage = number(&usage)?;
    let optional = |name| file(name)?.map_or(Ok(None), |text| number(&text).map(Some));
    let limited = |limit: Option<u64>| limit.filter(|&limit| limit < V1_UNLIMITED);
    // the names without `total_` leave out the cgroups below
    let (anon, file_pages) = lists(&file("memory.stat")?.ok_or(Unread::Ended)?, "total_")?;
    let total = optional("memory.memsw.usage_in_bytes")?;
    Ok(Some(CgroupMemory {
        usage,
        anon,
        file: file_pages,
        swap: total.map_or(0, |total| total.saturating_sub(usage)),
        slack: 0,
        max: limited(optional("memory.limit_in_bytes")?),
        high: None,
        swap_max: None,
        total_max: limited(optional("memory.memsw.limit_in_bytes")?),
    }))
}

/// The sums of the anonymous and of the file lists in a `memory.stat`.
fn lists(text: &str, prefix: &str) -> Result<(u64, u64), Unread> {
    let (mut anon, mut file, mut found) = (0_u64, 0_u64, 0);
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix(prefix).and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let sum = match name {
            "inactive_anon" | "active_anon" | "unevictable" => &mut anon,
            "inactive_file" | "active_file" => &mut file,
            _ => continue,
        };
        *sum = sum.saturating_add(number(value)?);
        found += 1;
    }
    if found == 5 { Ok((anon, file)) } else { Err(Unread::Malformed) }
}

fn number(text: &str) -> Result<u64, Unread> {
    text.trim().parse().map_err(|_| Unread::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "anon 999\nfile 999\ninactive_anon 1\nactive_anon 2\ninactive_file 40\nactive_file 80\nunevictable 4\n";
    const STAT_V1: &str = "inactive_anon 999\nactive_anon 999\nunevictable 999\ninactive_file 999\nactive_file 999\n\
        total_inactive_anon 1\ntotal_active_anon 2\ntotal_inactive_file 40\ntotal_active_file 80\ntotal_unevictable 4\n";

    fn files<'a>(list: &'a [(&'a str, &'a str)]) -> impl Files + 'a {
        |name: &str| Ok(list.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    }

    /// Guarantees: every number of a v2 cgroup comes from its own file, `max` is unlimited, and a kernel that does
    /// not account swap, or has no `memory.high`, gives none.
    #[test]
    fn version_2() {
        let all = [
            ("memory.current", "1000\n"),
            ("memory.max", "2000\n"),
            ("memory.high", "1500\n"),
            ("memory.swap.current", "30\n"),
            ("memory.swap.max", "50\n"),
            ("memory.stat", STAT),
        ];
        let expected = CgroupMemory {
            usage: 1000,
            anon: 7,
            file: 120,
            swap: 30,
            slack: 0,
            max: Some(2000),
            high: Some(1500),
            swap_max: Some(50),
            total_max: None,
        };
        assert_eq!(v2(files(&all)), Ok(Some(expected)));
        let unlimited = [
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.high", "max\n"),
            ("memory.stat", STAT),
        ];
        let expected = CgroupMemory { swap: 0, max: None, high: None, swap_max: None, ..expected };
        assert_eq!(v2(files(&unlimited)), Ok(Some(expected)));
        assert_eq!(v2(files(&[("cgroup.procs", "")])), Ok(None));
    }

    /// Guarantees: of a v1 cgroup the numbers that take in the cgroups below are taken, swap is what memory and swap
    /// together exceed memory by, and the kernel's highest number is unlimited.
    #[test]
    fn version_1() {
        let all = [
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "2000\n"),
            ("memory.memsw.usage_in_bytes", "1030\n"),
            ("memory.memsw.limit_in_bytes", "2500\n"),
            ("memory.stat", STAT_V1),
        ];
        let expected = CgroupMemory {
            usage: 1000,
            anon: 7,
            file: 120,
            swap: 30,
            max: Some(2000),
            total_max: Some(2500),
            ..CgroupMemory::default()
        };
        assert_eq!(v1(files(&all)), Ok(Some(expected)));
        let unlimited = [
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.stat", STAT_V1),
        ];
        let expected = CgroupMemory { swap: 0, max: None, total_max: None, ..expected };
        assert_eq!(v1(files(&unlimited)), Ok(Some(expected)));
        assert_eq!(v1(files(&[])), Ok(None));
    }

    /// Guarantees: text that is no number, a list that is missing and numbers beyond 64 bits are told as malformed
    /// instead of read as something else; sums do not overflow; what cannot be read says why.
    #[test]
    fn malformed() {
        let with = |current: &str, stat: &str, max: &str| {
            v2(files(&[("memory.current", current), ("memory.stat", stat), ("memory.max", max)]))
        };
        assert_eq!(with("x", STAT, "max"), Err(Unread::Malformed));
        assert_eq!(with("-1", STAT, "max"), Err(Unread::Malformed));
        assert_eq!(with("1", "inactive_anon 1\n", "max"), Err(Unread::Malformed));
        assert_eq!(with("1", &STAT.replace("active_anon 2", "active_anon"), "max"), Err(Unread::Malformed));
        assert_eq!(with("1", STAT, "18446744073709551616"), Err(Unread::Malformed));
        assert_eq!(with("1", STAT, ""), Err(Unread::Malformed));
        let huge = STAT.replace("active_anon 2", "active_anon 18446744073709551615");
        assert_eq!(with("1", &huge, "max").unwrap().unwrap().anon, u64::MAX);
        assert_eq!(v2(|_: &str| Err(Unread::Denied)), Err(Unread::Denied));
    }
}
