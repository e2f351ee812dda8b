//! What was allocated and is not freed, and how old it is.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Upper ends of all classes of age but the last.
pub const AGE_LIMITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// A block or a mapping that is not freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Where.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// How many such it stands for, itself included.
    pub weight: u32,
    /// When it was allocated.
    pub born: Duration,
}

impl Block {
    pub(super) fn weighted_bytes(&self) -> u64 {
        self.size.saturating_mul(u64::from(self.weight))
    }
}

/// How old a call site's live blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ages {
    /// Blocks by age: younger than each of [`AGE_LIMITS`], and older. Sampled ones by their weight.
    pub counts: [u64; 6],
    /// Age of the oldest.
    pub oldest: Duration,
    /// Bytes of the largest.
    pub largest: u64,
}

impl Ages {
    /// Enters a block as it is at a moment.
    pub fn enter(&mut self, at: Duration, block: &Block) {
        let age = at.saturating_sub(block.born);
        let class = AGE_LIMITS.iter().take_while(|limit| age >= **limit).count();
        self.counts[class] = self.counts[class].saturating_add(u64::from(block.weight));
        self.oldest = self.oldest.max(age);
        self.largest = self.largest.max(block.size);
    }
}

/// The ages of live blocks, by call site.
pub fn ages<S: Copy + Eq + Hash>(
    at: Duration,
    blocks: impl IntoIterator<Item = (S, Block)>,
) -> HashMap<S, Ages> {
    let mut ages: HashMap<S, Ages> = HashMap::new();
    for (site, block) in blocks {
        ages.entry(site).or_default().enter(at, &block);
    }
    ages
}
