//! C++ types of objects: the first word of an object with virtual functions leads to its class's table, and what stands before that table
//! to the type's name. Nothing of it is a symbol: a stripped program has it too, but for one built with `-fno-rtti`.
//!
//! A name is read from the target's memory, once: that may map a page of the program's file which it has not used yet.

use std::collections::HashMap;

use mlh_stacks::modules::Modules;
use mlh_stacks::names::cpp_type;

use super::bytes::Bytes;

/// Tables that are remembered.
const MAX_TABLES: usize = 2048;
/// Longer names are none.
const MAX_NAME: usize = 1024;
/// Pages are no smaller: what follows may not be mapped.
const PAGE: u64 = 4096;

/// Types by the address of their table.
#[derive(Debug, Default)]
pub(super) struct Types(HashMap<u64, Option<String>>);

impl Types {
    /// The type of the objects whose first word this is. `None`: it leads to something else.
    pub(super) fn of(&mut self, bytes: &impl Bytes, modules: &Modules, table: u64) -> Option<&str> {
        if self.0.len() >= MAX_TABLES && !self.0.contains_key(&table) {
            self.0.clear();
        }
        self.0.entry(table).or_insert_with(|| name(bytes, modules, table)).as_deref()
    }
}

fn name(bytes: &impl Bytes, modules: &Modules, table: u64) -> Option<String> {
    let is_of_file = |at: u64| at.is_multiple_of(8) && modules.at(at).is_some();
    let [offset, info] = words(bytes, table.checked_sub(16)?)?;
    // an object begins where its own table says that it does
    if offset != 0 || !is_of_file(info) {
        return None;
    }
    // a type is an object itself, of one of the library's classes
    let [class, name] = words(bytes, info)?;
    if !is_of_file(class) || modules.at(name).is_none() {
        return None;
    }
    cpp_type(&text(bytes, name)?)
}

fn words<const N: usize>(bytes: &impl Bytes, at: u64) -> Option<[u64; N]> {
    let mut words = [[0; 8]; N];
    bytes.read(at, words.as_flattened_mut()).then(|| words.map(u64::from_le_bytes))
}

/// Up to its end, which is a zero.
fn text(bytes: &impl Bytes, at: u64) -> Option<String> {
    let (mut text, mut at) = (Vec::new(), at);
    while text.len() < MAX_NAME {
        let mut part = [0; 256];
        let within = usize::try_from(PAGE - at % PAGE).unwrap_or_default();
        let part = part.get_mut(..within.min(256))?;
        if !bytes.read(at, part) {
            return None;
        }
        let end = part.iter().position(|byte| *byte == 0);
        text.extend_from_slice(part.get(..end.unwrap_or(part.len()))?);
        if end.is_some() {
            return String::from_utf8(text)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        at = at.checked_add(part.len() as u64)?;
    }
    None
}
