//! Pages that a process shares with those that it was forked from, or that were forked from it: written to, they become copies, which
//! are charged though nobody has allocated anything.
//!
//! The kernel walks all page tables of the process for it, so it is read only where such pages are.

use super::target::Target;
use super::{Class, OutsideError, Reader, Reading, Source};
use crate::os;

/// Copies of less are no reason for growth that anybody looks for, bytes.
const WORTHWHILE: u64 = 4 << 20;

/// Reads them.
#[derive(Debug)]
pub(super) struct Pages {
    target: Target,
}

impl Pages {
    /// Of a process, whatever it shares.
    pub(super) fn of(pid: u32) -> Self {
        Self { target: Target::of(pid) }
    }

    /// `None`: it shares too little, or nobody may know.
    pub(super) fn find(pid: u32) -> Option<Self> {
        let shared = Sums::parse(&os::smaps_rollup(pid).ok()?)?.shared;
        (shared >= WORTHWHILE).then(|| Self::of(pid))
    }
}

impl Reader for Pages {
    fn source(&self) -> Source {
        Source::SharedPages
    }

    fn read(&mut self) -> Result<Reading, OutsideError> {
        self.target.reading(|| {
            let text = os::smaps_rollup(self.target.pid).map_err(|why| {
                OutsideError::Refused(format!("/proc/{}/smaps_rollup: {why}", self.target.pid))
            })?;
            let sums = Sums::parse(&text)
                .ok_or_else(|| OutsideError::Unknown("the kernel does not tell shared pages".to_owned()))?;
            Ok(sums.reading())
        })
    }
}

/// Bytes, of all mappings of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    /// Its anonymous memory, whoever shares it, in memory or swapped out.
    anonymous: u64,
    /// The same, each page divided by how many share it: over all of them it adds up to what is charged.
    proportional: u64,
    /// Written to, and nobody else's.
    private: u64,
    /// Written to before others came to share it.
    shared: u64,
}

impl Sums {
    /// Of `smaps_rollup`. `None`: the kernel is older than 5.3 and does not tell all of it.
    fn parse(text: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self {
            anonymous: bytes("Anonymous")?.checked_add(bytes("Swap")?)?,
            proportional: bytes("Pss_Anon")?.checked_add(bytes("SwapPss")?)?,
            private: bytes("Private_Dirty")?,
            shared: bytes("Shared_Dirty")?,
        })
    }

    fn reading(self) -> Reading {
        let class = |name: &str, bytes| Class { name: name.to_owned(), bytes, count: 0, stack: Vec::new() };
        let mut classes =
            vec![class("private pages", self.private), class("pages shared after a fork", self.shared)];
        classes.sort_by_key(|class| std::cmp::Reverse(class.bytes));
        Reading {
            in_use: Some(self.anonymous),
            held: Some(self.proportional),
            classes,
            not_seen: vec!["which of its own pages the process still uses".to_owned()],
            ..Reading::default()
        }
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).ok().and_then(Sums::parse).map(Sums::reading);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what is swapped out counts, names that begin alike are told apart, and what an older kernel tells is not made up.
    #[test]
    fn of_the_kernel() {
        let text = "55d14bfd3000-7ffd881cd000 ---p 00000000 00:00 0    [rollup]\nRss:      9000 kB\nPss_Anon:   300 kB\n\
                    Shared_Dirty:  500 kB\nPrivate_Dirty:  200 kB\nAnonymous:  700 kB\nAnonHugePages: 1 kB\nSwap:  40 kB\nSwapPss:  20 kB\n";
        let sums =
            Sums { anonymous: 740 << 10, proportional: 320 << 10, private: 200 << 10, shared: 500 << 10 };
        assert_eq!(Sums::parse(text), Some(sums));
        assert_eq!(Sums::parse(&text.replace("Pss_Anon", "Pss")), None);
        assert_eq!(Sums::parse(&text.replace("500 kB", "-1 kB")), None);
        assert_eq!(Sums::parse(&text.replace("500", "18446744073709551615")), None);
    }
}
