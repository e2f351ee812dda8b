//! The ledger of one address space: what was mapped since the look began, by whom, and what is left of it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use super::block::{Ages, Block, ages};
use super::book::{Book, Mapping};
use super::change::{
    Kind, MapChange, gives_back, kind, leaves_old, pages, remap_replaces, replaces, round_up, unit,
};
use super::debts::Debts;
use super::regions::{Piece, Regions};
use super::sums::MappedSums;

/// Regions that are known at once, as many as the kernel allows a process by default. With 7 MB the ledger is full.
const MAX_REGIONS: usize = 65_536;
/// Regions that the kernel may tell of; an address space with more is not reconciled.
const MAX_MAPPED: usize = 1 << 20;
const DEFAULT_PAGE: u64 = 4096;

/// Whose a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It was there before, or is there and nobody has told of it. Not counted.
    Before,
    /// An allocator's, for blocks that are counted by themselves.
    Served,
    /// A mapping of the [`Book`].
    Mapping(u64),
}

/// What was taken for gone, and what the book said of it then.
type Owed<S> = (Owner, Option<Mapping<S>>);

/// What a call site has mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MappedSite {
    /// All it has done.
    pub sums: MappedSums,
    /// Of its anonymous mappings that are left, each by what is left of it. One that grew is as old as it was before.
    pub ages: Ages,
}

/// See the module. A mapping counts for whoever made it, until its last page is gone; growth by `mremap` counts for whoever
/// made it grow. A region from before is known, not counted, and so is what serves an allocation.
#[derive(Debug, Clone)]
pub struct Mappings<S> {
    page_size: u64,
    regions: Regions<Owner>,
    debts: Debts<Owed<S>>,
    book: Book<S>,
    /// Where the heap ends, once known, and since when.
    heap_end: Option<u64>,
    heap_since: Duration,
    /// When the kernel was asked last what is mapped.
    seen: Duration,
    max_regions: usize,
    unfitted: u64,
    lost: bool,
}

impl<S: Copy + Eq + Hash> Mappings<S> {
    /// An address space with pages of `page_size` bytes, what was mapped there when it was read, and where its heap
    /// (`[heap]`) ended: `None` where it had none; then growth of the heap counts from its first change on. `at`: when reading
    /// was done. Changes that are older may be in it already, and may be applied all the same.
    pub fn new(
        page_size: u64,
        at: Duration,
        mapped: impl IntoIterator<Item = Range<u64>>,
        heap_end: Option<u64>,
    ) -> Self {
        let page_size = if page_size.is_power_of_two() { page_size } else { DEFAULT_PAGE };
        let mut ledger = Self {
            page_size,
            regions: Regions::new(),
            debts: Debts::new(),
            book: Book::new(),
            heap_end: None,
            heap_since: Duration::ZERO,
            seen: Duration::ZERO,
            max_regions: MAX_REGIONS,
            unfitted: 0,
            lost: false,
        };
        ledger.reconcile(at, mapped, heap_end);
        ledger
    }

    /// With room for so many regions.
    #[must_use]
    pub fn with_max_regions(mut self, max_regions: usize) -> Self {
        self.max_regions = max_regions;
        self.regions.shorten(max_regions / 2);
        self
    }

    /// Watching begins anew after a gap in which nobody has told of changes. All that is mapped now, and where the heap ends, is from
    /// before, as with [`new`](Self::new); what had been mapped until the gap is counted as forgone.
    pub fn begin_anew(
        &mut self,
        at: Duration,
        mapped: impl IntoIterator<Item = Range<u64>>,
        heap_end: Option<u64>,
    ) {
        self.book.forgo();
        self.regions = Regions::new();
        self.debts = Debts::new();
        self.heap_end = None;
        self.reconcile(at, mapped, heap_end);
    }

    /// Takes a change. `serves_allocation`: an allocator made it for a block that is counted by itself.
    pub fn apply(&mut self, at: Duration, site: S, change: MapChange, serves_allocation: bool) {
        let maker = (!serves_allocation).then_some(site);
        match change {
            MapChange::Map { address, length, protection, flags } => {
                let unit = unit(self.page_size, flags);
                let Some((start, end)) = pages(address, length, unit, self.page_size) else { return };
                self.make_room(at, start, end, replaces(flags));
                self.place(at, maker, kind(protection, flags), start, end);
            }
            MapChange::Unmap { address, length } => {
                if let Some((start, end)) = self.pages(address, length) {
                    self.unmap(at, start, end);
                }
            }
            MapChange::Remap { old, old_length, new, new_length, flags } => {
                let Some((start, end)) = self.pages(new, new_length) else { return };
                if leaves_old(old_length, flags) {
                    self.duplicate(at, maker, old, (start, end), flags);
                } else {
                    self.remap(at, maker, self.pages(old, old_length), (start, end), flags);
                }
            }
            MapChange::Break { to } => self.move_break(at, maker, to),
            MapChange::Advise { address, length, advice } => {
                let Some((start, end)) = self.pages(address, length) else { return };
                for piece in self.regions.between(start, end).filter(|_| gives_back(advice)) {
                    if let Owner::Mapping(id) = piece.of {
                        self.book.give_back(id, piece.length());
                    }
                }
            }
        }
    }

