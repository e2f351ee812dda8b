//! Whose blocks lie where memory was touched first.
//!
//! Whoever touches a page first is named for it, also when that was for a block which was given back, and somebody else's lies there now.
//! A walk over the heap tells which block lies at an address. The one that is there soon after the touch is the toucher's, most
//! often; once another one is there, or none, the toucher has given it back, and does not keep what stays there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// What lies at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    /// A block in use that begins there.
    Block(u64),
    /// Memory of the heap that nobody has.
    Free,
    /// Nothing that was walked over.
    Elsewhere,
}

/// What became of the blocks in which a stack touched new memory, as far as they were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blocks {
    /// Still there at every walk.
    pub kept: u64,
    /// Given back since.
    pub given_back: u64,
    /// In nothing that is walked over: mappings of its own, stacks, the memory of another allocator.
    pub elsewhere: u64,
}

/// With fewer blocks nothing is said.
const ENOUGH: u64 = 8;
/// Of them whoever keeps nothing has given back so many: of a leak's next to none, of what comes and goes all but those that somebody
/// else's block has covered before the first walk.
const MOST: f64 = 0.75;

impl Blocks {
    /// The same stack elsewhere, or another one of the same function.
    pub fn add(&mut self, other: Self) {
        self.kept = self.kept.saturating_add(other.kept);
        self.given_back = self.given_back.saturating_add(other.given_back);
        self.elsewhere = self.elsewhere.saturating_add(other.elsewhere);
    }

    /// What it touches it gives back: whatever stays there is somebody else's.
    #[must_use]
    pub fn are_given_back(&self) -> bool {
        self.is_enough() && self.given_back as f64 >= MOST * self.all() as f64
    }

    /// What it touches it keeps.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.is_enough() && self.kept as f64 >= MOST * self.all() as f64
    }

    /// Most of what it touches is in nothing that is walked over.
    #[must_use]
    pub fn are_elsewhere(&self) -> bool {
        self.elsewhere > self.all()
    }

    fn is_enough(&self) -> bool {
        self.all() >= ENOUGH
    }

    fn all(&self) -> u64 {
        self.kept.saturating_add(self.given_back)
    }
}

/// So many touches are followed from one walk on, the newest of each stack: where somebody gives back what he touched, others' blocks soon
/// cover it, and older touches would speak for him.
const NEWEST: usize = 16;
/// Stacks of which something is known.
const MAX_KEYS: usize = 1024;
/// Walks at which a block has to be there for it to be kept, beside the first one.
const WALKS: u32 = 2;

/// A block that was there at the first walk after it was touched.
#[derive(Debug, Clone, Copy)]
struct Followed<K> {
    key: K,
    address: u64,
    begins: u64,
    walks: u32,
}

/// Follows the blocks of one address space. Bounded.
#[derive(Debug)]
pub struct BlockSurvival<K> {
    /// The newest first.
    touched: VecDeque<(K, u64)>,
    followed: Vec<Followed<K>>,
    known: HashMap<K, Blocks>,
}

