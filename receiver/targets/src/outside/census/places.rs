//! What lies at some addresses, among all that a walk meets.

use std::ops::Range;

/// What lies at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// A block that the program has, by where it begins for the program.
    Block(u64),
    /// Memory of a heap that the program does not have.
    Free,
    /// Nothing that was walked over: a mapping of its own, another allocator's memory, what is swapped out, or no window of a sampled heap.
    Elsewhere,
}

/// Addresses, and what was found at each.
pub(super) struct Places<'a> {
    /// In order.
    addresses: &'a [u64],
    pub(super) found: Vec<Occupant>,
}

impl<'a> Places<'a> {
    pub(super) fn new(addresses: &'a [u64]) -> Self {
        Self { addresses, found: vec![Occupant::Elsewhere; addresses.len()] }
    }

    /// Takes a chunk, and the block in it.
    pub(super) fn take(&mut self, chunk: Range<u64>, block: u64, live: bool) {
        let first = self.addresses.partition_point(|address| *address < chunk.start);
        let within = self.addresses.iter().zip(&mut self.found).skip(first);
        for (_, found) in within.take_while(|(address, _)| **address < chunk.end) {
            *found = if live { Occupant::Block(block) } else { Occupant::Free };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: each address is told the chunk that it lies in, to its last byte; what no chunk has is elsewhere.
    #[test]
    fn who_lies_where() {
        let addresses = [0xff, 0x100, 0x13f, 0x140, 0x150, 0x1000];
        let mut places = Places::new(&addresses);
        places.take(0x100..0x140, 0x110, true);
        places.take(0x140..0x180, 0x150, false);
        use Occupant::{Block, Elsewhere, Free};
        assert_eq!(places.found, [Elsewhere, Block(0x110), Block(0x110), Free, Free, Elsewhere]);
    }
}
