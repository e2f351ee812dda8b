//! A file's table of symbols, by address.

use std::fs::File;

use object::elf::{STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym64};
use object::read::elf::Sym as _;
use object::{LittleEndian as LE, pod};

use super::elf::Elf;

/// Of the table: 350,000 symbols, node has 110,000. What has more is named from what the dynamic linker sees.
const MAX_TABLE: u64 = 8 * 1024 * 1024;
/// Of its names; node has 8 MiB.
const MAX_NAMES: u64 = 12 * 1024 * 1024;
/// Nested symbols that are looked through for one that covers an address.
const MAX_NESTED: usize = 16;

/// Functions with names.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// By address; of those that share one the best comes last.
    functions: Vec<Function>,
    names: Vec<u8>,
}

#[derive(Debug)]
struct Function {
    address: u64,
    /// 0: until the next one.
    size: u64,
    name: u32,
    rank: u8,
}

impl Symbols {
    /// The full table if there is one, else what the dynamic linker sees. `None` if the file has neither.
    pub(crate) fn read(elf: &Elf, file: &File) -> Option<Self> {
        let read = |name: &[u8]| {
            let section = elf.section(name)?;
            let table = section.contents(file, MAX_TABLE)?;
            let names = elf.section_at(section.link)?.contents(file, MAX_NAMES)?;
            let (symbols, _) = pod::slice_from_bytes::<Sym64<LE>>(&table, table.len() / 24).ok()?;
            let mut functions: Vec<_> = symbols.iter().filter_map(function).collect();
            functions.sort_unstable_by_key(|it| (it.address, it.rank));
            functions.shrink_to_fit();
            (!functions.is_empty()).then_some(Self { functions, names })
        };
        read(b".symtab").or_else(|| read(b".dynsym"))
    }

    /// The mangled name of the function around a virtual address of the file.
    pub(crate) fn at(&self, address: u64) -> Option<&str> {
        let above = self.functions.partition_point(|it| it.address <= address);
        let before = self.functions.get(above.saturating_sub(MAX_NESTED)..above)?;
        let nearest = before.last()?.address;
        let covers = |it: &&Function| match it.size {
            0 => it.address == nearest,
            size => address - it.address < size,
        };
        let name = self.names.get(before.iter().rev().find(covers)?.name as usize..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.functions.len() * size_of::<Function>() + self.names.len()
    }
}

/// Functions, and what assembly leaves without a type.
fn function(symbol: &Sym64<LE>) -> Option<Function> {
    let kind = symbol.st_type();
    let is_code = [STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE].contains(&kind);
    if !is_code || symbol.st_shndx(LE) == 0 || symbol.st_value(LE) == 0 || symbol.st_name(LE) == 0 {
        return None;
    }
    let bind = match symbol.st_bind() {
        STB_GLOBAL => 2,
        STB_LOCAL => 0,
        _ => 1,
    };
    let rank = bind + if kind == STT_NOTYPE { 0 } else { 3 };
    Some(Function { address: symbol.st_value(LE), size: symbol.st_size(LE), name: symbol.st_name(LE), rank })
}
