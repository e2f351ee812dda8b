//! The ledger of mappings, case by case.

use std::iter::once;

use mlh_detect::alloc::{MapChange, Mappings};

use crate::model::{ANONYMOUS, DONTUNMAP, FIXED, NOREPLACE, PAGE, PRIVATE, PROT_NONE, PROT_RW, at};

const BASE: u64 = 0x7f00_0000_0000;
const HEAP: u64 = 0x5500_0000_0000;
/// Call sites.
const ONE: u32 = 1;
const OTHER: u32 = 2;

fn empty() -> Mappings<u32> {
    Mappings::new(PAGE, at(0), [], Some(HEAP))
}

fn page(number: u64) -> u64 {
    BASE + number * PAGE
}

fn map(first: u64, pages: u64) -> MapChange {
    MapChange::Map {
        address: page(first),
        length: pages * PAGE,
        protection: PROT_RW,
        flags: PRIVATE | ANONYMOUS,
    }
}

fn with_flags(change: MapChange, more: u32) -> MapChange {
    match change {
        MapChange::Map { address, length, protection, flags } => {
            MapChange::Map { address, length, protection, flags: flags | more }
        }
        other => other,
    }
}

fn unmap(first: u64, pages: u64) -> MapChange {
    MapChange::Unmap { address: page(first), length: pages * PAGE }
}

fn remap(old: (u64, u64), new: (u64, u64), flags: u32) -> MapChange {
    MapChange::Remap {
        old: page(old.0),
        old_length: old.1 * PAGE,
        new: page(new.0),
        new_length: new.1 * PAGE,
        flags,
    }
}

/// Live anonymous mappings of a site and their pages.
fn live(ledger: &Mappings<u32>, site: u32) -> (u64, u64) {
    let of = ledger.sites(at(0)).find(|(key, _)| *key == site).map(|(_, mapped)| mapped.sums.anonymous);
    of.map_or((0, 0), |counts| (counts.live(), counts.live_bytes() / PAGE))
}

fn told(changes: &[(u32, MapChange)]) -> Mappings<u32> {
    let mut ledger = empty();
    for (step, (site, change)) in changes.iter().enumerate() {
        ledger.apply(at(step as u64 + 1), *site, *change, false);
    }
    ledger
}

/// Guarantees: lengths count in whole pages, of the size the mapping has: huge ones too.
#[test]
fn whole_pages() {
    let mut ledger = empty();
    let one = MapChange::Map { address: page(0), length: 1, protection: PROT_RW, flags: PRIVATE | ANONYMOUS };
    ledger.apply(at(1), ONE, one, false);
    assert_eq!(ledger.totals().anonymous.live_bytes(), PAGE);
    for (bits, size) in [(0, 2 << 20), (21 << 26, 2 << 20), (30 << 26, 1 << 30)] {
        let mut ledger = empty();
        ledger.apply(at(1), ONE, with_flags(one, 0x4_0000 | bits), false);
        assert_eq!(ledger.totals().anonymous.live_bytes(), size);
    }
}

/// Guarantees: a mapping counts as one until its last page is gone, however it is cut.
#[test]
fn a_mapping_is_cut() {
    let mut ledger = told(&[(ONE, map(0, 10)), (OTHER, unmap(3, 2)), (OTHER, unmap(0, 1))]);
    assert_eq!(live(&ledger, ONE), (1, 7));
    let blocks: Vec<_> = ledger.live().map(|(_, block)| (block.address, block.size, block.born)).collect();
    assert_eq!(blocks, [(page(1), 7 * PAGE, at(1))]);
    ledger.apply(at(9), OTHER, unmap(0, 10), false);
    assert_eq!(live(&ledger, ONE), (0, 0));
    assert_eq!(ledger.totals().anonymous.unmapped, 1);
    assert_eq!(ledger.totals().anonymous.unmapped_bytes, 10 * PAGE);
}

