//! What malloc writes before each block: 16 bytes, the same in glibc 2.26 to 2.42 on every 64-bit machine.
//!
//! The size of the chunk before, if that one is free, then this one's size with three flags. What the program has begins behind
//! that. Whether a chunk is in use stands in the one behind it.

use std::ops::Range;

/// Bytes before what the program has.
pub(super) const HEADER: u64 = 16;
/// No chunk is smaller.
pub(super) const LEAST: u64 = 32;
/// What a walk needs of each chunk: no chunk is smaller.
pub(super) const HEAD: usize = 32;

const WORD: u64 = 8;
const PREVIOUS_IN_USE: u64 = 1;
const MAPPED: u64 = 2;
const NOT_MAIN: u64 = 4;
const FLAGS: u64 = 7;

/// The beginning of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) at: u64,
    previous: u64,
    field: u64,
    /// The first words of what the program has: of free chunks malloc's own.
    pub(super) first: u64,
    pub(super) second: u64,
}

impl Chunk {
    pub(super) fn new(at: u64, [previous, field, first, second]: [u64; 4]) -> Self {
        Self { at, previous, field, first, second }
    }

    /// Header included.
    pub(super) fn size(&self) -> u64 {
        self.field & !FLAGS
    }

    /// Where the next one begins, as far as this one is to be believed.
    pub(super) fn end(&self) -> u64 {
        self.at.saturating_add(self.size())
    }

    /// The chunk before is in use, or waits in a cache.
    pub(super) fn previous_in_use(&self) -> bool {
        self.field & PREVIOUS_IN_USE != 0
    }

    /// What the program has of it.
    pub(super) fn user(&self) -> u64 {
        self.at.saturating_add(HEADER)
    }

    /// The memory that is its own, or its block's: the first word is still the block's before, where that one is in use.
    pub(super) fn reach(&self) -> Range<u64> {
        self.at.saturating_add(WORD)..self.end().saturating_add(WORD)
    }

    /// It may be a chunk of a heap that ends there.
    pub(super) fn is_valid(&self, heap_end: u64, main: bool) -> bool {
        let strange = if main { MAPPED | NOT_MAIN } else { MAPPED };
        self.size() >= LEAST
            && self.size().is_multiple_of(16)
            && self.field & strange == 0
            && self.size() <= heap_end.saturating_sub(self.at)
    }

    /// It can lie behind that one, if both are chunks.
    pub(super) fn can_follow(&self, before: &Self) -> bool {
        self.previous_in_use() || self.previous == before.size()
    }

    /// It is a mapping of its own: its bytes, if so.
    pub(super) fn mapped(&self) -> Option<u64> {
        let whole = self.size().is_multiple_of(4096) && self.size() > 0;
        (self.field & FLAGS == MAPPED && whole).then(|| self.size())
    }
}