impl<K> Default for BlockSurvival<K> {
    fn default() -> Self {
        Self { touched: VecDeque::new(), followed: Vec::new(), known: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> BlockSurvival<K> {
    /// Takes a touch of new memory, at this very address.
    pub fn touch(&mut self, key: K, address: u64) {
        self.touched.push_front((key, address));
        if self.touched.len() > NEWEST {
            self.make_room();
        }
    }

    /// Lets go of the oldest touch of the stack that has the most: who touches little would be crowded out by who touches much.
    fn make_room(&mut self) {
        let mut touches: HashMap<K, usize> = HashMap::new();
        for (key, _) in &self.touched {
            *touches.entry(*key).or_default() += 1;
        }
        let most = touches.values().copied().max();
        let place = self.touched.iter().rposition(|(key, _)| touches.get(key).copied() == most);
        place.and_then(|place| self.touched.remove(place));
    }

    /// Nothing is told of touches for a while: those that no walk has seen yet would be too old to speak for who made them.
    pub fn rest(&mut self) {
        self.touched.clear();
    }

    /// The addresses to ask about at a walk, in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<u64> {
        let followed = self.followed.iter().map(|followed| followed.address);
        let mut addresses: Vec<u64> =
            followed.chain(self.touched.iter().map(|(_, address)| *address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Takes what a walk has found, by address. What was touched since it was asked waits for the next one.
    ///
    /// Whoever gives back what he touched is soon covered by others' blocks, which may stay: of what a stack touched before something
    /// that it has given back it is not said that it is kept.
    pub fn walked(&mut self, found: &HashMap<u64, Lies>) {
        let mut followed = std::mem::take(&mut self.followed);
        // the newest of each walk come first
        let mut gives = HashSet::new();
        followed.retain_mut(|it| match found.get(&it.address) {
            Some(Lies::Block(begins)) if *begins == it.begins => {
                let is_covered = gives.contains(&(it.walks, it.key));
                it.walks += 1;
                if it.walks >= WALKS && !is_covered {
                    self.count(it.key, Blocks { kept: 1, ..Blocks::default() });
                }
                it.walks < WALKS && !is_covered
            }
            Some(Lies::Block(_) | Lies::Free) => {
                gives.insert((it.walks, it.key));
                self.count(it.key, Blocks { given_back: 1, ..Blocks::default() });
                false
            }
            Some(Lies::Elsewhere) | None => false,
        });
        let (mut met, mut gives) = (HashSet::new(), HashSet::new());
        for (key, address) in std::mem::take(&mut self.touched) {
            let is_newest = met.insert(key);
            match found.get(&address) {
                Some(Lies::Block(begins)) => {
                    if !gives.contains(&key) {
                        followed.push(Followed { key, address, begins: *begins, walks: 0 });
                    }
                }
                // an allocator marks what is left behind a new block: the next one is not there yet
                Some(Lies::Free) if !is_newest => {
                    gives.insert(key);
                    self.count(key, Blocks { given_back: 1, ..Blocks::default() });
                }
                Some(Lies::Free) => {}
                Some(Lies::Elsewhere) => self.count(key, Blocks { elsewhere: 1, ..Blocks::default() }),
                None => self.touched.push_back((key, address)),
            }
        }
        self.followed = followed;
    }

    /// What is known of a stack.
    #[must_use]
    pub fn of(&self, key: &K) -> Blocks {
        self.known.get(key).copied().unwrap_or_default()
    }

    fn count(&mut self, key: K, blocks: Blocks) {
        if self.known.len() < MAX_KEYS || self.known.contains_key(&key) {
            self.known.entry(key).or_default().add(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies at the addresses that are asked about.
    fn walk(blocks: &mut BlockSurvival<u8>, lies: impl Fn(u64) -> Lies) {
        let found = blocks.addresses().into_iter().map(|address| (address, lies(address))).collect();
        blocks.walked(&found);
    }

    /// The same, where everything stays.
    fn walk_any(blocks: &mut BlockSurvival<usize>) {
        let found = blocks.addresses().into_iter().map(|address| (address, Lies::Block(address))).collect();
        blocks.walked(&found);
    }

    const KEEPER: u8 = 1;
    const OTHER: u8 = 2;

    /// Guarantees: who touches memory for blocks that stay keeps them, who touches it for blocks in whose place others lie later, or
    /// none, gives them back, whether they were there at the first walk or not.
    #[test]
    fn whose_they_are() {
        let mut blocks = BlockSurvival::default();
        for round in 1..=4_u64 {
            for touch in 0..4 {
                blocks.touch(KEEPER, 0x10_000 * round + 0x100 * touch);
                blocks.touch(OTHER, 0x1_000_000 * round + 0x100 * touch);
            }
            // the other's are there until the next walk, when somebody's lie there that begin elsewhere
            walk(&mut blocks, |address| match address {
                0x1_000_000.. if address / 0x1_000_000 == round => Lies::Block(address),
                0x1_000_000.. => Lies::Block(address - 0x10),
                _ => Lies::Block(address & !0xff),
            });
        }
        assert_eq!(blocks.of(&KEEPER), Blocks { kept: 8, ..Blocks::default() });
        assert_eq!(blocks.of(&OTHER), Blocks { given_back: 12, ..Blocks::default() });
        assert!(blocks.of(&KEEPER).are_kept() && !blocks.of(&KEEPER).are_given_back());
        assert!(blocks.of(&OTHER).are_given_back() && !blocks.of(&OTHER).are_kept());
        let mut at_once = BlockSurvival::default();
        (0..20).for_each(|touch| at_once.touch(OTHER, 0x100 * touch));
        walk(&mut at_once, |_| Lies::Free);
        // the newest one may be what an allocator has marked for the next block
        let expected = Blocks { given_back: NEWEST as u64 - 1, ..Blocks::default() };
        assert_eq!(at_once.of(&OTHER), expected);
    }

    /// Guarantees: who gives back at once what he touches is not taken for one who keeps it where others' blocks have covered it, or most
    /// of it, before the first walk.
    #[test]
    fn others_blocks_are_not_his() {
        let (mut at_once, mut later) = (BlockSurvival::default(), BlockSurvival::default());
        for round in 1..=6_u64 {
            for touch in 0..10 {
                at_once.touch(OTHER, 0x10_000 * round + 0x100 * touch);
                later.touch(OTHER, 0x10_000 * round + 0x100 * touch);
            }
            // somebody's large block covers what was touched before the last three
            let covers = |address: u64| address & 0xffff < 0x700;
            walk(
                &mut at_once,
                |address| {
                    if covers(address) { Lies::Block(address & !0xffff) } else { Lies::Free }
                },
            );
            walk(&mut later, |address| match address {
                _ if covers(address) => Lies::Block(address & !0xffff),
                _ if address >> 16 == round => Lies::Block(address),
                _ => Lies::Free,
            });
        }
        let (at_once, later) = (at_once.of(&OTHER), later.of(&OTHER));
        assert!(at_once.kept == 0 && at_once.are_given_back(), "{at_once:?}");
        assert!(later.kept == 0 && later.are_given_back(), "{later:?}");
    }

    /// Guarantees: who touches little beside somebody who touches much is followed all the same, and the other one by as many touches.
    #[test]
    fn nobody_is_crowded_out() {
        let mut blocks = BlockSurvival::default();
        for address in 0..40_u64 {
            blocks.touch(KEEPER, 0x10_000 + address);
            (0..20).for_each(|touch| blocks.touch(OTHER, 0x100 * address + touch));
        }
        walk(&mut blocks, |_| Lies::Elsewhere);
        assert_eq!([KEEPER, OTHER].map(|key| blocks.of(&key).elsewhere), [NEWEST as u64 / 2; 2]);
    }

    /// Guarantees: of few blocks nothing is said, and what no walk sees is known to lie elsewhere; what was touched after a walk had been
    /// asked for waits for the next one.
    #[test]
    fn what_is_not_known() {
        let mut blocks = BlockSurvival::default();
        blocks.touch(KEEPER, 0x100);
        let asked: HashMap<u64, Lies> = [(0x100, Lies::Elsewhere)].into();
        blocks.touch(OTHER, 0x200);
        blocks.walked(&asked);
        let elsewhere = blocks.of(&KEEPER);
        assert_eq!(elsewhere, Blocks { elsewhere: 1, ..Blocks::default() });
        assert!(elsewhere.are_elsewhere() && !Blocks::default().are_elsewhere());
        assert_eq!(blocks.addresses(), [0x200]);
        blocks.rest();
        assert!(blocks.addresses().is_empty(), "too old by the next walk");
        let few = Blocks { given_back: ENOUGH - 1, ..Blocks::default() };
        assert!(!few.are_elsewhere());
        assert!(!few.are_given_back() && !few.are_kept() && !Blocks::default().are_kept());
    }

    /// Guarantees: whatever is touched, what is kept of it is bounded.
    #[test]
    fn bounds() {
        let mut blocks = BlockSurvival::default();
        for key in 0..2 * MAX_KEYS {
            (0..20).for_each(|touch| blocks.touch(key, (key * 64 + touch) as u64));
            assert!(blocks.addresses().len() <= 3 * NEWEST);
            walk_any(&mut blocks);
        }
        assert!(blocks.known.len() <= MAX_KEYS);
    }
}
