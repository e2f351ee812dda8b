//! The sections of debug information.

use gimli::SectionId;

use super::entries::Dwarf;
use crate::linux::object::{Means, Object, Sections};
use crate::linux::pages::{Meter, Window};

/// Those that tell of functions and lines. All others are for debuggers.
const NEEDED: [SectionId; 9] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

/// Finds the sections of a file. `None` if it has no debug information, or no room can be had to unpack it.
pub(super) fn load(object: &Object, means: &Means, meter: &Meter) -> Option<Dwarf> {
    let sections = object.sections(means, meter);
    object.has(b".debug_info").then_some(())?;
    Dwarf::load(|id| section(&sections, id, Some(id.name())).ok_or(())).ok()
}

/// As [`load`], of the file that a unit's functions have been put into.
pub(super) fn load_split(object: &Object, means: &Means, meter: &Meter) -> Option<Dwarf> {
    let sections = object.sections(means, meter);
    Dwarf::load(|id| section(&sections, id, id.dwo_name()).ok_or(())).ok()
}

/// As [`load_split`], of all such files of a program together.
pub(super) fn load_package(
    object: &Object,
    means: &Means,
    meter: &Meter,
) -> Option<gimli::DwarfPackage<Window>> {
    let sections = object.sections(means, meter);
    // Of all its sections parts are taken, whether they are needed or not.
    let load = |id: SectionId| match id.dwo_name() {
        Some(name) => sections.window(name.as_bytes()).ok_or(gimli::Error::Io),
        None => Ok(sections.empty()),
    };
    gimli::DwarfPackage::load(load, sections.empty()).ok()
}

fn section(sections: &Sections<'_>, id: SectionId, name: Option<&str>) -> Option<Window> {
    match name.filter(|_| NEEDED.contains(&id)) {
        Some(name) => sections.window(name.as_bytes()),
        None => Some(sections.empty()),
    }
}