/// Guarantees: one unmap takes away all it covers, whoever made it.
#[test]
fn an_unmap_covers_many() {
    let ledger = told(&[(ONE, map(0, 4)), (OTHER, map(4, 4)), (ONE, map(10, 4)), (ONE, unmap(2, 10))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((2, 4), (0, 0)));
}

/// Guarantees: a fixed mapping takes the place of what was there; with `MAP_FIXED_NOREPLACE` nothing can have been there, so
/// its unmapping is still to be heard and is not taken for the new one's.
#[test]
fn fixed() {
    let over = with_flags(map(2, 4), FIXED);
    let ledger = told(&[(ONE, map(0, 8)), (OTHER, over), (ONE, unmap(0, 8))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((0, 0), (0, 0)));
    let over = with_flags(map(2, 4), FIXED | NOREPLACE);
    let ledger = told(&[(ONE, map(0, 8)), (OTHER, over), (ONE, unmap(0, 8))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((0, 0), (1, 4)));
}

/// Guarantees: what `mremap` keeps stays its maker's and keeps its age, what it adds is the caller's, what it cuts is gone.
#[test]
fn remapped() {
    let ledger = told(&[(ONE, map(0, 4)), (OTHER, remap((0, 4), (100, 6), 1))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 4), (1, 2)));
    let born: Vec<_> = ledger.live().map(|(site, block)| (site, block.address, block.born)).collect();
    assert_eq!(born, [(ONE, page(100), at(1)), (OTHER, page(104), at(2))]);
    // a buffer that one place maps and another grows, step by step
    let mut steps = vec![(ONE, map(0, 4))];
    steps.extend((0..100).map(|step| (OTHER, remap((0, 4 + step), (0, 5 + step), 1))));
    let ledger = told(&steps);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 4), (1, 100)));
    let ledger = told(&[(ONE, map(0, 8)), (OTHER, remap((0, 8), (0, 3), 0))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 3), (0, 0)));
    // moved over something else
    let ledger = told(&[(ONE, map(0, 4)), (OTHER, map(8, 6)), (ONE, remap((0, 4), (9, 4), 1 | 2))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 4), (1, 2)));
    // the new place overlaps the old one: no kernel does that, and it must not matter
    let ledger = told(&[(ONE, map(0, 4)), (ONE, remap((0, 4), (2, 4), 1)), (ONE, unmap(2, 4))]);
    assert_eq!(live(&ledger, ONE), (0, 0));
}

/// Guarantees: where `mremap` leaves the old mapping, there are two.
#[test]
fn duplicated() {
    for (old_length, flags) in [(0, 1), (4, 1 | DONTUNMAP)] {
        let ledger = told(&[(ONE, map(0, 4)), (OTHER, remap((0, old_length), (100, 4), flags))]);
        assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 4), (1, 4)));
    }
}

/// Guarantees: the heap's growth belongs to whoever grew it, counted from where it ended at first, and shrinks from its end.
#[test]
fn the_heap() {
    let to = |bytes: u64| MapChange::Break { to: HEAP + bytes };
    let ledger = told(&[(ONE, to(10 * PAGE)), (OTHER, to(13 * PAGE + 1)), (ONE, to(12 * PAGE))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 10), (1, 2)));
    let ledger = told(&[(ONE, to(10 * PAGE)), (OTHER, to(0)), (OTHER, to(2 * PAGE))]);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((0, 0), (1, 2)));
    // an older one that comes late does not shrink it
    let mut ledger = empty();
    ledger.apply(at(2), ONE, to(10 * PAGE), false);
    ledger.apply(at(1), OTHER, to(4 * PAGE), false);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 10), (0, 0)));
    // the kernel does not say where it ends: where it was
    ledger.reconcile(at(3), once(HEAP..HEAP + 10 * PAGE), None);
    ledger.apply(at(4), OTHER, to(11 * PAGE), false);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 10), (1, 1)));
    // no end is known: the first change says where it is
    let mut ledger = Mappings::new(PAGE, at(0), [], None);
    ledger.apply(at(1), ONE, to(10 * PAGE), false);
    ledger.apply(at(2), OTHER, to(12 * PAGE), false);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((0, 0), (1, 2)));
}

