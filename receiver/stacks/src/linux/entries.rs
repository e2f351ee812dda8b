//! Where in a section of unwind information the entry of a function is: by the linker's own index, searched where it lies in
//! the file, or by one that is made where the linker has left none.

use super::source::{Source, Span};

/// Entries of a file that are looked at without the linker's index; the functions of more are not known.
const MAX_MADE: usize = 500_000;
/// Bytes gone through for that.
const MAX_WALKED: u64 = 64 * 1024 * 1024;
const WINDOW: usize = 64 * 1024;
/// Bytes of the linker's index that are searched at once.
const BLOCK: u64 = 512;
/// A function's address and its entry's, 32 bits each.
const PAIR: u64 = 8;

/// Addresses to entries.
pub(crate) enum Index {
    /// The linker's.
    Linked {
        /// In the file, of the first pair.
        offset: u64,
        /// Virtual address of the index, which its pairs count from.
        base: u64,
        /// Pairs.
        count: u64,
        /// Virtual address of the section that it is for.
        section: u64,
    },
    /// By address: functions, and where their entries are in the section.
    Made(Vec<(u64, u64)>),
}

impl Index {
    /// The linker's index: `.eh_frame_hdr`, at `base`, for a section at `section`. `None` if it is none that can be searched.
    pub(crate) fn linked<S: Source + ?Sized>(table: Span<'_, S>, base: u64, section: u64) -> Option<Self> {
        // Version 1; the section's place and the count have 32 bits; pairs are sorted, and count from the index.
        let [1, place, 0x03, 0x3b] = table.array(0)? else { return None };
        if place & 0x0f != 0x0b && place & 0x0f != 0x03 {
            return None;
        }
        let count = u64::from(u32::from_le_bytes(table.array(8)?));
        let fits = table.size.saturating_sub(12) / PAIR;
        let count = count.min(fits);
        (count > 0).then(|| Self::Linked { offset: table.offset + 12, base, count, section })
    }

    /// By what `read` tells of each entry: where its function begins; `None` for what is no function's.
    pub(crate) fn made<S: Source + ?Sized>(
        section: Span<'_, S>,
        mut read: impl FnMut(&Window<'_, S>, u64) -> Option<u64>,
    ) -> Self {
        let window = Window::new(section);
        let mut found = Vec::new();
        let mut at = 0;
        for _ in 0..MAX_MADE {
            if at >= section.size.min(MAX_WALKED) {
                break;
            }
            let Some(length) = window.array(at).map(u32::from_le_bytes) else { break };
            // Nobody writes entries of 4 GiB; a length of 0 stands at the end, or between what was linked together.
            if length == u32::MAX {
                break;
            }
            if length != 0
                && let Some(function) = read(&window, at)
            {
                found.push((function, at));
            }
            at += 4 + u64::from(length);
        }
        found.sort_unstable();
        found.shrink_to_fit();
        Self::Made(found)
    }

    /// Where the entry is that may be for an address.
    pub(crate) fn find<S: Source + ?Sized>(&self, file: &S, address: u64) -> Option<u64> {
        match self {
            Self::Made(pairs) => {
                let above = pairs.partition_point(|(function, _)| *function <= address);
                Some(pairs.get(above.checked_sub(1)?)?.1)
            }
            Self::Linked { count, .. } => {
                let (mut low, mut high) = (0, *count);
                while high - low > BLOCK {
                    let middle = low + (high - low) / 2;
                    if self.pair(file, middle)?.0 <= address { low = middle } else { high = middle }
                }
                let block = self.pairs(file, low, high - low);
                let above = block.partition_point(|(function, _)| *function <= address);
                Some(block.get(above.checked_sub(1)?)?.1)
            }
        }
    }

    /// Functions.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Made(pairs) => pairs.len() as u64,
            Self::Linked { count, .. } => *count,
        }
    }

    /// One of them by its place in the order of addresses, and where its entry is.
    pub(crate) fn pair<S: Source + ?Sized>(&self, file: &S, nth: u64) -> Option<(u64, u64)> {
        match self {
            Self::Made(pairs) => pairs.get(usize::try_from(nth).ok()?).copied(),
            Self::Linked { .. } => self.pairs(file, nth, 1).first().copied(),
        }
    }

    fn pairs<S: Source + ?Sized>(&self, file: &S, from: u64, count: u64) -> Vec<(u64, u64)> {
        let Self::Linked { offset, base, section, .. } = self else { return Vec::new() };
        let Some(offset) = from.checked_mul(PAIR).and_then(|behind| offset.checked_add(behind)) else {
            return Vec::new();
        };
        let bytes = file.read(offset, usize::try_from(count * PAIR).unwrap_or_default());
        let (pairs, _) = bytes.as_chunks::<8>();
        let from_base = |part: [u8; 4]| base.wrapping_add_signed(i64::from(i32::from_le_bytes(part)));
        let pair = |[a, b, c, d, e, f, g, h]: &[u8; 8]| {
            let entry = from_base([*e, *f, *g, *h]).wrapping_sub(*section);
            (from_base([*a, *b, *c, *d]), entry)
        };
        pairs.iter().map(pair).collect()
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Made(pairs) => size_of_val(pairs.as_slice()),
            Self::Linked { .. } => 0,
        }
    }
}

/// A source that is read from front to back.
pub(crate) struct Window<'a, S: ?Sized> {
    whole: Span<'a, S>,
    part: std::cell::RefCell<(u64, Vec<u8>)>,
}

impl<'a, S: Source + ?Sized> Window<'a, S> {
    fn new(whole: Span<'a, S>) -> Self {
        Self { whole, part: std::cell::RefCell::default() }
    }
}

impl<S: Source + ?Sized> Source for Window<'_, S> {
    fn read(&self, offset: u64, most: usize) -> Vec<u8> {
        if most > WINDOW {
            return self.whole.read(offset, most);
        }
        let end = self.whole.size.min(offset.saturating_add(most as u64));
        let mut part = self.part.borrow_mut();
        if offset < part.0 || end > part.0 + part.1.len() as u64 {
            *part = (offset, self.whole.read(offset, WINDOW));
        }
        let (from, bytes) = &*part;
        Source::read(bytes.as_slice(), offset - from, most)
    }
}
