//! Functions of a stripped Go program, by the table that Go's runtime itself keeps of them (`.gopclntab`, from Go 1.18 on).

use std::collections::HashMap;
use std::ops::Range;

use super::elf::{Elf, Section};
use super::names::Names;
use super::place::Extent;

/// Go 1.18, Go 1.20.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// Larger programs than any have fewer functions.
const MAX_FUNCTIONS: u64 = 4 << 20;
/// Larger tables are not read.
const MAX_TABLE: u64 = 512 << 20;
/// The table names each function once.
const MAX_PLACES: usize = 4096;
/// Read at once.
const WINDOW: u64 = 1 << 18;
/// Where the module's description holds the beginning of the code: behind a pointer, six slices, and three addresses.
const TEXT_IN_MODULE: usize = 22 * 8;

/// The functions of these names. Each comes once for every place where the code may begin: only one of them is right.
pub(super) fn functions(elf: &Elf, names: &Names) -> Vec<(usize, Extent)> {
    read(elf, names).unwrap_or_default()
}

fn read(elf: &Elf, names: &Names) -> Option<Vec<(usize, Extent)>> {
    let section = elf.section(".gopclntab").filter(|section| section.size <= MAX_TABLE)?;
    let mut head = Window::new(elf, section);
    if !MAGIC.contains(&head.word(0)?) || head.word(4)? >> 24 != 8 {
        return None;
    }
    let count = head.long(8)?.min(MAX_FUNCTIONS);
    let (names_start, names_end, functions) = (head.long(32)?, head.long(40)?, head.long(64)?);
    let places = places(&mut head, names_start..names_end, names)?;
    let mut texts = vec![head.long(24)?, module_text(elf), elf.section(".text")?.address];
    texts.retain(|text| *text != 0);
    texts.dedup();
    // what they say of functions stands behind the list of functions, in the same order
    let (mut list, mut details) = (Window::new(elf, section), Window::new(elf, section));
    let mut found = Vec::new();
    for index in 0..count {
        let entry = functions.checked_add(index * 8)?;
        let (start, at, end) = (list.word(entry)?, list.word(entry + 4)?, list.word(entry + 8)?);
        let name = details.word(functions.checked_add(u64::from(at) + 4)?)?;
        let Some(name) = places.get(&name) else { continue };
        let size = u64::from(end.checked_sub(start)?);
        for text in &texts {
            found.push((*name, Extent { address: text.checked_add(start.into())?, size }));
        }
    }
    Some(found)
}

/// Where in the table of names which name stands.
fn places(table: &mut Window<'_>, range: Range<u64>, names: &Names) -> Option<HashMap<u32, usize>> {
    let mut places = HashMap::new();
    let (mut at, mut name) = (range.start, Vec::with_capacity(Names::LONGEST + 1));
    let mut start = at;
    while at < range.end {
        let byte = table.with(at, 1, |bytes| bytes.first().copied())?;
        at += 1;
        if byte != 0 {
            if name.len() <= Names::LONGEST {
                name.push(byte);
            }
            continue;
        }
        let found = names.ending(&name).find(|(_, length)| *length == name.len());
        if let Some((index, _)) = found.filter(|_| places.len() < MAX_PLACES) {
            places.insert(u32::try_from(start - range.start).ok()?, index);
        }
        name.clear();
        start = at;
    }
    Some(places)
}

/// From the module's description, where it is in a section of its own (Go 1.26). 0: nobody knows.
fn module_text(elf: &Elf) -> u64 {
    let text = || {
        let module = elf.small_section(".go.module")?;
        Some(u64::from_le_bytes(*module.get(TEXT_IN_MODULE..)?.first_chunk()?))
    };
    text().unwrap_or(0)
}

/// A part of the table that is read from front to back.
struct Window<'a> {
    elf: &'a Elf,
    section: &'a Section,
    start: u64,
    bytes: Vec<u8>,
    /// So often it may move on: an honest table is read once.
    moves_left: u64,
}

impl<'a> Window<'a> {
    fn new(elf: &'a Elf, section: &'a Section) -> Self {
        Self { elf, section, start: 0, bytes: Vec::new(), moves_left: section.size / WINDOW * 2 + 64 }
    }

    /// The bytes from here on, `size` of them.
    fn with<T>(&mut self, at: u64, size: usize, read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let inside = |start: u64, bytes: &[u8]| {
            let from = usize::try_from(at.checked_sub(start)?).ok()?;
            let end = from.checked_add(size).filter(|end| *end <= bytes.len())?;
            Some(from..end)
        };
        if inside(self.start, &self.bytes).is_none() {
            self.moves_left = self.moves_left.checked_sub(1)?;
            let left = self.section.size.checked_sub(at)?;
            self.bytes = self.elf.read(self.section.offset.checked_add(at)?, WINDOW.min(left))?;
            self.start = at;
        }
        read(self.bytes.get(inside(self.start, &self.bytes)?)?)
    }

    fn word(&mut self, at: u64) -> Option<u32> {
        self.with(at, 4, |bytes| Some(u32::from_le_bytes(*bytes.first_chunk()?)))
    }

    fn long(&mut self, at: u64) -> Option<u64> {
        self.with(at, 8, |bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)))
    }
}
