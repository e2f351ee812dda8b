//! What debug information unfolds to when it is read: a few bytes of it can stand for more than any memory holds. Entries
//! share lists of ranges and tables of lines, and each names its source files by texts as long as the file. So all is
//! counted as often as it will be read, and what no compiler makes is not read.

use gimli::{
    Abbreviations, AttributeValue, DW_AT_ranges, DW_AT_stmt_list, DW_FORM_implicit_const,
    DW_TAG_inlined_subroutine, DW_TAG_subprogram, DebugLineOffset, Dwarf, EndianArcSlice, LittleEndian,
    Reader as _, Section as _, Unit, UnitHeader,
};

type Bytes = EndianArcSlice<LittleEndian>;

/// Deepest tree of scopes; compilers make some tens. addr2line descends by recursion.
const MAX_DEPTH: isize = 512;
/// Bytes of a unit's list of source files.
const MAX_HEADER: u64 = 1024 * 1024;

/// What may still be read.
struct Left {
    units: u64,
    /// Bytes of the descriptions of entries' forms.
    forms: u64,
    /// Functions and what is inlined into them.
    functions: u64,
    /// Ranges of addresses that these have.
    ranges: u64,
    /// Source files of units.
    files: u64,
    /// Bytes of their names.
    names: u64,
    /// Bytes of tables of lines: at most a row each.
    lines: u64,
}

/// Takes from what is left. `None`: there was not as much.
fn take(left: &mut u64, much: u64) -> Option<()> {
    *left = left.checked_sub(much)?;
    Some(())
}

/// Bytes in memory, measured with addr2line on files of C, C++ and Rust. Units, forms and files are held once a file is
/// read, all others of the units that an address leads to: they count as if that were some of them.
const PER_UNIT: u64 = 3 * 1024;
const PER_FORM: u64 = 10;
const PER_FILE: u64 = 160;
const PER_LINE: u64 = 2;
const PER_FUNCTION: u64 = 16;
const PER_RANGE: u64 = 24;

impl Left {
    /// Larger than what any compiler makes of as much debug information as is read.
    const ALL: Self = Self {
        units: 64 << 10,
        forms: 16 << 20,
        functions: 2 << 20,
        ranges: 4 << 20,
        files: 512 << 10,
        names: 64 << 20,
        lines: 16 << 20,
    };

    /// Bytes that what has been taken will hold in memory.
    fn held(&self) -> u64 {
        let all = Self::ALL;
        (all.units - self.units) * PER_UNIT
            + (all.forms - self.forms) * PER_FORM
            + (all.files - self.files) * PER_FILE
            + (all.lines - self.lines) * PER_LINE
            + (all.functions - self.functions) * PER_FUNCTION
            + (all.ranges - self.ranges) * PER_RANGE
            + (all.names - self.names)
    }
}

/// Bytes that it will hold once it is read, its sections not counted. `None` if it cannot be read whole.
pub(crate) fn unfolds_to(dwarf: &Dwarf<Bytes>) -> Option<u64> {
    let mut left = Left::ALL;
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        left.unit(dwarf, header)?;
    }
    Some(left.held())
}

impl Left {
    fn unit(&mut self, dwarf: &Dwarf<Bytes>, header: UnitHeader<Bytes>) -> Option<()> {
        take(&mut self.units, 1)?;
        self.forms(dwarf, &header)?;
        let Ok(abbreviations) = dwarf.abbreviations(&header) else { return Some(()) };
        // Before it is read: room is made for as many files as are promised.
        if header_length(dwarf, &header, &abbreviations).is_some_and(|length| length > MAX_HEADER) {
            return None;
        }
        let Ok(unit) = dwarf.unit(header) else { return Some(()) };
        self.lines(dwarf, &unit)?;
        self.entries(dwarf, &unit)
    }

    fn forms(&mut self, dwarf: &Dwarf<Bytes>, header: &UnitHeader<Bytes>) -> Option<()> {
        let mut rest = dwarf.debug_abbrev.reader().clone();
        let whole = rest.len();
        // What cannot be understood ends the list for all who read it.
        let mut read = || -> gimli::Result<()> {
            rest.skip(header.debug_abbrev_offset().0)?;
            while rest.read_uleb128()? != 0 {
                rest.read_uleb128()?;
                rest.read_u8()?;
                loop {
                    let (name, form) = (rest.read_uleb128()?, rest.read_uleb128()?);
                    if form == u64::from(DW_FORM_implicit_const.0) {
                        rest.read_sleb128()?;
                    }
                    if (name, form) == (0, 0) {
                        break;
                    }
                }
            }
            Ok(())
        };
        let _ = read();
        let skipped = header.debug_abbrev_offset().0.min(whole);
        take(&mut self.forms, (whole - skipped).saturating_sub(rest.len()) as u64)
    }

    fn lines(&mut self, dwarf: &Dwarf<Bytes>, unit: &Unit<Bytes>) -> Option<()> {
        let Some(program) = &unit.line_program else { return Some(()) };
        let header = program.header();
        take(&mut self.lines, header.raw_program_buf().len() as u64)?;
        take(&mut self.files, header.file_names().len() as u64)?;
        let length =
            |text: AttributeValue<Bytes>| dwarf.attr_string(unit, text).map_or(0, |text| text.len() as u64);
        let folder = unit.comp_dir.as_ref().map_or(0, |text| text.len() as u64);
        for file in header.file_names() {
            let within = file.directory(header).map_or(0, length);
            take(&mut self.names, folder.checked_add(within)?.checked_add(length(file.path_name()))?)?;
        }
        Some(())
    }

