//! Stretches of an address space that do not overlap, each of somebody.

use std::collections::BTreeMap;

/// From `start` up to, but not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<T> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) of: T,
}

impl<T> Piece<T> {
    pub(super) fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// See the module. Neighbours of the same owner become one.
#[derive(Debug, Clone)]
pub(super) struct Regions<T> {
    /// By their start: their end, and whose they are.
    stretches: BTreeMap<u64, (u64, T)>,
}

impl<T: Copy + PartialEq> Regions<T> {
    pub(super) fn new() -> Self {
        Self { stretches: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.stretches.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Piece<T>> {
        self.stretches.iter().map(|(start, (end, of))| Piece { start: *start, end: *end, of: *of })
    }

    /// What lies between, cut to fit.
    pub(super) fn between(&self, start: u64, end: u64) -> impl Iterator<Item = Piece<T>> {
        let first = self.first(start);
        let range = (first < end).then(|| self.stretches.range(first..end)).into_iter().flatten();
        range.map(move |(from, (to, of))| Piece { start: start.max(*from), end: end.min(*to), of: *of })
    }

    /// Takes out what lies between, cutting what reaches beyond.
    pub(super) fn take(&mut self, start: u64, end: u64) -> Vec<Piece<T>> {
        let pieces: Vec<_> = self.between(start, end).collect();
        for piece in &pieces {
            // Only the first may begin before: its key is not the piece's start.
            let key = self.first(piece.start);
            let Some((to, of)) = self.stretches.remove(&key) else { continue };
            if key < piece.start {
                self.stretches.insert(key, (piece.start, of));
            }
            if piece.end < to {
                self.stretches.insert(piece.end, (to, of));
            }
        }
        pieces
    }

    /// Enters a piece where nothing is.
    pub(super) fn put(&mut self, piece: Piece<T>) {
        let Piece { mut start, mut end, of } = piece;
        if let Some((key, (to, owner))) = self.stretches.range(..start).next_back()
            && *to == start
            && *owner == of
        {
            start = *key;
        }
        if let Some((to, owner)) = self.stretches.get(&end).copied()
            && owner == of
        {
            self.stretches.remove(&end);
            end = to;
        }
        self.stretches.insert(start, (end, of));
    }

    /// The stretch that begins here.
    pub(super) fn beginning(&self, start: u64) -> Option<Piece<T>> {
        self.stretches.get(&start).map(|(end, of)| Piece { start, end: *end, of: *of })
    }

    /// Forgets the last stretches, down to so many.
    pub(super) fn shorten(&mut self, most: usize) {
        while self.stretches.len() > most {
            self.stretches.pop_last();
        }
    }

    /// Key of the stretch that holds `address`, or `address`.
    fn first(&self, address: u64) -> u64 {
        match self.stretches.range(..address).next_back() {
            Some((key, (to, _))) if *to > address => *key,
            _ => address,
        }
    }
}
