//! Where what is young lies in the heap, and where what is old.

use std::ops::Range;

use mlh_stacks::java::Published;
use mlh_stacks::memory::Memory;

use super::bytes::Bytes;
use super::flags::Flags;

/// In a region's type: it is of the young generation, it belongs to one large object.
const YOUNG: u32 = 2;
const LARGE: u32 = 4;

/// What an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// To what is young, or was until the last collection.
    Young {
        /// Memory up to beyond it is in use: in eden for new objects.
        is_taken: bool,
    },
    /// To what is old.
    Old,
}

/// Names of the fields that say where a space begins, ends, and how far it is handed out: the first that there are.
const BOTTOM: [(&str, &str); 4] = [
    ("MutableSpace", "_bottom"),
    ("ImmutableSpace", "_bottom"),
    ("ContiguousSpace", "_bottom"),
    ("Space", "_bottom"),
];
const END: [(&str, &str); 4] =
    [("MutableSpace", "_end"), ("ImmutableSpace", "_end"), ("ContiguousSpace", "_end"), ("Space", "_end")];

/// A piece of the heap that objects are made in one behind the other.
#[derive(Debug, Clone, Copy)]
struct Space {
    at: u64,
    bottom: u64,
    top: u64,
    end: u64,
}

impl Space {
    /// Where it begins, how far it is handed out, and where it ends.
    fn read(&self, memory: Memory) -> Option<[u64; 3]> {
        let fields = [self.bottom, self.top, self.end];
        let bytes = Bytes::around(memory, self.at, &fields)?;
        let [bottom, top, end] = fields.map(|field| bytes.word(self.at.checked_add(field)?));
        Some([bottom?, top?, end?])
    }
}

