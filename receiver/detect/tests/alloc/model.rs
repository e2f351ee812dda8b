//! An address space as naively as it can be had: one entry a page. What the ledger says must be what this says.

use std::collections::BTreeMap;

use mlh_detect::alloc::{MapChange, MappedSums, Mappings};

pub(crate) const PAGE: u64 = 4096;
/// Pages below the heap, where mappings go.
pub(crate) const SPACE: usize = 256;
/// Pages the heap may grow to.
pub(crate) const HEAP: usize = 64;

pub(crate) const PROT_NONE: u32 = 0;
pub(crate) const PROT_RW: u32 = 3;
pub(crate) const PRIVATE: u32 = 0x2;
pub(crate) const ANONYMOUS: u32 = 0x20;
pub(crate) const FIXED: u32 = 0x10;
pub(crate) const NOREPLACE: u32 = 0x10_0000;
pub(crate) const REMAP_FIXED: u32 = 2;
pub(crate) const DONTUNMAP: u32 = 4;

/// 0: anonymous, 1: reserved, 2: a file.
type Kind = usize;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Page {
    Before,
    Served,
    /// The mapping's number.
    Of(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) site: u32,
    pub(crate) kind: Kind,
    pub(crate) pages: u64,
}

pub(crate) struct Model {
    pub(crate) pages: Vec<Option<Page>>,
    pub(crate) made: Vec<Made>,
    pub(crate) heap_end: usize,
}

pub(crate) fn address(page: usize) -> u64 {
    // Page 0 is no place for a mapping.
    (page as u64 + 16) * PAGE
}

impl Model {
    /// The first pages are from before, and so is half of the heap.
    pub(crate) fn new() -> Self {
        let mut pages = vec![None; SPACE + HEAP];
        pages[..20].fill(Some(Page::Before));
        pages[SPACE..SPACE + HEAP / 2].fill(Some(Page::Before));
        Self { pages, made: Vec::new(), heap_end: SPACE + HEAP / 2 }
    }

    pub(crate) fn make(&mut self, site: u32, kind: Kind, served: bool) -> Page {
        if served {
            return Page::Served;
        }
        self.made.push(Made { site, kind, pages: 0 });
        Page::Of(self.made.len() - 1)
    }

    pub(crate) fn fill(&mut self, from: usize, to: usize, page: Page) {
        if let Page::Of(number) = page {
            self.made[number].pages += (to - from) as u64;
        }
        self.pages[from..to].fill(Some(page));
    }

    pub(crate) fn clear(&mut self, from: usize, to: usize) {
        self.pages[from..to].fill(None);
    }

    pub(crate) fn site_of(&self, page: Page) -> Option<u32> {
        if let Page::Of(number) = page { Some(self.made[number].site) } else { None }
    }

    pub(crate) fn kind_of(&self, page: Option<Page>) -> Kind {
        if let Some(Page::Of(number)) = page { self.made[number].kind } else { 0 }
    }

    /// Of each mapping its first page that is left, and how many are.
    fn left(&self) -> Vec<(usize, u64)> {
        let mut left = vec![(0, 0); self.made.len()];
        for (page, of) in self.pages.iter().enumerate().rev() {
            if let Some(Page::Of(number)) = of {
                left[*number] = (page, left[*number].1 + 1);
            }
        }
        left
    }

    /// By site, and by kind: mapped, its bytes, unmapped, its bytes.
    fn sums(&self) -> BTreeMap<u32, [[u64; 4]; 3]> {
        let mut sums: BTreeMap<u32, [[u64; 4]; 3]> = BTreeMap::new();
        for (made, (_, live)) in self.made.iter().zip(self.left()) {
            let sums = &mut sums.entry(made.site).or_default()[made.kind];
            sums[0] += 1;
            sums[1] += made.pages * PAGE;
            sums[2] += u64::from(live == 0);
            sums[3] += (made.pages - live) * PAGE;
        }
        sums
    }

    fn served_bytes(&self) -> u64 {
        self.pages.iter().filter(|page| **page == Some(Page::Served)).count() as u64 * PAGE
    }

    /// Lowest address and bytes left of each anonymous mapping that is left, by site.
    fn blocks(&self) -> Vec<(u32, u64, u64)> {
        let left = self.made.iter().zip(self.left());
        let memory = left.filter(|(made, (_, pages))| made.kind == 0 && *pages > 0);
        let mut blocks: Vec<_> =
            memory.map(|(made, (page, pages))| (made.site, address(page), pages * PAGE)).collect();
        blocks.sort_unstable();
        blocks
    }

    /// What is mapped, as `/proc/PID/maps` has it.
    pub(crate) fn mapped(&self) -> Vec<std::ops::Range<u64>> {
        let mapped = |page: &usize| self.pages[*page].is_some();
        (0..self.pages.len()).filter(mapped).map(|page| address(page)..address(page + 1)).collect()
    }

    pub(crate) fn ledger(&self) -> Mappings<u32> {
        Mappings::new(PAGE, at(0), self.mapped(), Some(address(self.heap_end)))
    }

