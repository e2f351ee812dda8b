//! Which stacks are told, when, and how often.

use std::time::Duration;

use mlh_detect::alloc::{Block, Overdue, Unfreed};

use crate::model::at;

const AGE: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(300);

fn block(address: u64, born_s: u64) -> Block {
    Block { address, size: 100, weight: 1, born: at(born_s * 1000) }
}

/// One block each second, from second 0 on, none freed: those there are at a moment.
fn leak(second: u64) -> impl Iterator<Item = (u32, Block)> {
    (0..=second).map(|born| (1, block(16 * born, born)))
}

fn keys(due: &[Overdue<u32>]) -> Vec<u32> {
    due.iter().map(|overdue| overdue.key).collect()
}

/// Guarantees: a stack is told once its first block is older than the age, then once a window, with what has come since.
#[test]
fn told_once_a_window() {
    let mut unfreed = Unfreed::new(AGE, WINDOW);
    let mut told = Vec::new();
    for second in 0..700 {
        told.extend(unfreed.due(at(second * 1000), leak(second), 100).into_iter().map(|due| (second, due)));
    }
    let seconds: Vec<_> = told.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [31, 331, 631]);
    let (first, second) = (told[0].1, told[1].1);
    let expected =
        Overdue { key: 1, occurrences: 1, new_occurrences: 1, bytes: 100, grown: None, oldest: block(0, 0) };
    assert_eq!(first, expected);
    let expected = Overdue {
        key: 1,
        occurrences: 301,
        new_occurrences: 300,
        bytes: 30_100,
        grown: Some(30_000),
        oldest: block(0, 0),
    };
    assert_eq!(second, expected);
}

/// Guarantees: the age decides: with another one, another moment. Blocks that are freed in time are never told.
#[test]
fn the_age_decides() {
    for (age, expected) in [(0, Some(1)), (5, Some(6)), (50, Some(51)), (100, None)] {
        let mut unfreed = Unfreed::new(Duration::from_secs(age), WINDOW);
        let first =
            (0..100).find(|second| !unfreed.due(at(second * 1000), [(1, block(16, 0))], 100).is_empty());
        assert_eq!(first, expected);
    }
    let mut unfreed = Unfreed::new(AGE, WINDOW);
    for second in 0..600_u64 {
        let churn = (second.saturating_sub(20)..=second).map(|born| (1, block(16 * born, born)));
        assert!(unfreed.due(at(second * 1000), churn, 100).is_empty());
    }
}

/// Guarantees: the window decides how often; without one a stack is told each time.
#[test]
fn the_window_decides() {
    for (window, expected) in [(0, 69), (10, 7), (60, 2), (600, 1)] {
        let mut unfreed = Unfreed::new(AGE, Duration::from_secs(window));
        let told: usize =
            (0..100).map(|second| unfreed.due(at(second * 1000), [(1, block(16, 0))], 100).len()).sum();
        assert_eq!(told, expected, "{window}");
    }
}

/// Guarantees: what is still there is told again though nothing has come, and what has shrunk says so.
#[test]
fn still_there() {
    let mut unfreed = Unfreed::new(AGE, WINDOW);
    let blocks = |count: u64| (0..count).map(|number| (1, block(16 * number, 0)));
    assert_eq!(unfreed.due(at(40_000), blocks(5), 100).len(), 1);
    let again = unfreed.due(at(340_000), blocks(5), 100);
    assert_eq!((again[0].new_occurrences, again[0].grown), (0, Some(0)));
    let less = unfreed.due(at(640_000), blocks(2), 100);
    assert_eq!((less[0].occurrences, less[0].new_occurrences, less[0].grown), (2, 0, Some(-300)));
}

/// Guarantees: sampled blocks count by their weight.
#[test]
fn weighed() {
    let mut unfreed = Unfreed::new(AGE, WINDOW);
    let due = unfreed.due(at(40_000), [(1, Block { weight: 10, ..block(16, 1) }), (1, block(32, 2))], 100);
    assert_eq!((due[0].occurrences, due[0].bytes, due[0].oldest.address), (11, 1100, 16));
}

/// Guarantees: at once only so many are told, those that hold the most, and the others next.
#[test]
fn the_most_first() {
    let mut unfreed = Unfreed::new(AGE, WINDOW);
    let blocks =
        || (0..10_u32).flat_map(|key| (0..=key).map(move |number| (key, block(u64::from(number), 0))));
    assert_eq!(keys(&unfreed.due(at(40_000), blocks(), 4)), [9, 8, 7, 6]);
    assert_eq!(keys(&unfreed.due(at(41_000), blocks(), 4)), [5, 4, 3, 2]);
    assert_eq!(keys(&unfreed.due(at(42_000), blocks(), 4)), [1, 0]);
    assert_eq!(keys(&unfreed.due(at(43_000), blocks(), 4)), [0; 0]);
    assert_eq!(keys(&unfreed.due(at(400_000), blocks(), 4)), [9, 8, 7, 6]);
    assert!(unfreed.due(at(401_000), blocks(), 4).iter().all(|due| due.grown == Some(0)));
}

/// Guarantees: with more stacks than can be remembered the rest is held back and counted, not told each second; room comes
/// back with the next window.
#[test]
fn bounded() {
    let mut unfreed = Unfreed::new(AGE, WINDOW);
    let blocks = |from: u32| (from..from + 20_000).map(|key| (key, block(16, 0)));
    assert_eq!(unfreed.due(at(40_000), blocks(0), usize::MAX).len(), 16_384);
    assert_eq!(unfreed.held_back(), 20_000 - 16_384);
    assert_eq!(unfreed.due(at(41_000), blocks(0), usize::MAX).len(), 0);
    assert_eq!(unfreed.due(at(340_000), blocks(50_000), usize::MAX).len(), 16_384);
}
