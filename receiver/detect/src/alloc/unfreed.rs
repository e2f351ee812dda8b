//! Which stacks hold memory for too long, each told once in a while.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use super::block::Block;

/// Stacks that are remembered as told, each within its window.
const MAX_TOLD: usize = 16_384;

/// A stack to tell of now. Sampled blocks count by their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue<K> {
    /// Which.
    pub key: K,
    /// Blocks older than the age.
    pub occurrences: u64,
    /// Of these, those that are overdue only since it was told last.
    pub new_occurrences: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes more than when it was told last: `None` the first time, negative where some were freed.
    pub grown: Option<i64>,
    /// The oldest of them.
    pub oldest: Block,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    at: Duration,
    bytes: u64,
}

/// See the module. Keys are whatever makes two stacks the same.
#[derive(Debug, Clone)]
pub struct Unfreed<K> {
    min_age: Duration,
    window: Duration,
    told: HashMap<K, Told>,
    held_back: u64,
}

impl<K: Copy + Eq + Hash + Ord> Unfreed<K> {
    /// Tells of blocks older than `min_age`, and of one stack once in `window`.
    #[must_use]
    pub fn new(min_age: Duration, window: Duration) -> Self {
        Self { min_age, window, told: HashMap::new(), held_back: 0 }
    }

    /// All live blocks as they are now. At most `most` stacks, by bytes, the most first; the others are due the next time.
    pub fn due(
        &mut self,
        at: Duration,
        blocks: impl IntoIterator<Item = (K, Block)>,
        most: usize,
    ) -> Vec<Overdue<K>> {
        let mut overdue: HashMap<K, Overdue<K>> = HashMap::new();
        for (key, block) in blocks {
            let told = self.told.get(&key);
            let fresh = told.is_none_or(|told| at.saturating_sub(told.at) >= self.window);
            if fresh && at.saturating_sub(block.born) > self.min_age {
                self.enter(&mut overdue, key, told.copied(), block);
            }
        }
        let mut due: Vec<_> = overdue.into_values().collect();
        due.sort_unstable_by(|one, other| other.bytes.cmp(&one.bytes).then(one.key.cmp(&other.key)));
        // Those that are due again keep their place, the others make some.
        let (window, again) = (self.window, due.iter().map(|overdue| overdue.key).collect::<HashSet<_>>());
        self.told.retain(|key, told| at.saturating_sub(told.at) < window || again.contains(key));
        due.truncate(most);
        due.retain(|overdue| self.remember(at, overdue));
        due
    }

    /// Stacks that were not told because too many others were, each as often as it was due.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    fn enter(&self, overdue: &mut HashMap<K, Overdue<K>>, key: K, told: Option<Told>, block: Block) {
        let count = u64::from(block.weight);
        // It was not old enough then.
        let new = told.is_none_or(|told| told.at.saturating_sub(block.born) <= self.min_age);
        let entry = overdue.entry(key).or_insert(Overdue {
            key,
            occurrences: 0,
            new_occurrences: 0,
            bytes: 0,
            grown: None,
            oldest: block,
        });
        entry.occurrences = entry.occurrences.saturating_add(count);
        entry.new_occurrences = entry.new_occurrences.saturating_add(if new { count } else { 0 });
        entry.bytes = entry.bytes.saturating_add(block.weighted_bytes());
        entry.grown = told.map(|told| difference(entry.bytes, told.bytes));
        if block.born < entry.oldest.born {
            entry.oldest = block;
        }
    }

    /// Whether there is room to remember that it was told; without that it would be told each time.
    fn remember(&mut self, at: Duration, overdue: &Overdue<K>) -> bool {
        let room = self.told.len() < MAX_TOLD;
        let told = Told { at, bytes: overdue.bytes };
        match self.told.entry(overdue.key) {
            Entry::Occupied(mut entry) => *entry.get_mut() = told,
            Entry::Vacant(entry) if room => {
                entry.insert(told);
            }
            Entry::Vacant(_) => {
                self.held_back = self.held_back.saturating_add(1);
                return false;
            }
        }
        true
    }
}

fn difference(now: u64, then: u64) -> i64 {
    i64::try_from(i128::from(now) - i128::from(then)).unwrap_or(i64::MAX)
}
