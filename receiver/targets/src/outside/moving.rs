//! Objects on heaps whose collector moves them: where the next ones are made, and what becomes of some of them.
//!
//! A thread that makes objects has a piece of free memory for them, and makes one behind the other. Whoever watches an address a
//! little further on learns who makes the object that comes to lie there. Where a collection has moved it, the collector has left behind
//! where to; where it has not, nobody refers to the object any more. What is read so is there for a moment: it has to be read often, and
//! what was missed is told as lost.

mod hotspot;

mod v8;

use mlh_stacks::modules::Modules;

use super::OutsideError;
use super::target::Target;

/// Free memory in which an object will lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// A multiple of 8.
    pub address: u64,
    /// Who makes objects there, as this process numbers threads.
    pub thread: u32,
    /// For how much it stands of what is made, beside the others of the process.
    pub bytes: u64,
    /// In which area: those of one are passed one after the other.
    pub area: u64,
    /// The free memory that it lies in.
    from: u64,
    to: u64,
}

/// What has come to lie at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birth {
    /// Nothing yet.
    Awaited,
    /// An object.
    Object(Object),
    /// Nothing that is known.
    Missed,
}

/// An object, wherever it lies by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Object {
    at: u64,
    /// Collections that it was seen to survive.
    survived: u32,
    /// As of the last look, where the heap counts its collections.
    collections: u64,
    /// Looks in a row at which it lay where a collection takes objects away, and had not been taken.
    unmoved: u32,
    /// How it begins as an old one, which tells it from what may come to lie there after it; and how often that was looked at.
    head: [u64; 3],
    looks: u32,
}

impl Object {
    /// Where it lies as of the last look.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.at
    }
}

/// What has become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It has survived so many collections, and is among young ones.
    Young(u32),
    /// It has survived as many as it takes to be no young one any more, and is there still, or has not been written over.
    Old,
    /// Nobody referred to it any more, or something else lies in its place.
    Dead,
    /// It cannot be told.
    Lost,
}

/// See the module. Of one process, for as long as it runs the same program.
#[derive(Debug)]
pub struct Objects {
    target: Target,
    heap: Heap,
}

#[derive(Debug)]
enum Heap {
    V8(Box<v8::V8>),
    Hotspot(Box<hotspot::Hotspot>),
}

impl Objects {
    /// Finds out where objects are made.
    ///
    /// # Errors
    /// The process has no such heap, or one that is not known.
    pub fn find(pid: u32, modules: &Modules) -> Result<Self, OutsideError> {
        let target = Target::of(pid);
        let heap = if hotspot::is_one(modules) {
            Heap::Hotspot(Box::new(hotspot::Hotspot::find(pid, target.memory, modules)?))
        } else {
            Heap::V8(Box::new(v8::V8::find(pid, target.memory, modules)?))
        };
        if target.is_there() { Ok(Self { target, heap }) } else { Err(OutsideError::Gone) }
    }

    /// The process runs the program still that it ran.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.target.is_there()
    }

    /// The address is in the heap that objects are moved about in, whatever lies there.
    #[must_use]
    pub fn has(&self, address: u64) -> bool {
        match &self.heap {
            Heap::V8(v8) => v8.has(address),
            Heap::Hotspot(hotspot) => hotspot.has(address),
        }
    }

    /// Free memory in which an object is made soon; `dice` is any number, best a random one, and chooses among areas as well. `None`: just
    /// now nothing is made there, or nothing can be read. Not in any of the areas that are `taken`.
    #[must_use]
    pub fn place(&mut self, dice: u64, taken: &[u64]) -> Option<Place> {
        match &mut self.heap {
            Heap::V8(v8) => v8.place(dice, taken),
            Heap::Hotspot(hotspot) => hotspot.place(dice, taken),
        }
    }

    /// What lies there by now.
    #[must_use]
    pub fn birth(&mut self, place: &Place) -> Birth {
        match &mut self.heap {
            Heap::V8(v8) => v8.birth(place),
            Heap::Hotspot(hotspot) => hotspot.birth(place),
        }
    }

    /// Begins a look at objects: what tells of all of them is read once for it.
    pub fn look(&mut self) {
        match &mut self.heap {
            Heap::V8(v8) => v8.look(),
            Heap::Hotspot(hotspot) => hotspot.look(),
        }
    }

    /// What has become of it by now, or since the look began.
    pub fn fate(&mut self, object: &mut Object) -> Fate {
        match &mut self.heap {
            Heap::V8(v8) => v8.fate(object),
            Heap::Hotspot(hotspot) => hotspot.fate(object),
        }
    }
}
