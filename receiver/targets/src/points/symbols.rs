//! Looking a few hundred names up among millions of symbols, in constant memory: first where the names stand in the string
//! table, then which symbols point there.

use std::collections::HashMap;

use object::LittleEndian;
use object::elf;
use object::pod::Pod;

use super::elf::{Elf, Section, items};
use super::names::Names;
use super::passing_on::passes_on;

type Record = elf::Sym64<LittleEndian>;
type Relocation = elf::Rela64<LittleEndian>;

/// Larger tables are not read: the time it takes is the agent's.
const MAX_TABLE: u64 = 512 << 20;
/// Names of one table: more are not those of a program.
const MAX_NAMES: usize = 16 << 20;
/// Read at once.
const CHUNK: u64 = 1 << 20;
/// A file that names things more often than that is not an honest one.
const MAX_FOUND: usize = 4096;
/// Of functions that are known by their form so many are enough.
const MAX_GROWING: usize = 1024;
/// Of a name that lies across two chunks so much is kept.
const LONGEST_KEPT: usize = 4096;
/// Places of names that are remembered: a linker writes each name once.
const MAX_PLACES: usize = 65_536;
/// The functions of a program that is linked statically.
const MAX_FUNCTIONS: usize = 1 << 20;
/// Jump slots that are looked at.
const MAX_SLOTS: usize = 65_536;

/// A symbol that has a wanted name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Which name.
    pub(super) name: usize,
    pub(super) address: u64,
    /// Bytes; 0 where nobody wrote it down.
    pub(super) size: u64,
    /// The address is that of a function that chooses the function.
    pub(super) indirect: bool,
    /// Known inside its object only.
    pub(super) local: bool,
    /// It is code; else a variable, which may lie in one segment with code.
    pub(super) function: bool,
}

/// What the tables of a file say.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// Defined ones.
    pub(super) found: Vec<Symbol>,
    /// It has a full symbol table.
    pub(super) full: bool,
    /// A table was too large to read.
    pub(super) too_large: bool,
}

/// Finds the definitions of the names.
pub(super) fn look_up(elf: &Elf, names: &Names) -> Symbols {
    let mut symbols = Symbols::default();
    let mut growing = 0;
    for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
        let Some(table) = elf.sections.iter().find(|section| section.kind == kind) else { continue };
        symbols.full |= table.kind == elf::SHT_SYMTAB;
        let Some(strings) = elf.sections.get(table.link) else { continue };
        if table.size > MAX_TABLE || strings.size > MAX_TABLE {
            symbols.too_large = true;
            continue;
        }
        let places = places(elf, strings, names);
        records::<Record>(elf, table, |record| {
            if record.st_shndx.get(LittleEndian) == elf::SHN_UNDEF || symbols.found.len() >= MAX_FOUND {
                return;
            }
            let Some(name) = places.get(&record.st_name.get(LittleEndian)) else { return };
            if *name == Names::GROWING {
                growing += 1;
                if growing > MAX_GROWING {
                    return;
                }
            }
            let kind = record.st_info & 0xf;
            symbols.found.push(Symbol {
                name: *name,
                address: record.st_value.get(LittleEndian),
                size: record.st_size.get(LittleEndian),
                indirect: kind == elf::STT_GNU_IFUNC,
                local: record.st_info >> 4 == elf::STB_LOCAL,
                function: [elf::STT_FUNC, elf::STT_GNU_IFUNC].contains(&kind),
            });
        });
    }
    symbols
}

