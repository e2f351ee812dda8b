//! A census of the heaps of glibc's malloc: which chunks are in use, by size and by C++ type, read from outside.
//!
//! Nothing of it needs a symbol. `arena` finds the arenas and their heaps by what only an arena looks like; `walk` goes from chunk to chunk
//! in copies of the target's memory (`bytes`), `cache` knows the free chunks that count as in use, `mapped` the blocks that
//! are mappings of their own; `tally` counts, and `types` names the classes of C++ objects.
//!
//! It is the truth of a moment that lasts milliseconds, while the target goes on: some chunks change hands meanwhile, and the error does
//! not grow with time. Several readings compared tell what is kept: [`Reading::in_use`] and the classes. Memory that is free and not given
//! back is what [`Reading::held`] has beyond `in_use`: where `held` grows and `in_use` does not, nothing is leaked.

mod arena;

mod bytes;

mod cache;

mod chunk;

mod mapped;

mod places;

mod sampling;

mod report;

mod tally;

mod types;

mod walk;

#[cfg(any(test, fuzzing))]
mod fuzz;

#[cfg(any(test, fuzzing))]
pub use self::fuzz::fuzz;

use std::hash::RandomState;
use std::ops::Range;
use std::time::Duration;

use mlh_stacks::modules::{Module, Modules};

use self::arena::{Arena, Stretch};
use self::bytes::{Bytes, Target};
use self::cache::{Caches, Heaps};
use self::chunk::Chunk;
use self::mapped::{Account, Mapped};
pub use self::places::Occupant;
use self::places::Places;
use self::tally::Tally;
use self::types::Types;
use self::walk::{Block, Walked};
use super::{OutsideError, Reader, Reading, Source};
use crate::os::{self, thread_cpu_time};
use crate::pagemap::{Pagemap, PagemapError};

/// Bytes of heaps that one reading walks: a third of a second's work at most, most often a tenth.
const WALKED: u64 = 512 << 20;
/// CPU time that a walk takes at most, whatever it walks over.
const PATIENCE: Duration = Duration::from_secs(2);
/// A process has one C library, but for plug-ins in namespaces of their own.
const MAX_LIBRARIES: usize = 8;

/// Walks the heaps of one process, again and again.
///
/// [`Reading::classes`] has C++ types first, as many as 48, then classes of size, 64 in all: each chunk is in one of them, and
/// sizes are those of chunks, up to 23 bytes more than was asked for. Of what no virtual function is called on the type is not known. A heap
/// beyond 512 MiB is walked in windows chosen at random once and for all, and the figures are multiplied accordingly;
/// `not_seen` says so. Needs some 2 MiB of memory, whatever the heap, and a
/// few more where the target means harm.
#[derive(Debug)]
pub struct Census {
    pid: u32,
    target: Target,
    /// Where the arenas and the account are, once they have been found.
    mains: Vec<u64>,
    account: Option<u64>,
    caches: Caches,
    types: Types,
    block: Block,
    most: u64,
    /// Chooses windows.
    dice: RandomState,
}

/// All that one reading found.
struct Heap {
    tally: Tally,
    mapped: Mapped,
    walked: Walked,
    /// Bytes of all stretches.
    total: u64,
    /// Only some windows of them were to be walked.
    sampled: bool,
    /// It took too long, and was ended.
    late: bool,
    arenas: Vec<Arena>,
    account: Option<Account>,
    /// Bytes of main arenas that lie where no stretch was found, and arenas whose ring or heaps could not be followed.
    elsewhere: u64,
    broken: usize,
}

impl Census {
    /// Of a process and the program it runs now.
    ///
    /// # Errors
    /// It has ended, or its page map may not be read: without that a reading would bring in what is swapped out.
    pub fn of(pid: u32) -> Result<Self, OutsideError> {
        let pages = Pagemap::open(pid).map_err(|error| match error {
            PagemapError::Ended => OutsideError::Gone,
            PagemapError::Unreadable { .. } => OutsideError::Refused(format!(
                "{error}: the heap census needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or to be the process's user"
            )),
            PagemapError::Unsupported => OutsideError::Refused(error.to_string()),
        })?;
        Ok(Self {
            pid,
            target: Target::new(pid, pages),
            mains: Vec::new(),
            account: None,
            caches: Caches::default(),
            types: Types::default(),
            block: Block::default(),
            most: WALKED,
            dice: RandomState::new(),
        })
    }

    /// Walks so many bytes in one reading, and windows chosen at random of a larger heap.
    #[must_use]
    pub fn walking_at_most(mut self, bytes: u64) -> Self {
        self.most = bytes;
        self
    }