    /// Whether the ledger says the same, of each site and in all.
    pub(crate) fn check(&self, ledger: &Mappings<u32>, context: &str) {
        let parts = |sums: &MappedSums| {
            [sums.anonymous, sums.reserved, sums.file]
                .map(|counts| [counts.mapped, counts.mapped_bytes, counts.unmapped, counts.unmapped_bytes])
        };
        let told: BTreeMap<_, _> =
            ledger.sites(at(0)).map(|(site, mapped)| (site, parts(&mapped.sums))).collect();
        assert_eq!(told, self.sums(), "{context}");
        let total = self.sums().values().fold([[0; 4]; 3], |mut total, sums| {
            total.iter_mut().flatten().zip(sums.iter().flatten()).for_each(|(total, sum)| *total += sum);
            total
        });
        assert_eq!(parts(&ledger.totals()), total, "{context}");
        assert_eq!(ledger.served_bytes(), self.served_bytes(), "{context}");
        let mut blocks: Vec<_> =
            ledger.live().map(|(site, block)| (site, block.address, block.size)).collect();
        blocks.sort_unstable();
        assert_eq!(blocks, self.blocks(), "{context}");
    }
}

/// A moment, in milliseconds.
pub(crate) fn at(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}

/// What the kernel would tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) site: u32,
    pub(crate) change: MapChange,
    pub(crate) served: bool,
}

/// Draws a change that a kernel would let happen, makes it in the model, and says what would be told of it.
pub(crate) fn draw(random: &mut fastrand::Rng, model: &mut Model) -> Option<Told> {
    let site = random.u32(0..5);
    let served = random.u8(0..4) == 0;
    let length = random.usize(1..12);
    let from = random.usize(0..SPACE - length);
    let change = match random.u8(0..10) {
        0..=2 => map(random, model, site, served, (from, length))?,
        3..=5 => {
            model.clear(from, from + length);
            MapChange::Unmap { address: address(from), length: bytes(random, length) }
        }
        6 | 7 => remap(random, model, site, served, (from, length))?,
        8 => {
            let end = random.usize(SPACE + 4..SPACE + HEAP);
            if end > model.heap_end {
                let page = model.make(site, 0, served);
                model.fill(model.heap_end, end, page);
            } else {
                model.clear(end, model.heap_end);
            }
            model.heap_end = end;
            MapChange::Break { to: address(end) - random.u64(0..PAGE) }
        }
        _ => MapChange::Advise { address: address(from), length: bytes(random, length), advice: 4 },
    };
    Some(Told { site, change, served })
}

/// Any length that makes so many pages.
fn bytes(random: &mut fastrand::Rng, pages: usize) -> u64 {
    pages as u64 * PAGE - random.u64(0..PAGE)
}

fn free(model: &Model, from: usize, length: usize) -> bool {
    from + length <= SPACE && model.pages[from..from + length].iter().all(Option::is_none)
}

/// A mapping drawn for this place, if it can be there.
pub(crate) fn map(
    random: &mut fastrand::Rng,
    model: &mut Model,
    site: u32,
    served: bool,
    (from, length): (usize, usize),
) -> Option<MapChange> {
    let place = match random.u8(0..3) {
        0 => FIXED,
        _ if !free(model, from, length) => return None,
        1 => FIXED | NOREPLACE,
        _ => 0,
    };
    let (kind, protection, flags) = *random.choice(&[
        (0, PROT_RW, PRIVATE | ANONYMOUS),
        (0, PROT_RW, 1 | ANONYMOUS),
        (1, PROT_NONE, PRIVATE | ANONYMOUS),
        (2, PROT_RW, PRIVATE),
    ])?;
    let page = model.make(site, kind, served);
    model.fill(from, from + length, page);
    Some(MapChange::Map {
        address: address(from),
        length: bytes(random, length),
        protection,
        flags: flags | place,
    })
}

fn remap(
    random: &mut fastrand::Rng,
    model: &mut Model,
    site: u32,
    served: bool,
    (from, length): (usize, usize),
) -> Option<MapChange> {
    if model.pages[from..from + length].iter().any(Option::is_none) {
        return None;
    }
    let old: Vec<_> = model.pages[from..from + length].to_vec();
    let (wanted, leave) = (random.usize(1..12), random.u8(0..5) == 0);
    let wanted = if leave { length } else { wanted };
    let to = random.usize(0..SPACE - wanted);
    let apart = to + wanted <= from || from + length <= to;
    let in_place =
        !leave && wanted != length && (wanted < length || free(model, from + length, wanted - length));
    let (to, flags) = match random.u8(0..3) {
        0 if in_place => (from, 1),
        1 if free(model, to, wanted) => (to, 1),
        2 if apart => (to, 1 | REMAP_FIXED),
        _ => return None,
    };
    let told = MapChange::Remap {
        old: address(from),
        old_length: if leave && random.bool() { 0 } else { bytes(random, length) },
        new: address(to),
        new_length: bytes(random, wanted),
        flags: if leave { flags | DONTUNMAP } else { flags },
    };
    if leave {
        let served = served || old[0] == Some(Page::Served);
        let kind = model.kind_of(old[0]);
        let page = model.make(site, kind, served);
        model.fill(to, to + wanted, page);
        return Some(told);
    }
    model.clear(from, from + length);
    model.clear(to, to + wanted);
    for (place, page) in old.iter().take(wanted).enumerate() {
        model.pages[to + place] = *page;
    }
    if wanted > length {
        let last = old[length - 1]?;
        let page = match last {
            Page::Of(_) if !served && model.site_of(last) == Some(site) => last,
            _ => {
                let kind = model.kind_of(Some(last));
                model.make(site, kind, served || last == Page::Served)
            }
        };
        model.fill(to + length, to + wanted, page);
    }
    Some(told)
}
