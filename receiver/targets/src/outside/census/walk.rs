//! From chunk to chunk, a block of the target's memory at a time.
//!
//! The target goes on meanwhile. Headers that went out of date mostly still lead to the next chunk; where one does not, the walk looks
//! for the next place from which chunks follow each other, and counts what it has passed over.

use std::ops::Range;

use super::bytes::Bytes;
use super::chunk::{Chunk, HEAD};

/// Bytes that are read at once.
pub(super) const BLOCK: u64 = 1 << 20;
/// So many chunks in a row are no accident.
const RUN: usize = 8;
/// What is left of a heap behind its last chunk: two headers without memory.
const FENCE: u64 = 64;
const PAGE: u64 = 4096;

/// A part of a heap, to be walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Chunks that begin in here.
    pub(super) range: Range<u64>,
    pub(super) start: Start,
    /// Where the heap ends: at the chunk behind all others.
    pub(super) end: u64,
    /// Of the main arena.
    pub(super) main: bool,
}

/// What is at the beginning of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// A chunk.
    Chunk,
    /// Something that malloc may not have made.
    Unknown,
    /// The middle of a heap.
    Within,
}

/// What became of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Walked {
    /// Bytes whose chunks have been seen.
    pub(super) seen: u64,
    /// Bytes that are not in memory.
    pub(super) absent: u64,
    /// Bytes passed over where memory changed, or is not malloc's.
    pub(super) lost: u64,
    /// How often.
    pub(super) times_lost: u64,
}

impl Walked {
    pub(super) fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.absent += other.absent;
        self.lost += other.lost;
        self.times_lost += other.times_lost;
    }
}

/// The block that was read last.
#[derive(Debug, Default)]
pub(super) struct Block {
    content: Vec<u8>,
    range: Range<u64>,
    there: Vec<Range<u64>>,
}

impl Block {
    /// The chunk at an address, if its header is in memory.
    fn chunk(&mut self, bytes: &impl Bytes, at: u64, to: u64) -> Option<Chunk> {
        if !self.reaches(at) {
            self.read(bytes, at, to);
        }
        self.held(at)
    }

    /// What was read last reaches over the header there, be it in memory or not.
    fn reaches(&self, at: u64) -> bool {
        self.range.start <= at && at.saturating_add(HEAD as u64) <= self.range.end
    }

    fn held(&self, at: u64) -> Option<Chunk> {
        let end = at.checked_add(HEAD as u64)?;
        if !self.there.iter().any(|part| part.start <= at && end <= part.end) {
            return None;
        }
        let from = usize::try_from(at - self.range.start).ok()?;
        let (words, _) = self.content.get(from..from + HEAD)?.as_chunks::<8>();
        let [previous, size, first, second] = words else { return None };
        Some(Chunk::new(at, [previous, size, first, second].map(|word| u64::from_le_bytes(*word))))
    }

    /// The same, wherever it is, leaving what was read last.
    fn peek(&self, bytes: &impl Bytes, at: u64) -> Option<Chunk> {
        if self.reaches(at) { self.held(at) } else { bytes.words(at).map(|words| Chunk::new(at, words)) }
    }

    /// Reads from an address on, no further than need be.
    fn read(&mut self, bytes: &impl Bytes, at: u64, to: u64) {
        let length = to.saturating_sub(at).clamp(HEAD as u64, BLOCK);
        self.range = at..at.saturating_add(length);
        self.content.resize(usize::try_from(self.range.end - at).unwrap_or_default(), 0);
        self.there.clear();
        for part in bytes.resident(at, self.range.end) {
            let part = part.start.max(at)..part.end.min(self.range.end);
            let within = |address: u64| usize::try_from(address - at).unwrap_or_default();
            let to = self.content.get_mut(within(part.start)..within(part.end));
            if to.is_some_and(|to| bytes.read(part.start, to)) {
                self.there.push(part);
            }
        }
    }

    /// What was read is not to be taken for what is there now.
    fn forget(&mut self) {
        self.range = 0..0;
        self.there.clear();
    }
}

/// Hands every chunk that begins in a span to `visit`, and whether it is in use as far as the chunk behind it says. Goes on until
/// `patience` ends.
pub(super) fn walk(
    bytes: &impl Bytes,
    block: &mut Block,
    span: &Span,
    patience: &mut impl FnMut() -> bool,
    visit: &mut impl FnMut(&Chunk, bool),
) -> Walked {
    let mut walked = Walked::default();
    let mut before: Option<Chunk> = None;
    let mut at = span.range.start;
    block.forget();
    if span.start != Start::Chunk {
        at = find(bytes, block, span, at, &mut walked, patience);
    }
    if span.start == Start::Within {
        // what lies before the first one belongs to a chunk that begins before the span
        walked.seen += std::mem::take(&mut walked.lost);
        walked.times_lost = 0;
    }
    loop {
        if !block.reaches(at) && !patience() {
            break;
        }
        let chunk = block.chunk(bytes, at, span.range.end);
        if let Some(before) = before.take() {
            walked.seen += before.end().min(span.range.end) - before.at;
            // the one behind it is not to be had: taken for in use, as most are
            visit(&before, chunk.is_none_or(|chunk| chunk.previous_in_use()));
        }
        if at >= span.range.end {
            break;
        }
        match chunk.filter(|chunk| chunk.is_valid(span.end, span.main)) {
            Some(chunk) => {
                before = Some(chunk);
                at = chunk.end();
            }
            None if span.end - at <= FENCE => break,
            None => {
                at = find(bytes, block, span, at, &mut walked, patience);
            }
        }
    }
    walked
}

/// The next place from an address on, from which chunks follow each other; the end of the span where there is none.
fn find(
    bytes: &impl Bytes,
    block: &mut Block,
    span: &Span,
    from: u64,
    walked: &mut Walked,
    patience: &mut impl FnMut() -> bool,
) -> u64 {
    let mut at = from.next_multiple_of(16);
    let before = walked.lost;
    while at < span.range.end {
        if !block.reaches(at) && !patience() {
            break;
        }
        match block.chunk(bytes, at, span.range.end) {
            Some(first) if first.is_valid(span.end, span.main) && is_run(bytes, block, span, first) => {
                return at;
            }
            Some(first) => {
                // what only looks like a chunk costs reads elsewhere
                if first.is_valid(span.end, span.main) && !patience() {
                    break;
                }
                walked.times_lost += u64::from(walked.lost == before);
                walked.lost += 16;
                at += 16;
            }
            None => {
                let next = (at + 1).next_multiple_of(PAGE).min(span.range.end);
                walked.absent += next - at;
                at = next;
            }
        }
    }
    span.range.end
}

/// Chunks follow a chunk, up to the end of the heap or until there is no doubt.
fn is_run(bytes: &impl Bytes, block: &Block, span: &Span, first: Chunk) -> bool {
    let mut chunk = first;
    for _ in 0..RUN {
        if !chunk.is_valid(span.end, span.main) {
            return false;
        }
        let next = chunk.end();
        if span.end - next <= FENCE {
            return true;
        }
        let Some(behind) = block.peek(bytes, next).filter(|behind| behind.can_follow(&chunk)) else {
            return false;
        };
        chunk = behind;
    }
    true
}
