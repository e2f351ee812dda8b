//! Which blocks of a burst are still there when nobody watches any more.
//!
//! Of a busy target the budget allows a second's burst now and then: too short to see what stays. What it leaves is looked for afterwards,
//! by walks over the heap: a leak's blocks are all there, of what comes and goes next to none are. A block that was freed meanwhile, and
//! in whose place another one begins, cannot be told from it: it is soon gone as well, and no stack has many of them.

use std::collections::HashMap;
use std::hash::Hash;

use super::block::Block;
use crate::growth_stacks::Lies;

/// Blocks of a burst that are followed.
const MOST: usize = 4096;
/// Walks at which they have to be there.
const WALKS: u32 = 3;
/// With fewer blocks nothing is said of a stack,
const ENOUGH: usize = 4;
/// and of the blocks that the burst has left, this share must have stayed.
const KEPT: f64 = 0.5;

/// See the module.
#[derive(Debug, Clone)]
pub struct Remains<K> {
    blocks: Vec<(K, Block)>,
    walks: u32,
    /// Of the bursts before, what has stayed by now.
    older: Vec<(K, Block)>,
    /// So many there were of each stack that could be walked over.
    left: HashMap<K, usize>,
    /// What is known of them, bytes.
    kept: Vec<(K, u64)>,
}

