//! Which methods a compiled one consists of at an address: itself, and what has been inlined into it.

use super::blob::Blob;
use super::layout::{Part, ScopesLayout};
use super::numbers::Numbers;
use super::target::Target;

/// Methods that are inlined into each other; HotSpot stops at some 9, unless it is told otherwise.
const MAX_DEPTH: usize = 64;
/// Places of a method whose code is as large as it may be.
const MAX_PLACES: u64 = 1 << 20;
/// Methods and classes that a compiled method refers to.
const MAX_METADATA: u32 = 1 << 16;
/// Three numbers take no more, bytes.
const HEAD: usize = 15;

/// A method, and where in it execution was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) method: u64,
    /// The index of the bytecode. `None` where the method had not begun.
    pub(super) code: Option<u32>,
}

/// The scopes at an address, innermost first. `None` where nothing is told of it, or something else than that the last one is the
/// compiled method itself.
pub(super) fn scopes(
    blob: &Blob,
    address: u64,
    layout: &ScopesLayout,
    excluded: u8,
    target: Target<'_>,
) -> Option<Vec<Scope>> {
    let part = |part: Part| match part {
        Part::Address(at) => target.pointer(blob.address, at),
        Part::Behind(at) => blob.address.checked_add(target.int(blob.address, at)?.into()),
        Part::Apart(base, at) => {
            target.pointer(blob.address, base)?.checked_add(target.int(blob.address, at)?.into())
        }
    };
    let (data, metadata) = (part(layout.data)?, part(layout.metadata)?);
    let places = part(layout.places)?;
    let count = part(layout.places_end)?.checked_sub(places)? / layout.place_size;
    let into = i64::try_from(address.checked_sub(blob.code.start)?).ok()?;
    let mut offset = place(into, places, count.min(MAX_PLACES), layout, target)?;
    let mut found = Vec::new();
    while offset != 0 {
        let head = target.up_to(data.checked_add(offset.into())?, HEAD);
        let mut numbers = Numbers::new(&head, excluded);
        let (sender, method, code) = (numbers.next()?, numbers.next()?, numbers.next()?);
        // metadata are counted from 1, and bytecodes from -1
        let nth = method.checked_sub(1).filter(|nth| *nth < MAX_METADATA)?;
        let method = target.pointer(metadata, u64::from(nth) * 8)?;
        found.push(Scope { method, code: code.checked_sub(1) });
        // the caller is always written before
        if sender >= offset || found.len() >= MAX_DEPTH {
            return None;
        }
        offset = sender;
    }
    found.last().is_some_and(|last| last.method == blob.method).then_some(found)
}

/// Of the first place that is not before: where its scope is written. Places are in order.
fn place(into: i64, places: u64, count: u64, layout: &ScopesLayout, target: Target<'_>) -> Option<u32> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let at = places.checked_add(middle * layout.place_size)?;
        if i64::from(target.int(at, layout.place_pc)?.cast_signed()) < into {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    (low < count).then_some(())?;
    target.int(places.checked_add(low * layout.place_size)?, layout.place_scope)
}
