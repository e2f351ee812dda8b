//! What was counted as a [`Reading`], and what was not seen in sentences.

use std::collections::BTreeMap;

use mlh_stacks::modules::Modules;

use super::Heap;
use super::tally::class_of;
use crate::outside::{Class, OutsideError, Reading};

/// Classes of a reading.
const CLASSES: usize = 64;
/// Of them, C++ types.
const TYPES: usize = 48;
/// Tables that are looked up, the most bytes first.
const LOOKED_UP: usize = 1024;
/// So much may be passed over without a doubt that this is malloc's heap.
const LOST: u64 = 256 << 10;

/// Names by which other allocators go.
const OTHERS: [&str; 5] = ["jemalloc", "mimalloc", "tcmalloc", "snmalloc", "libhoard"];

/// What a heap comes to. `type_of` names the C++ type of a table.
///
/// # Errors
/// It is no heap of glibc's malloc.
pub(super) fn reading(
    heap: Heap,
    modules: &Modules,
    keys_known: bool,
    fast_beyond: bool,
    mut type_of: impl FnMut(u64) -> Option<String>,
) -> Result<Reading, OutsideError> {
    let Heap { walked, .. } = heap;
    if walked.lost > LOST && walked.lost > walked.seen / 2 {
        return Err(OutsideError::Unknown(format!(
            "the heap is not laid out as glibc's malloc does it: {} of {} bytes are no chunks",
            grouped(walked.lost),
            grouped(walked.seen + walked.lost)
        )));
    }
    if heap.total > 0 && walked.seen == 0 {
        return Err(OutsideError::Unknown(
            "nothing of the heap could be walked: it is swapped out".to_owned(),
        ));
    }
    let weight = if walked.seen == 0 { 1.0 } else { (heap.total as f64 / walked.seen as f64).max(1.0) };
    let not_seen = not_seen(&heap, weight, modules, keys_known, fast_beyond);
    let mapped = heap.mapped.blocks.iter().sum::<u64>();
    let accounted = heap.account.map_or(mapped, |account| account.bytes);
    let held = heap.arenas.iter().fold(accounted, |sum, arena| sum.saturating_add(arena.system));
    Ok(Reading {
        in_use: Some(weighted(heap.tally.bytes, weight).saturating_add(accounted)),
        held: Some(held),
        classes: classes(heap, weight, &mut type_of),
        not_seen,
        ..Reading::default()
    })
}

fn classes(mut heap: Heap, weight: f64, type_of: &mut impl FnMut(u64) -> Option<String>) -> Vec<Class> {
    let mut tables: Vec<_> = heap.tally.pointers.drain().collect();
    tables.sort_unstable_by_key(|((_, size), count)| std::cmp::Reverse(size.saturating_mul(*count)));
    let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for ((table, size), count) in tables.into_iter().take(LOOKED_UP) {
        let Some(name) = type_of(table) else { continue };
        let of = types.entry(name).or_default();
        *of = (of.0.saturating_add(size.saturating_mul(count)), of.1.saturating_add(count));
        heap.tally.take(size, count);
    }
    let class = |name: String, bytes: u64, count: u64| Class {
        name,
        bytes: weighted(bytes, weight),
        count: weighted(count, weight),
        stack: Vec::new(),
    };
    let mut types: Vec<_> =
        types.into_iter().map(|(name, (bytes, count))| class(name, bytes, count)).collect();
    let mut sizes: BTreeMap<(u64, u64), Class> =
        heap.tally.classes().map(|of| (of.sizes, class(name(of.sizes), of.bytes, of.count))).collect();
    // each is seen: nothing stands for others
    for block in &heap.mapped.blocks {
        let of = sizes.entry(class_of(*block)).or_insert_with(|| class(name(class_of(*block)), 0, 0));
        of.bytes = of.bytes.saturating_add(*block);
        of.count += 1;
    }
    let mut sizes: Vec<_> = sizes.into_values().collect();
    for (classes, most) in [(&mut types, TYPES), (&mut sizes, CLASSES)] {
        classes.sort_by_key(|class| std::cmp::Reverse(class.bytes));
        classes.truncate(most);
    }
    types.append(&mut sizes);
    types.truncate(CLASSES);
    types
}

