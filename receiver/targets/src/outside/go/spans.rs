//! The heap's spans, each of objects of one size: how many live, garbage included until the span is swept.

use std::collections::BTreeMap;

use super::class;
use super::layout::Layout;
use crate::outside::Class;
use crate::outside::blocks::Blocks;

/// So many are looked at: as a rule 2 GiB of heap.
const MAX_SPANS: u64 = 1 << 18;

/// Of a span so much is read, bytes.
const SIZE: usize = 120;

/// Its state: it holds objects. Others are free, or stacks.
const IN_USE: u8 = 1;

/// Objects of this size and above have a span of their own, each of another size.
const LARGE: u64 = 32_768;

/// No object is larger, bytes.
const MAX_OBJECT: u64 = 1 << 47;

/// What lives of each size. `heap` is the variable.
pub(super) fn by_size(
    blocks: &mut Blocks,
    heap: u64,
    layout: &Layout,
    not_seen: &mut Vec<String>,
) -> Vec<Class> {
    let list = heap.checked_add(layout.spans);
    let Some([items, count]) = list.and_then(|list| blocks.words(list)) else { return Vec::new() };
    if count > MAX_SPANS {
        not_seen.push(format!("spans of the Go heap beyond the first {MAX_SPANS}"));
    }
    let mut sizes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for index in 0..count.min(MAX_SPANS) {
        let Some(at) = items.checked_add(index * 8).and_then(|item| blocks.word(item)) else { break };
        if let Some((size, live)) = span(blocks, at, layout) {
            let of_size = sizes.entry(size.min(LARGE + 1)).or_default();
            of_size.0 = of_size.0.saturating_add(size.saturating_mul(live));
            of_size.1 = of_size.1.saturating_add(live);
        }
    }
    let name = |size: u64| {
        if size > LARGE {
            format!("objects larger than {LARGE} bytes")
        } else {
            format!("objects of {size} bytes")
        }
    };
    sizes.into_iter().map(|(size, (bytes, live))| class(name(size), bytes, live, Vec::new())).collect()
}

/// The size of its objects, and how many live. `None`: it has none.
fn span(blocks: &mut Blocks, at: u64, layout: &Layout) -> Option<(u64, u64)> {
    let bytes: [u8; SIZE] = blocks.read(at)?;
    if *bytes.get(layout.span.state)? != IN_USE {
        return None;
    }
    let live = u16::from_le_bytes(*bytes.get(layout.span.live..)?.first_chunk()?);
    let size = u64::from_le_bytes(*bytes.get(layout.span.size..)?.first_chunk()?);
    (live > 0 && size <= MAX_OBJECT).then_some((size, live.into()))
}
