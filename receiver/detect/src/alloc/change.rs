//! A change of an address space, and what its numbers mean (Linux, x86-64 and aarch64 alike).

/// A change of an address space that succeeded. Bytes, as the program gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapChange {
    /// `mmap`.
    Map {
        /// Where.
        address: u64,
        /// How long.
        length: u64,
        /// `PROT_*`.
        protection: u32,
        /// `MAP_*`.
        flags: u32,
    },
    /// `munmap`.
    Unmap {
        /// Where.
        address: u64,
        /// How long.
        length: u64,
    },
    /// `mremap`.
    Remap {
        /// Where it was.
        old: u64,
        /// How long.
        old_length: u64,
        /// Where it is.
        new: u64,
        /// How long.
        new_length: u64,
        /// `MREMAP_*`.
        flags: u32,
    },
    /// `brk`.
    Break {
        /// The new end of the heap.
        to: u64,
    },
    /// `madvise`.
    Advise {
        /// Where.
        address: u64,
        /// How long.
        length: u64,
        /// `MADV_*`.
        advice: u32,
    },
}

/// What a mapping is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Memory.
    Anonymous,
    /// Address space for memory to come: nothing may be touched there.
    Reserved,
    /// A file.
    File,
}

const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_HUGETLB: u32 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;
const MAP_HUGE_SHIFT: u32 = 26;
const MAP_HUGE_MASK: u32 = 0x3f;
/// 2 MiB, the default size of a huge page.
const DEFAULT_HUGE: u64 = 1 << 21;

const MREMAP_FIXED: u32 = 2;
const MREMAP_DONTUNMAP: u32 = 4;

const MADV_DONTNEED: u32 = 4;
const MADV_FREE: u32 = 8;
const MADV_REMOVE: u32 = 9;
const MADV_DONTNEED_LOCKED: u32 = 24;

/// What `mmap` made.
pub(super) fn kind(protection: u32, flags: u32) -> Kind {
    match (flags & MAP_ANONYMOUS != 0, protection) {
        (false, _) => Kind::File,
        (true, 0) => Kind::Reserved,
        (true, _) => Kind::Anonymous,
    }
}

/// Whether `mmap` took the place of what was there.
pub(super) fn replaces(flags: u32) -> bool {
    flags & MAP_FIXED != 0 && flags & MAP_FIXED_NOREPLACE == 0
}

/// What `mmap` rounds a length up to.
pub(super) fn unit(page_size: u64, flags: u32) -> u64 {
    if flags & MAP_HUGETLB == 0 {
        return page_size;
    }
    match (flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK {
        0 => DEFAULT_HUGE.max(page_size),
        shift => (1_u64 << shift).max(page_size),
    }
}

/// Whether `mremap` took the place of what was there.
pub(super) fn remap_replaces(flags: u32) -> bool {
    flags & MREMAP_FIXED != 0
}

/// Whether `mremap` left the old mapping where it was.
pub(super) fn leaves_old(old_length: u64, flags: u32) -> bool {
    old_length == 0 || flags & MREMAP_DONTUNMAP != 0
}

/// Whether `madvise` gave the memory back while the mapping stays.
pub(super) fn gives_back(advice: u32) -> bool {
    matches!(advice, MADV_DONTNEED | MADV_FREE | MADV_REMOVE | MADV_DONTNEED_LOCKED)
}

/// The pages of a stretch: first byte, and the one behind the last. `None` where there are none, whatever the numbers.
pub(super) fn pages(address: u64, length: u64, unit: u64, page_size: u64) -> Option<(u64, u64)> {
    let start = address & !(page_size - 1);
    let length = round_up(length, unit);
    let end = start.saturating_add(length) & !(page_size - 1);
    (start < end).then_some((start, end))
}

/// To the next multiple of a power of two; the last one there is where that is too far.
pub(super) fn round_up(value: u64, unit: u64) -> u64 {
    value.saturating_add(unit - 1) & !(unit - 1)
}
