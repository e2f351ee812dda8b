//! `HotSpot`'s, with the collectors Serial, Parallel and G1.
//!
//! A thread makes objects in a piece of eden of its own (a TLAB), one behind the other, but for large ones. A young collection copies
//! what lives out of eden, and leaves in the first word of what it has copied where to. All of eden is free then, and begins to be
//! overwritten from its beginning: of what lay where new memory has been handed out since, nothing can be told any more, whatever is
//! found there, so that neither the living nor the dead are told the more often. A collection of the whole heap may slide objects and
//! leave nothing behind. Where the JVM keeps what it publishes itself; how many collections there have been says what may have moved.

mod bytes;

mod flags;

mod counts;

mod threads;

mod classes;

mod spaces;

use std::collections::VecDeque;
use std::ops::Range;

use mlh_stacks::java::Published;
use mlh_stacks::memory::Memory;
use mlh_stacks::modules::Modules;

use self::bytes::Bytes;
use self::classes::{Classes, HEADER, Header};
use self::counts::{Collections, Counter};
use self::flags::Flags;
use self::spaces::{Area, Spaces};
use self::threads::Threads;
use super::{Birth, Fate, Object, Place};
use crate::outside::OutsideError;

/// Of so many places it is remembered when they were given.
const MAX_PLACES: usize = 256;

/// The JVM's classes that matter.
const CLASSES: [&str; 34] = [
    "CollectedHeap",
    "CompressedKlassPointers",
    "ContiguousSpace",
    "DefNewGeneration",
    "Flag",
    "G1CollectedHeap",
    "G1ContiguousSpace",
    "G1HeapRegion",
    "G1HeapRegionManager",
    "G1HeapRegionTable",
    "G1HeapRegionType",
    "GenCollectedHeap",
    "HeapRegion",
    "HeapRegionManager",
    "HeapRegionType",
    "ImmutableSpace",
    "JVMFlag",
    "JavaThread",
    "Klass",
    "MemRegion",
    "MutableSpace",
    "OSThread",
    "PSOldGen",
    "PSYoungGen",
    "ParallelScavengeHeap",
    "SerialHeap",
    "Space",
    "TenuredGeneration",
    "Thread",
    "ThreadLocalAllocBuffer",
    "Threads",
    "ThreadsList",
    "ThreadsSMRSupport",
    "Universe",
];

/// See the module.
#[derive(Debug)]
pub(super) struct Hotspot {
    memory: Memory,
    counter: Counter,
    threads: Threads,
    classes: Classes,
    spaces: Spaces,
    /// Collections when the look began.
    seen: Option<Collections>,
    /// Collections until each place was given.
    given: VecDeque<(Place, Collections)>,
}

/// A JVM runs in the process.
pub(super) fn is_one(modules: &Modules) -> bool {
    let is_library = |name: &std::ffi::OsStr| name == "libjvm.so";
    modules.modules.iter().any(|module| module.path.file_name().is_some_and(is_library))
}

impl Hotspot {
    pub(super) fn find(pid: u32, memory: Memory, modules: &Modules) -> Result<Self, OutsideError> {
        let unknown = |why: &str| OutsideError::Unknown(why.to_owned());
        let published = Published::read(pid, modules, &CLASSES)
            .ok_or_else(|| unknown("the JVM does not say where it keeps its heap, or it has only begun"))?;
        let flags = Flags::read(memory, &published);
        let flags = flags.ok_or_else(|| unknown("the JVM does not say how it was told to run"))?;
        let heap = published.address("Universe", "_collectedHeap").and_then(|at| memory.word(at));
        let heap = heap.filter(|heap| *heap != 0).ok_or_else(|| unknown("the JVM has no heap yet"))?;
        let spaces = Spaces::of(memory, heap, &published, &flags).ok_or_else(|| {
            unknown("the JVM's collector leaves nothing behind that is known: those of Serial, Parallel and G1 do")
        })?;
        let found = || {
            Some(Self {
                memory,
                counter: Counter::of(memory, heap, &published)?,
                threads: Threads::of(pid, memory, &published)?,
                classes: Classes::of(memory, &published, &flags)?,
                spaces,
                seen: None,
                given: VecDeque::new(),
            })
        };
        found().ok_or_else(|| unknown("the JVM is of a version that is not known"))
    }

    pub(super) fn look(&mut self) {
        self.seen = self.counter.read();
    }

    pub(super) fn has(&self, address: u64) -> bool {
        self.spaces.has(address - address % 8)
    }

    pub(super) fn place(&mut self, dice: u64, taken: &[u64]) -> Option<Place> {
        let collections = self.counter.read()?;
        let (owner, piece) = self.threads.pick(dice).filter(|(owner, _)| !taken.contains(owner))?;
        // a burst may make more than the rest of a piece holds, and goes on in the next one
        let next = self.spaces.free().unwrap_or(piece.end..piece.end);
        let (free, address) = piece.ahead(&next, mixed(dice))?;
        self.spaces.has(address).then_some(())?;
        let thread = self.threads.number(owner)?;
        // threads are chosen by how much they make, so that all places stand for as much
        let place = Place { address, thread, bytes: 1, area: owner, from: free.start, to: free.end };
        if self.given.len() >= MAX_PLACES {
            self.given.pop_front();
        }
        self.given.push_back((place, collections));
        Some(place)
    }

