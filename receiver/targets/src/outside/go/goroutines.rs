//! Goroutines by the statement that started them: those that never end are kept by nobody else.

use std::collections::HashMap;

use super::class;
use super::layout::Layout;
use crate::outside::Class;
use crate::outside::blocks::Blocks;

/// So many are looked at.
const MAX_GOROUTINES: u64 = 100_000;

/// Of a goroutine so much is read, bytes.
const SIZE: usize = 320;

/// It is being looked at by the collector meanwhile.
const SCAN: u32 = 0x1000;

/// States of those that are none: not begun yet, ended, and kept for threads of C code.
const NONE: [u32; 3] = [0, 6, 11];

/// No stack is larger, bytes.
const MAX_STACK: u64 = 1 << 32;

/// What stacks they have, in all. `list` is the variable, a slice.
pub(super) fn by_statement(
    blocks: &mut Blocks,
    list: u64,
    layout: &Layout,
    not_seen: &mut Vec<String>,
) -> Vec<Class> {
    let Some([items, count]) = blocks.words(list) else { return Vec::new() };
    if count > MAX_GOROUTINES {
        not_seen.push(format!("goroutines beyond the first {MAX_GOROUTINES} that there have been at once"));
    }
    let mut found: HashMap<u64, (u64, u64)> = HashMap::new();
    for index in 0..count.min(MAX_GOROUTINES) {
        let Some(at) = items.checked_add(index * 8).and_then(|item| blocks.word(item)) else { break };
        if let Some((started_at, stack)) = living(blocks, at, layout) {
            let of_statement = found.entry(started_at).or_default();
            of_statement.0 = of_statement.0.saturating_add(stack);
            of_statement.1 += 1;
        }
    }
    let name = |at: u64| format!("stacks of goroutines started at {at:#x}");
    found
        .into_iter()
        .map(|(started_at, (bytes, count))| class(name(started_at), bytes, count, vec![started_at]))
        .collect()
}

/// Where it was started, and the size of its stack. `None`: there is none.
fn living(blocks: &mut Blocks, at: u64, layout: &Layout) -> Option<(u64, u64)> {
    let bytes: [u8; SIZE] = blocks.read(at)?;
    let word = |offset: usize| Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?));
    let status = u32::from_le_bytes(*bytes.get(layout.goroutine.status..)?.first_chunk()?) & !SCAN;
    let (low, high, started_at) = (word(0)?, word(8)?, word(layout.goroutine.started_at)?);
    let stack = high.checked_sub(low).filter(|size| *size <= MAX_STACK)?;
    // the first of all threads' own is started by nobody
    (started_at != 0 && !NONE.contains(&status)).then_some((started_at, stack))
}
