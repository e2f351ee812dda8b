//! What collections have left of Go's heap: whether an object lies at an address that survived one.
//!
//! A span has a bit for each of its objects that the last collection found in use. An object made while a collection is under way passes
//! for one in use until the next, so that an address is told of only once one has ended since it was first asked about; and it is to be asked
//! about only once what lies there is older than a collection takes. Where the heap has many GiB, and that may be long, two have to end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mlh_stacks::modules::Modules;

use super::layout::{Layout, PAGE};
use super::{Figures, Go, MAX_BLOCKS, Places, search};
use crate::os;
use crate::outside::OutsideError;
use crate::outside::blocks::Blocks;
use crate::outside::census::Occupant;

/// So many spans are looked at: as a rule 2 GiB of heap.
const MAX_SPANS: u64 = 1 << 18;

/// Of a span so much is read, bytes.
const SIZE: usize = 120;

/// States of spans: they hold objects; they are a goroutine's stack.
const IN_USE: u8 = 1;
const MANUAL: u8 = 2;

/// `sweepgen` counts two for each collection: so much of it has passed once one has ended,
const ENDED: u32 = 2;
/// and so much where the heap is this large, bytes: a collection that was under way at the question does not count there.
const BOTH_ENDED: u32 = 4;
const LARGE: u64 = 4 << 30;

/// No span is larger, pages.
const MANY: u64 = 1 << 28;

/// Addresses that are waited for.
const MAX_WAITING: usize = 1024;

/// Looks at objects of one process.
#[derive(Debug)]
pub struct GoObjects {
    go: Go,
    /// Addresses that were asked about, and what `sweepgen` was then.
    waiting: HashMap<u64, u32>,
}

impl GoObjects {
    /// Of this process. `None`: it runs no Go program, or one of a version that is not known.
    #[must_use]
    pub fn of(pid: u32, modules: &Modules) -> Option<Self> {
        let go = Go::find(pid, modules)?;
        go.program.is_ok().then(|| Self { go, waiting: HashMap::new() })
    }

    /// What lies at those of the addresses of which it can be told by now (see the module), and the CPU time that it took of this process. On a
    /// goroutine's stack no object lies; what is on no span lies elsewhere, and is not of Go's heap.
    ///
    /// # Errors
    /// The process has ended, its memory cannot be read, or its runtime keeps its heap in another way than is known.
    pub fn at(&mut self, addresses: &[u64]) -> Result<(HashMap<u64, Occupant>, Duration), OutsideError> {
        let began = os::thread_cpu_time();
        let found = self.look(addresses);
        if !self.go.target.is_there() {
            return Err(OutsideError::Gone);
        }
        Ok((found?, os::thread_cpu_time().saturating_sub(began)))
    }

    fn look(&mut self, addresses: &[u64]) -> Result<HashMap<u64, Occupant>, OutsideError> {
        let Go { target, program, places } = &mut self.go;
        let program = program.as_ref().map_err(|why| OutsideError::Unknown(why.clone()))?;
        let mut blocks = Blocks::new(target.memory, MAX_BLOCKS);
        blocks.word(program.pointers.start).ok_or_else(|| target.unreadable())?;
        if places.is_none() {
            *places = search::places(&mut Blocks::new(target.memory, MAX_BLOCKS), program);
        }
        let unknown = || OutsideError::Unknown("Go's heap was not found".to_owned());
        let Places { heap, controller, .. } = places.as_ref().ok_or_else(unknown)?;
        let figures =
            Figures::of_controller(&mut blocks, *controller, &program.layout).ok_or_else(unknown)?;
        let ended = if figures.ready >= LARGE { BOTH_ENDED } else { ENDED };
        let sweeps = program.layout.sweeps(*heap).and_then(|at| blocks.read(at)).map(u32::from_le_bytes);
        let sweeps = sweeps.ok_or_else(unknown)?;
        self.waiting.retain(|address, _| addresses.contains(address));
        let mut due = Vec::new();
        for address in addresses {
            if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(address) {
                continue;
            }
            let since = *self.waiting.entry(*address).or_insert(sweeps);
            due.extend((sweeps.wrapping_sub(since) >= ended).then_some(*address));
        }
        due.sort_unstable();
        if due.is_empty() {
            return Ok(HashMap::new());
        }
        let found = occupants(&mut blocks, *heap, sweeps, &program.layout, &due);
        found.ok_or_else(unknown)
    }
}

/// `None`: the list of spans cannot be read. `due` is in order.
fn occupants(
    blocks: &mut Blocks,
    heap: u64,
    sweeps: u32,
    layout: &Layout,
    due: &[u64],
) -> Option<HashMap<u64, Occupant>> {
    let [items, count] = blocks.words(heap.checked_add(layout.spans)?)?;
    let mut found = HashMap::new();
    let mut unknown = HashSet::new();
    for index in 0..count.min(MAX_SPANS) {
        let at = blocks.word(items.checked_add(index * 8)?)?;
        let bytes: [u8; SIZE] = blocks.read(at)?;
        let Some(span) = Span::read(&bytes, layout) else { continue };
        let from = due.partition_point(|address| *address < span.start);
        for address in due.iter().skip(from).take_while(|address| **address < span.end) {
            match span.state {
                // the bits are renewed when it is swept, which is soon
                IN_USE if !span.is_swept(sweeps) => drop(unknown.insert(*address)),
                IN_USE => drop(found.insert(*address, span.object(blocks, *address)?)),
                MANUAL => drop(found.insert(*address, Occupant::Free)),
                // it was given back, and may be another span's by now
                _ => drop(found.entry(*address).or_insert(Occupant::Free)),
            }
        }
    }
    // of an address that lies in none of them it is told only if all of them were looked at
    let others = due.iter().filter(|_| count <= MAX_SPANS);
    for address in others {
        found.entry(*address).or_insert(Occupant::Elsewhere);
    }
    found.retain(|address, _| !unknown.contains(address));
    Some(found)
}

/// What counts of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
    state: u8,
    size: u64,
    sweeps: u32,
    /// Where the bits are of objects that were in use as of its last sweep.
    bits: u64,
}

impl Span {
    /// `None`: it cannot be one.
    fn read(bytes: &[u8; SIZE], layout: &Layout) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let start_at = usize::try_from(layout.span.start).ok()?;
        let (start, pages) = (word(start_at)?, word(start_at + 8)?);
        let sweeps = u32::from_le_bytes(*bytes.get(layout.span.sweeps()..)?.first_chunk()?);
        let is_possible = start != 0 && start.is_multiple_of(PAGE) && pages > 0 && pages < MANY;
        is_possible.then_some(())?;
        Some(Self {
            start,
            end: start.checked_add(pages.checked_mul(PAGE)?)?,
            state: *bytes.get(layout.span.state)?,
            size: word(layout.span.size)?,
            sweeps,
            bits: word(layout.span.bits)?,
        })
    }

    /// Since the last collection; or it was, and is in some thread's cache.
    fn is_swept(&self, sweeps: u32) -> bool {
        self.sweeps == sweeps || self.sweeps == sweeps.wrapping_add(3)
    }

    /// The object at an address within it. `None`: its bits cannot be read.
    fn object(&self, blocks: &mut Blocks, address: u64) -> Option<Occupant> {
        let index = address.checked_sub(self.start)?.checked_div(self.size)?;
        let [byte] = blocks.read(self.bits.checked_add(index / 8)?)?;
        let begins = self.start.checked_add(index.checked_mul(self.size)?)?;
        Some(if byte >> (index % 8) & 1 == 1 { Occupant::Block(begins) } else { Occupant::Free })
    }
}
