//! Changes that are heard in another order than they happened in.

use mlh_detect::alloc::{MapChange, Mappings};

use crate::model::{
    ANONYMOUS, FIXED, Model, NOREPLACE, PAGE, PRIVATE, PROT_RW, Page, Told, address, at, draw, map as map_at,
};

/// A thread may be held up between its system call and the telling of it; what it has unmapped can be mapped by another
/// one and told first. What it has mapped cannot be used by another one before it is told. Who unmaps pages that are not
/// mapped while others map is in error.
fn may_be_late(told: &Told, before: &[Option<Page>]) -> bool {
    match told.change {
        MapChange::Unmap { address: start, length } => {
            let is_covered = |page: &usize| (start..start + length).contains(&address(*page));
            (0..before.len()).filter(is_covered).all(|page| before[page].is_some())
        }
        MapChange::Remap { .. } => true,
        _ => false,
    }
}

fn may_overtake(told: &Told) -> bool {
    match told.change {
        MapChange::Map { flags, .. } => flags & FIXED == 0 || flags & NOREPLACE != 0,
        _ => false,
    }
}

/// The pages it has unmapped.
fn unmapped(told: &Told) -> Option<(usize, usize)> {
    let (start, length) = match told.change {
        MapChange::Unmap { address, length } => (address, length),
        MapChange::Remap { old, old_length, .. } => (old, old_length),
        _ => return None,
    };
    let page = |at: u64| ((at - address(0)) / PAGE) as usize;
    Some((page(start), page(start + length.max(1) - 1) + 1))
}

fn reuses(told: &Told, late: Option<&Told>) -> bool {
    let MapChange::Map { address: start, .. } = told.change else { return false };
    let Some((from, to)) = late.and_then(unmapped) else { return false };
    (address(from)..address(to)).contains(&start)
}

/// Guarantees: unmaps and moves that are told behind mappings of the same pages leave the ledger as if they had come in order.
#[test]
fn late_unmaps() {
    let mut overtaken = 0;
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::new();
        let mut ledger = model.ledger();
        let mut late: Vec<Told> = Vec::new();
        let mut now = 10;
        let mut tell = |told: Told| {
            now += 1;
            ledger.apply(at(now), told.site, told.change, told.served);
        };
        for _ in 0..300 {
            let before = model.pages.clone();
            let told = match late.first().and_then(unmapped) {
                Some((start, end)) if random.bool() => {
                    let place = (random.usize(start..end), random.usize(1..4));
                    let change = map_at(&mut random, &mut model, 7, false, place);
                    change.map(|change| Told { site: 7, change, served: false })
                }
                _ => draw(&mut random, &mut model),
            };
            let Some(told) = told else { continue };
            if may_overtake(&told) {
                overtaken += usize::from(reuses(&told, late.first()));
                tell(told);
            } else if late.is_empty() && may_be_late(&told, &before) {
                late.push(told);
            } else {
                late.drain(..).for_each(&mut tell);
                tell(told);
            }
        }
        late.drain(..).for_each(&mut tell);
        model.check(&ledger, &format!("seed {seed}"));
    }
    assert!(overtaken > 200, "{overtaken}");
}

fn map(first: usize) -> MapChange {
    MapChange::Map {
        address: address(first),
        length: 4 * PAGE,
        protection: PROT_RW,
        flags: PRIVATE | ANONYMOUS,
    }
}

fn unmap(first: usize) -> MapChange {
    MapChange::Unmap { address: address(first), length: 4 * PAGE }
}

fn live(ledger: &Mappings<u32>) -> u64 {
    ledger.totals().anonymous.live()
}

/// Guarantees: pages that are mapped twice over are owed twice, and each late unmap settles one.
#[test]
fn owed_twice() {
    let mut ledger = Mappings::new(PAGE, at(0), [], None);
    for (step, change) in [map(0), map(0), map(0), unmap(0), unmap(0)].into_iter().enumerate() {
        ledger.apply(at(step as u64 + 1), 1, change, false);
    }
    assert_eq!(live(&ledger), 1);
    ledger.apply(at(9), 1, unmap(0), false);
    assert_eq!(live(&ledger), 0);
}

/// Guarantees: an unmap that was never told is not waited for: after a second the next one is what it says.
#[test]
fn patience_ends() {
    for (later, left) in [(900, 1), (1100, 0)] {
        let mut ledger = Mappings::new(PAGE, at(0), [], None);
        ledger.apply(at(1), 1, map(0), false);
        ledger.apply(at(2), 2, map(0), false);
        assert_eq!(live(&ledger), 1);
        ledger.apply(at(2 + later), 1, unmap(0), false);
        assert_eq!(live(&ledger), left);
    }
}

/// Guarantees: a mapping that was made after the probes were in place and before the kernel was asked what is mapped counts,
/// and so does its end.
#[test]
fn told_twice_at_the_start() {
    let mapped = std::iter::once(address(0)..address(4));
    let mut ledger = Mappings::new(PAGE, at(10), mapped, None);
    ledger.apply(at(9), 1, map(0), false);
    assert_eq!(live(&ledger), 1);
    ledger.apply(at(11), 1, unmap(0), false);
    assert_eq!(live(&ledger), 0);
}

/// Guarantees: what was mapped while the kernel's answer was on its way is not taken for gone.
#[test]
fn made_since_the_kernel_was_asked() {
    for (born, left) in [(9, 0), (11, 1)] {
        let mut ledger = Mappings::new(PAGE, at(0), [], None);
        ledger.apply(at(born), 1, map(0), false);
        ledger.reconcile(at(10), [], None);
        assert_eq!(live(&ledger), left);
    }
}

/// Guarantees: a flood of mappings over each other costs bounded room and time.
#[test]
fn many_debts() {
    let mut ledger = Mappings::new(PAGE, at(0), [], None);
    for _ in 0..20_000 {
        ledger.apply(at(1), 1, map(0), false);
    }
    for _ in 0..20_000 {
        ledger.apply(at(1), 1, unmap(0), false);
    }
    assert_eq!(live(&ledger), 0);
}
