//! The units of a file's debug information: where each is, and which addresses are its own.

use gimli::UnitType;

use super::entries::{CodeAt, Dwarf, Forms, open};

/// The largest programs have some ten thousands.
const MAX_UNITS: usize = 256 * 1024;
/// Of addresses; neighbours of one unit count as one.
const MAX_RANGES: usize = 512 * 1024;
/// Units that claim the same address which are looked into.
const MAX_CLAIMS: usize = 4;

/// An index of them.
#[derive(Default)]
pub(super) struct Units {
    /// Where they begin, in order.
    places: Vec<usize>,
    /// By address.
    ranges: Vec<Owned>,
}

/// Addresses of a unit.
struct Owned {
    start: u64,
    size: u32,
    /// Index into `places`.
    unit: u32,
}

impl Owned {
    fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.size))
    }
}

impl Units {
    /// Goes through all units, but reads no more of each than its first entry.
    pub(super) fn read(dwarf: &Dwarf, code: &CodeAt) -> Self {
        let (mut found, mut forms) = (Self::default(), Forms::default());
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Some(place) = header.debug_info_offset() else { continue };
            let Ok(unit) = u32::try_from(found.places.len()) else { break };
            found.places.push(place.0);
            if found.places.len() >= MAX_UNITS {
                break;
            }
            let has_code = matches!(header.type_(), UnitType::Compilation | UnitType::Skeleton(_));
            if !has_code || code.0.is_empty() {
                continue;
            }
            let Ok(opened) = open(dwarf, header, &mut forms) else { continue };
            // What a broken list says up to where it breaks is as good as the rest.
            let _ = opened.extent.each(dwarf, &opened.unit, |range| {
                if code.contains(range.start) && found.ranges.len() < MAX_RANGES {
                    let size = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
                    found.ranges.push(Owned { start: range.start, size, unit });
                }
            });
            if found.ranges.len() >= MAX_RANGES {
                found.merge();
                if found.ranges.len() > MAX_RANGES / 4 * 3 {
                    break;
                }
            }
        }
        found.merge();
        found.ranges.shrink_to_fit();
        found.places.shrink_to_fit();
        found
    }

    /// Sorts, and makes one of neighbours: whatever lies between two ranges of one unit is nobody else's.
    fn merge(&mut self) {
        self.ranges.sort_unstable_by_key(|it| (it.start, it.size));
        self.ranges.dedup_by(|next, before| {
            let Ok(size) = u32::try_from(next.end().max(before.end()) - before.start) else { return false };
            let is_same = next.unit == before.unit;
            if is_same {
                before.size = size;
            }
            is_same
        });
    }

    /// The units that have code at an address: where they begin, those first that begin nearest to it.
    pub(super) fn around(&self, address: u64) -> Vec<usize> {
        let above = self.ranges.partition_point(|it| it.start <= address);
        let near = self.ranges.get(above.saturating_sub(8 * MAX_CLAIMS)..above).unwrap_or_default();
        let mut found = Vec::new();
        for it in near.iter().rev().filter(|it| address < it.end()) {
            let place = self.places.get(it.unit as usize).filter(|place| !found.contains(*place));
            found.extend(place);
        }
        found.truncate(MAX_CLAIMS);
        found
    }

    /// Where the unit begins that an offset lies in.
    pub(super) fn containing(&self, offset: usize) -> Option<usize> {
        let above = self.places.partition_point(|place| *place <= offset);
        self.places.get(above.checked_sub(1)?).copied()
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.places.len() * size_of::<usize>() + self.ranges.len() * size_of::<Owned>()
    }
}
