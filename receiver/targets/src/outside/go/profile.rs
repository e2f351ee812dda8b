//! The heap profile: what was sampled by stack, and what of it has not been freed as of the last collection but one.

use std::collections::HashMap;
use std::ops::Range;

use super::class;
use crate::outside::Class;
use crate::outside::blocks::Blocks;

/// A program has some thousand.
const MAX_BUCKETS: usize = 100_000;

/// Frames of a stack that are kept; the runtime notes 32, and up to 1,024 if it is told to.
const MAX_FRAMES: usize = 64;

const MOST_FRAMES: u64 = 1024;

/// A bucket's head, words: two links, its kind, a hash, the size of the objects, and how many addresses follow.
const HEAD: usize = 6;

/// Its kind: of the heap profile, not of another one.
const MEMORY: u64 = 1;

/// Larger objects there are not, bytes.
const MAX_SIZE: u64 = 1 << 47;

/// What stacks have live, in all. `head` is the variable that leads to the first bucket, `rate` how many bytes are allocated
/// for each that is sampled.
pub(super) fn by_stack(blocks: &mut Blocks, head: u64, rate: u64, not_seen: &mut Vec<String>) -> Vec<Class> {
    let mut live: HashMap<Vec<u64>, (f64, f64)> = HashMap::new();
    let mut next = blocks.word(head).unwrap_or(0);
    let mut seen = 0;
    while next != 0 && seen < MAX_BUCKETS {
        let Some(bucket) = Bucket::read(blocks, next) else {
            not_seen.push("a part of Go's heap profile, which could not be read to its end".to_owned());
            break;
        };
        if bucket.objects > 0 {
            let objects = bucket.objects as f64 * weight(bucket.size, rate);
            let of_stack = live.entry(bucket.stack).or_default();
            of_stack.0 += objects * bucket.size as f64;
            of_stack.1 += objects;
        }
        next = bucket.next;
        seen += 1;
    }
    if seen == MAX_BUCKETS {
        not_seen.push(format!("the rest of Go's heap profile: {MAX_BUCKETS} of its records are read"));
    }
    if rate > 1 {
        not_seen.push(format!(
            "who allocates on the Go heap is known by samples, one in {rate} bytes, as of the collection before the last"
        ));
    }
    let name = |stack: &[u64]| format!("allocated by stack {:08x}", hash(stack));
    live.into_iter()
        .map(|(stack, (bytes, objects))| class(name(&stack), bytes as u64, objects.round() as u64, stack))
        .collect()
}

/// Whether a variable leads to a bucket, whose stack is one of this code.
pub(super) fn is_bucket(blocks: &mut Blocks, variable: u64, code: &Range<u64>) -> Option<()> {
    let at = blocks.word(variable).filter(|at| *at != 0 && at.is_multiple_of(8))?;
    let bucket = Bucket::read(blocks, at)?;
    let runs = !bucket.stack.is_empty() && bucket.stack.iter().all(|address| code.contains(address));
    (runs && bucket.size > 0).then_some(())
}

/// So many objects stand for one that was sampled: the larger an object, the likelier it is.
fn weight(size: u64, rate: u64) -> f64 {
    if rate <= 1 || size == 0 { 1.0 } else { 1.0 / -(-(size as f64) / rate as f64).exp_m1() }
}

/// What was sampled of one stack and size.
struct Bucket {
    next: u64,
    size: u64,
    /// Allocated and not freed.
    objects: u64,
    stack: Vec<u64>,
}

impl Bucket {
    /// `None`: it is not there, or none.
    fn read(blocks: &mut Blocks, at: u64) -> Option<Self> {
        let [_, next, kind, _, size, frames] = blocks.words::<HEAD>(at)?;
        if kind != MEMORY || frames > MOST_FRAMES || size > MAX_SIZE {
            return None;
        }
        let stack_at = at.checked_add(HEAD as u64 * 8)?;
        let mut stack = vec![0; (frames as usize).min(MAX_FRAMES)];
        blocks.fill_words(stack_at, &mut stack)?;
        let [allocated, freed] = blocks.words(stack_at.checked_add(frames * 8)?)?;
        // it is written meanwhile: a free may be there before the allocation is
        Some(Self { next, size, objects: allocated.saturating_sub(freed), stack })
    }
}

/// Tells stacks apart (FNV-1a).
fn hash(stack: &[u64]) -> u32 {
    let bytes = stack.iter().flat_map(|address| address.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: samples weigh as pprof has them weigh, and where everything is sampled each object counts once.
    #[test]
    fn weights() {
        let rate = 512 << 10;
        assert!((weight(1024, rate) - 512.5).abs() < 0.01);
        assert!((weight(rate, rate) - 1.582).abs() < 0.001);
        assert!((weight(100 << 20, rate) - 1.0).abs() < 1e-9);
        assert!([weight(16, 1), weight(16, 0), weight(0, rate)].iter().all(|it| (it - 1.0).abs() < 1e-9));
    }
}
