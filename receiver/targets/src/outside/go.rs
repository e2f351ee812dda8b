//! What the Go runtime knows of its own memory: what its last collection marked, its goroutines by the statement that started them, and
//! its heap profile, where the program has it, or else its spans by the size of their objects.
//!
//! The runtime keeps them in variables of its own, where the program's symbols tell, or else what they hold; how they are laid out
//! depends on Go's version, which the program tells too.

mod build;

mod layout;

mod goroutines;

pub(super) mod objects;

mod profile;

mod spans;

mod search;

#[cfg(test)]
mod tests;

use std::ops::Range;

use mlh_stacks::modules::{Module, Modules};

use self::build::Build;
use self::layout::Layout;
use super::blocks::Blocks;
use super::target::Target;
use super::{Class, MAX_CLASSES, OutsideError, Reader, Reading, Source};
use crate::os;
use crate::points::elf::Elf;

/// Pages that are read of a process in a reading: 64 MiB.
const MAX_BLOCKS: usize = 16_384;

/// No process holds more, bytes.
const MAX_HELD: u64 = 1 << 47;

const ELSEWHERE: &str =
    "memory outside of Go's heap and stacks: what C code allocates, what the program maps for itself";

const PROFILE_IS_OFF: &str = "who allocates on the Go heap: the program keeps no heap profile, as runtime.MemProfileRate is 0 or nothing in it uses runtime/pprof; importing net/http/pprof is enough";

const RATE_IS_ASSUMED: &str = "at which rate the Go program samples its heap: it has been stripped of its symbols, and the usual rate is assumed";

const NOT_FOUND: &str = "the program has been stripped of its symbols, and the variables of Go's runtime were not found in its memory: build it without -ldflags=-s";

/// One sample for so many bytes, unless a program says otherwise.
const USUAL_RATE: u64 = 512 << 10;

/// Of the sections of variables so much is looked through, bytes. Linkers put large ones last.
const MAX_SEARCHED: u64 = 4 << 20;

/// So often the variables are looked for in a reading: those of a program that allocates meanwhile may not agree.
const ATTEMPTS: usize = 3;

/// Reads them.
#[derive(Debug)]
pub(super) struct Go {
    target: Target,
    /// Or why nothing is known of it: a sentence.
    program: Result<Program, String>,
    /// Once they are known.
    places: Option<Places>,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    layout: Layout,
    /// Where variables with pointers are that have no first value.
    pointers: Range<u64>,
    /// Where those without pointers are.
    numbers: Range<u64>,
    code: Range<u64>,
}

/// Where the process has the runtime's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places {
    /// `runtime.gcController`
    controller: u64,
    /// `runtime.mheap_`
    heap: u64,
    /// `runtime.allgs`
    goroutines: u64,
    /// `runtime.MemProfileRate`; nothing tells it from other numbers.
    rate: Option<u64>,
    /// `runtime.mbuckets`; programs without a profile may lack it.
    buckets: Option<u64>,
}

impl Go {
    /// `None`: what the process runs is no Go program.
    pub(super) fn find(pid: u32, modules: &Modules) -> Option<Self> {
        let executable = os::executable_path(pid)?;
        let module = modules.modules.iter().find(|module| module.has_code() && module.path == executable)?;
        let elf = Elf::open(os::open_executable(pid).ok()?).ok()?;
        let build = Build::read(&elf)?;
        let bias = || {
            let part = module.parts.iter().find(|part| part.executable)?;
            Some(part.start.wrapping_sub(elf.code_address(part.offset)?))
        };
        let (program, places) = match bias() {
            Some(bias) => (program(&elf, &build, module, bias), places(&elf, bias)),
            None => (Err("the program's file is not as it was when it was started".to_owned()), None),
        };
        Some(Self { target: Target::of(pid), program, places })
    }

    fn look(target: &Target, program: &Program, known: &mut Option<Places>) -> Result<Reading, OutsideError> {
        let mut blocks = Blocks::new(target.memory, MAX_BLOCKS);
        let layout = &program.layout;
        blocks.word(program.pointers.start).ok_or_else(|| target.unreadable())?;
        if known.is_none() {
            let search = |_| search::places(&mut Blocks::new(target.memory, MAX_BLOCKS), program);
            *known = (0..ATTEMPTS).find_map(search);
        }
        let places = known.as_mut().ok_or_else(|| OutsideError::Unknown(NOT_FOUND.to_owned()))?;
        if places.buckets.is_none() && places.rate.is_none() {
            places.buckets = search::buckets(&mut blocks, program);
        }
        let figures = Figures::read(&mut blocks, places, layout).ok_or_else(|| {
            OutsideError::Unknown("Go's runtime is not laid out as that of its version is".to_owned())
        })?;
        let mut not_seen = vec![ELSEWHERE.to_owned()];
        let mut classes = goroutines::by_statement(&mut blocks, places.goroutines, layout, &mut not_seen);
        let mut profile_not_seen = Vec::new();
        let profile = profiled(&mut blocks, places, figures.marked, &mut profile_not_seen);
        if let Some(profile) = profile {
            classes.extend(profile);
            not_seen.extend(profile_not_seen);
        } else {
            not_seen.push(PROFILE_IS_OFF.to_owned());
            classes.extend(spans::by_size(&mut blocks, places.heap, layout, &mut not_seen));
        }
        if blocks.is_spent() {
            not_seen
                .push("a part of the heap's own records: there are more than are read at once".to_owned());
        }
        classes.sort_by_key(|class| std::cmp::Reverse(class.bytes));
        classes.truncate(MAX_CLASSES);
        Ok(Reading {
            in_use: figures.marked.checked_add(figures.stacks),
            held: Some(figures.ready),
            collections: Some(figures.collections),
            classes,
            not_seen,
            ..Reading::default()
        })
    }
}

