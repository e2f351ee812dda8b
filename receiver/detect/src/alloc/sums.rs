//! What was mapped and unmapped, by what it is of.

use super::change::Kind;
use super::totals::{Counts, SiteTotals};

/// Mappings and their bytes, whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MapCounts {
    /// Mappings made. Growth of somebody else's mapping counts as one, and so does each growth of the heap.
    pub mapped: u64,
    /// Their bytes.
    pub mapped_bytes: u64,
    /// Mappings of these of which nothing is left.
    pub unmapped: u64,
    /// Bytes unmapped of these.
    pub unmapped_bytes: u64,
    /// Bytes given back by `madvise` while they stayed mapped; the same bytes as often as they were given back.
    pub given_back_bytes: u64,
    /// Mappings that were there when watching ceased for a while: of their end nothing is known.
    pub forgone: u64,
    /// Bytes that were left of these.
    pub forgone_bytes: u64,
}

impl MapCounts {
    /// Mappings of which something is left.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.mapped.saturating_sub(self.unmapped).saturating_sub(self.forgone)
    }

    /// Their bytes.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.mapped_bytes.saturating_sub(self.unmapped_bytes).saturating_sub(self.forgone_bytes)
    }

    fn add(&mut self, other: &Self) {
        self.mapped = self.mapped.saturating_add(other.mapped);
        self.mapped_bytes = self.mapped_bytes.saturating_add(other.mapped_bytes);
        self.unmapped = self.unmapped.saturating_add(other.unmapped);
        self.unmapped_bytes = self.unmapped_bytes.saturating_add(other.unmapped_bytes);
        self.given_back_bytes = self.given_back_bytes.saturating_add(other.given_back_bytes);
        self.forgone = self.forgone.saturating_add(other.forgone);
        self.forgone_bytes = self.forgone_bytes.saturating_add(other.forgone_bytes);
    }
}

impl From<MapCounts> for SiteTotals {
    /// As a [`Tally`](super::Tally) takes them: mappings are never sampled.
    fn from(counts: MapCounts) -> Self {
        let exact = Counts {
            allocated: counts.mapped,
            allocated_bytes: counts.mapped_bytes,
            freed: counts.unmapped,
            freed_bytes: counts.unmapped_bytes,
            forgone: counts.forgone,
            forgone_bytes: counts.forgone_bytes,
            ..Counts::default()
        };
        Self { exact, ..Self::default() }
    }
}

/// The same by what is mapped. What it was mapped as counts: a reservation that `mprotect` opens later stays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MappedSums {
    /// Memory: anonymous, private or shared, and the heap's growth.
    pub anonymous: MapCounts,
    /// Address space that was reserved: anonymous, and nobody may touch it.
    pub reserved: MapCounts,
    /// Files, shared memory objects among them.
    pub file: MapCounts,
}

impl MappedSums {
    /// All kinds together.
    #[must_use]
    pub fn all(&self) -> MapCounts {
        let mut all = self.anonymous;
        all.add(&self.reserved);
        all.add(&self.file);
        all
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.anonymous.add(&other.anonymous);
        self.reserved.add(&other.reserved);
        self.file.add(&other.file);
    }

    pub(super) fn of(&mut self, kind: Kind) -> &mut MapCounts {
        match kind {
            Kind::Anonymous => &mut self.anonymous,
            Kind::Reserved => &mut self.reserved,
            Kind::File => &mut self.file,
        }
    }
}
