//! What a Go program's file tells of its build: the version, and where the runtime's variables are.

use std::collections::HashMap;

use object::LittleEndian;
use object::elf;

use crate::points::elf::{Elf, c_string, items};

type Record = elf::Sym64<LittleEndian>;

/// At the beginning of `.go.buildinfo`.
const MAGIC: &[u8] = b"\xff Go buildinf:";

/// In its flags: the version stands behind the head. So it does from Go 1.18 on.
const INLINE: u8 = 2;

/// Larger tables are not read, bytes: those of the largest programs have some ten million.
const MAX_TABLE: u64 = 128 << 20;

/// Records of a table that are read at once.
const RECORDS: u64 = 1 << 16;

/// The variables that are looked for.
const NAMES: [&str; 5] =
    ["runtime.gcController", "runtime.mheap_", "runtime.allgs", "runtime.MemProfileRate", "runtime.mbuckets"];

/// By whom the program was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Build {
    /// Go 1.`minor`.
    pub(super) minor: u8,
}

impl Build {
    /// `None`: it is no Go program, or one by a Go that is older than 1.18.
    pub(super) fn read(elf: &Elf) -> Option<Self> {
        if !elf.machine.is_here() {
            return None;
        }
        let section = elf.sections.iter().find(|section| section.name == ".go.buildinfo")?;
        Self::parse(&elf.read(section.offset, section.size.min(256))?)
    }

    /// From the section's bytes: a head of 32, then the version, by its length.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || bytes.get(15)? & INLINE == 0 {
            return None;
        }
        let length = usize::from(*bytes.get(32)?);
        let version = std::str::from_utf8(bytes.get(33..)?.get(..length)?).ok()?;
        // a development version has its parent's name within
        let (_, version) = version.split_once("go1.")?;
        let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        Some(Self { minor: version[..end].parse().ok()? })
    }
}

/// The addresses of the variables, as the file counts; those that it has symbols for.
pub(super) fn symbols(elf: &Elf) -> HashMap<&'static str, u64> {
    read(elf).unwrap_or_default()
}

fn read(elf: &Elf) -> Option<HashMap<&'static str, u64>> {
    let table = elf.sections.iter().find(|section| section.kind == elf::SHT_SYMTAB)?;
    let strings = elf.sections.get(table.link)?;
    if table.size > MAX_TABLE || strings.size > MAX_TABLE {
        return None;
    }
    let strings = elf.read(strings.offset, strings.size)?;
    let mut found = HashMap::new();
    let size = RECORDS * size_of::<Record>() as u64;
    let mut at = 0;
    while at < table.size && found.len() < NAMES.len() {
        let records = elf.read(table.offset.checked_add(at)?, size.min(table.size - at))?;
        for record in items::<Record>(&records) {
            // variables are few among functions
            if record.st_info & 0xf != elf::STT_OBJECT {
                continue;
            }
            let name = strings.get(record.st_name.get(LittleEndian) as usize..).unwrap_or_default();
            if !name.starts_with(b"runtime.") {
                continue;
            }
            let name = c_string(name, 0);
            if let Some(name) = NAMES.into_iter().find(|wanted| *wanted == name) {
                found.insert(name, record.st_value.get(LittleEndian));
            }
        }
        at += size;
    }
    Some(found)
}