    /// Changes were lost: a mapping may be missing, and one that is gone may still be there until
    /// [`reconcile`](Self::reconcile) has said otherwise.
    pub fn note_lost(&mut self) {
        self.lost = true;
    }

    /// There may be more than the ledger says: changes were lost, or there was no room for some.
    #[must_use]
    pub fn at_least(&self) -> bool {
        self.lost || self.unfitted > 0
    }

    /// Regions there was no room for.
    #[must_use]
    pub fn unfitted(&self) -> u64 {
        self.unfitted
    }

    /// All that is mapped and where the heap ends, read from the kernel: what is not there is gone, unless it was made later,
    /// and what was not known is from before. `at`: when reading was done. Changes to come may be older.
    pub fn reconcile(
        &mut self,
        at: Duration,
        mapped: impl IntoIterator<Item = Range<u64>>,
        heap_end: Option<u64>,
    ) {
        let mut there: Vec<_> = mapped.into_iter().take(MAX_MAPPED + 1).collect();
        if there.len() > MAX_MAPPED {
            self.lost = true;
            return;
        }
        self.seen = at;
        there.sort_unstable_by_key(|range| range.start);
        let mut behind = 0;
        for range in &there {
            self.miss(at, behind, range.start);
            behind = behind.max(range.end);
        }
        self.miss(at, behind, u64::MAX);
        for range in there {
            self.note(range.start, range.end);
        }
        self.heap_end = heap_end.map(|end| round_up(end, self.page_size)).or(self.heap_end);
    }

    /// What each call site has mapped.
    pub fn sites(&self, at: Duration) -> impl Iterator<Item = (S, MappedSite)> {
        let ages: HashMap<S, Ages> = ages(at, self.live());
        self.book.sites().map(move |(site, sums)| {
            (site, MappedSite { sums, ages: ages.get(&site).copied().unwrap_or_default() })
        })
    }

    /// What all have mapped.
    #[must_use]
    pub fn totals(&self) -> MappedSums {
        self.book.totals()
    }

    /// What those call sites have mapped that found no room.
    #[must_use]
    pub fn others(&self) -> MappedSums {
        self.book.others()
    }

    /// Bytes mapped since, and still so, that serve allocations.
    #[must_use]
    pub fn served_bytes(&self) -> u64 {
        let served = self.regions.iter().filter(|piece| piece.of == Owner::Served);
        served.fold(0, |sum, piece| sum.saturating_add(piece.length()))
    }

    /// Anonymous mappings that are left: their lowest address, and the bytes left of each.
    pub fn live(&self) -> impl Iterator<Item = (S, Block)> {
        let mut met = HashSet::new();
        self.regions.iter().filter_map(move |piece| {
            let Owner::Mapping(id) = piece.of else { return None };
            let mapping = self.book.get(id).filter(|mapping| mapping.kind == Kind::Anonymous)?;
            let block = Block { address: piece.start, size: mapping.left, weight: 1, born: mapping.born };
            met.insert(id).then_some((mapping.site?, block))
        })
    }

    fn pages(&self, address: u64, length: u64) -> Option<(u64, u64)> {
        pages(address, length, self.page_size, self.page_size)
    }

    /// The kernel had nothing there at that moment.
    fn miss(&mut self, at: Duration, start: u64, end: u64) {
        let known: Vec<_> = self.regions.between(start, end).collect();
        let later = |id| self.book.get(id).is_some_and(|mapping| mapping.born > at);
        let gone = known.into_iter().filter(|piece| !matches!(piece.of, Owner::Mapping(id) if later(id)));
        for piece in gone.collect::<Vec<_>>() {
            self.free(piece.start, piece.end);
        }
    }

    /// Makes known what is there and was not.
    fn note(&mut self, start: u64, end: u64) {
        let known: Vec<_> = self.regions.between(start, end).collect();
        let mut from = start;
        for (gap_end, next) in known.iter().map(|piece| (piece.start, piece.end)).chain([(end, end)]) {
            // Half of the room is for what is to come.
            if from < gap_end && self.regions.len() < self.max_regions / 2 {
                self.regions.put(Piece { start: from, end: gap_end, of: Owner::Before });
            }
            from = next;
        }
    }

    /// Something is now where other things may have been. Unless it `replaces` them, they were unmapped before, and that
    /// is still to be heard.
    fn make_room(&mut self, at: Duration, start: u64, end: u64, replaces: bool) {
        if replaces {
            return self.free(start, end);
        }
        for piece in self.take(start, end) {
            let was = match piece.of {
                Owner::Mapping(id) => self.book.get(id).copied(),
                Owner::Before | Owner::Served => None,
            };
            self.shrink(&piece);
            if piece.of == Owner::Before && at <= self.seen {
                // It is the thing itself: the kernel has told of it before the change was heard.
                continue;
            }
            self.debts.owe(at, Piece { start: piece.start, end: piece.end, of: (piece.of, was) });
        }
    }

