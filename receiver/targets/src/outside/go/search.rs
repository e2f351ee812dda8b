//! Where a program that was stripped of its symbols has the runtime's variables: each is known by what it holds, and by what two
//! of them agree on.

use std::ops::Range;

use super::layout::{Layout, PAGE};
use super::profile::is_bucket;
use super::{Figures, Places, Program};
use crate::outside::blocks::Blocks;

/// Spans that are looked at to tell their list from others.
const SOME: u64 = 16;

/// No program has more spans, or goroutines.
const MANY: u64 = 1 << 28;

/// Finds them. `None`: not all that must be there was found, for they change meanwhile.
pub(super) fn places(blocks: &mut Blocks, program: &Program) -> Option<Places> {
    let layout = &program.layout;
    let heap = each(&program.pointers).find(|at| is_heap(blocks, *at, layout))?;
    let in_use = blocks.word(layout.pages_in_use(heap)?)?.checked_mul(PAGE)?;
    let controller = each(&program.numbers).find(|at| is_controller(blocks, *at, in_use, layout))?;
    let goroutines = each(&program.pointers).find(|at| are_goroutines(blocks, *at, layout))?;
    Some(Places { controller, heap, goroutines, rate: None, buckets: buckets(blocks, program) })
}

/// `runtime.mbuckets`. `None`: nothing has been sampled so far.
pub(super) fn buckets(blocks: &mut Blocks, program: &Program) -> Option<u64> {
    each(&program.pointers).find(|at| is_bucket(blocks, *at, &program.code).is_some())
}

fn each(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(8)
}

/// A slice: where its items are, and how many. `None`: it cannot be one.
fn slice(blocks: &mut Blocks, at: u64) -> Option<(u64, u64)> {
    let [items, count, room] = blocks.words(at)?;
    (items != 0 && items.is_multiple_of(8) && count > 0 && count <= room && room < MANY)
        .then_some((items, count))
}

/// `runtime.mheap_`, by its list of spans: each of whole pages.
fn is_heap(blocks: &mut Blocks, at: u64, layout: &Layout) -> bool {
    let mut spans = || {
        let (items, count) = slice(blocks, at.checked_add(layout.spans)?)?;
        for index in 0..count.min(SOME) {
            let span = blocks.word(items.checked_add(index * 8)?)?;
            let [start, pages] = blocks.words(span.checked_add(layout.span.start)?)?;
            let whole = start != 0 && start.is_multiple_of(PAGE) && pages > 0 && pages < MANY;
            whole.then_some(())?;
        }
        Some(())
    };
    spans().is_some()
}

/// `runtime.gcController`, by what it says that spans with objects take up, which the heap says too.
fn is_controller(blocks: &mut Blocks, at: u64, in_use: u64, layout: &Layout) -> bool {
    let agrees = at.checked_add(layout.in_use()).and_then(|place| blocks.word(place)) == Some(in_use);
    agrees && Figures::of_controller(blocks, at, layout).is_some_and(|figures| figures.ready >= in_use)
}

/// `runtime.allgs`: the first is the program's own, and all have stacks, or had.
fn are_goroutines(blocks: &mut Blocks, at: u64, layout: &Layout) -> bool {
    let mut goroutines = || {
        let (items, count) = slice(blocks, at)?;
        for index in 0..count.min(SOME) {
            let goroutine = blocks.word(items.checked_add(index * 8)?)?;
            let [low, high] = blocks.words(goroutine)?;
            let number = blocks.word(goroutine.checked_add(layout.goroutine.number())?)?;
            let first = index > 0 || number == 1;
            (first && number > 0 && low <= high).then_some(())?;
        }
        Some(())
    };
    goroutines().is_some()
}
