//! What V8's objects are: the first word of each refers to a map, which is an object itself, and refers to the map of maps.

use std::collections::HashMap;

use mlh_stacks::memory::Memory;

/// Words that are remembered; then all are forgotten.
const MAX_KNOWN: usize = 16 * 1024;
/// Of one object's surroundings so many words are looked up at most.
const MAX_ASKED: u32 = 256;
/// The first bytes of an address space are never mapped.
const LEAST: u64 = 4096;

/// Words that had to be looked up.
#[derive(Debug, Default)]
pub(super) struct Asked(u32);

/// See the module.
#[derive(Debug)]
pub(super) struct Maps {
    memory: Memory,
    known: HashMap<u64, bool>,
}

impl Maps {
    pub(super) fn of(memory: Memory) -> Self {
        Self { memory, known: HashMap::new() }
    }

    /// The word refers to a map.
    pub(super) fn is_map(&mut self, word: u64) -> bool {
        if let Some(is_map) = self.known.get(&word) {
            return *is_map;
        }
        let is_map = self.look(word);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(word, is_map);
        is_map
    }

    /// The same, as long as not too much has been asked.
    pub(super) fn may_be(&mut self, word: u64, asked: &mut Asked) -> bool {
        if object(word).is_none() {
            return false;
        }
        if !self.known.contains_key(&word) {
            asked.0 += 1;
        }
        asked.0 <= MAX_ASKED && self.is_map(word)
    }

    /// The map of maps is its own.
    fn look(&self, word: u64) -> bool {
        let of = |word: u64| object(word).and_then(|at| self.memory.word(at));
        let Some(of_map) = of(word) else { return false };
        of(of_map) == Some(of_map)
    }
}

/// Where the object lies that a word refers to.
fn object(word: u64) -> Option<u64> {
    let at = word.wrapping_sub(1);
    (at.is_multiple_of(8) && at >= LEAST).then_some(at)
}