/// How the heap is laid out.
#[derive(Debug)]
enum Plan {
    /// Serial's and Parallel's: of what is young, new objects are made in eden, and what has survived is in one of two others. They change
    /// places with each collection.
    Generations { young: [Space; 3], old: Space },
    /// G1's: a table of regions, by address.
    Regions { table: u64, shift: u32, top: u64, kind: u64 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spaces {
    memory: Memory,
    /// Memory that the heap has reserved.
    from: u64,
    to: u64,
    plan: Plan,
}

impl Spaces {
    /// `None`: the collector is none of those that are known.
    pub(super) fn of(memory: Memory, heap: u64, published: &Published, flags: &Flags) -> Option<Self> {
        let reserved = heap.checked_add(published.offset("CollectedHeap", "_reserved")?)?;
        let from = memory.word(reserved.checked_add(published.offset("MemRegion", "_start")?)?)?;
        let words = memory.word(reserved.checked_add(published.offset("MemRegion", "_word_size")?)?)?;
        let plan = if flags.is_on("UseG1GC") {
            regions(memory, heap, published)?
        } else if flags.is_on("UseParallelGC") {
            parallel(memory, published)?
        } else if flags.is_on("UseSerialGC") {
            serial(memory, heap, published)?
        } else {
            return None;
        };
        Some(Self { memory, from, to: from.checked_add(words.checked_mul(8)?)?, plan })
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn fake(memory: Memory, heap: std::ops::Range<u64>, young: [u64; 3], old: u64) -> Self {
        let space = |at| Space { at, bottom: 0, top: 8, end: 16 };
        let plan = Plan::Generations { young: young.map(space), old: space(old) };
        Self { memory, from: heap.start, to: heap.end, plan }
    }

    /// It lies in the heap.
    pub(super) fn has(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at) && at.is_multiple_of(8)
    }

    /// What has not been handed out of eden, where that lies in one piece.
    pub(super) fn free(&self) -> Option<Range<u64>> {
        let Plan::Generations { young: [eden, ..], .. } = &self.plan else { return None };
        eden.read(self.memory).map(|[_, top, end]| top..end)
    }

    /// What an address belongs to. `None`: to nothing in the heap, or it cannot be read.
    pub(super) fn area(&self, at: u64) -> Option<Area> {
        self.has(at).then_some(())?;
        match &self.plan {
            Plan::Generations { young, old } => {
                let [bottom, _, end] = old.read(self.memory)?;
                if (bottom..end).contains(&at) {
                    return Some(Area::Old);
                }
                // what could not be copied is left where it was, and that space is not emptied
                let mut is_taken = false;
                for space in young {
                    let [bottom, top, _] = space.read(self.memory)?;
                    is_taken |= (bottom..top).contains(&at);
                }
                Some(Area::Young { is_taken })
            }
            Plan::Regions { table, shift, top, kind } => {
                let region = self.memory.word(table.checked_add(at.checked_shr(*shift)?.checked_mul(8)?)?)?;
                let bytes = Bytes::around(self.memory, region, &[*top, *kind])?;
                let (top, kind) =
                    (bytes.word(region.checked_add(*top)?)?, bytes.int(region.checked_add(*kind)?)?);
                Some(match kind {
                    // a region in which nothing lies
                    0 => Area::Young { is_taken: false },
                    kind if kind & YOUNG != 0 => Area::Young { is_taken: at < top },
                    kind if kind & LARGE != 0 => Area::Young { is_taken: true },
                    _ => Area::Old,
                })
            }
        }
    }
}

fn first(published: &Published, names: &[(&str, &str)]) -> Option<u64> {
    names.iter().find_map(|(class, name)| published.offset(class, name))
}

fn serial(memory: Memory, heap: u64, published: &Published) -> Option<Plan> {
    let generation = |name| {
        let at = first(published, &[("SerialHeap", name), ("GenCollectedHeap", name)])?;
        memory.word(heap.checked_add(at)?)
    };
    let space = |generation: u64, class, name| {
        Some(Space {
            at: memory.word(generation.checked_add(published.offset(class, name)?)?)?,
            bottom: first(published, &BOTTOM[2..])?,
            top: published.offset("ContiguousSpace", "_top")?,
            end: first(published, &END[2..])?,
        })
    };
    let young = generation("_young_gen")?;
    let young = |name| space(young, "DefNewGeneration", name);
    Some(Plan::Generations {
        young: [young("_eden_space")?, young("_from_space")?, young("_to_space")?],
        old: space(generation("_old_gen")?, "TenuredGeneration", "_the_space")?,
    })
}

fn parallel(memory: Memory, published: &Published) -> Option<Plan> {
    let generation = |name| memory.word(published.address("ParallelScavengeHeap", name)?);
    let space = |generation: u64, class, name| {
        Some(Space {
            at: memory.word(generation.checked_add(published.offset(class, name)?)?)?,
            bottom: first(published, &BOTTOM[..2])?,
            top: published.offset("MutableSpace", "_top")?,
            end: first(published, &END[..2])?,
        })
    };
    let young = generation("_young_gen")?;
    let young = |name| space(young, "PSYoungGen", name);
    Some(Plan::Generations {
        young: [young("_eden_space")?, young("_from_space")?, young("_to_space")?],
        old: space(generation("_old_gen")?, "PSOldGen", "_object_space")?,
    })
}

fn regions(memory: Memory, heap: u64, published: &Published) -> Option<Plan> {
    let field = |names: &[&str], name| names.iter().find_map(|class| published.offset(class, name));
    let manager = field(&["HeapRegionManager", "G1HeapRegionManager"], "_regions")?;
    let regions = heap.checked_add(published.offset("G1CollectedHeap", "_hrm")?)?.checked_add(manager)?;
    let of_table = |name| regions.checked_add(published.offset("G1HeapRegionTable", name)?);
    let shift = of_table("_shift_by")?;
    let kind = field(&["HeapRegion", "G1HeapRegion"], "_type")?;
    Some(Plan::Regions {
        // where the entry of address 0 would be
        table: memory.word(of_table("_biased_base")?)?,
        // from 1 to 32 MiB, and more since 18
        shift: Bytes::read(memory, shift, 4)?.int(shift).filter(|shift| (16..40).contains(shift))?,
        top: field(&["HeapRegion", "G1HeapRegion", "G1ContiguousSpace"], "_top")?,
        kind: kind.checked_add(field(&["HeapRegionType", "G1HeapRegionType"], "_tag")?)?,
    })
}