/// Guarantees: reservations and files are counted apart from memory, also when they are cut or grown.
#[test]
fn kinds_apart() {
    let reserved = MapChange::Map {
        address: page(0),
        length: 1000 * PAGE,
        protection: PROT_NONE,
        flags: PRIVATE | ANONYMOUS,
    };
    let file = MapChange::Map { address: page(2000), length: 5 * PAGE, protection: PROT_RW, flags: PRIVATE };
    let committed = with_flags(map(10, 20), FIXED);
    let ledger =
        told(&[(ONE, reserved), (ONE, file), (ONE, committed), (ONE, remap((2000, 5), (2000, 6), 0))]);
    let sums = ledger.totals();
    let pages = [sums.anonymous, sums.reserved, sums.file].map(|counts| counts.live_bytes() / PAGE);
    assert_eq!(pages, [20, 980, 6]);
    assert_eq!(sums.all().live_bytes(), 1006 * PAGE);
    assert_eq!(ledger.live().count(), 1, "only memory can leak");
}

/// Guarantees: what serves an allocation is never counted, not even once it is moved, grown or cut; what was there before
/// is not either.
#[test]
fn served_and_from_before() {
    let mut ledger = Mappings::new(PAGE, at(0), once(page(50)..page(60)), None);
    ledger.apply(at(1), ONE, map(0, 4), true);
    assert_eq!(ledger.served_bytes(), 4 * PAGE);
    ledger.apply(at(2), ONE, remap((0, 4), (20, 8), 1), false);
    assert_eq!(ledger.served_bytes(), 8 * PAGE);
    ledger.apply(at(3), ONE, unmap(20, 3), true);
    assert_eq!(ledger.served_bytes(), 5 * PAGE);
    ledger.apply(at(4), ONE, unmap(50, 10), false);
    assert_eq!(ledger.totals(), Default::default());
    assert_eq!(ledger.sites(at(4)).count(), 0);
}

/// Guarantees: memory that was given back stays mapped, and is noted for whoever mapped it.
#[test]
fn advice() {
    let advise = |advice| MapChange::Advise { address: page(2), length: 4 * PAGE, advice };
    for (advice, noted) in [(4, 2), (8, 2), (9, 2), (24, 2), (0, 0), (14, 0), (20, 0)] {
        let ledger = told(&[(ONE, map(0, 4)), (OTHER, advise(advice))]);
        let anonymous = ledger.totals().anonymous;
        assert_eq!((anonymous.live_bytes(), anonymous.given_back_bytes), (4 * PAGE, noted * PAGE));
    }
}

/// Guarantees: ages are those of mappings that are left.
#[test]
fn ages() {
    let mut ledger = empty();
    for (born, first) in [(0, 0), (55, 10), (95, 20), (99, 30)] {
        ledger.apply(at(born * 1000), ONE, map(first, 1 + first / 10), false);
    }
    ledger.apply(at(100_000), OTHER, unmap(30, 31), false);
    let ages = ledger.sites(at(100_000)).find(|(site, _)| *site == ONE).map(|(_, mapped)| mapped.ages);
    let ages = ages.unwrap();
    assert_eq!(ages.counts, [0, 1, 0, 1, 1, 0]);
    assert_eq!((ages.oldest, ages.largest), (at(100_000), 3 * PAGE));
}

/// Guarantees: after a gap in which nobody told of changes nothing from before it is held, and what is unmapped of that later is
/// nobody's; what was counted until then stays.
#[test]
fn a_gap() {
    let mut ledger = empty();
    ledger.apply(at(1), ONE, map(0, 4), false);
    ledger.apply(at(2), ONE, map(10, 2), false);
    ledger.apply(at(3), ONE, unmap(10, 2), false);
    ledger.apply(at(3), OTHER, MapChange::Break { to: HEAP + 3 * PAGE }, false);
    ledger.begin_anew(at(10), once(page(0)..page(4)), Some(HEAP + 5 * PAGE));
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((0, 0), (0, 0)));
    let sums = ledger.totals().anonymous;
    assert_eq!((sums.mapped, sums.unmapped, sums.forgone), (3, 1, 2));
    assert_eq!((sums.forgone_bytes / PAGE, ledger.live().count()), (7, 0));
    ledger.apply(at(11), ONE, unmap(0, 4), false);
    ledger.apply(at(12), OTHER, MapChange::Break { to: HEAP + 6 * PAGE }, false);
    ledger.apply(at(12), ONE, map(20, 1), false);
    assert_eq!((live(&ledger, ONE), live(&ledger, OTHER)), ((1, 1), (1, 1)));
    assert_eq!(ledger.totals().anonymous.unmapped, 1);
}
