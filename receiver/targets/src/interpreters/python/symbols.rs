//! What the symbols of a file say of an interpreter in it.

use object::LittleEndian;
use object::elf;

use crate::points::elf::{Elf, c_string, items};

type Record = elf::Sym64<LittleEndian>;

/// Larger tables are not read, bytes: those of an interpreter have some hundred thousand.
const MAX_TABLE: u64 = 16 << 20;

/// Functions of the public interface by the version that they came with, the newest first. From 3.11 on the version is a variable.
const SINCE: [(&str, u8); 3] =
    [("PyModule_AddObjectRef", 10), ("PyInterpreterState_Get", 9), ("PyConfig_InitPythonConfig", 8)];

/// A function that every interpreter has had since 2.5.
const INTERPRETS: &str = "PyEval_EvalFrameEx";

/// Virtual addresses as the file counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbols {
    /// `_PyRuntime`, which came with 3.7.
    pub(super) runtime: Option<u64>,
    /// `Py_Version`: a word.
    pub(super) version: Option<u64>,
    /// 3.`minor`, or newer, by the functions that there are.
    pub(super) minor: Option<u8>,
}

impl Symbols {
    /// `None`: there is no interpreter in the file. What is stripped still has the symbols that it offers to extensions.
    pub(super) fn read(elf: &Elf) -> Option<Self> {
        let mut tables =
            [elf::SHT_DYNSYM, elf::SHT_SYMTAB].map(|kind| Self::of_table(elf, kind)).into_iter().flatten();
        let first = tables.next()?;
        Some(if first.runtime.is_some() {
            first
        } else {
            tables.find(|it| it.runtime.is_some()).unwrap_or(first)
        })
    }

    fn of_table(elf: &Elf, kind: u32) -> Option<Self> {
        let table = elf.sections.iter().find(|section| section.kind == kind)?;
        let strings = elf.sections.get(table.link)?;
        if table.size > MAX_TABLE || strings.size > MAX_TABLE {
            return None;
        }
        let (records, names) = (elf.read(table.offset, table.size)?, elf.read(strings.offset, strings.size)?);
        let (mut runtime, mut version, mut minor) = (None, None, None);
        let mut interprets = false;
        for record in items::<Record>(&records) {
            if record.st_shndx.get(LittleEndian) == elf::SHN_UNDEF {
                continue;
            }
            let place = record.st_name.get(LittleEndian) as usize;
            // all that is looked for begins so
            if !names.get(place..).is_some_and(|name| name.starts_with(b"Py") || name.starts_with(b"_Py")) {
                continue;
            }
            let address = record.st_value.get(LittleEndian);
            match c_string(&names, place) {
                "_PyRuntime" => runtime = Some(address),
                "Py_Version" => version = Some(address),
                INTERPRETS => interprets = true,
                name => {
                    let since = SINCE.iter().find(|(since, _)| *since == name);
                    minor = minor.max(since.map(|(_, minor)| *minor));
                }
            }
        }
        (interprets || runtime.is_some()).then_some(Self { runtime, version, minor })
    }
}
