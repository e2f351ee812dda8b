//! Debug information: the functions that were inlined, and lines of the source.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use addr2line::Context;
use gimli::{Dwarf, EndianArcSlice, LittleEndian, SectionId};

use super::demangle::{clean, demangle};
use super::elf::Elf;
use super::unfolding::unfolds_to;

/// In memory, of all files of a library together. A file for which there is no room is named from its symbols: whoever asks
/// for lines should not lose the whole look to them.
const MAX_DEBUG: u64 = 30 * 1024 * 1024;
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

/// What debug information may still take. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<AtomicU64>);

impl Default for Room {
    fn default() -> Self {
        Self::of(MAX_DEBUG)
    }
}

impl Room {
    pub(crate) fn of(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    pub(crate) fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, size: u64) -> Option<Taken> {
        let less = |left: u64| left.checked_sub(size);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Taken { room: self.clone(), size })
    }
}

/// A part of it, until it is dropped.
struct Taken {
    room: Room,
    size: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.size, Ordering::Relaxed);
    }
}

/// The debug information of one file.
pub(crate) struct Debug {
    context: Context<Bytes>,
    taken: Taken,
}

impl Debug {
    /// `None` if the file has none, more than there is room for, or such as no compiler makes.
    pub(crate) fn read(elf: &Elf, file: &File, room: &Room) -> Option<Self> {
        let whole = room.left();
        let mut left = whole;
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
        let taken = room.take((whole - left).checked_add(unfolds_to(&dwarf)?)?)?;
        Some(Self { context: Context::from_dwarf(dwarf).ok()?, taken })
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

    /// Bytes that it holds, roughly.
    pub(crate) fn size(&self) -> u64 {
        self.taken.size
    }
}
