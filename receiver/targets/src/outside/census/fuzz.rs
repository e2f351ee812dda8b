//! What a reading does, on any memory: for fuzzing, and for tests.

use std::hash::RandomState;
use std::ops::Range;

use mlh_stacks::modules::{Anonymous, Modules};

use super::arena::{self, Arena, Stretch};
use super::bytes::Made;
use super::cache::{Caches, Heaps};
use super::mapped::{self, Account};
use super::tally::Tally;
use super::types::Types;
use super::walk::{self, Block, Walked};
use super::{Heap, MAX_LIBRARIES, main_heap, report, sampling};

/// A reading of any memory.
pub fn fuzz(memory: &[u8], at: u64, hole: u64) {
    let at = at & 0x7fff_ffff_f000;
    let end = at + memory.len() as u64;
    let hole = at + hole % (memory.len() as u64 + 1);
    let hole = hole..hole.saturating_add(4096).min(end);
    let bytes = Made { at, bytes: memory, holes: vec![hole] };
    let part = Anonymous { start: at, end, name: String::new(), executable: false };
    let modules = Modules { modules: Vec::new(), anonymous: vec![part] };
    let mut arenas: Vec<Arena> = arena::search(&bytes, &(at..end))
        .into_iter()
        .take(MAX_LIBRARIES)
        .filter_map(|main| arena::ring(&bytes, main))
        .flat_map(|(arenas, _)| arenas)
        .collect();
    arenas.truncate(64);
    let account = Account::search(&bytes, &(at..end), &(at..end));
    let mut stretches: Vec<Stretch> = arenas.iter().flat_map(|arena| arena.heaps(&bytes).0).take(8).collect();
    stretches.extend(
        arenas.iter().flat_map(|arena| main_heap(&bytes, arena, account.as_ref(), &modules).0).take(8),
    );
    for known in [true, false] {
        stretches.extend([true, false].map(|main| Stretch { range: at..end, known, main }));
    }
    let heaps = Heaps::new(vec![Range { start: at, end }]);
    let (mut caches, mut tally) = (Caches::default(), Tally::new(vec![Range { start: at, end }]));
    caches.list(&bytes, &heaps, &arenas);
    let (mut walked, mut block, mut left) = (Walked::default(), Block::default(), 100_000);
    let total = stretches.iter().map(|stretch| stretch.range.end - stretch.range.start).sum();
    for most in [u64::MAX, 1] {
        let (spans, _) = sampling::plan(&stretches, most, &RandomState::new());
        for span in spans.iter().take(64) {
            let mut patience = || {
                left -= 1;
                left > 0
            };
            walked.add(walk::walk(&bytes, &mut block, span, &mut patience, &mut |chunk, _| {
                caches.learn(&bytes, &heaps, chunk);
                if !caches.hold(&heaps, chunk) {
                    tally.live(chunk);
                }
            }));
        }
    }
    let mapped = mapped::blocks(&bytes, &modules, &[]);
    let heap = Heap {
        tally,
        mapped,
        walked,
        total,
        sampled: false,
        late: false,
        arenas,
        account,
        elsewhere: 0,
        broken: 0,
    };
    let mut types = Types::default();
    drop(report::reading(heap, &modules, true, false, |table| {
        types.of(&bytes, &modules, table).map(str::to_owned)
    }));
}
