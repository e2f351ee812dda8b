//! What lives, by size and by what its first word leads to: of bounded memory, whatever the heap.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::chunk::Chunk;

/// Each size up to this one is a class of its own; beyond, eight classes share an octave.
const EXACT: u64 = 64 << 10;
/// First words that lead into read-only data, by size: when there are more, the rarer half is forgotten.
const MAX_POINTERS: usize = 16 * 1024;

/// Of one reading.
#[derive(Debug)]
pub(super) struct Tally {
    /// Chunks of each size up to [`EXACT`], in steps of 16 bytes.
    sizes: Vec<u64>,
    /// The rest: chunks and bytes, by the lowest size of the class.
    large: BTreeMap<u64, (u64, u64)>,
    /// First words that may lead to a C++ type, and sizes, with the number of chunks.
    pub(super) pointers: HashMap<(u64, u64), u64>,
    /// Read-only data of files, by address: where those lead.
    constants: Vec<Range<u64>>,
    /// Bytes that live.
    pub(super) bytes: u64,
    /// Bytes that wait in caches.
    pub(super) cached: u64,
    /// Some first words were forgotten.
    pub(super) forgot: bool,
}

/// Chunks of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeClass {
    /// The smallest and the largest that it has, header included.
    pub(super) sizes: (u64, u64),
    pub(super) bytes: u64,
    pub(super) count: u64,
}

impl Tally {
    pub(super) fn new(constants: Vec<Range<u64>>) -> Self {
        Self {
            sizes: vec![0; usize::try_from(EXACT / 16 + 1).unwrap_or_default()],
            large: BTreeMap::new(),
            pointers: HashMap::new(),
            constants,
            bytes: 0,
            cached: 0,
            forgot: false,
        }
    }

    pub(super) fn live(&mut self, chunk: &Chunk) {
        let size = chunk.size();
        self.bytes = self.bytes.saturating_add(size);
        self.add(size, 1);
        if self.is_constant(chunk.first) {
            if self.pointers.len() >= MAX_POINTERS && !self.pointers.contains_key(&(chunk.first, size)) {
                self.forget_rare();
            }
            *self.pointers.entry((chunk.first, size)).or_default() += 1;
        }
    }

    /// So many more chunks of one size; fewer, where it is negative.
    fn add(&mut self, size: u64, count: u64) {
        match usize::try_from(size / 16).ok().and_then(|class| self.sizes.get_mut(class)) {
            Some(counted) => *counted = counted.saturating_add(count),
            None => {
                let class = self.large.entry(class_of(size).0).or_default();
                *class = (class.0.saturating_add(count), class.1.saturating_add(size.saturating_mul(count)));
            }
        }
    }

    /// Takes chunks whose type is known out of their class of size.
    pub(super) fn take(&mut self, size: u64, count: u64) {
        match usize::try_from(size / 16).ok().and_then(|class| self.sizes.get_mut(class)) {
            Some(counted) => *counted = counted.saturating_sub(count),
            None => {
                let class = self.large.entry(class_of(size).0).or_default();
                *class = (class.0.saturating_sub(count), class.1.saturating_sub(size.saturating_mul(count)));
            }
        }
    }

    /// What has chunks.
    pub(super) fn classes(&self) -> impl Iterator<Item = SizeClass> {
        let exact = (0..).step_by(16).zip(&self.sizes).map(|(size, count)| SizeClass {
            sizes: (size, size),
            bytes: size.saturating_mul(*count),
            count: *count,
        });
        let large = self.large.iter().map(|(size, (count, bytes))| SizeClass {
            sizes: class_of(*size),
            bytes: *bytes,
            count: *count,
        });
        exact.chain(large).filter(|class| class.count > 0)
    }

    fn is_constant(&self, at: u64) -> bool {
        let hull = (self.constants.first(), self.constants.last());
        let (Some(first), Some(last)) = hull else { return false };
        if !at.is_multiple_of(8) || at < first.start || at >= last.end {
            return false;
        }
        let behind = self.constants.partition_point(|range| range.start <= at);
        let before = behind.checked_sub(1).and_then(|before| self.constants.get(before));
        before.is_some_and(|range| at < range.end)
    }

    fn forget_rare(&mut self) {
        let mut counts: Vec<u64> = self.pointers.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.pointers.retain(|_, count| *count > median);
        self.forgot = true;
    }
}

/// The smallest and the largest size of the class that a size falls into.
pub(super) fn class_of(size: u64) -> (u64, u64) {
    if size <= EXACT {
        return (size, size);
    }
    let step = size.ilog2() - 3;
    let first = size >> step << step;
    (first.max(EXACT + 16), first + ((1 << step) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: u64, first: u64) -> Chunk {
        Chunk::new(0, [0, size | 1, first, 0])
    }

    /// Guarantees: each chunk is in one class, the classes leave no gap, and what a type takes is missing in its class of size.
    #[test]
    fn classes() {
        let mut tally = Tally::new(Vec::new());
        for size in [32, 32, EXACT, EXACT + 16, (80 << 10) - 16, 80 << 10, 1 << 40] {
            tally.live(&chunk(size, 0));
        }
        let classes: Vec<_> = tally.classes().map(|class| (class.sizes, class.bytes, class.count)).collect();
        let expected = [
            ((32, 32), 64, 2),
            ((EXACT, EXACT), EXACT, 1),
            ((EXACT + 16, (72 << 10) - 1), EXACT + 16, 1),
            ((72 << 10, (80 << 10) - 1), (80 << 10) - 16, 1),
            ((80 << 10, (88 << 10) - 1), 80 << 10, 1),
            ((1 << 40, (1 << 40) + (1 << 37) - 1), 1 << 40, 1),
        ];
        assert_eq!(classes, expected);
        assert_eq!(tally.bytes, classes.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
        tally.take(32, 2);
        tally.take(80 << 10, 1);
        assert_eq!(tally.classes().count(), 4);
        tally.take(32, 5);
        assert_eq!(tally.classes().count(), 4);
    }

    /// Guarantees: only what leads into read-only data is noted; of too many different ones the frequent ones stay, and it is said.
    #[test]
    fn first_words() {
        let mut tally = Tally::new(vec![Range { start: 0x1000, end: 0x1000 + 16 * MAX_POINTERS as u64 }]);
        for first in [0, 0xff8, 0x1001, 0x1000 + 16 * MAX_POINTERS as u64] {
            tally.live(&chunk(96, first));
        }
        assert!(tally.pointers.is_empty());
        for _ in 0..3 {
            tally.live(&chunk(96, 0x1000));
        }
        for other in 0..2 * MAX_POINTERS as u64 {
            tally.live(&chunk(96, 0x1000 + 8 * other));
        }
        assert!(tally.pointers.len() <= MAX_POINTERS && tally.forgot);
        assert_eq!(tally.pointers.get(&(0x1000, 96)), Some(&4));
    }
}