    pub(super) fn birth(&mut self, place: &Place) -> Birth {
        let Some(now) = self.counter.read() else { return Birth::Awaited };
        let Some((_, then)) = self.given.iter().find(|(given, _)| given == place) else {
            return Birth::Missed;
        };
        let then = *then;
        let since = now.since(then);
        // between two collections no memory is handed out twice
        let is_since = |range: Range<u64>| since == Some(0) && range.contains(&place.address);
        let piece = self.threads.piece(place.area).filter(|piece| is_since(piece.start..piece.end));
        let is_free = self.spaces.free().is_some_and(is_since);
        if is_free || piece.is_some_and(|piece| piece.top <= place.address) {
            return Birth::Awaited;
        }
        let found = match since {
            Some(0) => self.covering(place).filter(|(_, header)| header.mark.forwarded().is_none()),
            // of what lay there all is there still
            Some(1) => self
                .covering(place)
                .filter(|_| self.spaces.area(place.from) == Some(Area::Young { is_taken: false })),
            _ => None,
        };
        // what was read may have been overwritten meanwhile
        match found {
            _ if self.counter.read() != Some(now) => Birth::Awaited,
            Some((at, _)) => {
                Birth::Object(Object { at, collections: then.packed(false), ..Object::default() })
            }
            // memory is taken before anything is written to it
            None if piece.is_some() => Birth::Awaited,
            None => Birth::Missed,
        }
    }

    /// The object that covers the place: from where the top was, one object lies behind the other.
    fn covering(&mut self, place: &Place) -> Option<(u64, Header)> {
        let size = place.address.checked_sub(place.from)?.checked_add(HEADER)?;
        let bytes = Bytes::read(self.memory, place.from, size)?;
        let mut at = place.from;
        loop {
            let header = self.classes.header(&bytes, at)?;
            let next = at.checked_add(header.size)?;
            if next > place.address {
                // what is left of a piece is filled up to beyond its end with something that is no object
                return (next <= place.to).then_some((at, header));
            }
            at = next;
        }
    }

    pub(super) fn fate(&mut self, object: &mut Object) -> Fate {
        let (then, was_old) = Collections::unpacked(object.collections);
        let as_before = if was_old { Fate::Old } else { Fate::Young(object.survived) };
        let Some(now) = self.seen else { return as_before };
        let fate = match now.since(then) {
            Some(0) => return as_before,
            Some(1) => self.after_one(object, was_old),
            // what is old stays where it is as a rule, and what is young does not
            Some(_) if was_old => self.in_place(object),
            Some(_) | None => None,
        };
        // what was read may have been overwritten meanwhile
        if self.counter.read() != Some(now) {
            return as_before;
        }
        let Some((fate, at)) = fate else { return Fate::Lost };
        object.survived = object.survived.saturating_add(u32::from(at != object.at));
        object.at = at;
        object.collections = now.packed(fate == Fate::Old);
        match fate {
            Fate::Young(_) => Fate::Young(object.survived),
            fate => fate,
        }
    }

    /// After one young collection: what has become of it, and where it is.
    fn after_one(&mut self, object: &Object, was_old: bool) -> Option<(Fate, u64)> {
        let header = self.classes.read(object.at)?;
        match (self.spaces.area(object.at)?, header.mark.forwarded()) {
            (Area::Young { is_taken: true }, _) => None,
            (_, Some(at)) => {
                let is_elsewhere = at != object.at && self.spaces.has(at);
                let copy = is_elsewhere.then(|| self.classes.read(at))??;
                (copy.class == header.class && copy.mark.forwarded().is_none()).then_some(())?;
                match self.spaces.area(at)? {
                    Area::Old => Some((Fate::Old, at)),
                    Area::Young { .. } => Some((Fate::Young(0), at)),
                }
            }
            (Area::Young { is_taken: false }, None) => Some((Fate::Dead, object.at)),
            // nobody has moved it; if it was young, what it lies in could not be emptied
            (Area::Old, None) => was_old.then_some((Fate::Old, object.at)),
        }
    }

    /// An old one where it was, if it is there still.
    fn in_place(&mut self, object: &Object) -> Option<(Fate, u64)> {
        let header = self.classes.read(object.at)?;
        let is_there = self.spaces.area(object.at)? == Area::Old && header.mark.forwarded().is_none();
        is_there.then_some((Fate::Old, object.at))
    }
}

/// Another number by the same dice (the mixing of `SplitMix64`).
fn mixed(dice: u64) -> u64 {
    let mixed = (dice ^ dice >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