/// Where in the string table which name begins; linkers let one name end in another.
fn places(elf: &Elf, strings: &Section, names: &Names) -> HashMap<u32, usize> {
    let mut places = HashMap::new();
    let mut bytes: Vec<u8> = Vec::new();
    let (mut read, mut seen) = (0, 0);
    // where in the table the text begins that the last chunk did not end
    let mut start = 0;
    while read < strings.size && seen < MAX_NAMES {
        let size = CHUNK.min(strings.size - read);
        let Some(chunk) = elf.read(strings.offset.saturating_add(read), size) else { break };
        let kept = bytes.len();
        let base = read - kept as u64;
        bytes.extend_from_slice(&chunk);
        for end in (kept..bytes.len()).filter(|end| bytes[*end] == 0) {
            let mut found = |length: u64, name| {
                let place = u32::try_from(base + end as u64 - length);
                // what is known by its form leaves room for what is known by name
                let room = if name == Names::GROWING { MAX_PLACES / 2 } else { MAX_PLACES };
                if let Some(place) = place.ok().filter(|_| places.len() < room) {
                    places.insert(place, name);
                }
            };
            let whole = &bytes[(start.max(base) - base) as usize..end];
            if start >= base && passes_on(whole) {
                found(whole.len() as u64, Names::GROWING);
            }
            for (name, length) in names.ending(&bytes[..end]) {
                found(length as u64, name);
            }
            start = base + end as u64 + 1;
            seen += 1;
        }
        read += size;
        // longer names are none of those that are looked for
        bytes.drain(..bytes.len() - bytes.len().min(LONGEST_KEPT).min((read - start.min(read)) as usize));
    }
    places
}

/// Every record of a table.
fn records<T: Pod>(elf: &Elf, table: &Section, mut each: impl FnMut(&T)) {
    let record = size_of::<T>() as u64;
    let chunk = CHUNK / record * record;
    let end = table.size.min(MAX_TABLE);
    let mut read = 0;
    while read < end {
        let size = chunk.min(end - read);
        let Some(bytes) = elf.read(table.offset.saturating_add(read), size) else { break };
        items::<T>(&bytes).iter().for_each(&mut each);
        read += size;
    }
}

/// Where functions begin, as far as the full symbol table says so: sorted. Empty where there is none, or too many.
pub(super) fn function_starts(elf: &Elf) -> Vec<u64> {
    let mut starts = Vec::new();
    if let Some(table) = elf.sections.iter().find(|section| section.kind == elf::SHT_SYMTAB) {
        records::<Record>(elf, table, |symbol| {
            let function = symbol.st_info & 0xf == elf::STT_FUNC;
            let defined = symbol.st_shndx.get(LittleEndian) != elf::SHN_UNDEF;
            if function && defined && starts.len() <= MAX_FUNCTIONS {
                starts.push(symbol.st_value.get(LittleEndian));
            }
        });
    }
    if starts.len() > MAX_FUNCTIONS {
        starts.clear();
    }
    starts.sort_unstable();
    starts
}

/// Where the slots of the procedure linkage table lead to: those within the file.
pub(super) fn slots(elf: &Elf) -> HashMap<u64, u64> {
    let mut slots = Vec::new();
    // one table for functions, one for the rest
    for section in elf.sections.iter().filter(|section| section.kind == elf::SHT_RELA).take(2) {
        records::<Relocation>(elf, section, |relocation| {
            let kind = relocation.r_type(LittleEndian, false);
            let leads = kind == elf::R_X86_64_JUMP_SLOT || kind == elf::R_X86_64_GLOB_DAT;
            if leads && slots.len() < MAX_SLOTS {
                slots.push((relocation.r_sym(LittleEndian, false), relocation.r_offset.get(LittleEndian)));
            }
        });
    }
    slots.sort_unstable();
    let mut resolved = HashMap::new();
    let Some(table) = elf.sections.iter().find(|section| section.kind == elf::SHT_DYNSYM) else {
        return resolved;
    };
    let (mut index, mut next) = (0, 0);
    records::<Record>(elf, table, |symbol| {
        while let Some((_, slot)) = slots.get(next).filter(|(wanted, _)| *wanted <= index) {
            let function = symbol.st_info & 0xf == elf::STT_FUNC;
            if function && symbol.st_shndx.get(LittleEndian) != elf::SHN_UNDEF {
                resolved.insert(*slot, symbol.st_value.get(LittleEndian));
            }
            next += 1;
        }
        index += 1;
    });
    resolved
}
