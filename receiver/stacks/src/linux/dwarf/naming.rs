//! What functions are called: their entries refer to others, which may be another unit's, or another file's.

use std::collections::VecDeque;
use std::sync::Arc;

use gimli::{AttributeValue, DebugInfoOffset, Reader as _, Section as _, UnitOffset};

use super::entries::{Dwarf, Forms, Unit, Value, charge, open_at};
use super::units::Units;

/// References that are followed.
const MAX_HOPS: usize = 16;
/// Units that only names were looked up in, and are kept.
const MAX_OPEN: usize = 16;
/// Bytes of a name: longer ones are cut, and no longer mangled.
const MAX_NAME: usize = 8 * 1024 + 1;

/// A file's units, opened where references lead.
pub(super) struct Book {
    pub(super) dwarf: Dwarf,
    pub(super) units: Units,
    forms: Forms,
    open: VecDeque<(usize, Arc<Unit>)>,
}

impl Book {
    pub(super) fn new(dwarf: Dwarf, units: Units) -> Self {
        Self { dwarf, units, forms: Forms::default(), open: VecDeque::new() }
    }

    /// The unit around an offset, and the entry there.
    fn unit(&mut self, offset: DebugInfoOffset) -> Option<(Arc<Unit>, UnitOffset)> {
        let place = self.units.containing(offset.0)?;
        let known = self.open.iter().find(|(at, _)| *at == place).map(|(_, unit)| Arc::clone(unit));
        let unit = match known {
            Some(unit) => unit,
            None => {
                let unit = Arc::new(open_at(&self.dwarf, place, &mut self.forms).ok()?.unit);
                self.open.truncate(MAX_OPEN - 1);
                self.open.push_front((place, Arc::clone(&unit)));
                unit
            }
        };
        let entry = offset.to_unit_offset(&unit.header)?;
        Some((unit, entry))
    }
}

/// What the entry of a function says of its name.
struct Said {
    name: Option<String>,
    is_whole: bool,
    next: Option<Value>,
}

/// The name that a function has for the linker, or else the one in its source. `split` is where the unit's texts are if
/// it is no unit of `own`; `other` are the units of the supplementary file.
pub(super) fn name_of(
    unit: &Unit,
    entry: UnitOffset,
    split: Option<&Dwarf>,
    own: &mut Book,
    other: Option<&mut Book>,
) -> Option<String> {
    let mut said = read(split.unwrap_or(&own.dwarf), unit, entry)?;
    let mut name = said.name.take();
    let mut trail = Trail { unit, split, own, other, at: Whose::Given };
    for _ in 0..MAX_HOPS {
        let Some(next) = said.next.take().filter(|_| !said.is_whole) else { break };
        let Some(reached) = trail.follow(&next) else { break };
        said = reached;
        name = said.name.take().filter(|_| said.is_whole || name.is_none()).or(name);
    }
    name
}

/// Where references have led to.
struct Trail<'a> {
    unit: &'a Unit,
    split: Option<&'a Dwarf>,
    own: &'a mut Book,
    other: Option<&'a mut Book>,
    at: Whose,
}

impl Trail<'_> {
    fn follow(&mut self, reference: &Value) -> Option<Said> {
        match *reference {
            AttributeValue::UnitRef(entry) => match &self.at {
                Whose::Given => self.given(entry),
                Whose::Own(unit) => read(&self.own.dwarf, unit, entry),
                Whose::Other(unit) => read(&self.other.as_ref()?.dwarf, unit, entry),
            },
            AttributeValue::DebugInfoRef(offset) if !matches!(self.at, Whose::Other(_)) => {
                if let Some(entry) = offset.to_unit_offset(&self.unit.header) {
                    self.at = Whose::Given;
                    return self.given(entry);
                }
                // A split unit's references stay within it.
                let (unit, entry) = self.own.unit(offset).filter(|_| self.split.is_none())?;
                let said = read(&self.own.dwarf, &unit, entry);
                self.at = Whose::Own(unit);
                said
            }
            AttributeValue::DebugInfoRef(offset) | AttributeValue::DebugInfoRefSup(offset) => {
                let book = self.other.as_deref_mut()?;
                let (unit, entry) = book.unit(offset)?;
                let said = read(&book.dwarf, &unit, entry);
                self.at = Whose::Other(unit);
                said
            }
            _ => None,
        }
    }

    fn given(&self, entry: UnitOffset) -> Option<Said> {
        read(self.split.unwrap_or(&self.own.dwarf), self.unit, entry)
    }
}

/// Whose unit a reference has led into.
enum Whose {
    Given,
    Own(Arc<Unit>),
    /// The supplementary file's.
    Other(Arc<Unit>),
}

fn read(dwarf: &Dwarf, unit: &Unit, entry: UnitOffset) -> Option<Said> {
    let mut entries = unit.entries_raw(Some(entry)).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    charge(dwarf.debug_info.reader().meter(), abbreviation).ok()?;
    let mut said = Said { name: None, is_whole: false, next: None };
    let text = |value: Value| {
        let text = dwarf.attr_string(unit, value).ok()?;
        let text = if text.is_empty() { String::new() } else { text.text(MAX_NAME) };
        Some(text).filter(|text| !text.is_empty())
    };
    for form in abbreviation.attributes() {
        let attribute = entries.read_attribute(*form).ok()?;
        match attribute.name() {
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                if let Some(name) = text(attribute.value()) {
                    (said.name, said.is_whole) = (Some(name), true);
                }
            }
            gimli::DW_AT_name if !said.is_whole => said.name = text(attribute.value()),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => said.next = Some(attribute.value()),
            _ => {}
        }
    }
    Some(said)
}
