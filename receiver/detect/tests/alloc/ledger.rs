//! The ledger of mappings against the naive model, against loss, against its bounds, and against what no kernel would say.

use mlh_detect::alloc::{MapChange, Mappings};

use crate::model::{ANONYMOUS, Model, PAGE, PRIVATE, PROT_RW, address, at, draw};

/// Guarantees: whatever the program does, what the ledger says of each site is what a page by page account says.
#[test]
fn as_the_model_says() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::new();
        let mut ledger = model.ledger();
        for step in 1..200 {
            let Some(told) = draw(&mut random, &mut model) else { continue };
            // Two seconds apart: nothing is taken for late.
            ledger.apply(at(step * 2000), told.site, told.change, told.served);
            model.check(&ledger, &format!("seed {seed}, step {step}: {told:?}"));
        }
        assert!(!ledger.at_least());
    }
}

/// Guarantees: after losses, asking the kernel once makes the ledger a lower bound: nothing that is gone counts any more, and
/// it stays one whatever follows.
#[test]
fn lost_changes() {
    let mut hidden = 0;
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::new();
        let mut ledger = model.ledger();
        for step in 1..300 {
            if step == 200 {
                ledger.reconcile(at(step * 2000), model.mapped(), Some(address(model.heap_end)));
            }
            let Some(told) = draw(&mut random, &mut model) else { continue };
            if step < 200 && random.u8(0..4) == 0 {
                ledger.note_lost();
            } else {
                ledger.apply(at(step * 2000), told.site, told.change, told.served);
            }
            if step < 200 {
                continue;
            }
            let mapped = model.mapped();
            let left: u64 = ledger.live().map(|(_, block)| block.size).sum();
            let is_mapped = |at: u64| mapped.iter().any(|range| range.contains(&at));
            assert!(ledger.live().all(|(_, block)| is_mapped(block.address)), "seed {seed}, step {step}");
            assert!(left <= mapped.len() as u64 * PAGE);
            hidden += u64::from(left < mapped.len() as u64 * PAGE);
        }
        assert!(ledger.at_least());
    }
    assert!(hidden > 0);
}

/// Guarantees: beyond its room the ledger grows no further, says so, and what it has still comes to nothing when all is
/// unmapped.
#[test]
fn bounded() {
    let mut ledger: Mappings<u64> = Mappings::new(PAGE, at(0), [], None);
    let map = |number: u64| MapChange::Map {
        address: (2 * number + 16) * PAGE,
        length: PAGE,
        protection: PROT_RW,
        flags: PRIVATE | ANONYMOUS,
    };
    for number in 0..70_000 {
        ledger.apply(at(number), number, map(number), false);
    }
    assert_eq!(ledger.totals().anonymous.mapped, 65_536);
    assert_eq!(ledger.unfitted(), 70_000 - 65_536);
    assert!(ledger.at_least());
    assert_eq!(ledger.sites(at(0)).count(), 16_384, "sites are bounded as well");
    assert_eq!(ledger.others().anonymous.mapped, 65_536 - 16_384);
    // A single large mapping in a full ledger, cut into more pieces than there is room for.
    let mut ledger: Mappings<u64> = Mappings::new(PAGE, at(0), [], None).with_max_regions(100);
    let large =
        MapChange::Map { address: 16 * PAGE, length: 4000 * PAGE, protection: PROT_RW, flags: ANONYMOUS };
    ledger.apply(at(0), 1, large, false);
    for hole in 0..1000 {
        let address = (16 + 4 * hole + 1) * PAGE;
        ledger.apply(at(hole), 1, MapChange::Unmap { address, length: PAGE }, false);
    }
    assert!(ledger.at_least());
    assert!(ledger.totals().anonymous.live_bytes() <= 3 * 100 * PAGE);
    ledger.apply(at(1), 1, MapChange::Unmap { address: 0, length: 8000 * PAGE }, false);
    assert_eq!(ledger.totals().anonymous.live_bytes(), 0);
    assert_eq!(ledger.totals().anonymous.live(), 0);
}

/// Guarantees: numbers that no kernel says do no harm: no panic, no overflow, and what is left is never more than what was
/// mapped.
#[test]
fn hostile() {
    let odd =
        [0, 1, PAGE - 1, PAGE, 16 * PAGE, 1 << 47, 1 << 63, u64::MAX - PAGE, u64::MAX - 1, u64::MAX, 12_345];
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let page_size = *random.choice(&[PAGE, 65_536, 0, 3]).unwrap();
        let number = |random: &mut fastrand::Rng| {
            if random.bool() { odd[random.usize(..odd.len())] } else { random.u64(..) }
        };
        let ranges: Vec<_> = (0..20).map(|_| number(&mut random)..number(&mut random)).collect();
        let mut ledger = Mappings::new(page_size, at(5), ranges.clone(), Some(number(&mut random)));
        for step in 0..400 {
            let (address, length) = (number(&mut random), number(&mut random));
            let change = match random.u8(0..5) {
                0 => MapChange::Map { address, length, protection: random.u32(0..2), flags: random.u32(..) },
                1 => MapChange::Unmap { address, length },
                2 => {
                    let (new, new_length) = (number(&mut random), number(&mut random));
                    let flags = random.u32(0..8);
                    MapChange::Remap { old: address, old_length: length, new, new_length, flags }
                }
                3 => MapChange::Break { to: address },
                _ => MapChange::Advise { address, length, advice: random.u32(0..30) },
            };
            ledger.apply(at(random.u64(0..3000)), random.u32(0..3), change, random.bool());
            if step % 100 == 99 {
                ledger.reconcile(at(random.u64(0..3000)), ranges.clone(), None);
            }
            let all = ledger.totals().all();
            assert!(all.unmapped_bytes <= all.mapped_bytes && all.unmapped <= all.mapped);
            let left: u128 = ledger.live().map(|(_, block)| u128::from(block.size)).sum();
            assert!(left <= u128::from(u64::MAX));
        }
        let everything = MapChange::Unmap { address: 0, length: u64::MAX };
        // Twice: the first may settle debts.
        ledger.apply(at(60_000), 0, everything, false);
        ledger.apply(at(90_000), 0, everything, false);
        assert!(ledger.live().count() <= 1, "at most the very last page, which no length reaches");
    }
}
