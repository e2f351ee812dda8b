//! How much a program works while its memory grows: a load that rises takes memory, and gives it back when it falls.

use crate::history::Point;
use crate::rules::{LOAD_EXPLAINS, LOAD_HOLDS, LOAD_RISES, THREADS_ADDED};
use crate::trend::kendall;

/// What a program has worked by a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Work {
    /// Milliseconds of CPU time so far, modulo 2^32. Only differences count.
    cpu_ms: u32,
    /// 0 where unknown; then the CPU time may be unknown as well.
    threads: u16,
    /// Whether the CPU time is known.
    known: bool,
}

impl Work {
    /// As a pass tells it.
    pub(crate) fn new(cpu_ns: Option<u64>, threads: u32) -> Self {
        Self {
            // differences stay right when it wraps
            cpu_ms: (cpu_ns.unwrap_or(0) / 1_000_000) as u32,
            threads: u16::try_from(threads).unwrap_or(u16::MAX),
            known: cpu_ns.is_some(),
        }
    }
}

/// Seconds of CPU time from one point to a later one, where both know it.
pub(crate) fn cpu_s(from: &Point, to: &Point) -> Option<f64> {
    let known = from.work.known && to.work.known;
    known.then(|| f64::from(to.work.cpu_ms.wrapping_sub(from.work.cpu_ms)) / 1000.0)
}

/// CPU time a second from point to point, `None` where it is not known all along.
fn loads(points: &[Point]) -> Option<Vec<f64>> {
    points
        .windows(2)
        .map(|pair| {
            let [from, to] = pair else { return None };
            let seconds = to.at_s - from.at_s;
            cpu_s(from, to).filter(|_| seconds > 0.0).map(|cpu_s| cpu_s / seconds)
        })
        .collect()
}

/// Whether the load has risen, and by so much that it may well be what the memory follows: then nothing can be said until
/// it stops rising.
pub(crate) fn follows_load(points: &[Point]) -> bool {
    let (Some(loads), [first, .., last]) = (loads(points), points) else { return false };
    let part = (loads.len() / 3).max(2);
    let (Some(early), Some(late)) = (loads.get(..part), loads.get(loads.len().saturating_sub(part)..)) else {
        return false;
    };
    let (early, late) = (early.iter().sum::<f64>(), late.iter().sum::<f64>());
    let rise = if early > 0.0 { late / early - 1.0 } else { f64::INFINITY };
    let grown = last.bytes - first.bytes;
    let holds = LOAD_HOLDS * (late - early) / part as f64;
    let explains = grown / first.bytes.max(1.0) <= LOAD_EXPLAINS * rise && grown <= holds;
    rise >= LOAD_RISES && kendall(&loads) > 0.0 && explains
}

/// So many threads were added from one point to a later one; 0 where it is not known.
pub(crate) fn threads_added(from: &Point, to: &Point) -> f64 {
    if from.work.threads == 0 { 0.0 } else { f64::from(to.work.threads) - f64::from(from.work.threads) }
}

/// Whether threads have been added all along: each takes memory, and a pool of them has an end.
pub(crate) fn adds_threads(points: &[Point]) -> bool {
    let threads: Vec<f64> = points.iter().map(|point| f64::from(point.work.threads)).collect();
    let (Some(first), Some(last)) = (threads.first(), threads.last()) else { return false };
    *first > 0.0 && last - first >= THREADS_ADDED && kendall(&threads) >= 0.5
}
