//! The rings of the collector, and what is in them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mlh_stacks::python::CodeLayout;

use crate::outside::blocks::Blocks;
use crate::outside::{Class, MAX_CLASSES};

/// So many objects are looked at.
const MAX_OBJECTS: usize = 1 << 20;

/// So many types are told apart; objects of more do not count.
const MAX_TYPES: usize = 4096;

/// Generations.
const RINGS: u64 = 3;

/// A ring's head: the next, the one before, a threshold and a count, bytes.
const HEAD: u64 = 24;

/// From an object's place in its ring to the object, bytes.
const LINKS: u64 = 16;

/// Of the interpreter's state so much is looked through for the heads, bytes.
const STATE: u64 = 128 << 10;

/// No interpreter has collected as often.
const MAX_COLLECTIONS: u64 = 1 << 40;

/// The collector marks objects in the lowest bits of links.
const MARKS: u64 = 7;

/// Of a type's name so much is kept, bytes.
const MAX_NAME: usize = 64;

/// No type has larger instances or items, bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Whether an object of more is there as a whole is looked at, bytes.
const LARGE: u64 = 64 << 10;

/// No object has more items.
const MAX_ITEMS: u64 = 1 << 32;

/// An entry of a dictionary, with what stays free for others: an estimate, bytes.
const ENTRY: u64 = 32;

const CHANGED: &str = "a part of Python's objects, which changed while they were read";

const TOO_MANY: &str = "a part of Python's objects: there are more than are looked at";

/// Where the rings begin: the generations, and what has been frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rings([u64; RINGS as usize + 1]);

impl Rings {
    /// Looks for them from this address on.
    pub(super) fn find(blocks: &mut Blocks, state: u64) -> Option<Self> {
        let begins = |index: u64| state.checked_add(index * 8);
        (0..STATE / 8).filter_map(begins).find_map(|at| {
            let behind = at.checked_add(RINGS * HEAD)?;
            if blocks.word(behind)? != at {
                return None;
            }
            let rings = Self([at, at + HEAD, at + 2 * HEAD, behind.checked_add(8)?]);
            rings.0.iter().all(|head| is_ring(blocks, *head)).then_some(rings)
        })
    }

    /// How often the last generation was collected, for which all are walked; and whether any is being collected. Behind the rings stand
    /// three figures for each generation, then the latter.
    pub(super) fn collections(&self, blocks: &mut Blocks) -> Option<(u64, bool)> {
        let [.., frozen] = self.0;
        let figures = frozen.checked_add(HEAD)?;
        let [_, _, _, _, _, _, last, _, _, collecting] = blocks.words(figures)?;
        // that is four bytes long, and nothing but 0 or 1
        let collecting = collecting as u32;
        (last < MAX_COLLECTIONS && collecting <= 1).then_some((last, collecting == 1))
    }
}

/// Whether the first in the ring leads back to its head.
fn is_ring(blocks: &mut Blocks, head: u64) -> bool {
    let mut back = || {
        let first = blocks.word(head)? & !MARKS;
        blocks.word(first.checked_add(8)?)
    };
    back().is_some_and(|back| back & !MARKS == head)
}

/// What is in the rings.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// An estimate.
    pub(super) bytes: u64,
    /// By type, the most bytes first.
    pub(super) classes: Vec<Class>,
    /// What of it was not seen.
    pub(super) missed: Option<&'static str>,
}

impl Census {
    /// Looks at every object. They come and go meanwhile: one may be missed, or counted twice.
    pub(super) fn take(blocks: &mut Blocks, rings: &Rings, layout: &CodeLayout) -> Self {
        let mut types = Types { layout, found: HashMap::new() };
        let (mut seen, mut missed) = (0, None);
        for head in rings.0 {
            let mut at = blocks.word(head).unwrap_or(0) & !MARKS;
            // an object that has moved to another ring leads to that one's head
            while !rings.0.contains(&at) {
                if seen == MAX_OBJECTS || blocks.is_spent() {
                    missed = Some(TOO_MANY);
                    break;
                }
                let Some(next) = types.count(blocks, at) else {
                    missed = missed.or(Some(CHANGED));
                    break;
                };
                at = next & !MARKS;
                seen += 1;
            }
        }
        let mut classes: Vec<Class> = types.found.into_values().map(Type::told).collect();
        let bytes = classes.iter().map(|class| class.bytes).fold(0, u64::saturating_add);
        classes.sort_by_key(|class| std::cmp::Reverse(class.bytes));
        classes.truncate(MAX_CLASSES);
        Self { bytes, classes, missed }
    }
}

