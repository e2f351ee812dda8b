//! `.note.stapsdt`: the probes that a program offers by itself.

use super::elf::{Elf, c_string};

const PROVIDER: &str = "otel_memory";
/// The notes' type, by definition.
const TYPE: u32 = 3;

/// Whether the file offers both of `otel_memory:alloc` and `otel_memory:free`.
pub(super) fn offers_otel_memory(elf: &Elf) -> bool {
    let Some(notes) = elf.small_section(".note.stapsdt") else { return false };
    let offered = probes(&notes);
    let offers = |name: &str| offered.contains(&(PROVIDER, name));
    offers("alloc") && offers("free")
}

/// Provider and name of each.
fn probes(notes: &[u8]) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = notes;
    while let Some((note, behind)) = split_note(rest) {
        found.extend(note);
        rest = behind;
    }
    found
}

/// The first note, where it is a probe's, and what is behind it.
#[allow(clippy::type_complexity)] // a note and the rest
fn split_note(bytes: &[u8]) -> Option<(Option<(&str, &str)>, &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (owner_size, size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
    let padded = |size: usize| size.checked_next_multiple_of(4);
    let owner = bytes.get(12..)?.get(..owner_size)?;
    let start = 12 + padded(owner_size)?;
    let content = bytes.get(start..)?.get(..size)?;
    // the last may lack its padding
    let behind = bytes.get(start.checked_add(padded(size)?)?..).unwrap_or_default();
    if kind != TYPE || owner != b"stapsdt\0" {
        return Some((None, behind));
    }
    // three addresses, then provider, name and arguments
    let provider = c_string(content, 24);
    let name = c_string(content, 24 + provider.len() + 1);
    Some((Some((provider, name)), behind))
}
