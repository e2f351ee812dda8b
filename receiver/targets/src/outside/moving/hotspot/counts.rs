//! How often the heap has been collected, and whether it is just now.

use mlh_stacks::java::Published;
use mlh_stacks::memory::Memory;

use super::bytes::Bytes;

/// In what an object keeps of its last look: it was no young one any more.
const OLD: u64 = 1 << 63;

/// Collections so far, as the heap counts them: each when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Collections {
    /// Of any kind but pauses of concurrent ones.
    pub(super) all: u32,
    /// Those of the whole heap among them: they may slide objects, and leave nothing behind that tells where to.
    pub(super) whole: u32,
}

impl Collections {
    /// In one word, with whether an object was an old one then.
    pub(super) fn packed(self, is_old: bool) -> u64 {
        let whole = u64::from(self.whole) << 32 & !OLD;
        whole | u64::from(self.all) | if is_old { OLD } else { 0 }
    }

    /// And back.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    pub(super) fn unpacked(packed: u64) -> (Self, bool) {
        let whole = (packed & !OLD) >> 32;
        (Self { all: packed as u32, whole: whole as u32 }, packed & OLD != 0)
    }

    /// How many there have been since, none of them of the whole heap. `None`: one was.
    pub(super) fn since(self, earlier: Self) -> Option<u32> {
        // the highest bit of the one was not kept
        let is_same = self.whole << 1 == earlier.whole << 1;
        is_same.then(|| self.all.wrapping_sub(earlier.all))
    }
}

/// Where they are counted.
#[derive(Debug)]
pub(super) struct Counter {
    memory: Memory,
    heap: u64,
    under_way: u64,
    all: u64,
}

impl Counter {
    pub(super) fn of(memory: Memory, heap: u64, published: &Published) -> Option<Self> {
        let of_heap = |name| published.offset("CollectedHeap", name);
        Some(Self {
            memory,
            heap,
            // it was given another name in 21
            under_way: of_heap("_is_gc_active").or_else(|| of_heap("_is_stw_gc_active"))?,
            all: of_heap("_total_collections")?,
        })
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn fake(memory: Memory, heap: u64) -> Self {
        Self { memory, heap, under_way: 0, all: 8 }
    }

    /// As of now. `None`: there is a collection just now, so that nothing is as it was or will be; or it cannot be read.
    pub(super) fn read(&self) -> Option<Collections> {
        let bytes = Bytes::around(self.memory, self.heap, &[self.under_way, self.all])?;
        let all = self.heap.checked_add(self.all)?;
        let under_way = bytes.byte(self.heap.checked_add(self.under_way)?)? != 0;
        // those of the whole heap are counted right behind, in all versions, though it is not published where
        let read = Collections { all: bytes.int(all)?, whole: bytes.int(all.checked_add(4)?)? };
        (!under_way).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what an object keeps of its last look is what was seen, and collections since are told, also where a counter has
    /// begun anew, unless the whole heap was collected.
    #[test]
    fn kept_in_one_word() {
        let then = Collections { all: u32::MAX, whole: 7 };
        assert_eq!(Collections::unpacked(then.packed(false)), (then, false));
        assert_eq!(Collections::unpacked(then.packed(true)), (then, true));
        assert_eq!(Collections { all: 1, whole: 7 }.since(then), Some(2));
        assert_eq!(then.since(then), Some(0));
        assert_eq!(Collections { all: 1, whole: 8 }.since(then), None);
        let many = Collections { all: 3, whole: u32::MAX };
        assert_eq!(many.since(Collections::unpacked(many.packed(true)).0), Some(0));
    }
}
