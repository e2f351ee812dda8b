//! Pages, and what is learnt of them.

use std::time::Duration;

/// A page of one of several address spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Page {
    /// Which address space: the caller's own number for it.
    pub space: u32,
    /// Where in it the page begins.
    pub address: u64,
}

/// Bytes that one fault may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSizes {
    /// As a rule.
    pub base: u64,
    /// Where a transparent huge page serves it.
    pub huge: u64,
}

/// A sampled fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch<K> {
    /// When, on the clock of the looks.
    pub at: Duration,
    /// The address space, and any address in the page.
    pub page: Page,
    /// The stack.
    pub key: K,
    /// So many faults it stands for.
    pub weight: u64,
}

/// What is seen of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is not there any more, or is no memory of the process's own.
    Gone,
    /// It is there, or swapped out.
    There,
    /// It is there as part of a huge page.
    Huge,
}

/// Whether a page is among one in 2^`level` of all. The same page always is or never is, so that of a page that is followed
/// every sampled fault is seen.
pub(super) fn is_among(page: Page, salt: u64, level: u32) -> bool {
    mix(page.address ^ mix(salt ^ u64::from(page.space))).leading_zeros() >= level
}

/// The finalizer of `SplitMix64`: each bit of the input changes half of those of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: of pages in a row, as programs touch them, the share that is kept is that which the weights say, and
    /// each level keeps a part of the one before.
    #[test]
    fn shares() {
        let pages = || (0..100_000_u64).map(|n| Page { space: 3, address: 0x7f00_0000_0000 + n * 4096 });
        for level in 1..6 {
            let kept = pages().filter(|page| is_among(*page, 17, level)).count() as f64;
            let expected = 100_000.0 / f64::from(1_u32 << level);
            assert!((kept - expected).abs() < 5.0 * expected.sqrt(), "level {level}: {kept} of {expected}");
            assert!(pages().all(|page| !is_among(page, 17, level) || is_among(page, 17, level - 1)));
        }
    }
}
