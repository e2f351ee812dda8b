//! Free chunks that count as in use: what threads keep at hand (`tcache`) and what arenas do (`fastbins`).
//!
//! A chunk in a thread's cache carries a key in its second word: since glibc 2.34 one random number of the process, before that the
//! address of the cache itself. The key is learnt from the caches' own lists, where two chunks must agree. Fast bins are
//! lists of chunks; since 2.32 links are mangled with the address where they stand, before that they are plain. Which it is
//! is seen at each link: one read in the wrong way leads out of the heap.

use std::collections::HashMap;
use std::ops::Range;

use super::arena::Arena;
use super::bytes::Bytes;
use super::chunk::{Chunk, HEADER};

/// Sizes of the chunk that a thread's cache is, and of its list of counts: glibc 2.30 to 2.41, and since.
const CACHES: [(u64, usize); 2] = [(0x290, 16), (0x300, 19)];
/// Lists of one size of chunk, from 32 bytes on.
const LISTS: usize = 64;
/// Of a list, looked at for the key.
const PER_LIST: usize = 8;
/// Chunks as large as a thread's cache that are looked at in one reading, and keys: one a thread.
const MAX_CACHES: usize = 4096;
/// Chunks of fast bins that are noted; of what is beyond, the links must do.
const MAX_FAST: usize = 16 * 1024;
/// None larger is kept in a fast bin, whatever the settings.
const FAST_SIZE: u64 = 0xb0;

/// Where heaps are, by address.
#[derive(Debug, Default)]
pub(super) struct Heaps(Vec<Range<u64>>);

impl Heaps {
    pub(super) fn new(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        Self(ranges)
    }

    fn contains(&self, at: u64) -> bool {
        let behind = self.0.partition_point(|range| range.start <= at);
        let before = behind.checked_sub(1).and_then(|before| self.0.get(before));
        before.is_some_and(|range| at < range.end)
    }

    fn is_chunk(&self, at: u64) -> bool {
        at.is_multiple_of(16) && self.contains(at)
    }
}

/// What is free though it does not look so.
#[derive(Debug, Default)]
pub(super) struct Caches {
    /// By value.
    keys: Vec<u64>,
    /// Each thread has its own: before 2.34.
    by_thread: bool,
    votes: HashMap<u64, usize>,
    looked_at: usize,
    /// Chunks in fast bins, by address.
    fast: Vec<u64>,
    next: usize,
    /// There are more than are noted.
    pub(super) more: bool,
}

impl Caches {
    /// Begins a reading: keys stay, lists are made anew.
    pub(super) fn begin(&mut self) {
        (self.fast, self.next, self.more) = (Vec::new(), 0, false);
        self.looked_at = 0;
        self.votes.clear();
    }

    /// A key is known.
    pub(super) fn are_known(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Learns from a chunk that may be a thread's cache.
    pub(super) fn learn(&mut self, bytes: &impl Bytes, heaps: &Heaps, chunk: &Chunk) {
        let settled = self.are_known() && !self.by_thread;
        let cache = CACHES.iter().find(|(size, _)| *size == chunk.size());
        let Some((_, counts)) = cache.filter(|_| !settled && self.looked_at < MAX_CACHES) else { return };
        self.looked_at += 1;
        let user = chunk.user();
        if self.keys.binary_search(&user).is_ok() {
            return;
        }
        let Some(lists) = bytes.words::<LISTS>(user.saturating_add(8 * *counts as u64)) else { return };
        let firsts = || lists.iter().enumerate().filter(|(_, first)| **first != 0);
        // each list has chunks of its own size, or this is something else
        let is_listed = |(list, first): (usize, &u64)| {
            let chunk = first.saturating_sub(HEADER);
            let size = || bytes.words::<4>(chunk).map(|words| Chunk::new(chunk, words).size());
            heaps.is_chunk(*first) && size() == Some(32 + 16 * list as u64)
        };
        // a thread at work changes its lists meanwhile
        let listed: Vec<u64> = firsts().filter(|list| is_listed(*list)).map(|(_, first)| *first).collect();
        if 2 * listed.len() < firsts().count() {
            return;
        }
        for first in &listed {
            let mut at = *first;
            for _ in 0..PER_LIST {
                let Some([link, key]) = bytes.words(at) else { break };
                self.vote(user, key);
                match follow(heaps, at, link) {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }

    fn vote(&mut self, cache: u64, key: u64) {
        if key == cache {
            self.by_thread = true;
        }
        if self.votes.len() < MAX_CACHES || self.votes.contains_key(&key) {
            let votes = self.votes.entry(key).or_default();
            *votes += 1;
            let is_key = key == cache || (*votes >= 2 && !self.by_thread && key != 0);
            if is_key
                && self.keys.len() < MAX_CACHES
                && let Err(place) = self.keys.binary_search(&key)
            {
                self.keys.insert(place, key);
            }
        }
    }

    /// Notes what is in an arena's fast bins.
    pub(super) fn list(&mut self, bytes: &impl Bytes, heaps: &Heaps, arenas: &[Arena]) {
        for first in arenas.iter().flat_map(|arena| &arena.fast).filter(|first| heaps.is_chunk(**first)) {
            let mut next = Some(*first);
            while let Some(chunk) = next {
                if self.fast.len() >= MAX_FAST {
                    self.more = true;
                    break;
                }
                self.fast.push(chunk);
                let link = chunk.saturating_add(HEADER);
                next = bytes.words(link).and_then(|[word]| follow(heaps, link, word));
            }
        }
        self.fast.sort_unstable();
        self.fast.dedup();
    }

    /// A chunk is in one of them. Asked from lower addresses to higher ones it is quick.
    pub(super) fn hold(&mut self, heaps: &Heaps, chunk: &Chunk) -> bool {
        self.keys.binary_search(&chunk.second).is_ok()
            || chunk.size() <= FAST_SIZE && self.is_fast(heaps, chunk)
    }

    fn is_fast(&mut self, heaps: &Heaps, chunk: &Chunk) -> bool {
        let is_before = |at: Option<&u64>| at.is_some_and(|at| *at < chunk.at);
        if !(self.next == 0 || is_before(self.fast.get(self.next - 1))) {
            self.next = self.fast.partition_point(|at| *at < chunk.at);
        }
        while is_before(self.fast.get(self.next)) {
            self.next += 1;
        }
        let link = chunk.first ^ (chunk.user() >> 12);
        self.fast.get(self.next) == Some(&chunk.at)
            || self.more && (link == 0 || heaps.is_chunk(link) && !heaps.is_chunk(chunk.first))
    }
}

/// Where a link leads that stands at an address.
fn follow(heaps: &Heaps, at: u64, link: u64) -> Option<u64> {
    [link ^ (at >> 12), link].into_iter().find(|next| heaps.is_chunk(*next))
}
