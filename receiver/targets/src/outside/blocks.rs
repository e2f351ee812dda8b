//! The memory of a process by whole pages, each read once as a rule: what stands side by side costs one read.

use mlh_stacks::memory::Memory;

/// Bytes; no page of any machine is smaller, so that one is there as a whole or not at all.
const BLOCK: u64 = 4096;

/// Of so many blocks the content is kept: 4 MiB. Which place is a block's, its address says.
const PLACES: u64 = 1024;

/// As of the moment when each block is looked at. For one reading.
#[derive(Debug)]
pub(super) struct Blocks {
    memory: Memory,
    /// Where it begins, and its bytes: none if it is not there.
    kept: Vec<(u64, Vec<u8>)>,
    left: usize,
}

impl Blocks {
    /// Reads `most` blocks at most.
    pub(super) fn new(memory: Memory, most: usize) -> Self {
        // no block begins there
        let kept = vec![(u64::MAX, Vec::new()); PLACES as usize];
        Self { memory, kept, left: most }
    }

    /// It has read as much as it may: what is missing may be there.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// The bytes from here on. `None`: they are not there, or it has read as much as it may.
    pub(super) fn read<const N: usize>(&mut self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(address, &mut bytes).then_some(bytes)
    }

    /// Eight bytes.
    pub(super) fn word(&mut self, address: u64) -> Option<u64> {
        self.read(address).map(u64::from_le_bytes)
    }

    /// Words from here on.
    pub(super) fn words<const N: usize>(&mut self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        self.fill_words(address, &mut words)?;
        Some(words)
    }

    /// Words from here on: as many as `to` holds.
    pub(super) fn fill_words(&mut self, address: u64, to: &mut [u64]) -> Option<()> {
        for (index, word) in (0..).zip(to) {
            *word = self.word(address.checked_add(index * 8)?)?;
        }
        Some(())
    }

    fn fill(&mut self, mut address: u64, mut to: &mut [u8]) -> bool {
        while !to.is_empty() {
            let into = (address % BLOCK) as usize;
            let Some(rest) = self.block(address - address % BLOCK).and_then(|block| block.get(into..)) else {
                return false;
            };
            let take = rest.len().min(to.len());
            let (now, later) = to.split_at_mut(take);
            now.copy_from_slice(&rest[..take]);
            to = later;
            let Some(next) = address.checked_add(take as u64) else { return to.is_empty() };
            address = next;
        }
        true
    }

    fn block(&mut self, start: u64) -> Option<&[u8]> {
        let (kept, bytes) = self.kept.get_mut((start / BLOCK % PLACES) as usize)?;
        if *kept != start {
            self.left = self.left.checked_sub(1)?;
            *kept = start;
            bytes.resize(BLOCK as usize, 0);
            if !self.memory.read(start, bytes) {
                bytes.clear();
            }
        }
        (!bytes.is_empty()).then_some(bytes)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Guarantees: what lies across blocks is read as it is, what is not there is not, and the reads are bounded.
    #[test]
    fn own_memory() {
        let own: Vec<u64> = (0..4096).collect();
        let at = own.as_ptr() as u64;
        let mut blocks = Blocks::new(Memory::of(std::process::id()), 20);
        let mut words = vec![0; own.len()];
        assert_eq!(blocks.fill_words(at, &mut words), Some(()));
        assert_eq!(words, own);
        assert_eq!(blocks.words(at + 511 * 8), Some([511, 512, 513]));
        assert_eq!(blocks.read::<4>(at + 4094 * 8 + 4), Some([0; 4]));
        assert_eq!(blocks.word(1), None);
        assert_eq!(blocks.word(u64::MAX - 3), None);
        assert!(!blocks.is_spent());
        for page in 0..20 {
            blocks.word(page * 4096);
        }
        assert!(blocks.is_spent());
        assert_eq!(blocks.word(at + (100 << 20)), None);
    }
}