    fn entries(&mut self, dwarf: &Dwarf<Bytes>, unit: &Unit<Bytes>) -> Option<()> {
        let Ok(mut entries) = unit.entries_raw(None) else { return Some(()) };
        while !entries.is_empty() {
            let depth = entries.next_depth();
            if depth > MAX_DEPTH {
                return None;
            }
            let Ok(abbreviation) = entries.read_abbreviation() else { break };
            let Some(abbreviation) = abbreviation else { continue };
            let is_function = [DW_TAG_subprogram, DW_TAG_inlined_subroutine].contains(&abbreviation.tag());
            take(&mut self.functions, u64::from(is_function))?;
            // Those of other scopes nobody reads.
            let is_read = is_function || depth == 0;
            if !is_read || !abbreviation.attributes().iter().any(|it| it.name() == DW_AT_ranges) {
                if entries.skip_attributes(abbreviation.attributes()).is_err() {
                    break;
                }
                continue;
            }
            for attribute in abbreviation.attributes() {
                let Ok(attribute) = entries.read_attribute(*attribute) else { return Some(()) };
                if attribute.name() == DW_AT_ranges {
                    self.ranges(dwarf, unit, attribute.value())?;
                }
            }
        }
        Some(())
    }

    fn ranges(
        &mut self,
        dwarf: &Dwarf<Bytes>,
        unit: &Unit<Bytes>,
        list: AttributeValue<Bytes>,
    ) -> Option<()> {
        let Ok(Some(list)) = dwarf.attr_ranges_offset(unit, list) else { return Some(()) };
        let Ok(mut list) = dwarf.raw_ranges(unit, list) else { return Some(()) };
        while let Ok(Some(_)) = list.next() {
            take(&mut self.ranges, 1)?;
        }
        Some(())
    }
}

/// Of the unit's table of lines: what stands before the lines.
fn header_length(
    dwarf: &Dwarf<Bytes>,
    header: &UnitHeader<Bytes>,
    abbreviations: &Abbreviations,
) -> Option<u64> {
    let mut entries = header.entries_raw(abbreviations, None).ok()?;
    let unit = entries.read_abbreviation().ok()??;
    let mut place = None;
    for attribute in unit.attributes() {
        let attribute = entries.read_attribute(*attribute).ok()?;
        if attribute.name() == DW_AT_stmt_list
            && let AttributeValue::DebugLineRef(offset) = attribute.value()
        {
            place = Some(offset);
        }
    }
    let DebugLineOffset(place) = place?;
    let mut table = dwarf.debug_line.reader().clone();
    table.skip(place).ok()?;
    let (_, format) = table.read_initial_length().ok()?;
    if table.read_u16().ok()? >= 5 {
        table.skip(2).ok()?;
    }
    table.read_length(format).ok().map(|length| length as u64)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use gimli::SectionId;

    use super::*;
    use crate::linux::dwarf::{Debug, Room};
    use crate::linux::elf::Elf;

    /// A unit of `functions` functions that share one list of `ranges` ranges, and with a table of lines of `files` files
    /// that lie in one folder whose name has `name` bytes.
    fn unit(functions: usize, ranges: usize, files: usize, name: usize) -> Dwarf<Bytes> {
        // 1: a unit, with children and the place of its lines; 2: a function, with the place of its ranges.
        let forms = vec![1, 0x11, 1, 0x10, 0x17, 0, 0, 2, 0x2e, 0, 0x55, 0x17, 0, 0, 0];
        let mut entries = [&[4, 0, 0, 0, 0, 0, 8, 1][..], &0_u32.to_le_bytes()].concat();
        entries.extend([2, 0, 0, 0, 0].repeat(functions));
        entries.push(0);
        let mut list: Vec<u8> =
            (1..=ranges as u64).flat_map(|at| [at, at + 1]).flat_map(u64::to_le_bytes).collect();
        list.extend([0; 16]);
        let names = [&vec![b'd'; name][..], &[0, 0], &[b'f', 0, 1, 0, 0].repeat(files), &[0]].concat();
        let header = [&[1, 1, 1, 0xfb, 14, 1][..], &names].concat();
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        let section = |id| match id {
            SectionId::DebugAbbrev => forms.clone(),
            SectionId::DebugInfo => with_length(&entries),
            SectionId::DebugRanges => list.clone(),
            SectionId::DebugLine => with_length(&[&[4, 0][..], &length, &header].concat()),
            _ => Vec::new(),
        };
        Dwarf::load(|id| Ok::<_, ()>(EndianArcSlice::new(Arc::from(section(id)), LittleEndian))).unwrap()
    }

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat()
    }

    /// Guarantees: what entries share counts as often as it is shared.
    #[test]
    fn shared_parts() {
        let cases = [
            (1, 1, 1, 1, true),
            (100, 30_000, 100, 30_000, true),
            (10_000, 1, 1, 1, true),
            (10_000, 500, 1, 1, false),
            (1, 1, 3000, 30_000, false),
            (1, 1, 300_000, 1, false),
        ];
        for (functions, ranges, files, name, bounded) in cases {
            let dwarf = unit(functions, ranges, files, name);
            assert_eq!(unfolds_to(&dwarf).is_some(), bounded, "{functions}, {ranges}, {files}, {name}");
        }
    }

    /// Guarantees: what a compiler has made is read, here of this very program.
    #[test]
    fn real_information() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::read(&file).unwrap();
        assert!(elf.section(b".debug_info").is_some());
        let ample = Room::of(1 << 30);
        assert!(Debug::read(&elf, &file, &ample).is_some());
    }
}
