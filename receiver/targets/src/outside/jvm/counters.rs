//! The layout of `hsperfdata`, version 2.0: a head of 32 bytes, then entries, each with its name and its value. Pure.

use std::collections::HashMap;

const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];

/// A JVM has some hundred.
const MAX_ENTRIES: usize = 4096;

/// Of an entry's head, bytes.
const ENTRY: usize = 20;

/// No name is longer, and no text that is asked for, bytes.
const MAX_NAME: usize = 128;

/// What is told, by name.
#[derive(Debug, Default)]
pub(super) struct Counters<'a> {
    numbers: HashMap<&'a str, u64>,
    texts: HashMap<&'a str, &'a str>,
}

impl<'a> Counters<'a> {
    /// Of the bytes that are published, which change meanwhile. What does not fit is left out.
    ///
    /// # Errors
    /// They are none of this version, or not there yet.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let damaged = "the JVM's counters are damaged";
        let head: &[u8; 32] = bytes.first_chunk().ok_or(damaged)?;
        if !head.starts_with(&MAGIC) {
            return Err("what the JVM maps as its counters are none");
        }
        // the byte order, the version, and whether they are complete
        match head[4..8] {
            [1, 2, _, 0] => return Err("the JVM has just begun, its counters are not there yet"),
            [1, 2, ..] => {}
            [1, ..] => return Err("the JVM's counters are of another version than 2"),
            _ => return Err("the JVM's counters are those of another machine"),
        }
        let mut entry = long_at(bytes, 24).ok_or(damaged)?;
        let count = long_at(bytes, 28).ok_or(damaged)?.min(MAX_ENTRIES);
        let mut counters = Self::default();
        for _ in 0..count {
            let Some(rest) = bytes.get(entry..) else { break };
            let Some(length) = long_at(rest, 0).filter(|length| *length >= ENTRY) else { break };
            let own = &rest[..length.min(rest.len())];
            if let Some((name, value)) = number(own) {
                counters.numbers.insert(name, value);
            } else if let Some((name, value)) = text(own) {
                counters.texts.insert(name, value);
            }
            entry = entry.saturating_add(length);
        }
        Ok(counters)
    }

    pub(super) fn get(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.texts.get(name).copied()
    }

    /// Of all whose name is of this kind with one number in between, as far as it does not overflow. `None`: there are none.
    pub(super) fn sum(&self, before: &str, after: &str) -> Option<u64> {
        let of_kind = |name: &str| {
            let index = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            index.is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let values = self.numbers.iter().filter(|(name, _)| of_kind(name)).map(|(_, value)| *value);
        values.reduce(u64::saturating_add)
    }
}

/// The name and the value of an entry that is a number: a single 64-bit one, which is not negative.
fn number(entry: &[u8]) -> Option<(&str, u64)> {
    let (name, elements, value) = (long_at(entry, 4)?, long_at(entry, 8)?, long_at(entry, 16)?);
    if elements != 0 || entry.get(12) != Some(&b'J') {
        return None;
    }
    let value = i64::from_le_bytes(*entry.get(value..)?.first_chunk()?);
    Some((until_nul(entry.get(name..)?)?, u64::try_from(value).ok()?))
}

/// The name and the value of an entry that is a text: bytes.
fn text(entry: &[u8]) -> Option<(&str, &str)> {
    let (name, elements, value) = (long_at(entry, 4)?, long_at(entry, 8)?, long_at(entry, 16)?);
    if elements == 0 || entry.get(12) != Some(&b'B') {
        return None;
    }
    let value = entry.get(value..)?;
    Some((until_nul(entry.get(name..)?)?, until_nul(&value[..elements.min(value.len())])?))
}

/// A name or a value that is written out.
fn until_nul(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().take(MAX_NAME).position(|byte| *byte == 0)?;
    std::str::from_utf8(bytes.get(..end)?).ok()
}

/// Four bytes that are no negative number.
fn long_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}