    /// Enters what `maker` has made, where there is room; without a maker it serves an allocation.
    fn place(&mut self, at: Duration, maker: Option<S>, kind: Kind, start: u64, end: u64) {
        if self.regions.len() >= self.max_regions {
            self.unfitted = self.unfitted.saturating_add(1);
            return;
        }
        let of = match maker {
            Some(site) => Owner::Mapping(self.book.open(site, kind, at, end - start)),
            None => Owner::Served,
        };
        self.regions.put(Piece { start, end, of });
    }

    fn unmap(&mut self, at: Duration, start: u64, end: u64) {
        for (start, end) in self.debts.settle(at, start, end).1 {
            self.free(start, end);
        }
    }

    fn free(&mut self, start: u64, end: u64) {
        for piece in self.take(start, end) {
            self.shrink(&piece);
        }
    }

    fn shrink(&mut self, piece: &Piece<Owner>) {
        if let Owner::Mapping(id) = piece.of {
            self.book.shrink(id, piece.length());
        }
    }

    /// Takes out what lies between. If that cuts a region in two for which there is no room, its end is forgotten.
    fn take(&mut self, start: u64, end: u64) -> Vec<Piece<Owner>> {
        let pieces = self.regions.take(start, end);
        if self.regions.len() > self.max_regions
            && let Some(tail) = self.regions.beginning(end)
        {
            self.regions.take(tail.start, tail.end);
            self.shrink(&tail);
            self.unfitted = self.unfitted.saturating_add(1);
        }
        pieces
    }

    /// `mremap` that leaves the old mapping where it is: one more of the same kind.
    fn duplicate(&mut self, at: Duration, maker: Option<S>, old: u64, new: (u64, u64), flags: u32) {
        let source = self.regions.between(old, old.saturating_add(1)).next().map(|piece| piece.of);
        let kind = self.kind_of(source);
        self.make_room(at, new.0, new.1, remap_replaces(flags));
        self.place(at, maker.filter(|_| source != Some(Owner::Served)), kind, new.0, new.1);
    }

    /// `mremap` that moves, grows or shrinks: what is kept stays its maker's, what is new is the caller's.
    fn remap(
        &mut self,
        at: Duration,
        maker: Option<S>,
        old: Option<(u64, u64)>,
        new: (u64, u64),
        flags: u32,
    ) {
        let Some((old_start, old_end)) = old else { return };
        let pieces = self.withdraw(at, old_start, old_end);
        self.make_room(at, new.0, new.1, remap_replaces(flags));
        let length = new.1 - new.0;
        for piece in &pieces {
            // Cut to the new length; what is beyond is gone.
            let (from, to) = (piece.start - old_start, piece.end - old_start);
            let kept = to.min(length);
            if from < kept {
                self.regions.put(Piece { start: new.0 + from, end: new.0 + kept, of: piece.of });
            }
            if from.max(kept) < to {
                self.shrink(&Piece { start: from.max(kept), end: to, of: piece.of });
            }
        }
        let grown = new.0.saturating_add(old_end - old_start);
        if grown >= new.1 {
            return;
        }
        let owner = pieces.last().map(|piece| piece.of);
        let own =
            |id: &u64| maker.is_some() && self.book.get(*id).is_some_and(|mapping| mapping.site == maker);
        match owner {
            Some(Owner::Mapping(id)) if own(&id) => {
                self.book.grow(id, new.1 - grown);
                self.regions.put(Piece { start: grown, end: new.1, of: Owner::Mapping(id) });
            }
            _ => {
                let maker = maker.filter(|_| owner != Some(Owner::Served));
                self.place(at, maker, self.kind_of(owner), grown, new.1);
            }
        }
    }

    /// Takes out what is to be moved, also what was taken for gone because something is there already.
    fn withdraw(&mut self, at: Duration, start: u64, end: u64) -> Vec<Piece<Owner>> {
        let (owed, open) = self.debts.settle(at, start, end);
        let mut pieces = Vec::new();
        for Piece { start, end, of: (of, was) } in owed {
            if let (Owner::Mapping(id), Some(was)) = (of, was) {
                self.book.restore(id, was, end - start);
            }
            pieces.push(Piece { start, end, of });
        }
        for (start, end) in open {
            pieces.extend(self.take(start, end));
        }
        pieces.sort_unstable_by_key(|piece| piece.start);
        pieces
    }

    /// What a region is of. Of what was there before it is not known: taken for memory.
    fn kind_of(&self, owner: Option<Owner>) -> Kind {
        match owner {
            Some(Owner::Mapping(id)) => self.book.get(id).map_or(Kind::Anonymous, |mapping| mapping.kind),
            _ => Kind::Anonymous,
        }
    }

    fn move_break(&mut self, at: Duration, maker: Option<S>, to: u64) {
        // One that comes late is not the last word.
        if at < self.heap_since {
            return;
        }
        self.heap_since = at;
        let to = round_up(to, self.page_size);
        match self.heap_end.replace(to) {
            Some(end) if end < to => {
                self.make_room(at, end, to, false);
                self.place(at, maker, Kind::Anonymous, end, to);
            }
            Some(end) if to < end => self.unmap(at, to, end),
            _ => {}
        }
    }
}
