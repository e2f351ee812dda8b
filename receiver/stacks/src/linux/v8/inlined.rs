//! Who is at an instruction of optimised code: the functions that were inlined there, and where each calls the next.
//!
//! Each place that V8 notes may be one within a function that was inlined. Those are listed beside the code, each with the place
//! where it was called.

use super::MAX_TABLE;
use super::heap::{Heap, Tagged};
use super::layout::{CodeLayout, Start};
use super::positions::{Position, position_at};

/// Bytes of the code of one function.
const MAX_CODE: u32 = 16 << 20;
/// Functions inlined into each other.
const MAX_DEPTH: usize = 32;
/// Objects that code refers to.
const MAX_LITERALS: usize = 64 << 10;
/// Bytes of one that was inlined: the place where it was called, who it is, and four that say nothing.
const ENTRY: usize = 16;

/// Bytes before an instruction in which it is looked for where its code begins.
const MAX_BACK: u64 = 256 << 10;
/// They are read by so many: what lies before may not be mapped.
const PIECE: u64 = 4 << 10;
/// Words among them that may be the first of an object, and are looked at.
const MAX_CANDIDATES: usize = 512;

/// Where an instruction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Code {
    /// The code object.
    pub(super) at: u64,
    /// From where its instructions begin.
    instruction: u64,
    /// The table of positions: another one where other code has taken the place.
    positions: Tagged,
}

impl Code {
    /// In the code object at an address, if that has the instruction in it.
    pub(super) fn of(heap: &Heap<'_>, layout: CodeLayout, at: u64, inside: u64) -> Option<Self> {
        let begin = match layout.start {
            Start::Behind(behind) => at.checked_add(behind)?,
            Start::At(offset) => heap.word(at, offset)?,
        };
        let size = heap.half(at, layout.size).filter(|size| *size <= MAX_CODE)?;
        let instruction = inside.checked_sub(begin).filter(|behind| *behind < u64::from(size))?;
        Some(Self { at, instruction, positions: heap.field(at, layout.positions)? })
    }

    /// Where the code object is of an instruction: what the collector must know of instructions stands before them.
    pub(super) fn around(heap: &Heap<'_>, inside: u64) -> Option<u64> {
        let kinds = &heap.layout.kinds;
        let least = inside.saturating_sub(MAX_BACK);
        let (mut end, mut left) = (inside & !7, MAX_CANDIDATES);
        while end > least {
            let begin = (end - 1) & !(PIECE - 1);
            let words = heap.fields(begin, usize::try_from((end - begin) / 8).ok()?)?;
            for (nth, word) in words.into_iter().enumerate().rev() {
                if !word.may_be_map() {
                    continue;
                }
                left = left.checked_sub(1)?;
                let (place, kind) = (begin + nth as u64 * 8, heap.kind(word));
                if kind.is_some() && kind == kinds.instructions {
                    return heap.of_kind(heap.field(place, 8)?, kinds.code?);
                }
                if kind.is_some() && kind == kinds.code && kinds.instructions.is_none() {
                    return Some(place);
                }
            }
            end = begin;
        }
        None
    }

    /// What is shared by closures of the functions there, innermost first, and where in its script each is; `own` is the one that was
    /// compiled.
    pub(super) fn functions(
        &self,
        heap: &Heap<'_>,
        layout: CodeLayout,
        own: u64,
    ) -> Option<Vec<(u64, Option<u32>)>> {
        let table = heap.byte_array(self.positions, MAX_TABLE)?;
        let mut position = position_at(&table, self.instruction)?;
        let mut found = Vec::new();
        if position.inlined.is_some() {
            let data = heap.object_array(heap.field(self.at, layout.deoptimisation)?, 64)?;
            let list = heap.byte_array(*data.get(layout.inlined)?, MAX_TABLE)?;
            let literals = layout.literals.map(|nth| {
                data.get(nth)
                    .and_then(|literals| heap.object_array(*literals, MAX_LITERALS))
                    .unwrap_or_default()
            });
            while let Some(nth) = position.inlined {
                if found.len() >= MAX_DEPTH {
                    return None;
                }
                let entry = list.get(nth.checked_mul(ENTRY)?..)?;
                let called_at = u64::from_le_bytes(*entry.first_chunk()?);
                let who = i32::from_le_bytes(*entry.get(8..)?.first_chunk()?);
                let shared = match usize::try_from(who) {
                    Ok(who) => literals.iter().find_map(|all| shared(heap, *all.get(who)?))?,
                    // it was inlined into itself
                    Err(_) => own,
                };
                found.push((shared, position.at));
                position = Position::of(called_at);
            }
        }
        found.push((own, position.at));
        Some(found)
    }
}

/// What closures share, itself or by what stands for it.
fn shared(heap: &Heap<'_>, literal: Tagged) -> Option<u64> {
    let object = heap.object(literal)?;
    let kinds = &heap.layout.kinds;
    if Some(object.kind) == kinds.wrapper {
        return heap.of_kind(heap.field(object.at, 8)?, kinds.shared);
    }
    (object.kind == kinds.shared).then_some(object.at)
}
