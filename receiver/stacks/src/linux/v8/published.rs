//! What V8 says of itself: numbers by name, which are part of the file so that debuggers may read heaps (`v8dbg_*`).

use std::collections::HashMap;

use object::elf::Sym64;
use object::read::elf::Sym as _;
use object::{LittleEndian as LE, pod};

use crate::linux::object::Object;
use crate::linux::source::Source as _;

const PREFIX: &[u8] = b"v8dbg_";
/// Bytes of the table of symbols, and of their names: those of Node are 2 and 6 MiB.
const MAX_TABLE: u64 = 32 << 20;
/// Numbers that are kept; V8 has some 500.
const MAX_NUMBERS: usize = 4096;
/// Bytes of a name; the longest have 120.
const MAX_NAME: usize = 256;

/// Names without their beginning, and the numbers.
#[derive(Debug, Default)]
pub(super) struct Published(HashMap<String, i32>);

impl Published {
    /// `None`: the file has none.
    pub(super) fn read(object: &Object) -> Option<Self> {
        let section = object.elf.section(b".dynsym")?;
        let (at, size) = section.place().filter(|(_, size)| *size <= MAX_TABLE)?;
        let (names_at, names_size) = object.elf.section_at(section.link)?.place()?;
        let names = object.file.read(names_at, usize::try_from(names_size.min(MAX_TABLE)).ok()?);
        let table = object.file.read(at, usize::try_from(size).ok()?);
        let count = table.len() / size_of::<Sym64<LE>>();
        let (symbols, _) = pod::slice_from_bytes::<Sym64<LE>>(&table, count).ok()?;
        let number = |symbol: &Sym64<LE>| {
            let name = names.get(symbol.st_name(LE) as usize..)?.strip_prefix(PREFIX)?;
            let end = name.iter().take(MAX_NAME).position(|byte| *byte == 0)?;
            let name = String::from_utf8_lossy(name.get(..end)?).into_owned();
            // what the file has no bytes for is 0
            let bytes = object.bytes(symbol.st_value(LE), 4).unwrap_or_default();
            let value = bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
            Some((name, value))
        };
        let found: HashMap<_, _> = symbols.iter().filter_map(number).take(MAX_NUMBERS).collect();
        (!found.is_empty()).then_some(Self(found))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn of(numbers: &[(&str, i32)]) -> Self {
        Self(numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<i32> {
        self.0.get(name).copied()
    }

    /// The first of several names: versions differ.
    pub(super) fn any(&self, names: &[&str]) -> Option<i32> {
        names.iter().find_map(|name| self.get(name))
    }
}