impl Reader for Go {
    fn source(&self) -> Source {
        Source::GoHeap
    }

    fn read(&mut self) -> Result<Reading, OutsideError> {
        let Self { target, program, places } = self;
        target.reading(|| match program {
            Ok(program) => Self::look(target, program, places),
            Err(why) => Err(OutsideError::Unknown(why.clone())),
        })
    }
}

/// What the heap profile tells, if the program keeps one. Before a program without one gives it up, it may have sampled something: where
/// nobody knows the rate, a profile of next to nothing of the heap is none.
fn profiled(
    blocks: &mut Blocks,
    places: &Places,
    marked: u64,
    not_seen: &mut Vec<String>,
) -> Option<Vec<Class>> {
    let rate = places.rate.map_or(Some(USUAL_RATE), |rate| blocks.word(rate)).filter(|rate| *rate > 0)?;
    let profile = profile::by_stack(blocks, places.buckets?, rate, not_seen);
    if places.rate.is_none() {
        not_seen.push(RATE_IS_ASSUMED.to_owned());
        let told = profile.iter().map(|class| class.bytes).fold(0, u64::saturating_add);
        (told >= marked / 8).then_some(())?;
    }
    Some(profile)
}

fn program(elf: &Elf, build: &Build, module: &Module, bias: u64) -> Result<Program, String> {
    let layout = Layout::of(build.minor)
        .ok_or_else(|| format!("Go 1.{} is not known; 1.20 to 1.26 are", build.minor))?;
    let section = |name: &str| {
        let section = elf.sections.iter().find(|section| section.name == name)?;
        let start = section.address.wrapping_add(bias).checked_next_multiple_of(8)?;
        Some(start..start.checked_add(section.size.min(MAX_SEARCHED))?)
    };
    let variables = || Some((section(".bss")?, section(".noptrbss")?));
    let (pointers, numbers) =
        variables().ok_or("the program's file does not tell where its variables are")?;
    let code = module.parts.iter().filter(|part| part.executable);
    let code =
        code.clone().map(|part| part.start).min().unwrap_or(0)..code.map(|part| part.end).max().unwrap_or(0);
    Ok(Program { layout, pointers, numbers, code })
}

/// By the program's symbols, if it has them.
fn places(elf: &Elf, bias: u64) -> Option<Places> {
    let symbols = build::symbols(elf);
    let address = |name: &str| symbols.get(name).map(|address| address.wrapping_add(bias));
    Some(Places {
        controller: address("runtime.gcController")?,
        heap: address("runtime.mheap_")?,
        goroutines: address("runtime.allgs")?,
        rate: Some(address("runtime.MemProfileRate")?),
        buckets: address("runtime.mbuckets"),
    })
}

/// What the runtime counts, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    /// What the last collection left.
    marked: u64,
    /// Stacks of goroutines.
    stacks: u64,
    /// What the kernel has given it, and has not been given back.
    ready: u64,
    /// So many have ended.
    collections: u64,
}

impl Figures {
    /// `None`: they cannot be those.
    fn read(blocks: &mut Blocks, places: &Places, layout: &Layout) -> Option<Self> {
        let sweeps = u32::from_le_bytes(blocks.read(layout.sweeps(places.heap)?)?);
        let of_controller = Self::of_controller(blocks, places.controller, layout)?;
        Some(Self { collections: (sweeps / 2).into(), ..of_controller })
    }

    /// Without the collections.
    fn of_controller(blocks: &mut Blocks, at: u64, layout: &Layout) -> Option<Self> {
        let mut of_controller = |offset| blocks.word(at.checked_add(offset)?);
        let (marked, stacks, ready) =
            (of_controller(layout.marked)?, of_controller(layout.stacks)?, of_controller(layout.ready)?);
        let possible = ready > 0 && ready < MAX_HELD && marked <= ready && stacks <= ready;
        possible.then_some(Self { marked, stacks, ready, collections: 0 })
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = Build::parse(bytes);
}

/// Of a kind that the runtime itself does not name.
fn class(name: String, bytes: u64, count: u64, stack: Vec<u64>) -> Class {
    Class { name, bytes, count, stack }
}
