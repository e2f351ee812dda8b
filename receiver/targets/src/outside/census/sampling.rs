//! Which parts of the heaps are walked: all of them, or windows.

use std::hash::{BuildHasher, RandomState};

use super::arena::Stretch;
use super::walk::{Span, Start};

/// Bytes of a window.
const WINDOW: u64 = 1 << 20;
/// 4 TiB of them.
const MAX_WINDOWS: usize = 4 << 20;

/// The spans to be walked, and whether they are a sample. The dice are thrown by address: whoever asks again gets the same windows, so that
/// what has not changed does not seem to; of a heap that has grown beyond twice the size, half of them.
pub(super) fn plan(stretches: &[Stretch], most: u64, dice: &RandomState) -> (Vec<Span>, bool) {
    let total = stretches.iter().map(|stretch| stretch.range.end - stretch.range.start).sum::<u64>();
    let one_in = total.div_ceil(most.max(1)).checked_next_power_of_two().unwrap_or(u64::MAX);
    if one_in <= 1 {
        return (stretches.iter().map(whole).collect(), false);
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut windows = 0;
    for stretch in stretches {
        let mut from = stretch.range.start;
        while from < stretch.range.end && windows < MAX_WINDOWS {
            windows += 1;
            let to = (from + 1).next_multiple_of(WINDOW).min(stretch.range.end);
            if dice.hash_one(from / WINDOW) & (one_in - 1) == 0 {
                let within = from != stretch.range.start;
                match spans.last_mut().filter(|before| within && before.range.end == from) {
                    Some(before) => before.range.end = to,
                    None if within => {
                        spans.push(Span { range: from..to, start: Start::Within, ..whole(stretch) });
                    }
                    None => spans.push(Span { range: from..to, ..whole(stretch) }),
                }
            }
            from = to;
        }
    }
    // nobody is left with nothing
    if spans.is_empty() {
        let first = stretches.iter().max_by_key(|stretch| stretch.range.end - stretch.range.start);
        spans.extend(first.map(|first| {
            let end = first.range.end.min(first.range.start.saturating_add(WINDOW));
            Span { range: first.range.start..end, ..whole(first) }
        }));
    }
    (spans, true)
}

fn whole(stretch: &Stretch) -> Span {
    let start = if stretch.known { Start::Chunk } else { Start::Unknown };
    Span { range: stretch.range.clone(), start, end: stretch.range.end, main: stretch.main }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap(from: u64, to: u64) -> Stretch {
        Stretch { range: from..to, known: true, main: true }
    }

    /// Guarantees: what may be walked is walked as a whole; of more, about as much as was asked for, at random places, the same ones each
    /// time, and with growth the heap keeps half of them.
    #[test]
    fn windows() {
        let dice = RandomState::new();
        let stretches = [heap(0x1010, 600 << 20), heap(1 << 40, (1 << 40) + (424 << 20))];
        let (all, sampled) = plan(&stretches, 1 << 30, &dice);
        assert!(!sampled && all.len() == 2 && all[0].range == stretches[0].range);
        let (some, sampled) = plan(&stretches, 256 << 20, &dice);
        let bytes = some.iter().map(|span| span.range.end - span.range.start).sum::<u64>();
        assert!(sampled && (150 << 20..360 << 20).contains(&bytes), "{bytes}");
        assert_eq!(plan(&stretches, 256 << 20, &dice).0, some);
        let (fewer, _) = plan(&stretches, 128 << 20, &dice);
        let is_in = |span: &Span| {
            some.iter()
                .any(|other| other.range.start <= span.range.start && span.range.end <= other.range.end)
        };
        assert!(!fewer.is_empty() && fewer.iter().all(is_in));
        let (others, _) = plan(&stretches, 256 << 20, &RandomState::new());
        assert_ne!(others, some);
        for span in &some {
            let first = stretches.iter().any(|stretch| stretch.range.start == span.range.start);
            assert_eq!(span.start == Start::Chunk, first);
        }
    }

    /// Guarantees: a heap that cannot be is no reason to go on for ever.
    #[test]
    fn nonsense() {
        let dice = RandomState::new();
        assert!(plan(&[heap(0, 1 << 60)], 1, &dice).1);
        assert_eq!(plan(&[], 0, &dice), (Vec::new(), false));
        assert_eq!(plan(&[heap(5, 5)], 0, &dice).0.len(), 1);
    }
}
