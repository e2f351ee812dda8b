//! The heaps that code lies in: from an address to the piece of code around it.

use std::ops::Range;

use super::layout::{HeapLayout, Heaps, Layout};
use super::target::Target;

/// Heaps; versions have one to four.
const MAX_HEAPS: u32 = 16;
/// Each step of the map leads back by at most 254 segments; the largest pieces are the interpreter and stubs, some 10 steps.
const MAX_STEPS: usize = 64;
/// What the map says of a segment where nothing is.
const FREE: u8 = 0xff;
/// Bits of the size of a segment; it is some 64 bytes.
const MAX_LOG2_SEGMENT: u32 = 16;

/// A heap of code, as much as has been reserved for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeHeap {
    memory: Range<u64>,
    /// One byte for each segment.
    map: Range<u64>,
    log2_segment: u32,
    header: u64,
    used: u64,
}

impl CodeHeap {
    /// All of them. Empty where that cannot be read, or not yet.
    pub(super) fn all(layout: &Layout, target: Target<'_>) -> Vec<Self> {
        let places = match layout.heaps {
            Heaps::One(heap) => target.pointer(heap, 0).into_iter().collect(),
            Heaps::Several { array, length, data } => {
                several(target, array, length, data).unwrap_or_default()
            }
        };
        places.into_iter().filter_map(|heap| Self::at(heap, &layout.heap, target)).collect()
    }

    fn at(heap: u64, layout: &HeapLayout, target: Target<'_>) -> Option<Self> {
        let range = |space: u64| {
            let at = heap.checked_add(space)?;
            let range = target.pointer(at, layout.low)?..target.pointer(at, layout.high)?;
            (!range.is_empty()).then_some(range)
        };
        let log2_segment = target.int(heap, layout.log2_segment)?;
        (log2_segment <= MAX_LOG2_SEGMENT).then_some(())?;
        Some(Self {
            memory: range(layout.memory)?,
            map: range(layout.map)?,
            log2_segment,
            header: layout.header,
            used: layout.used,
        })
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.memory.contains(&address)
    }

    /// Where the piece of code around an address begins. `None` where none is in use.
    pub(super) fn blob(&self, address: u64, target: Target<'_>) -> Option<u64> {
        let mut segment = address.checked_sub(self.memory.start)? >> self.log2_segment;
        for _ in 0..MAX_STEPS {
            let at = self.map.start.checked_add(segment).filter(|at| self.map.contains(at))?;
            match target.byte(at, 0)? {
                0 => {
                    let block = self.memory.start.checked_add(segment << self.log2_segment)?;
                    (target.byte(block, self.used)? != 0).then_some(())?;
                    return block.checked_add(self.header);
                }
                FREE => return None,
                back => segment = segment.checked_sub(back.into())?,
            }
        }
        None
    }
}

fn several(target: Target<'_>, array: u64, length: u64, data: u64) -> Option<Vec<u64>> {
    let array = target.pointer(array, 0)?;
    let count = target.int(array, length)?.min(MAX_HEAPS);
    let data = target.pointer(array, data)?;
    (0..u64::from(count)).map(|nth| target.pointer(data, nth * 8)).collect()
}
