//! Where V8 makes objects, one behind the other: three addresses stand among the heap's own variables, of which the second is where the
//! next object will lie, and the third up to where it may.

use mlh_stacks::memory::Memory;

use super::chunk::{self, Chunk, Holds, words};

/// Bytes of the three addresses.
pub(super) const SIZE: u64 = 24;

/// The heap's own variables lie within so many bytes before its address, and behind it.
const BEFORE: u64 = 0x14000;
const BEHIND: u64 = 0x4000;
/// No place stands for more, bytes.
const MOST: u64 = 64 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Area {
    /// Where the addresses stand.
    pub(super) at: u64,
    /// Bytes that have been made there since that was last taken.
    pub(super) made: u64,
    heap: u64,
    holds: Holds,
    last: Option<Free>,
}

/// What is free for the next objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) top: u64,
    pub(super) limit: u64,
}

impl Free {
    fn of([start, top, limit]: [u64; 3]) -> Option<Self> {
        let is_aligned = (start | top | limit).is_multiple_of(8);
        let is_one = start > 0 && start <= top && top < limit && limit - start <= chunk::SIZE;
        (is_aligned && is_one).then_some(Self { top, limit })
    }

    fn is_in(self, chunk: &Chunk) -> bool {
        chunk.objects.contains(&self.top) && self.limit <= chunk.objects.end
    }
}

impl Area {
    /// Of this heap, at this address, where objects of this kind are made.
    pub(super) fn of(at: u64, heap: u64, holds: Holds) -> Self {
        Self { at, made: 0, heap, holds, last: None }
    }

    /// What is free there now. `None`: nothing is, or nothing of the kind stands there.
    pub(super) fn free(&mut self, memory: Memory) -> Option<Free> {
        let free = words(memory, self.at).and_then(Free::of)?;
        let chunk = Chunk::read(memory, free.top - free.top % chunk::SIZE)?;
        let is_one = chunk.heap == self.heap && chunk.holds == self.holds && free.is_in(&chunk);
        is_one.then_some(())?;
        let made = match self.last.replace(free) {
            Some(last) if last.limit == free.limit => free.top.saturating_sub(last.top),
            // the rest of the one before; how much of this one is not known
            Some(last) => last.limit - last.top,
            None => 0,
        };
        self.made = self.made.saturating_add(made).min(MOST);
        Some(free)
    }
}

/// Where the addresses stand of the area in which new objects are made.
pub(super) fn find(memory: Memory, heap: u64) -> Option<u64> {
    let (from, to) = (heap.checked_sub(BEFORE)?, heap.checked_add(BEHIND)?);
    let mut all = Vec::new();
    let mut page = [0; 4096];
    for at in (from..to).step_by(page.len()) {
        // what is not there holds nothing
        if !memory.read(at, &mut page) {
            page.fill(0);
        }
        all.extend(page.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
    }
    let is_new = |words: &[u64]| {
        let free = words.try_into().ok().and_then(Free::of);
        free.is_some_and(|free| {
            let chunk = Chunk::read(memory, free.top - free.top % chunk::SIZE);
            chunk.is_some_and(|it| it.heap == heap && it.holds == Holds::New && free.is_in(&it))
        })
    };
    let at = all.windows(3).position(is_new)?;
    from.checked_add(at as u64 * 8)
}
