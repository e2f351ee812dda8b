//! How V8 keeps texts: whole, as two joined, as part of another, as a reference to another, or outside of its heap.

use super::heap::{Heap, Object, Tagged};

/// Texts that one is put together of; names are of a few.
const MAX_PIECES: usize = 64;
/// Where the characters, or the first thing referred to, begin.
const FIRST: u64 = 16;
const SECOND: u64 = 24;

/// Bits of a kind below [`no_string`](super::layout::Kinds::no_string).
const REPRESENTATION: u16 = 7;
const NARROW: u16 = 8;
/// Of a text outside of the heap: it is not noted where its characters are.
const UNCACHED: u16 = 16;

/// Characters as they are kept: of one byte (Latin-1) or two (UTF-16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Characters {
    Narrow(Vec<u8>),
    Wide(Vec<u16>),
}

impl Characters {
    fn text(&self) -> String {
        match self {
            Self::Narrow(bytes) => bytes.iter().copied().map(char::from).collect(),
            Self::Wide(units) => String::from_utf16_lossy(units),
        }
    }
}

/// A text that is not longer than `most` characters; what is longer, or no text, is none.
pub(super) fn text(heap: &Heap<'_>, of: Tagged, most: usize) -> Option<String> {
    let mut found = String::new();
    let mut left = most;
    let mut rest = vec![of];
    let mut pieces = 0;
    while let Some(next) = rest.pop() {
        pieces += 1;
        if pieces > MAX_PIECES {
            return None;
        }
        let object = string(heap, next)?;
        match object.kind & REPRESENTATION {
            1 => rest.extend([heap.field(object.at, SECOND)?, heap.field(object.at, FIRST)?]),
            5 => rest.push(heap.field(object.at, FIRST)?),
            _ => {
                let characters = characters(heap, object, left)?;
                left -= length(heap, object)?;
                found.push_str(&characters.text());
            }
        }
    }
    Some(found)
}

/// The characters of a text, if they are kept in one place, and are not more than `most`.
pub(super) fn whole(heap: &Heap<'_>, of: Tagged, most: usize) -> Option<Characters> {
    let mut object = string(heap, of)?;
    if object.kind & REPRESENTATION == 5 {
        object = string(heap, heap.field(object.at, FIRST)?)?;
    }
    characters(heap, object, most)
}

fn string(heap: &Heap<'_>, of: Tagged) -> Option<Object> {
    heap.object(of).filter(|object| object.kind < heap.layout.kinds.no_string)
}

fn length(heap: &Heap<'_>, object: Object) -> Option<usize> {
    usize::try_from(heap.half(object.at, heap.layout.string_length)?).ok()
}

/// Where they lie in one place.
fn characters(heap: &Heap<'_>, object: Object, most: usize) -> Option<Characters> {
    let length = length(heap, object).filter(|length| *length <= most)?;
    let (object, skipped) = match object.kind & REPRESENTATION {
        3 => {
            let parent = string(heap, heap.field(object.at, FIRST)?)?;
            (parent, u64::try_from(heap.field(object.at, SECOND)?.number()?).ok()?)
        }
        _ => (object, 0),
    };
    let begin = match object.kind & REPRESENTATION {
        0 => object.at.checked_add(FIRST)?,
        2 if object.kind & UNCACHED == 0 => heap.word(object.at, SECOND)?,
        _ => return None,
    };
    if object.kind & NARROW != 0 {
        return heap.bytes(begin.checked_add(skipped)?, length).map(Characters::Narrow);
    }
    let bytes = heap.bytes(begin.checked_add(skipped * 2)?, length.checked_mul(2)?)?;
    let (units, _) = bytes.as_chunks();
    Some(Characters::Wide(units.iter().map(|unit| u16::from_le_bytes(*unit)).collect()))
}
