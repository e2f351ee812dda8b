//! Entries of debug information: how a unit is opened, and at which addresses an entry is.

use std::ops::Range;
use std::sync::Arc;

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfoOffset, DebugLineOffset,
    DebugLocListsBase, DebugRngListsBase, DebugStrOffsetsBase, Error, Reader as _, Result, Section as _,
    UnitHeader, UnitType,
};

use crate::linux::pages::{Meter, Window};

pub(super) type Dwarf = gimli::Dwarf<Window>;
pub(super) type Unit = gimli::Unit<Window>;
pub(super) type Value = AttributeValue<Window>;

/// Bytes of the descriptions of a unit's entries. Compilers write some kilobytes; in memory they take ten times as much.
const MAX_FORMS: usize = 256 * 1024;

/// The addresses of a program's code, as its file counts. Entries elsewhere are of functions that the linker left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct CodeAt(pub(crate) Vec<Range<u64>>);

impl CodeAt {
    pub(super) fn contains(&self, address: u64) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// Where an entry is, as far as it says.
#[derive(Default)]
pub(super) struct Extent {
    low: Option<Value>,
    high: Option<Value>,
    list: Option<Value>,
}

impl Extent {
    /// Takes note of an attribute if it tells where.
    pub(super) fn note(&mut self, attribute: &gimli::Attribute<Window>) {
        match attribute.name() {
            gimli::DW_AT_low_pc => self.low = Some(attribute.value()),
            gimli::DW_AT_high_pc => self.high = Some(attribute.value()),
            gimli::DW_AT_ranges => self.list = Some(attribute.value()),
            _ => {}
        }
    }

    /// Goes through its addresses.
    pub(super) fn each(&self, dwarf: &Dwarf, unit: &Unit, mut tell: impl FnMut(Range<u64>)) -> Result<()> {
        if let Some(list) = &self.list {
            let Some(mut ranges) = dwarf.attr_ranges(unit, list.clone())? else { return Ok(()) };
            while let Some(range) = ranges.next()? {
                if range.begin < range.end {
                    tell(range.begin..range.end);
                }
            }
            return Ok(());
        }
        let (Some(low), Some(high)) = (&self.low, &self.high) else { return Ok(()) };
        let Some(low) = dwarf.attr_address(unit, low.clone())? else { return Ok(()) };
        let high = match dwarf.attr_address(unit, high.clone())? {
            Some(high) => Some(high),
            None => high.udata_value().and_then(|size| low.checked_add(size)),
        };
        if let Some(high) = high.filter(|high| low < *high) {
            tell(low..high);
        }
        Ok(())
    }
}

/// Descriptions of entries; units that follow one another may share them.
#[derive(Default)]
pub(super) struct Forms(Option<(usize, Arc<Abbreviations>)>);

impl Forms {
    fn of(&mut self, dwarf: &Dwarf, at: usize) -> Result<Arc<Abbreviations>> {
        if let Some((known, forms)) = &self.0
            && *known == at
        {
            return Ok(Arc::clone(forms));
        }
        let mut section = dwarf.debug_abbrev.reader().clone();
        section.skip(at)?;
        section.truncate(section.len().min(MAX_FORMS))?;
        let forms = Arc::new(DebugAbbrev::from(section).abbreviations(DebugAbbrevOffset(0))?);
        self.0 = Some((at, Arc::clone(&forms)));
        Ok(forms)
    }
}

/// A unit whose first entry has been read, but not its table of lines.
pub(super) struct Opened {
    pub(super) unit: Unit,
    pub(super) extent: Extent,
    /// Where its table of lines is.
    pub(super) lines: Option<DebugLineOffset>,
    /// The file that the rest of its entries is in.
    pub(super) split: Option<Window>,
}

/// Opens the unit at an offset.
pub(super) fn open_at(dwarf: &Dwarf, at: usize, forms: &mut Forms) -> Result<Opened> {
    open(dwarf, dwarf.unit_header(DebugInfoOffset(at))?, forms)
}

/// Opens a unit.
pub(super) fn open(dwarf: &Dwarf, header: UnitHeader<Window>, forms: &mut Forms) -> Result<Opened> {
    let abbreviations = forms.of(dwarf, header.debug_abbrev_offset().0)?;
    let (encoding, kind) = (header.encoding(), dwarf.file_type);
    let mut unit = Unit {
        abbreviations,
        name: None,
        comp_dir: None,
        low_pc: 0,
        str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, kind),
        addr_base: gimli::DebugAddrBase(0),
        loclists_base: DebugLocListsBase::default_for_encoding_and_file(encoding, kind),
        rnglists_base: DebugRngListsBase::default_for_encoding_and_file(encoding, kind),
        line_program: None,
        dwo_id: match header.type_() {
            UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
            _ => None,
        },
        header,
    };
    let (mut extent, mut lines) = (Extent::default(), None);
    let (mut name, mut folder, mut split) = (None, None, None);
    let abbreviations = Arc::clone(&unit.abbreviations);
    let mut entries = unit.header.entries_raw(&abbreviations, None)?;
    let root = entries.read_abbreviation()?.ok_or(Error::MissingUnitDie)?;
    charge(dwarf.debug_info.reader().meter(), root)?;
    for form in root.attributes() {
        let attribute = entries.read_attribute(*form)?;
        extent.note(&attribute);
        match (attribute.name(), attribute.value()) {
            (gimli::DW_AT_name, value) => name = Some(value),
            (gimli::DW_AT_comp_dir, value) => folder = Some(value),
            (gimli::DW_AT_dwo_name | gimli::DW_AT_GNU_dwo_name, value) => split = Some(value),
            (gimli::DW_AT_stmt_list, AttributeValue::DebugLineRef(at)) => lines = Some(at),
            (gimli::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => {
                unit.str_offsets_base = base;
            }
            (gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => {
                unit.addr_base = base;
            }
            (
                gimli::DW_AT_rnglists_base | gimli::DW_AT_GNU_ranges_base,
                AttributeValue::DebugRngListsBase(base),
            ) => {
                unit.rnglists_base = base;
            }
            (gimli::DW_AT_GNU_dwo_id, AttributeValue::DwoId(id)) => unit.dwo_id = unit.dwo_id.or(Some(id)),
            _ => {}
        }
    }
    let text = |value: Option<Value>| value.and_then(|value| dwarf.attr_string(&unit, value).ok());
    let (name, folder, split) = (text(name), text(folder), text(split));
    (unit.name, unit.comp_dir) = (name, folder);
    if let Some(low) = &extent.low {
        unit.low_pc = dwarf.attr_address(&unit, low.clone())?.unwrap_or_default();
    }
    Ok(Opened { unit, extent, lines, split })
}

/// Bytes that an attribute counts for, whether it takes any or none: that is about the work it makes.
const PER_ATTRIBUTE: usize = 4;

/// Counts an entry that is about to be read.
pub(super) fn charge(meter: &Meter, entry: &gimli::Abbreviation) -> Result<()> {
    meter.take(entry.attributes().len() * PER_ATTRIBUTE)
}