fn not_seen(heap: &Heap, weight: f64, modules: &Modules, keys_known: bool, fast_beyond: bool) -> Vec<String> {
    let walked = heap.walked;
    let mapped = heap.mapped.blocks.iter().sum::<u64>();
    let unfound = heap.account.map_or(0, |account| account.bytes.saturating_sub(mapped));
    let mut said = Vec::new();
    let mut say = |it: bool, sentence: String| said.extend(it.then_some(sentence));
    say(
        heap.sampled,
        format!(
            "of {} bytes of heaps {} were walked, in windows chosen at random: figures are multiplied by {weight:.1}",
            grouped(heap.total),
            grouped(walked.seen)
        ),
    );
    say(
        heap.late,
        "the walk took too long and was ended: the rest of the heaps is taken to be like what was walked"
            .to_owned(),
    );
    say(
        walked.absent > 0,
        format!(
            "{} bytes of heaps are swapped out, and taken to be like the rest: reading would bring them in",
            grouped(walked.absent)
        ),
    );
    say(
        walked.lost > 0,
        format!(
            "{} bytes of heaps were passed over in {} places where memory changed during the walk, or is not malloc's",
            grouped(walked.lost),
            walked.times_lost
        ),
    );
    say(
        !keys_known,
        "chunks in the caches of threads are counted as in use, 448 a thread at most: no such cache was found".to_owned(),
    );
    say(
        fast_beyond,
        "of very many small free chunks that malloc has not merged yet some may be counted as in use"
            .to_owned(),
    );
    say(
        unfound > 0 || heap.mapped.more,
        format!(
            "{} bytes are in large blocks that were not found one by one: they are in use, and in no class",
            grouped(unfound)
        ),
    );
    say(
        heap.elsewhere > 0,
        format!(
            "{} bytes of the main arena lie outside of its heap, and were not walked",
            grouped(heap.elsewhere)
        ),
    );
    say(heap.broken > 0, "not all arenas could be found: what lies in the others is missing".to_owned());
    say(heap.tally.forgot, "of rare C++ types some are counted by their size alone".to_owned());
    let other = other_allocator(modules);
    say(
        other.is_some(),
        format!(
            "what {} allocates, which the process has loaded, is not in glibc's heaps",
            other.unwrap_or_default()
        ),
    );
    said
}

/// Why there is nothing to walk.
pub(super) fn no_arena(modules: &Modules) -> String {
    let names =
        || modules.modules.iter().filter_map(|module| Some(module.path.file_name()?.to_string_lossy()));
    let is_glibc = names().any(|name| name.starts_with("libc.so.6") || name.starts_with("libc-2."));
    let why = if let Some(other) = other_allocator(modules) {
        format!("{other} serves its allocations")
    } else if modules.modules.iter().any(|module| module.path.to_string_lossy().contains("musl")) {
        "its C library is musl".to_owned()
    } else if is_glibc {
        "its malloc has not been used, or another one replaces it".to_owned()
    } else {
        "it maps no C library that has one".to_owned()
    };
    format!("no heap of glibc's malloc was found: {why}")
}

fn other_allocator(modules: &Modules) -> Option<String> {
    let mut names =
        modules.modules.iter().filter_map(|module| Some(module.path.file_name()?.to_string_lossy()));
    names.find(|name| OTHERS.iter().any(|other| name.contains(other))).map(std::borrow::Cow::into_owned)
}

fn weighted(count: u64, weight: f64) -> u64 {
    if weight == 1.0 { count } else { (count as f64 * weight).round() as u64 }
}

fn name((from, to): (u64, u64)) -> String {
    if from == to {
        format!("blocks of {} bytes", grouped(from))
    } else {
        format!("blocks of {} to {} bytes", grouped(from), grouped(to))
    }
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
