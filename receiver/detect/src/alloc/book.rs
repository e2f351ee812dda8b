//! Who made which mapping, how much of it is left, and what each call site has made.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::change::Kind;
use super::sums::{MapCounts, MappedSums};

/// Call sites with sums of their own. What all others map is one sum.
const MAX_SITES: usize = 16_384;

/// A mapping somebody made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping<S> {
    /// By whom; `None` where there was no room for its site.
    pub(super) site: Option<S>,
    pub(super) kind: Kind,
    pub(super) born: Duration,
    /// Bytes left of it.
    pub(super) left: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Book<S> {
    mappings: HashMap<u64, Mapping<S>>,
    /// Number of the next mapping. Never used twice.
    next: u64,
    sites: HashMap<S, MappedSums>,
    others: MappedSums,
    totals: MappedSums,
}

impl<S: Copy + Eq + Hash> Book<S> {
    pub(super) fn new() -> Self {
        Self {
            mappings: HashMap::new(),
            next: 0,
            sites: HashMap::new(),
            others: MappedSums::default(),
            totals: MappedSums::default(),
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Mapping<S>> {
        self.mappings.get(&id)
    }

    pub(super) fn totals(&self) -> MappedSums {
        self.totals
    }

    pub(super) fn others(&self) -> MappedSums {
        self.others
    }

    pub(super) fn sites(&self) -> impl Iterator<Item = (S, MappedSums)> {
        self.sites.iter().map(|(site, sums)| (*site, *sums))
    }

    /// A new mapping, and its number.
    pub(super) fn open(&mut self, site: S, kind: Kind, born: Duration, bytes: u64) -> u64 {
        let known = self.sites.contains_key(&site) || self.sites.len() < MAX_SITES;
        let site = known.then_some(site);
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.mappings.insert(id, Mapping { site, kind, born, left: bytes });
        self.enter(site, kind, |sums| {
            sums.mapped = sums.mapped.saturating_add(1);
            sums.mapped_bytes = sums.mapped_bytes.saturating_add(bytes);
        });
        id
    }

    /// It became larger.
    pub(super) fn grow(&mut self, id: u64, bytes: u64) {
        let Some(mapping) = self.mappings.get_mut(&id) else { return };
        mapping.left = mapping.left.saturating_add(bytes);
        let Mapping { site, kind, .. } = *mapping;
        self.enter(site, kind, |sums| sums.mapped_bytes = sums.mapped_bytes.saturating_add(bytes));
    }

    /// Some of it is gone.
    pub(super) fn shrink(&mut self, id: u64, bytes: u64) {
        let Some(mapping) = self.mappings.get_mut(&id) else { return };
        mapping.left = mapping.left.saturating_sub(bytes);
        let Mapping { site, kind, left, .. } = *mapping;
        if left == 0 {
            self.mappings.remove(&id);
        }
        self.enter(site, kind, |sums| {
            sums.unmapped = sums.unmapped.saturating_add(u64::from(left == 0));
            sums.unmapped_bytes = sums.unmapped_bytes.saturating_add(bytes);
        });
    }

    /// What was taken for gone is not. `was`: the mapping as it was then.
    pub(super) fn restore(&mut self, id: u64, was: Mapping<S>, bytes: u64) {
        let gone = !self.mappings.contains_key(&id);
        let mapping = self.mappings.entry(id).or_insert(Mapping { left: 0, ..was });
        mapping.left = mapping.left.saturating_add(bytes);
        self.enter(was.site, was.kind, |sums| {
            sums.unmapped = sums.unmapped.saturating_sub(u64::from(gone));
            sums.unmapped_bytes = sums.unmapped_bytes.saturating_sub(bytes);
        });
    }

    /// Its memory was given back while it stays mapped.
    pub(super) fn give_back(&mut self, id: u64, bytes: u64) {
        let Some(Mapping { site, kind, .. }) = self.mappings.get(&id).copied() else { return };
        self.enter(site, kind, |sums| sums.given_back_bytes = sums.given_back_bytes.saturating_add(bytes));
    }

    /// Nothing more will be known of any of them.
    pub(super) fn forgo(&mut self) {
        for Mapping { site, kind, left, .. } in std::mem::take(&mut self.mappings).into_values() {
            self.enter(site, kind, |sums| {
                sums.forgone = sums.forgone.saturating_add(1);
                sums.forgone_bytes = sums.forgone_bytes.saturating_add(left);
            });
        }
    }

    fn enter(&mut self, site: Option<S>, kind: Kind, change: impl Fn(&mut MapCounts)) {
        change(self.totals.of(kind));
        match site {
            Some(site) => change(self.sites.entry(site).or_default().of(kind)),
            None => change(self.others.of(kind)),
        }
    }
}