impl<K> Default for Remains<K> {
    fn default() -> Self {
        Self { blocks: Vec::new(), walks: 0, older: Vec::new(), left: HashMap::new(), kept: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash + Ord> Remains<K> {
    /// A burst is over that leaves these. What is known by now stands until as much is known of this one.
    pub fn rest(&mut self, blocks: impl IntoIterator<Item = (K, Block)>) {
        let before = std::mem::take(&mut self.blocks);
        if self.walks >= WALKS {
            self.older.extend(before);
            let surplus = self.older.len().saturating_sub(MOST);
            // the oldest have told the most
            self.older.drain(..surplus);
        }
        self.blocks = blocks.into_iter().take(MOST).collect();
        (self.walks, self.left) = (0, HashMap::new());
        for (key, _) in self.older.iter().chain(&self.blocks) {
            *self.left.entry(*key).or_default() += 1;
        }
    }

    /// Where to ask what lies there, of the stacks of which `of` says so, in order.
    #[must_use]
    pub fn addresses(&self, of: impl Fn(&K) -> bool) -> Vec<u64> {
        let mut addresses: Vec<u64> =
            self.followed().filter(|(key, _)| of(key)).map(|(_, block)| block.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Takes what a walk has found, by address. Of what is in no heap that is walked over nothing will be known.
    pub fn walked(&mut self, found: &HashMap<u64, Lies>) {
        let Self { blocks, older, left, .. } = self;
        let mut stays = |(key, block): &(K, Block)| match found.get(&block.address) {
            Some(Lies::Block(begins)) => *begins == block.address,
            Some(Lies::Free) => false,
            Some(Lies::Elsewhere) | None => {
                left.entry(*key).and_modify(|left| *left = left.saturating_sub(1));
                false
            }
        };
        older.retain(&mut stays);
        blocks.retain(&mut stays);
        self.walks = self.walks.saturating_add(1);
        if self.walks >= WALKS {
            self.judge();
        }
    }

    fn followed(&self) -> impl Iterator<Item = &(K, Block)> {
        self.older.iter().chain(&self.blocks)
    }

    fn judge(&mut self) {
        let mut sums: HashMap<K, (usize, u64)> = HashMap::new();
        for (key, block) in self.followed() {
            let (count, bytes) = sums.entry(*key).or_default();
            *count += 1;
            *bytes = bytes.saturating_add(block.weighted_bytes());
        }
        let is_kept = |key: &K, count: usize| {
            let left = self.left.get(key).copied().unwrap_or(0);
            count >= ENOUGH && count as f64 >= KEPT * left as f64
        };
        let kept = sums.into_iter().filter(|(key, (count, _))| is_kept(key, *count));
        self.kept = kept.map(|(key, (_, bytes))| (key, bytes)).collect();
        self.kept.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
    }

    /// The stacks whose blocks have stayed, with the bytes of these, the most first.
    #[must_use]
    pub fn kept(&self) -> &[(K, u64)] {
        &self.kept
    }

    /// Forgets the stacks for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.blocks.retain(|(key, _)| keep(key));
        self.older.retain(|(key, _)| keep(key));
        self.kept.retain(|(key, _)| keep(key));
        self.left.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LEAK: u8 = 1;
    const REQUEST: u8 = 2;
    const MAPPED: u8 = 3;

    fn block(address: u64) -> Block {
        Block { address, size: 100, weight: 2, born: Duration::ZERO }
    }

    fn burst() -> Vec<(u8, Block)> {
        let of = |key: u8, from: u64, count: u64| (0..count).map(move |n| (key, block(from + n * 0x100)));
        of(LEAK, 0x10_000, 10).chain(of(REQUEST, 0x20_000, 40)).chain(of(MAPPED, 0x30_000, 9)).collect()
    }

    /// Of what a leak has allocated a tenth was moved; where requests were there are others at each walk, in a few places as before.
    fn lies(address: u64, walk: u64) -> Lies {
        match address {
            0x10_000 => Lies::Free,
            0x20_000..0x30_000 if (address >> 8) % 4 == walk % 4 => Lies::Free,
            0x20_000..0x30_000 if (address >> 8) % 4 == (walk + 1) % 4 => Lies::Block(address - 0x10),
            0x10_001..0x30_000 => Lies::Block(address),
            _ => Lies::Elsewhere,
        }
    }

    fn walk(remains: &mut Remains<u8>, walk: u64) {
        let addresses = remains.addresses(|_| true);
        remains.walked(&addresses.into_iter().map(|address| (address, lies(address, walk))).collect());
    }

    /// Guarantees: what is there at every walk is kept, with the bytes that it stands for, and what comes and goes is not, though some of
    /// it is replaced by others in the same place; before so many walks nothing is said, and of what cannot be walked over never.
    #[test]
    fn what_stays_after_a_burst() {
        let mut remains = Remains::default();
        remains.rest(burst());
        for round in 0..u64::from(WALKS) {
            assert!(remains.kept().is_empty(), "walk {round}");
            walk(&mut remains, round);
        }
        assert_eq!(remains.kept(), [(LEAK, 9 * 200)]);
    }

    /// Guarantees: what one burst has shown stands until the next one has shown as much, and what both have left counts together; who has
    /// left few blocks is not judged, and stacks that are gone are forgotten.
    #[test]
    fn bursts_follow_each_other() {
        let mut remains = Remains::default();
        let few = |from: u64| (0..3).map(move |n| (LEAK, block(from + n * 0x100)));
        let three = |remains: &mut Remains<u8>| (0..3).for_each(|round| walk(remains, round));
        remains.rest(few(0x11_000));
        three(&mut remains);
        assert!(remains.kept().is_empty(), "three blocks are too few");
        remains.rest(few(0x12_000));
        three(&mut remains);
        assert_eq!(remains.kept(), [(LEAK, 6 * 200)]);
        remains.rest(burst());
        (0..2).for_each(|round| walk(&mut remains, round));
        assert_eq!(remains.kept(), [(LEAK, 6 * 200)]);
        walk(&mut remains, 2);
        assert_eq!(remains.kept(), [(LEAK, 15 * 200)]);
        remains.retain(|key| *key != LEAK);
        assert!(remains.kept().is_empty() && remains.addresses(|_| true).is_empty());
        remains.rest(burst());
        assert_eq!(remains.addresses(|key| *key == LEAK).len(), 10);
    }

    /// Guarantees: however many blocks a burst leaves, those that are followed are bounded.
    #[test]
    fn bounds() {
        let mut remains = Remains::default();
        remains.rest((0..2 * MOST as u64).map(|n| (LEAK, block(n * 16))));
        assert_eq!(remains.addresses(|_| true).len(), MOST);
    }
}
