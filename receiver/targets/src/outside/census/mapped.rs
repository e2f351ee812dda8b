//! Blocks so large that each is a mapping of its own, and malloc's own account of them.

use std::ops::Range;

use mlh_stacks::modules::{Anonymous, Modules};

use super::bytes::{Bytes, for_each_word, word};
use super::chunk::Chunk;

/// Mappings that are looked at; the kernel allows four times as many unless told otherwise.
const MAX_MAPPINGS: usize = 16 * 1024;
/// Blocks: of one page each, in a mapping of any size.
const MAX_BLOCKS: usize = 64 * 1024;

/// What malloc says of its mappings, in its parameters (`mp_`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// Where it is, so that it is found again.
    pub(super) at: u64,
    /// Bytes mapped now.
    pub(super) bytes: u64,
    /// Where the heap that grows by `brk` begins.
    pub(super) heap: u64,
}

/// Of it, in bytes.
const ACCOUNT: usize = 48;
/// The lower number of two in a word.
const HALF: u64 = 0xffff_ffff;
/// What a static program has in its heap before malloc's first chunk is less than this.
const EARLY: u64 = 1 << 20;

impl Account {
    /// Four numbers of half a word: how many there are and may be, how many there have been at most, whether the limit moves. Then bytes now
    /// and at most, and where the heap begins, which is what the account is known by. Since glibc 2.35 the numbers begin in
    /// the middle of a word.
    fn parse(at: u64, account: &[u8], heap: &Range<u64>) -> Option<Self> {
        let word = |number: usize| word(account, 8 * number);
        let begins = word(5)
            .filter(|begins| (heap.start..heap.end.min(heap.start.saturating_add(EARLY))).contains(begins))?;
        let [first, second, third] = [word(0)?, word(1)?, word(2)?];
        let (bytes, most) = (word(3)?, word(4)?);
        let (old, new) =
            ([second & HALF, second >> 32, third & HALF], [first >> 32, second & HALF, second >> 32]);
        let counts = |[now, may_be, ever]: [u64; 3]| {
            now <= ever && ever <= may_be && may_be > 0 && (ever == 0) == (most == 0)
        };
        let fits = bytes <= most && bytes.is_multiple_of(4096) && most.is_multiple_of(4096);
        (fits && (counts(old) || counts(new))).then_some(Self { at, bytes, heap: begins })
    }

    /// As it is now.
    pub(super) fn read(bytes: &impl Bytes, at: u64, heap: &Range<u64>) -> Option<Self> {
        let words = bytes.words::<{ ACCOUNT / 8 }>(at)?;
        Self::parse(at, words.map(u64::to_le_bytes).as_flattened(), heap)
    }

    /// In what a file has as data.
    pub(super) fn search(bytes: &impl Bytes, data: &Range<u64>, heap: &Range<u64>) -> Option<Self> {
        let mut found = None;
        for_each_word(bytes, data, ACCOUNT, |at, account| found = found.or(Self::parse(at, account, heap)));
        found
    }
}

/// What was found in mappings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mapped {
    /// Sizes of the blocks.
    pub(super) blocks: Vec<u64>,
    /// Not all mappings were looked at.
    pub(super) more: bool,
}

/// Blocks at the beginning of mappings without a file, and behind each other: mappings that touch become one.
pub(super) fn blocks(bytes: &impl Bytes, modules: &Modules, heaps: &[Range<u64>]) -> Mapped {
    let mut mapped = Mapped::default();
    let is_heap = |part: &Anonymous| heaps.iter().any(|heap| heap.start < part.end && part.start < heap.end);
    let candidates = modules.anonymous.iter().filter(|part| may_be_mallocs(part) && !is_heap(part));
    for (number, part) in candidates.enumerate() {
        let mut at = part.start;
        while at < part.end {
            if number >= MAX_MAPPINGS || mapped.blocks.len() >= MAX_BLOCKS {
                mapped.more = true;
                return mapped;
            }
            let chunk = bytes.words(at).map(|words| Chunk::new(at, words));
            let size = chunk.and_then(|chunk| chunk.mapped()).filter(|size| *size <= part.end - at);
            let Some(size) = size else { break };
            mapped.blocks.push(size);
            at = at.saturating_add(size);
        }
    }
    mapped
}

fn may_be_mallocs(part: &Anonymous) -> bool {
    !part.executable && (part.name.is_empty() || part.name.starts_with("[anon"))
}
