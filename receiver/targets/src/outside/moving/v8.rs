//! Objects on V8's heap, of the versions 10 to 13 (Node.js 18 to 24).
//!
//! The heap consists of [`Chunk`]s. Objects are made in some of them, one behind the other ([`Area`]), by the thread that runs the script; a
//! collection of the young ones makes these chunks those that objects are moved away from: what it finds in use it copies, and writes
//! the new address over the first word of the old copy. What has been moved twice is old. Until the next collection the old copies stay as
//! they are. What has turned out to stay is made among the old ones at once, in an area of theirs.

mod area;

mod chunk;

mod maps;

use std::collections::HashMap;

use mlh_stacks::memory::Memory;
use mlh_stacks::modules::Modules;

use self::area::Area;
use self::chunk::{Chunk, Holds, SIZE, words};
use self::maps::Maps;
use super::{Birth, Fate, Object, Place};
use crate::outside::OutsideError;

/// Chunks that are looked for: 4 GiB of heap.
const MAX_CHUNKS: usize = 16 * 1024;
/// A heap has as many at least.
const LEAST: usize = 4;
/// So far beyond what was made last the place of the next object is at most, bytes.
const REACH: u64 = 128 << 10;
/// An object that covers an address begins within so many bytes before it, or is not found.
const LONGEST: u64 = 16 << 10;
/// Of three words at an object's beginning so many stay as they are.
const SAME: usize = 2;
/// It is taken anew at so many looks: whoever makes an object fills it after that.
const SETTLING: u32 = 2;
/// A collection takes less than passes between so many looks.
const LOOKS: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct V8 {
    memory: Memory,
    heap: u64,
    /// Where new objects are made, and where old ones are.
    areas: [Area; 2],
    /// Who runs the script: the first thread. Workers have heaps of their own, which are smaller as a rule.
    thread: u32,
    maps: Maps,
    /// Chunks by where they begin, as of this look.
    chunks: HashMap<u64, Option<Chunk>>,
}

impl V8 {
    pub(super) fn find(pid: u32, memory: Memory, modules: &Modules) -> Result<Self, OutsideError> {
        let unknown = |what: &str| OutsideError::Unknown(what.to_owned());
        let mut chunks: HashMap<u64, usize> = HashMap::new();
        let starts = modules.anonymous.iter().flat_map(|part| {
            let first = part.start.checked_next_multiple_of(SIZE).unwrap_or(part.end);
            (first..part.end).step_by(SIZE as usize)
        });
        for chunk in starts.take(MAX_CHUNKS).filter_map(|start| Chunk::read(memory, start)) {
            *chunks.entry(chunk.heap).or_default() += 1;
        }
        chunks.retain(|_, count| *count >= LEAST);
        let largest = chunks.iter().max_by_key(|(_, count)| **count);
        let (heap, _) = largest.ok_or_else(|| unknown("the process has no heap of V8's that is known"))?;
        let area = area::find(memory, *heap);
        let area = area.ok_or_else(|| unknown("where V8 makes objects was not found"))?;
        // that of the old ones stands right behind it, or nothing that could be one
        let areas = [Area::of(area, *heap, Holds::New), Area::of(area + area::SIZE, *heap, Holds::Old)];
        Ok(Self { memory, heap: *heap, areas, thread: pid, maps: Maps::of(memory), chunks: HashMap::new() })
    }

    pub(super) fn look(&mut self) {
        self.chunks.clear();
    }

    pub(super) fn has(&self, address: u64) -> bool {
        self.chunk(address).is_some()
    }

    pub(super) fn place(&mut self, dice: u64, taken: &[u64]) -> Option<Place> {
        let area = self.areas.get_mut((dice % 2) as usize).filter(|area| !taken.contains(&area.at))?;
        let free = area.free(self.memory)?;
        let reach = free.limit.min(free.top.checked_add(REACH)?).checked_sub(free.top)? / 8;
        let address = free.top.checked_add((dice / 2).checked_rem(reach)? * 8)?;
        // as much as has been made since the last place there
        let bytes = std::mem::take(&mut area.made);
        Some(Place { address, thread: self.thread, bytes, area: area.at, from: free.top, to: free.limit })
    }

