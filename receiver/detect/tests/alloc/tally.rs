//! What call sites do over time.

use mlh_detect::alloc::{Block, Counts, SiteTotals, Tally, ages};

use crate::model::at;

fn totals(allocated_bytes: u64, freed_bytes: u64) -> SiteTotals {
    let exact = Counts {
        allocated: allocated_bytes / 100,
        allocated_bytes,
        freed: freed_bytes / 100,
        freed_bytes,
        ..Counts::default()
    };
    SiteTotals { exact, ..SiteTotals::default() }
}

fn rates(tally: &Tally<u32>, site: u32) -> (f64, f64) {
    let evidence = tally.site(&site).unwrap_or_default();
    (evidence.allocation_rate.round(), evidence.free_rate.round())
}

/// Guarantees: rates are of the last minute, of less while the look is young, and forget what was before.
#[test]
fn rates_of_the_last_minute() {
    let mut tally = Tally::new(at(100_000), 1);
    tally.snapshot(at(100_000), [(1, totals(0, 0))]);
    assert_eq!(rates(&tally, 1), (0.0, 0.0));
    for second in 1..=200_u64 {
        // 1,000 B/s for 100 s, then 3,000 B/s; freed 500 B/s
        let allocated = 1000 * second.min(100) + 3000 * second.saturating_sub(100);
        tally.snapshot(at(100_000 + second * 1000), [(1, totals(allocated, 500 * second))]);
        match second {
            1..=100 => assert_eq!(rates(&tally, 1), (1000.0, 500.0), "{second}"),
            101..=160 => assert!((1000.0..=3000.0).contains(&rates(&tally, 1).0), "{second}"),
            _ => assert_eq!(rates(&tally, 1), (3000.0, 500.0), "{second}"),
        }
    }
}

/// Guarantees: a site that appears later had done nothing before; one that a snapshot does not show keeps what it had, and
/// comes to rest.
#[test]
fn sites_come_and_go() {
    let mut tally = Tally::new(at(0), 1);
    for second in 1..=30 {
        tally.snapshot(at(second * 1000), [(1, totals(100 * second, 0))]);
    }
    tally.snapshot(at(31_000), [(2, totals(31_000, 0))]);
    assert_eq!(rates(&tally, 2), (1000.0, 0.0));
    for second in 32..=130 {
        tally.snapshot(at(second * 1000), []);
    }
    let evidence = tally.site(&1).unwrap();
    assert_eq!((evidence.estimate.live_bytes, evidence.allocation_rate), (3000, 0.0));
    assert_eq!(tally.total().live_bytes, 34_000);
    tally.retain(|site| *site != 1);
    assert_eq!(tally.site(&1), None);
    assert_eq!(tally.evidence().count(), 1);
}

/// Guarantees: where snapshots are rarer than a minute, rates are since the one before; a clock that goes back does no harm.
#[test]
fn rare_snapshots() {
    let mut tally = Tally::new(at(0), 1);
    tally.snapshot(at(200_000), [(1, totals(200_000, 0))]);
    assert_eq!(rates(&tally, 1), (1000.0, 0.0));
    tally.snapshot(at(400_000), [(1, totals(600_000, 0))]);
    assert_eq!(rates(&tally, 1), (2000.0, 0.0));
    tally.snapshot(at(300_000), [(1, totals(600_000, 0))]);
    assert_eq!(rates(&tally, 1), (2000.0, 0.0));
    // rarer than every five seconds: still of the last minute
    for step in 1..=8 {
        tally.snapshot(at(400_000 + step * 20_000), [(1, totals(600_000 + 1_000 * step * step, 0))]);
    }
    assert_eq!(rates(&tally, 1), (650.0, 0.0));
}

/// Guarantees: rates of sampled blocks stand for all.
#[test]
fn sampled_rates() {
    let mut tally = Tally::new(at(0), 10);
    let sampled = Counts { allocated: 10, allocated_bytes: 1000, ..Counts::default() };
    tally.snapshot(at(10_000), [(1, SiteTotals { sampled, ..SiteTotals::default() })]);
    assert_eq!(rates(&tally, 1), (1000.0, 0.0));
}

/// Guarantees: sites beyond the room are in the sum, not in the evidence, and are said.
#[test]
fn bounded() {
    let mut tally = Tally::new(at(0), 1).with_max_sites(100);
    for second in 1..3 {
        tally.snapshot(at(second * 1000), (0..150).map(|site| (site, totals(100, 0))));
        assert_eq!((tally.evidence().count(), tally.unfitted()), (100, 50));
        assert_eq!(tally.total().live_bytes, 15_000);
    }
}

/// Guarantees: ages fall into their classes, sampled blocks by their weight.
#[test]
fn ages_of_blocks() {
    let now = 1_000_000;
    let block = |age: u64, size, weight| Block { address: 16, size, weight, born: at(now - age) };
    let blocks = [
        (1, block(0, 10, 1)),
        (1, block(999, 20, 1)),
        (1, block(1000, 30, 10)),
        (1, block(29_999, 40, 1)),
        (1, block(59_999, 90, 1)),
        (1, block(299_999, 50, 1)),
        (1, block(300_000, 60, 2)),
        (2, block(400_000, 70, 1)),
    ];
    let ages = ages(at(now), blocks);
    assert_eq!(ages[&1].counts, [2, 10, 1, 1, 1, 2]);
    assert_eq!((ages[&1].oldest, ages[&1].largest), (at(300_000), 90));
    assert_eq!((ages[&2].counts, ages[&2].oldest), ([0, 0, 0, 0, 0, 1], at(400_000)));
}
