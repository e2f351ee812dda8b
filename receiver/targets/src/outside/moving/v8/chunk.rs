//! A piece of V8's heap: 256 KiB, to a multiple of which it is aligned, with a head that says what it is.

use std::ops::Range;

use mlh_stacks::memory::Memory;

/// Bytes; those of large objects have more, and hold one object each.
pub(super) const SIZE: u64 = 256 << 10;

/// No chunk is larger, bytes.
const MAX_SIZE: u64 = 1 << 32;
/// Nor are the bytes before its first object more.
const MAX_HEAD: u64 = 16 << 10;
/// Flags: young objects are moved away from it; they are made in it, or have been moved there.
const FROM: u64 = 1 << 3;
const TO: u64 = 1 << 4;

/// Words of the head that are read, and of what it refers to.
const HEAD: usize = 6;
const REST: usize = 10;

/// What objects a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// New ones, and those that have been moved once.
    New,
    /// Those that a collection has left behind, or will in a moment.
    Left,
    /// Old ones.
    Old,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// What it belongs to: an address.
    pub(super) heap: u64,
    pub(super) holds: Holds,
    pub(super) objects: Range<u64>,
}

impl Chunk {
    /// The one that begins there. `None`: none does.
    pub(super) fn read(memory: Memory, start: u64) -> Option<Self> {
        let head = words::<HEAD>(memory, start)?;
        Self::of(start, head, |at| words::<REST>(memory, at))
    }

    /// It belongs to this heap, and an object of its may lie there.
    pub(super) fn is_of(&self, heap: u64, address: u64) -> bool {
        self.heap == heap && self.objects.contains(&address)
    }

    /// V8 has had its head in three ways: up to version 11 the size stands before the flags, then behind them, and since 13 the head
    /// refers to the rest.
    fn of(start: u64, head: [u64; HEAD], rest: impl Fn(u64) -> Option<[u64; REST]>) -> Option<Self> {
        let [first, second, third, fourth, fifth, sixth] = head;
        let chunk = |flags: u64, size: u64, heap: u64, objects: Range<u64>| {
            let is_one = (SIZE / 4..MAX_SIZE).contains(&size)
                && heap > MAX_HEAD
                && heap.is_multiple_of(8)
                && objects.start.checked_sub(start).is_some_and(|head| head > 0 && head <= MAX_HEAD)
                && objects.start <= objects.end
                && objects.end - start <= size;
            let holds = match flags {
                _ if flags & TO != 0 => Holds::New,
                _ if flags & FROM != 0 => Holds::Left,
                _ => Holds::Old,
            };
            is_one.then_some(Self { heap, holds, objects })
        };
        if second == start {
            return chunk(first, third, fourth, fifth..sixth);
        }
        if let Some(old) = chunk(second, first, third, fourth..fifth) {
            return Some(old);
        }
        let may_refer = second > MAX_HEAD && second.is_multiple_of(8);
        let [_, own, size, _, _, _, _, end, heap, begin] = may_refer.then(|| rest(second)).flatten()?;
        if own == start { chunk(first, size, heap, begin..end) } else { None }
    }
}

/// Words of a process's memory.
pub(super) fn words<const N: usize>(memory: Memory, at: u64) -> Option<[u64; N]> {
    let mut bytes = [[0; 8]; N];
    memory.read(at, bytes.as_flattened_mut()).then(|| bytes.map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1234_5600_0000;
    const HEAP: u64 = 0x5000_1000;

    /// Guarantees: the head of each version is read, with what the chunk holds by its flags, and nothing else is taken for one.
    #[test]
    fn heads() {
        let (begin, end) = (START + 0x1148, START + SIZE);
        let none = |_| None;
        for (flags, holds) in [(0x12, Holds::New), (0xa, Holds::Left), (0x4, Holds::Old), (0x204, Holds::Old)]
        {
            let expected = Some(Chunk { heap: HEAP, holds, objects: begin..end });
            assert_eq!(Chunk::of(START, [SIZE, flags, HEAP, begin, end, 0], none), expected);
            assert_eq!(Chunk::of(START, [flags, START, SIZE, HEAP, begin, end], none), expected);
            let rest = [1, START, SIZE, 0, 0, 0, 0, end, HEAP, begin];
            let refers = |at| (at == 0x7000_0000).then_some(rest);
            assert_eq!(Chunk::of(START, [flags, 0x7000_0000, 1, 2, 3, 4], refers), expected);
        }
        let wrong = [
            [0; HEAD],
            [u64::MAX; HEAD],
            [SIZE, 0x12, HEAP, end, begin, 0],
            [SIZE, 0x12, HEAP, begin, end + 8, 0],
            [SIZE, 0x12, HEAP + 1, begin, end, 0],
            [SIZE, 0x12, HEAP, START, end, 0],
            [0x12, START, 1, HEAP, begin, end],
        ];
        for head in wrong {
            assert_eq!(Chunk::of(START, head, none), None, "{head:x?}");
        }
        let other = |_| Some([1, START + SIZE, SIZE, 0, 0, 0, 0, end, HEAP, begin]);
        assert_eq!(Chunk::of(START, [0x12, 0x7000_0000, 1, 2, 3, 4], other), None);
    }
}