    /// The rings of arenas.
    fn arenas(&mut self, modules: &Modules) -> Result<(Vec<Arena>, usize), OutsideError> {
        let follow = |mains: &[u64], target: &Target| {
            let rings: Vec<_> = mains.iter().filter_map(|main| arena::ring(target, *main)).collect();
            let broken = rings.iter().filter(|(_, broken)| *broken).count();
            (rings.into_iter().flat_map(|(arenas, _)| arenas).collect::<Vec<_>>(), broken)
        };
        let (mut arenas, mut broken) = follow(&self.mains, &self.target);
        if arenas.is_empty() {
            let data = data(self.pid, modules);
            self.mains =
                data.iter().flat_map(|data| arena::search(&self.target, data)).take(MAX_LIBRARIES).collect();
            (arenas, broken) = follow(&self.mains, &self.target);
        }
        if arenas.is_empty() && !may_read(&self.target, modules) {
            return Err(OutsideError::Refused(
                "its memory may not be read: the heap census needs CAP_SYS_PTRACE, or to be the process's user"
                    .to_owned(),
            ));
        }
        arenas.retain(|arena| arena.used);
        if arenas.iter().any(|arena| !self.mains.contains(&arena.at) && !arena.is_in_heap()) {
            return Err(OutsideError::Unknown(
                "its malloc's arenas do not lie as those of glibc 2.30 to 2.42 do".to_owned(),
            ));
        }
        // the C library itself may ask its malloc for its figures, and not use it
        if arenas.iter().all(|arena| arena.system == 0) {
            Err(OutsideError::Unknown(report::no_arena(modules)))
        } else {
            Ok((arenas, broken))
        }
    }

    /// Which blocks lie at addresses, which are in order, as of now; and the CPU time that it took of this process.
    ///
    /// # Errors
    /// See [`OutsideError`].
    pub fn at(&mut self, addresses: &[u64]) -> Result<(Vec<Occupant>, Duration), OutsideError> {
        let began = thread_cpu_time();
        let modules = Modules::read(self.pid).map_err(|error| OutsideError::Refused(error.to_string()))?;
        let mut places = Places::new(addresses);
        let heap = self.walk(&modules, &mut |chunk, live| places.take(chunk.reach(), chunk.user(), live))?;
        for arena in &heap.arenas {
            if let Some(words) = self.target.words(arena.top) {
                let top = Chunk::new(arena.top, words);
                places.take(top.reach(), top.user(), false);
            }
        }
        if !self.target.is_there() {
            return Err(OutsideError::Gone);
        }
        Ok((places.found, thread_cpu_time().saturating_sub(began)))
    }

    /// Hands each chunk of the heaps to `meet`, and whether the program has it.
    fn walk(&mut self, modules: &Modules, meet: &mut dyn FnMut(&Chunk, bool)) -> Result<Heap, OutsideError> {
        let (arenas, mut broken) = self.arenas(modules)?;
        let brk = brk(modules);
        let account = brk.as_ref().and_then(|brk| {
            let known = self.account.and_then(|at| Account::read(&self.target, at, brk));
            let search =
                || data(self.pid, modules).iter().find_map(|data| Account::search(&self.target, data, brk));
            known.or_else(search)
        });
        self.account = account.map(|account| account.at);
        let (mut stretches, mut elsewhere) = (Vec::new(), 0_u64);
        for arena in &arenas {
            if self.mains.contains(&arena.at) {
                let (found, missing) = main_heap(&self.target, arena, account.as_ref(), modules);
                elsewhere = elsewhere.saturating_add(missing);
                stretches.extend(found);
            } else {
                let (found, all) = arena.heaps(&self.target);
                broken += usize::from(!all);
                stretches.extend(found);
            }
        }
        stretches.sort_unstable_by_key(|stretch| stretch.range.start);
        stretches.dedup_by_key(|stretch| stretch.range.start);
        let ranges: Vec<_> = stretches.iter().map(|stretch| stretch.range.clone()).collect();
        let mapped = mapped::blocks(&self.target, modules, &ranges);
        let heaps = Heaps::new(ranges);
        let mut tally = Tally::new(constants(modules));
        self.caches.begin();
        self.caches.list(&self.target, &heaps, &arenas);
        let total = stretches.iter().map(|stretch| stretch.range.end - stretch.range.start).sum();
        let (spans, sampled) = sampling::plan(&stretches, self.most, &self.dice);
        let (began, mut late) = (thread_cpu_time(), false);
        let mut patience = || {
            late |= thread_cpu_time().saturating_sub(began) >= PATIENCE;
            !late
        };
        let Self { target, caches, block, .. } = self;
        // the cache of a heap's first thread is its first chunk, and tells the key before anything is counted
        for stretch in stretches.iter().filter(|stretch| stretch.known) {
            if let Some(words) = target.words(stretch.range.start) {
                caches.learn(target, &heaps, &Chunk::new(stretch.range.start, words));
            }
        }
        let mut walked = Walked::default();
        for span in &spans {
            walked.add(walk::walk(target, block, span, &mut patience, &mut |chunk, in_use| {
                if !in_use {
                    meet(chunk, false);
                    return;
                }
                caches.learn(target, &heaps, chunk);
                let cached = caches.hold(&heaps, chunk);
                meet(chunk, !cached);
                if cached {
                    tally.cached += chunk.size();
                } else {
                    tally.live(chunk);
                }
            }));
        }
        Ok(Heap { tally, mapped, walked, total, sampled, late, arenas, account, elsewhere, broken })
    }
}