/// Types by their address.
struct Types<'a> {
    layout: &'a CodeLayout,
    found: HashMap<u64, Type>,
}

impl Types<'_> {
    /// Counts the object at this place in a ring. The next one; `None`: there is none, or it has gone.
    fn count(&mut self, blocks: &mut Blocks, at: u64) -> Option<u64> {
        let object = at.checked_add(LINKS)?;
        let next = blocks.word(at)?;
        let of_type = object.checked_add(self.layout.object_type.into())?;
        // the type, then how many items, then where a list has them, or a dictionary; then for how many there is room
        let [address, items, place, room] = blocks.words(of_type)?;
        let is_full = self.found.len() >= MAX_TYPES;
        let known = match self.found.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => return Some(next),
            Entry::Vacant(new) => new.insert(Type::read(blocks, address, self.layout)?),
        };
        let (begins, besides) = known.besides(object, items, place, room);
        // what an object that is just being made or freed says of itself may be anything
        let is_there = besides < LARGE
            || begins.checked_add(besides - 8).is_some_and(|last| blocks.word(last).is_some());
        let size = LINKS + known.basic + if is_there { besides } else { 0 };
        known.bytes = known.bytes.saturating_add(size);
        known.count += 1;
        Some(next)
    }
}

/// What is known of a type, and of its instances.
#[derive(Debug)]
struct Type {
    name: String,
    basic: u64,
    item: u64,
    holds: Holds,
    bytes: u64,
    count: u64,
}

/// What instances have besides their fixed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// A list: room for references, elsewhere.
    Room,
    /// A dictionary or a set: entries, elsewhere.
    Entries,
    /// Whatever else: items, if any, behind it.
    Items,
}

impl Type {
    /// `None`: it is none.
    fn read(blocks: &mut Blocks, at: u64, layout: &CodeLayout) -> Option<Self> {
        // its name, then the size of an instance, then that of an item
        let [name, basic, item] = blocks.words(at.checked_add(layout.type_name.into())?)?;
        let sized = (LINKS..=MAX_SIZE).contains(&basic) && item <= MAX_SIZE;
        let name = sized.then(|| text(blocks, name))??;
        let holds = match name.as_str() {
            "list" => Holds::Room,
            "dict" | "set" | "collections.OrderedDict" | "collections.defaultdict" => Holds::Entries,
            _ => Holds::Items,
        };
        Some(Self { name, basic, item, holds, bytes: 0, count: 0 })
    }

    /// What an instance has besides its fixed part, without what it refers to: where it begins, and bytes.
    fn besides(&self, object: u64, items: u64, place: u64, room: u64) -> (u64, u64) {
        // negative for a negative number, which none of these is
        let items = items.min(MAX_ITEMS);
        match self.holds {
            Holds::Room => (place, room.min(MAX_ITEMS) * 8),
            Holds::Entries => (place, items * ENTRY),
            Holds::Items => (object.saturating_add(self.basic), items * self.item),
        }
    }

    fn told(self) -> Class {
        Class { name: self.name, bytes: self.bytes, count: self.count, stack: Vec::new() }
    }
}

/// A name that is not empty, and could be shown.
fn text(blocks: &mut Blocks, at: u64) -> Option<String> {
    let mut name = Vec::new();
    for offset in 0..MAX_NAME as u64 {
        let [byte] = blocks.read(at.checked_add(offset)?)?;
        if byte == 0 {
            break;
        }
        name.push(byte);
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    (!name.is_empty() && !name.contains(char::is_control)).then_some(name)
}
