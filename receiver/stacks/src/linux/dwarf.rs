//! Debug information: the functions that were inlined, and lines of the source.

use std::fs::File;
use std::sync::Arc;

use addr2line::Context;
use gimli::{Dwarf, EndianArcSlice, LittleEndian, SectionId};

use super::demangle::{clean, demangle};
use super::elf::Elf;
use super::unfolding::is_bounded;

/// Of all sections together, unpacked. What has more is named from its symbols: it would be held in memory.
pub(crate) const MAX_DEBUG: u64 = 64 * 1024 * 1024;
/// Functions inlined into each other at one address.
const MAX_INLINED: usize = 64;
const NEEDED: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

type Bytes = EndianArcSlice<LittleEndian>;

/// A function at an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Named {
    pub(crate) function: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
}

impl Named {
    /// Bytes that it takes, at least.
    pub(crate) fn size(&self) -> usize {
        let text = |it: &Option<String>| it.as_ref().map_or(0, String::len);
        size_of::<Self>() + text(&self.function) + text(&self.file)
    }
}

/// The debug information of one file.
pub(crate) struct Debug {
    context: Context<Bytes>,
    size: u64,
}

impl Debug {
    /// `None` if the file has none, has too much, or such as no compiler makes.
    pub(crate) fn read(elf: &Elf, file: &File) -> Option<Self> {
        let mut left = MAX_DEBUG;
        if elf.section(SectionId::DebugInfo.name().as_bytes())?.size() == 0 {
            return None;
        }
        let mut load = |id: SectionId| -> Option<Bytes> {
            let none = || EndianArcSlice::new(Arc::from([]), LittleEndian);
            let section = elf.section(id.name().as_bytes()).filter(|_| NEEDED.contains(&id));
            let Some(section) = section else { return Some(none()) };
            let contents = section.contents(file, left)?;
            left -= contents.len() as u64;
            Some(EndianArcSlice::new(Arc::from(contents), LittleEndian))
        };
        let dwarf = Dwarf::load(|id| load(id).ok_or(())).ok()?;
        if !is_bounded(&dwarf) {
            return None;
        }
        Some(Self { context: Context::from_dwarf(dwarf).ok()?, size: MAX_DEBUG - left })
    }

    /// Who is at a virtual address of the file: innermost first, so that all but the last were inlined.
    pub(crate) fn at(&self, address: u64) -> Vec<Named> {
        let mut found = Vec::new();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else { return found };
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|it| it.raw_name().ok());
            let place = frame.location.as_ref();
            found.push(Named {
                function: name.filter(|name| !name.is_empty()).map(|name| demangle(&name)),
                file: place.and_then(|it| it.file).map(clean),
                line: place.and_then(|it| it.line).filter(|line| *line != 0),
            });
            if found.len() >= MAX_INLINED {
                break;
            }
        }
        found
    }

    /// Bytes that it holds, at least.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}
