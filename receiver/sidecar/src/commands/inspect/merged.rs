//! One stack in many processes is one stack to whoever reads: a server that forks workers leaks in all of them.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::by_page::is_by_page;
use crate::investigate::report::StackEvidence;

/// A stack with all processes that run it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Merged {
    /// The sums; the process is the one that holds the most.
    pub(super) stack: StackEvidence,
    pub(super) processes: usize,
    /// In one of them at least it has kept what it allocated.
    pub(super) survives: bool,
}

/// The stacks by live bytes, those of processes that have ended last.
pub(super) fn merge(stacks: &[StackEvidence], survives: impl Fn(&StackEvidence) -> bool) -> Vec<Merged> {
    let mut places: HashMap<(u64, bool, bool, bool), usize> = HashMap::new();
    let mut merged: Vec<Merged> = Vec::new();
    for stack in stacks {
        let survives = survives(stack);
        // a stack without frames is not known to be the same as another one
        let key = (stack.trace.hash, stack.mapped, stack.gone, is_by_page(stack));
        let known = if stack.trace.frames.is_empty() { None } else { places.get(&key) };
        match known.and_then(|place| merged.get_mut(*place)) {
            Some(merged) => {
                add(&mut merged.stack, stack);
                merged.processes += 1;
                merged.survives |= survives;
            }
            None => {
                places.insert(key, merged.len());
                merged.push(Merged { stack: stack.clone(), processes: 1, survives });
            }
        }
    }
    // those that are known by their pages lead where there are such: of these what is steady counts more than how much
    merged.sort_by_key(|Merged { stack, survives, .. }| {
        let by_page = is_by_page(stack);
        (stack.gone, !by_page, by_page && !survives, Reverse(stack.live_bytes))
    });
    merged
}

fn add(sum: &mut StackEvidence, other: &StackEvidence) {
    let counts = [
        (&mut sum.live_bytes, other.live_bytes),
        (&mut sum.live_count, other.live_count),
        (&mut sum.allocated_bytes, other.allocated_bytes),
        (&mut sum.allocated_count, other.allocated_count),
        (&mut sum.freed_bytes, other.freed_bytes),
        (&mut sum.freed_count, other.freed_count),
        (&mut sum.reserved_bytes, other.reserved_bytes),
        (&mut sum.file_bytes, other.file_bytes),
        // wider than that of independent samples, never narrower
        (&mut sum.error_bytes, other.error_bytes),
    ];
    for (sum, other) in counts {
        *sum = sum.saturating_add(other);
    }
    for (sum, other) in sum.ages.iter_mut().zip(other.ages) {
        *sum = sum.saturating_add(other);
    }
    sum.allocation_rate += other.allocation_rate;
    sum.free_rate += other.free_rate;
    sum.oldest = sum.oldest.max(other.oldest);
    sum.largest = sum.largest.max(other.largest);
    sum.at_least |= other.at_least;
}

#[cfg(test)]
mod tests {
    use mlh_stacks::trace::{Frame, Trace};

    use super::*;

    fn stack(pid: u32, hash: u64, live_bytes: u64) -> StackEvidence {
        let trace = Trace { frames: vec![Frame::default()], hash, ..Trace::default() };
        StackEvidence {
            pid,
            trace,
            live_bytes,
            live_count: 1,
            allocation_rate: 2.0,
            ..StackEvidence::default()
        }
    }

    /// Guarantees: the same stack of several processes is one, with its sums and in its place; blocks and mappings, the living
    /// and the ended, and stacks without frames stay apart.
    #[test]
    fn one_stack_is_one() {
        let nameless = StackEvidence { trace: Trace::default(), ..stack(4, 0, 3) };
        let stacks = [
            stack(1, 7, 50),
            stack(1, 8, 40),
            stack(2, 8, 30),
            StackEvidence { mapped: true, ..stack(2, 8, 20) },
            StackEvidence { at_least: true, ..stack(3, 8, 10) },
            nameless.clone(),
            StackEvidence { pid: 5, ..nameless },
            StackEvidence { gone: true, ..stack(6, 8, 100) },
        ];
        let merged = merge(&stacks, |stack| stack.pid == 3);
        let told: Vec<_> = merged
            .iter()
            .map(|m| (m.stack.pid, m.stack.live_bytes, m.stack.live_count, m.processes, m.survives))
            .collect();
        let expected = [
            (1, 80, 3, 3, true),
            (1, 50, 1, 1, false),
            (2, 20, 1, 1, false),
            (4, 3, 1, 1, false),
            (5, 3, 1, 1, false),
            (6, 100, 1, 1, false),
        ];
        assert_eq!(told, expected);
        assert_eq!((merged[0].stack.allocation_rate, merged[0].stack.at_least), (6.0, true));
    }
}
