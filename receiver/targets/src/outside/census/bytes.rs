//! The memory that is walked, and what of it is there.

use std::ops::Range;

use mlh_stacks::memory::Memory;

use crate::pagemap::Pagemap;

/// Memory of a process, or for tests and fuzzing any bytes.
pub(super) trait Bytes {
    /// Fills `to` with what is at an address. False: it is not there.
    fn read(&self, at: u64, to: &mut [u8]) -> bool;

    /// What of a stretch of 32 MiB at most is in memory, by address.
    fn resident(&self, from: u64, to: u64) -> Vec<Range<u64>>;

    /// It is in memory as a whole.
    fn is_resident(&self, from: u64, to: u64) -> bool {
        self.resident(from, to).first().is_some_and(|first| first.start <= from && to <= first.end)
    }

    /// So many words, of memory that is there.
    fn words<const N: usize>(&self, at: u64) -> Option<[u64; N]> {
        let mut bytes = [[0; 8]; N];
        let end = at.checked_add(8 * N as u64)?;
        (self.is_resident(at, end) && self.read(at, bytes.as_flattened_mut()))
            .then(|| bytes.map(u64::from_le_bytes))
    }
}

/// A process. Pages that are not in memory are not read: that would bring them in.
#[derive(Debug)]
pub(super) struct Target {
    memory: Memory,
    pages: Pagemap,
}

impl Target {
    pub(super) fn new(pid: u32, pages: Pagemap) -> Self {
        Self { memory: Memory::of(pid), pages }
    }

    /// The process is there, and runs the program that it ran when this was made.
    pub(super) fn is_there(&self) -> bool {
        self.pages.states(&[0]).is_ok()
    }
}

impl Bytes for Target {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        self.memory.read(at, to)
    }

    fn resident(&self, from: u64, to: u64) -> Vec<Range<u64>> {
        self.pages.resident(from, to).unwrap_or_default()
    }
}

/// Bytes that are searched at once.
const BLOCK: u64 = 1 << 20;
/// Of the data of one file: that of a C library is some 20 KiB.
const MAX_SEARCHED: u64 = 16 << 20;

/// Shows every word of a stretch that is in memory to `look`, with so many bytes from there on.
pub(super) fn for_each_word(
    bytes: &impl Bytes,
    range: &Range<u64>,
    length: usize,
    mut look: impl FnMut(u64, &[u8]),
) {
    let mut block = Vec::new();
    let end = range.end.min(range.start.saturating_add(MAX_SEARCHED));
    for part in bytes.resident(range.start, end) {
        let mut from = part.start;
        while from < part.end {
            // what begins in this block may end in the next
            let within = (BLOCK + length as u64).min(part.end - from);
            block.resize(usize::try_from(within).unwrap_or_default(), 0);
            if bytes.read(from, &mut block) {
                for (at, from) in (from..).step_by(8).zip((0..block.len()).step_by(8)) {
                    let Some(found) = from.checked_add(length).and_then(|to| block.get(from..to)) else {
                        break;
                    };
                    look(at, found);
                }
            }
            from = from.saturating_add(BLOCK);
        }
    }
}

/// The word at an offset.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    let word = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}

/// Bytes at one address, with holes.
#[cfg(any(test, fuzzing))]
pub(super) struct Made<'a> {
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
    pub(super) holes: Vec<Range<u64>>,
}

#[cfg(any(test, fuzzing))]
impl Bytes for Made<'_> {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let from = at.checked_sub(self.at).and_then(|from| usize::try_from(from).ok());
        let found = from.and_then(|from| self.bytes.get(from..from.checked_add(to.len())?));
        found.is_some_and(|found| {
            to.copy_from_slice(found);
            true
        })
    }

    fn resident(&self, from: u64, to: u64) -> Vec<Range<u64>> {
        let end = self.at + self.bytes.len() as u64;
        let (mut at, to) = (from.max(self.at), to.min(end));
        let mut found = Vec::new();
        for hole in &self.holes {
            found.push(at..hole.start.min(to));
            at = at.max(hole.end);
        }
        found.push(at..to);
        found.retain(|range| range.start < range.end);
        found
    }
}
