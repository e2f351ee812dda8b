//! What the Go runtime knows of its own memory: what its last collection marked, its goroutines by the statement that started them, and
//! its heap profile, where the program has it, or else its spans by the size of their objects.
//!
//! The runtime keeps them in variables of its own, where the program's symbols tell; how they are laid out depends on
//! Go's version, which the program tells too.

mod build;

mod layout;

mod goroutines;

mod profile;

mod spans;

#[cfg(test)]
mod tests;

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

/// Reads them.
#[derive(Debug)]
pub(super) struct Go {
    target: Target,
    /// Or why the variables are not known: a sentence.
    places: Result<Places, String>,
}

/// Where the process has the runtime's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places {
    layout: Layout,
    /// `runtime.gcController`
    controller: u64,
    /// `runtime.memstats`
    statistics: u64,
    /// `runtime.mheap_`
    heap: u64,
    /// `runtime.allgs`
    goroutines: u64,
    /// `runtime.MemProfileRate`
    rate: u64,
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
        Some(Self { target: Target::of(pid), places: places(&elf, &build, module) })
    }

    fn look(&self, places: &Places) -> Result<Reading, OutsideError> {
        let mut blocks = Blocks::new(self.target.memory, MAX_BLOCKS);
        let layout = &places.layout;
        let rate = blocks.word(places.rate).ok_or_else(|| self.target.unreadable())?;
        let figures = Figures::read(&mut blocks, places).ok_or_else(|| {
            OutsideError::Unknown("Go's runtime is not laid out as that of its version is".to_owned())
        })?;
        let mut not_seen = vec![ELSEWHERE.to_owned()];
        let mut classes = goroutines::by_statement(&mut blocks, places.goroutines, layout, &mut not_seen);
        match places.buckets.filter(|_| rate > 0) {
            Some(head) => classes.extend(profile::by_stack(&mut blocks, head, rate, &mut not_seen)),
            None => {
                not_seen.push(PROFILE_IS_OFF.to_owned());
                classes.extend(spans::by_size(&mut blocks, places.heap, layout, &mut not_seen));
            }
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
        self.target.reading(|| match &self.places {
            Ok(places) => self.look(places),
            Err(why) => Err(OutsideError::Unknown(why.clone())),
        })
    }
}

fn places(elf: &Elf, build: &Build, module: &Module) -> Result<Places, String> {
    let layout = Layout::of(build.minor)
        .ok_or_else(|| format!("Go 1.{} is not known; 1.20 to 1.26 are", build.minor))?;
    let bias = || {
        let part = module.parts.iter().find(|part| part.executable)?;
        Some(part.start.wrapping_sub(elf.code_address(part.offset)?))
    };
    let bias = bias().ok_or("the program's file is not as it was when it was started")?;
    let symbols = build::symbols(elf);
    let address = |name: &str| symbols.get(name).map(|address| address.wrapping_add(bias));
    let needed = |name: &str| {
        address(name).ok_or_else(|| {
            "the program has been stripped of its symbols: build it without -ldflags=-s, and what Go's runtime knows of its heap is read".to_owned()
        })
    };
    Ok(Places {
        layout,
        controller: needed("runtime.gcController")?,
        statistics: needed("runtime.memstats")?,
        heap: needed("runtime.mheap_")?,
        goroutines: needed("runtime.allgs")?,
        rate: needed("runtime.MemProfileRate")?,
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
    fn read(blocks: &mut Blocks, places: &Places) -> Option<Self> {
        let layout = &places.layout;
        let mut of_controller = |offset| blocks.word(places.controller.checked_add(offset)?);
        let (marked, stacks, ready) =
            (of_controller(layout.marked)?, of_controller(layout.stacks)?, of_controller(layout.ready)?);
        let collections = blocks.read(places.statistics.checked_add(layout.collections)?)?;
        let possible = ready > 0 && ready < MAX_HELD && marked <= ready && stacks <= ready;
        possible.then_some(Self {
            marked,
            stacks,
            ready,
            collections: u32::from_le_bytes(collections).into(),
        })
    }
}

/// Of a kind that the runtime itself does not name.
fn class(name: String, bytes: u64, count: u64, stack: Vec<u64>) -> Class {
    Class { name, bytes, count, stack }
}