    pub(super) fn birth(&mut self, place: &Place) -> Birth {
        let area = self.areas.iter_mut().find(|area| area.at == place.area);
        let free = area.and_then(|area| area.free(self.memory));
        if free.is_some_and(|free| free.limit == place.to && free.top <= place.address) {
            return Birth::Awaited;
        }
        let found = self.begins(place.address);
        found.map_or(Birth::Missed, |at| Birth::Object(Object { at, ..Object::default() }))
    }

    pub(super) fn fate(&mut self, object: &mut Object) -> Fate {
        let (memory, start) = (self.memory, object.at - object.at % SIZE);
        let chunk = self.chunks.entry(start).or_insert_with(|| Chunk::read(memory, start));
        // nothing has been taken away from there since it was looked last, or it is too late to tell
        if chunk.as_ref().is_some_and(|chunk| chunk.holds == Holds::New && chunk.is_of(self.heap, object.at))
        {
            object.unmoved = 0;
            return Fate::Young(object.survived);
        }
        let (Some(chunk), Some(head)) = (self.chunk(object.at), words::<3>(self.memory, object.at)) else {
            return Fate::Lost;
        };
        let [first, ..] = head;
        if let Some(to) = self.moved(first) {
            *object = Object { at: to, survived: object.survived.saturating_add(1), ..*object };
            object.unmoved = 0;
            return match (self.chunk(to), words(self.memory, to)) {
                (Some(Chunk { holds: Holds::Old, .. }), Some(head)) => Self::old(object, head),
                (Some(_), _) => Fate::Young(object.survived),
                (None, _) => Fate::Lost,
            };
        }
        match chunk.holds {
            Holds::Old => Self::old(object, head),
            _ if !self.maps.is_map(first) => Fate::Lost,
            // since the look began
            Holds::New => Fate::Young(object.survived),
            // a collection may be under way
            Holds::Left if object.unmoved < LOOKS => {
                object.unmoved += 1;
                Fate::Young(object.survived)
            }
            Holds::Left => Fate::Dead,
        }
    }

    /// What it is, how long, and what it holds first: one of them may change in its life, as the hash of a text does.
    fn old(object: &mut Object, head: [u64; 3]) -> Fate {
        if object.looks < SETTLING {
            object.looks += 1;
            object.head = head;
        }
        let same = object.head.iter().zip(&head).filter(|(known, now)| known == now).count();
        if same >= SAME { Fate::Old } else { Fate::Dead }
    }

    /// Where an object is by now in whose place this word stands. `None`: it is there still.
    fn moved(&mut self, word: u64) -> Option<u64> {
        (word.is_multiple_of(8) && self.chunk(word).is_some()).then_some(())?;
        let there = self.memory.word(word)?;
        self.maps.is_map(there).then_some(word)
    }

    /// The chunk around an address, if it is of this heap.
    fn chunk(&self, address: u64) -> Option<Chunk> {
        let chunk = Chunk::read(self.memory, address - address % SIZE)?;
        chunk.is_of(self.heap, address).then_some(chunk)
    }

    /// Where the object begins that covers an address: its first word is what says what it is.
    fn begins(&mut self, address: u64) -> Option<u64> {
        let chunk = self.chunk(address)?;
        let from = chunk.objects.start.max(address.saturating_sub(LONGEST) & !7);
        let mut bytes = vec![0; usize::try_from(address.checked_add(8)?.checked_sub(from)?).ok()?];
        self.memory.read(from, &mut bytes).then_some(())?;
        let (words, _) = bytes.as_chunks();
        let mut asked = maps::Asked::default();
        let is_first = |word: &[u8; 8]| self.maps.may_be(u64::from_le_bytes(*word), &mut asked);
        let index = words.iter().rposition(is_first)?;
        from.checked_add(index as u64 * 8)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
