//! Arenas (`malloc_state`), and the heaps that each of them has: found without a symbol, by what only an arena looks like.
//!
//! An empty bin of an arena leads to itself, which nothing else in memory does. All arenas of a process are in one ring. An arena that
//! is not the main one lies at the beginning of a heap, and its heaps, each at a multiple of 64 MiB, lead from the newest to the oldest.

use std::ops::Range;

use super::bytes::{Bytes, for_each_word, word};

/// Bytes of an arena that matter.
const SIZE: usize = 2200;
const FAST: usize = 16;
const TOP: usize = 96;
const BINS: usize = 112;
const NEXT: usize = 2160;
const ATTACHED: usize = 2176;
const SYSTEM: usize = 2184;
/// Pairs of words: each bin's first chunk and last one.
const BIN_COUNT: usize = 127;
/// An arena in use has as many empty bins: each of them is proof.
const PROOF: usize = 4;

/// Heaps of arenas that are not the main one lie at multiples of this.
const HEAP: u64 = 64 << 20;
/// What such a heap begins with, before glibc 2.35 and since.
const HEAP_INFO: [u64; 2] = [0x20, 0x30];
/// Eight a CPU are usual.
const MAX_ARENAS: usize = 16 * 1024;
/// 4 TiB of them.
const MAX_HEAPS: usize = 64 * 1024;

/// Lists of small free chunks that count as in use.
pub(super) const FAST_BINS: usize = 10;

/// One arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arena {
    pub(super) at: u64,
    /// The chunk behind all others.
    pub(super) top: u64,
    /// The first chunk of each list of small free ones.
    pub(super) fast: [u64; FAST_BINS],
    /// Bytes that it holds of the system.
    pub(super) system: u64,
    /// The next one in the ring.
    pub(super) next: u64,
    /// Somebody has allocated from it.
    pub(super) used: bool,
}

/// A stretch of memory that chunks fill, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) range: Range<u64>,
    /// A chunk begins at its beginning.
    pub(super) known: bool,
    /// Of the main arena.
    pub(super) main: bool,
}

impl Arena {
    /// If there is one. `None`: no arena is there, or one in the middle of a change.
    pub(super) fn read(bytes: &impl Bytes, at: u64) -> Option<Self> {
        let mut state = [0; SIZE];
        let there = bytes.is_resident(at, at.checked_add(SIZE as u64)?) && bytes.read(at, &mut state);
        if there { Self::parse(&state, at) } else { None }
    }

    fn parse(state: &[u8], at: u64) -> Option<Self> {
        let word = |offset: usize| word(state, offset);
        let (top, next) = (word(TOP)?, word(NEXT)?);
        if next == 0 || !next.is_multiple_of(8) || !top.is_multiple_of(16) {
            return None;
        }
        let mut empty = 0;
        let mut blank = true;
        for bin in 0..BIN_COUNT {
            let own = at.wrapping_add((TOP + 16 * bin) as u64);
            let (first, last) = (word(BINS + 16 * bin)?, word(BINS + 16 * bin + 8)?);
            blank &= first == 0 && last == 0;
            if !blank && (first == 0 || last == 0 || (first | last) % 8 != 0) {
                return None;
            }
            empty += usize::from(first == own && last == own);
        }
        // one that nobody has used is known by its ring of one
        let unused = blank && top == 0 && next == at && word(ATTACHED)? == 1;
        if !unused && (empty < PROOF || top == 0) {
            return None;
        }
        let mut fast = [0; FAST_BINS];
        for (bin, first) in fast.iter_mut().enumerate() {
            *first = word(FAST + 8 * bin)?;
        }
        Some(Self { at, top, fast, system: word(SYSTEM)?, next, used: !unused })
    }

    /// It is where an arena lies that is not the main one.
    pub(super) fn is_in_heap(&self) -> bool {
        HEAP_INFO.contains(&(self.at % HEAP))
    }

    /// The heaps of an arena that is not the main one, the newest first, and whether that is all of them.
    pub(super) fn heaps(&self, bytes: &impl Bytes) -> (Vec<Stretch>, bool) {
        let (own, info) = (self.at - self.at % HEAP, self.at % HEAP);
        let newest = self.top - self.top % HEAP;
        let (mut found, mut heap) = (Vec::new(), newest);
        while heap != 0 {
            let head = bytes.words::<4>(heap).filter(|_| self.is_in_heap() && found.len() < MAX_HEAPS);
            let Some([_, before, size, _]) = head.filter(|[arena, before, size, _]| {
                *arena == self.at && *size <= HEAP && before.is_multiple_of(HEAP)
            }) else {
                return (found, false);
            };
            let first = if heap == own { info + SIZE as u64 } else { info };
            let first = heap.saturating_add(first.next_multiple_of(16));
            let end = if heap == newest { self.top } else { heap.saturating_add(size) };
            found.push(Stretch { range: first..end.max(first), known: true, main: false });
            heap = before;
        }
        (found, true)
    }
}

/// Main arenas in what a file has as data: one as a rule.
pub(super) fn search(bytes: &impl Bytes, data: &Range<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for_each_word(bytes, data, SIZE, |at, state| found.extend(Arena::parse(state, at).map(|arena| arena.at)));
    // bins look the same from one place further on: what is no arena is in no ring
    found.retain(|main| ring(bytes, *main).is_some_and(|(_, broken)| !broken));
    found
}

/// The arenas in a ring, the one at `main` first. The second: the ring could not be followed to its end.
pub(super) fn ring(bytes: &impl Bytes, main: u64) -> Option<(Vec<Arena>, bool)> {
    let first = Arena::read(bytes, main)?;
    let mut next = first.next;
    let mut arenas = vec![first];
    while next != main {
        let other = Arena::read(bytes, next).filter(|_| arenas.len() < MAX_ARENAS);
        let Some(other) = other else { return Some((arenas, true)) };
        next = other.next;
        arenas.push(other);
    }
    Some((arenas, false))
}
