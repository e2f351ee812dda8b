//! One unit: its functions by address, and what was inlined into them.

use gimli::{AttributeValue, DW_TAG_inlined_subroutine, DW_TAG_subprogram, Result, Section as _, UnitOffset};

use super::entries::{CodeAt, Dwarf, Extent, Opened, Unit, charge};
use super::lines::Lines;

/// Functions of one unit.
const MAX_FUNCTIONS: usize = 256 * 1024;
/// Functions inlined into each other at one address.
const MAX_INLINED: usize = 64;
/// Functions around an address that are looked through for one that has it.
const MAX_NESTED: usize = 16;
/// In memory: the unit's descriptions of entries, and all the rest of it.
const PER_UNIT: usize = 32 * 1024;

/// What has been read of a unit.
pub(super) struct Content {
    pub(super) unit: Unit,
    /// The unit that has the functions, and where its texts are, if that is another file's.
    split: Option<(Dwarf, Unit)>,
    functions: Vec<Function>,
    pub(super) lines: Option<Lines>,
}

struct Function {
    start: u64,
    end: u64,
    entry: UnitOffset,
}

/// A function at an address: where its entry is, and which line of it.
pub(super) struct Place {
    pub(super) entry: UnitOffset,
    /// Index of its source file in the unit's table, where that is known.
    pub(super) file: Option<u64>,
    pub(super) line: Option<u32>,
}

/// A function that was inlined.
struct Inlined {
    depth: isize,
    entry: UnitOffset,
    call_file: Option<u64>,
    call_line: Option<u32>,
}

impl Content {
    /// Reads the functions and lines of a unit, whose functions may be those of a `split` one.
    pub(super) fn read(dwarf: &Dwarf, opened: Opened, split: Option<(Dwarf, Unit)>, code: &CodeAt) -> Self {
        let unit = opened.unit;
        let lines = opened.lines.and_then(|at| Lines::read(dwarf, &unit, at, code).ok());
        let mut it = Self { unit, split, functions: Vec::new(), lines };
        // What a broken unit says up to where it breaks is as good as the rest.
        let mut functions = Vec::new();
        let (split, unit) = it.entries();
        let _ = read_functions(split.unwrap_or(dwarf), unit, code, &mut functions);
        functions.sort_unstable_by_key(|function| (function.start, std::cmp::Reverse(function.end)));
        functions.shrink_to_fit();
        it.functions = functions;
        it
    }

    /// The unit that has the entries of its functions, and where its texts are if that is not the unit itself.
    pub(super) fn entries(&self) -> (Option<&Dwarf>, &Unit) {
        self.split.as_ref().map_or((None, &self.unit), |(dwarf, unit)| (Some(dwarf), unit))
    }

    /// Who is at an address, innermost first; nobody where no function is.
    pub(super) fn at(&self, dwarf: &Dwarf, address: u64) -> Vec<Place> {
        let above = self.functions.partition_point(|it| it.start <= address);
        let near = self.functions.get(above.saturating_sub(MAX_NESTED)..above).unwrap_or_default();
        let Some(function) = near.iter().rev().find(|it| address < it.end) else { return Vec::new() };
        let (split, unit) = self.entries();
        let mut chain = Vec::new();
        // What has been found up to a break is right.
        let _ = read_inlined(split.unwrap_or(dwarf), unit, function.entry, address, &mut chain);
        let (mut file, mut line) = self.lines.as_ref().and_then(|lines| lines.at(address)).unzip();
        let mut found = Vec::new();
        for inlined in chain.iter().rev() {
            found.push(Place { entry: inlined.entry, file, line: line.flatten() });
            (file, line) = (inlined.call_file, Some(inlined.call_line));
        }
        found.push(Place { entry: function.entry, file, line: line.flatten() });
        found
    }

    /// Bytes that it takes, roughly.
    pub(super) fn size(&self) -> usize {
        let functions = self.functions.len() * size_of::<Function>();
        PER_UNIT + functions + self.lines.as_ref().map_or(0, Lines::size)
    }
}

fn read_functions(dwarf: &Dwarf, unit: &Unit, code: &CodeAt, found: &mut Vec<Function>) -> Result<()> {
    let mut entries = unit.entries_raw(None)?;
    let meter = dwarf.debug_info.reader().meter();
    while !entries.is_empty() && found.len() < MAX_FUNCTIONS {
        let entry = entries.next_offset();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        charge(meter, abbreviation)?;
        if abbreviation.tag() != DW_TAG_subprogram {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        let mut extent = Extent::default();
        for form in abbreviation.attributes() {
            extent.note(&entries.read_attribute(*form)?);
        }
        extent.each(dwarf, unit, |range| {
            if code.contains(range.start) && found.len() < MAX_FUNCTIONS {
                found.push(Function { start: range.start, end: range.end, entry });
            }
        })?;
    }
    Ok(())
}

/// The functions that were inlined into one at an address, outermost first.
fn read_inlined(
    dwarf: &Dwarf,
    unit: &Unit,
    function: UnitOffset,
    address: u64,
    chain: &mut Vec<Inlined>,
) -> Result<()> {
    let mut entries = unit.entries_raw(Some(function))?;
    let meter = dwarf.debug_info.reader().meter();
    let top = entries.next_depth();
    // Entries below this depth belong to a function within the function.
    let mut other = None;
    let mut is_first = true;
    while !entries.is_empty() && (is_first || entries.next_depth() > top) {
        let (entry, depth) = (entries.next_offset(), entries.next_depth());
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        charge(meter, abbreviation)?;
        let is_other = other.is_some_and(|other| depth > other);
        if !is_other {
            other = (abbreviation.tag() == DW_TAG_subprogram && !is_first).then_some(depth);
        }
        is_first = false;
        if is_other || abbreviation.tag() != DW_TAG_inlined_subroutine {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        let mut extent = Extent::default();
        let mut inlined = Inlined { depth, entry, call_file: None, call_line: None };
        for form in abbreviation.attributes() {
            let attribute = entries.read_attribute(*form)?;
            extent.note(&attribute);
            match attribute.name() {
                gimli::DW_AT_call_line => {
                    let line = attribute.udata_value().and_then(|line| u32::try_from(line).ok());
                    inlined.call_line = line.filter(|line| *line != 0);
                }
                gimli::DW_AT_call_file => {
                    if let AttributeValue::FileIndex(index) = attribute.value() {
                        // 0 stands for none up to version 4, and for the first file since.
                        inlined.call_file = (index > 0 || unit.header.version() >= 5).then_some(index);
                    }
                }
                _ => {}
            }
        }
        let mut is_here = false;
        extent.each(dwarf, unit, |range| is_here |= range.contains(&address))?;
        if is_here {
            while chain.last().is_some_and(|last| last.depth >= depth) {
                chain.pop();
            }
            if chain.len() < MAX_INLINED {
                chain.push(inlined);
            }
        }
    }
    Ok(())
}