/// Where chunks of a main arena are, and of the bytes that it holds those that are elsewhere.
fn main_heap(
    bytes: &impl Bytes,
    arena: &Arena,
    account: Option<&Account>,
    modules: &Modules,
) -> (Vec<Stretch>, u64) {
    let top = bytes.words(arena.top).map(|words| Chunk::new(arena.top, words).end());
    let stretch = |from: u64, known| Stretch { range: from..arena.top.max(from), known, main: true };
    let around = modules.anonymous.iter().find(|part| (part.start..part.end).contains(&arena.top));
    let found = around.map(|around| match account.filter(|_| around.name == BRK) {
        Some(account) => stretch(account.heap.next_multiple_of(16), true),
        None => stretch(around.start, false),
    });
    let held =
        found.as_ref().zip(top).map_or(arena.system, |(found, top)| top.saturating_sub(found.range.start));
    (found.into_iter().collect(), arena.system.saturating_sub(held))
}

/// The heap that grows by `brk`.
fn brk(modules: &Modules) -> Option<Range<u64>> {
    let heap = || modules.anonymous.iter().filter(|part| part.name == BRK);
    Some(heap().map(|part| part.start).min()?..heap().map(|part| part.end).max()?)
}

/// As `/proc/PID/maps` names it.
const BRK: &str = "[heap]";

/// Where a C library may keep its arenas: in its own data, or in that of the program where it is linked statically.
fn data(pid: u32, modules: &Modules) -> Vec<Range<u64>> {
    let program = os::executable_path(pid);
    let is_library = |module: &Module| {
        let name = module.path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libc.so") || name.starts_with("libc-")
    };
    let (libraries, others): (Vec<_>, Vec<_>) = modules.modules.iter().partition(|module| is_library(module));
    let program = others.into_iter().filter(|module| Some(&module.path) == program.as_ref());
    let parts = libraries.into_iter().chain(program).flat_map(|module| &module.parts);
    parts.filter(|part| part.writable).map(|part| part.start..part.end).collect()
}

/// Read-only data of files.
fn constants(modules: &Modules) -> Vec<Range<u64>> {
    let parts = modules.modules.iter().flat_map(|module| &module.parts);
    let mut found: Vec<_> =
        parts.filter(|part| !part.writable && !part.executable).map(|part| part.start..part.end).collect();
    found.sort_unstable_by_key(|range| range.start);
    found
}

/// Some word of what files have as data can be read.
fn may_read(bytes: &impl Bytes, modules: &Modules) -> bool {
    let mut parts = modules.modules.iter().flat_map(|module| &module.parts);
    parts.any(|part| bytes.words::<1>(part.start).is_some())
}

impl Reader for Census {
    fn source(&self) -> Source {
        Source::GlibcCensus
    }

    fn read(&mut self) -> Result<Reading, OutsideError> {
        let began = thread_cpu_time();
        let mut read = || -> Result<Reading, OutsideError> {
            let modules =
                Modules::read(self.pid).map_err(|error| OutsideError::Refused(error.to_string()))?;
            let heap = self.walk(&modules, &mut |_, _| {})?;
            let (keys, beyond) = (self.caches.are_known(), self.caches.more);
            report::reading(heap, &modules, keys, beyond, |table| {
                self.types.of(&self.target, &modules, table).map(str::to_owned)
            })
        };
        let result = read();
        // whatever was read, of whomever
        if !self.target.is_there() {
            return Err(OutsideError::Gone);
        }
        result.map(|reading| Reading { cost: thread_cpu_time().saturating_sub(began), ..reading })
    }
}

#[cfg(test)]
mod tests;
