//! Objects on V8's heap, read from the memory of a process that runs on.
//!
//! The collector moves objects, and what is read may be gone: nothing is believed that is not of the kind that it must be.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::layout::Layout;

/// Maps whose kind is kept; then they are read anew.
const MAX_MAPS: usize = 4096;
/// The first bytes of an address space are never mapped.
const LEAST: u64 = 4096;
/// Nor are those that are the kernel's, or nobody's.
const MOST: u64 = 1 << 56;

/// Reads the process's memory: from an address, into all of the bytes. False: it cannot be read.
pub(crate) type Read<'a> = dyn Fn(u64, &mut [u8]) -> bool + 'a;

/// A word that says by its lowest bits what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tagged(pub(super) u64);

impl Tagged {
    /// A number.
    pub(super) fn number(self) -> Option<i32> {
        (self.0 & u64::from(u32::MAX) == 0).then_some((self.0 >> 32) as u32).map(u32::cast_signed)
    }

    /// The first word of an object may be like this.
    pub(super) fn may_be_map(self) -> bool {
        self.0 & 3 == 1 && self.object().is_some()
    }

    /// Where the object lies that it refers to, weakly or not.
    pub(super) fn object(self) -> Option<u64> {
        (self.0 & 1 == 1).then_some(self.0 & !3).filter(|at| (LEAST..MOST).contains(at) && at % 8 == 0)
    }
}

/// An object, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) at: u64,
    pub(super) kind: u16,
}

/// What has been learnt of the maps that objects refer to for what they are.
pub(super) type Maps = RefCell<HashMap<u64, u16>>;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Heap<'a> {
    pub(super) layout: &'a Layout,
    pub(super) maps: &'a Maps,
    pub(super) read: &'a Read<'a>,
    /// Bytes of tables and texts that may still be read for this stack.
    pub(super) left: &'a Cell<usize>,
}

impl Heap<'_> {
    pub(super) fn bytes(&self, at: u64, count: usize) -> Option<Vec<u8>> {
        let left = self.left.get().checked_sub(count);
        self.left.set(left.unwrap_or_default());
        left?;
        let mut bytes = vec![0; count];
        (self.read)(at, &mut bytes).then_some(bytes)
    }

    /// This stack has had its share: what could not be read now can be read another time.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    pub(super) fn word(&self, at: u64, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read)(at.checked_add(offset)?, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    pub(super) fn half(&self, at: u64, offset: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        (self.read)(at.checked_add(offset)?, &mut bytes).then(|| u32::from_le_bytes(bytes))
    }

    /// A word that refers to something.
    pub(super) fn field(&self, at: u64, offset: u64) -> Option<Tagged> {
        self.word(at, offset).map(Tagged)
    }

    /// Words that refer to something.
    pub(super) fn fields(&self, at: u64, count: usize) -> Option<Vec<Tagged>> {
        let bytes = self.bytes(at, count.checked_mul(8)?)?;
        let (words, _) = bytes.as_chunks();
        Some(words.iter().map(|word| Tagged(u64::from_le_bytes(*word))).collect())
    }

    /// What a word refers to. Where the collector has just moved the object, what stands in its place leads to it.
    pub(super) fn object(&self, of: Tagged) -> Option<Object> {
        let mut at = of.object()?;
        let mut map = self.field(at, 0)?;
        if map.0 & 3 == 0 && map.0 >= LEAST {
            at = map.0;
            map = self.field(at, 0)?;
        }
        Some(Object { at, kind: self.kind(map)? })
    }

    /// What objects are whose first word is this one.
    pub(super) fn kind(&self, map: Tagged) -> Option<u16> {
        let map = map.object()?;
        if let Some(kind) = self.maps.borrow().get(&map) {
            return Some(*kind);
        }
        let mut kind = [0; 2];
        if !(self.read)(map.checked_add(self.layout.map_kind)?, &mut kind) {
            return None;
        }
        let kind = u16::from_le_bytes(kind);
        let mut maps = self.maps.borrow_mut();
        if maps.len() >= MAX_MAPS {
            maps.clear();
        }
        maps.insert(map, kind);
        Some(kind)
    }

    /// Where the object lies, if it is of the kind.
    pub(super) fn of_kind(&self, of: Tagged, kind: u16) -> Option<u64> {
        self.object(of).filter(|object| object.kind == kind).map(|object| object.at)
    }

    /// The elements of an array: where they begin, and how many there are.
    fn array(&self, of: Tagged, kinds: &[u16]) -> Option<(u64, usize)> {
        let object = self.object(of).filter(|object| kinds.contains(&object.kind))?;
        let count = usize::try_from(self.field(object.at, 8)?.number()?).ok()?;
        Some((object.at.checked_add(16)?, count))
    }

    /// An array of bytes. `None` where it has more than `most`.
    pub(super) fn byte_array(&self, of: Tagged, most: usize) -> Option<Vec<u8>> {
        let (at, count) = self.array(of, &self.layout.kinds.bytes)?;
        if count > most { None } else { self.bytes(at, count) }
    }

    /// The first elements of an array of objects, so many at most.
    pub(super) fn object_array(&self, of: Tagged, most: usize) -> Option<Vec<Tagged>> {
        let (at, count) = self.array(of, &self.layout.kinds.arrays)?;
        self.fields(at, count.min(most))
    }
}
