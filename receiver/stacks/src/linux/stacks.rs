//! The stacks of one process: addresses to files, files to names.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::code::{Code, MADE};
use super::demangle::clean;
use super::hotspot::{self, Jvm};
use super::memory::read_memory;
use super::perf_map::PerfMap;
use super::python::Interpreter;
use super::registers;
use super::scan::{self, Begin};
use super::shelf::{Shelf, lock};
use super::unwound::{Place, Unwound};
use super::v8;
use super::walk::{Ground, Step, Way, walk};
use crate::modules::{FileId, Modules};
use crate::python::CodeLayout;
use crate::unwind::{Captured, Unwind};

/// Mappings of code that are remembered, those included that are gone.
const MAX_CODE: usize = 16 * 1024;
/// Code without a file that is the kernel's: system calls, and where it steps through what probes stand on.
const KERNELS: [&str; 2] = ["[vsyscall]", "[uprobes]"];

/// See [`Unwinder`](crate::unwind::Unwinder).
#[derive(Debug)]
pub(crate) struct Stacks {
    pid: u32,
    max_frames: usize,
    unwind: Unwind,
    shelf: Shelf,
    /// By address; they do not overlap.
    code: Vec<Code>,
    /// Where functions return to whose return a probe catches; absent where none does yet.
    caught_at: Option<u64>,
    perf_map: Arc<Mutex<PerfMap>>,
    /// What can name the Python code that it runs.
    python: Option<Interpreter>,
    /// What can name the Java code that it runs, and undo its frames.
    jvm: Jvm,
    /// What can name the JavaScript that it runs; sought when code is met that nothing else names.
    v8: Option<v8::Names>,
    /// A walk has led to where nothing is.
    stale: bool,
}

impl Stacks {
    pub(crate) fn new(pid: u32, max_frames: usize, unwind: Unwind, shelf: &Shelf) -> Self {
        Self {
            pid,
            max_frames: max_frames.max(1),
            unwind,
            shelf: shelf.clone(),
            code: Vec::new(),
            caught_at: None,
            perf_map: Arc::default(),
            python: None,
            jvm: Jvm::new(pid),
            v8: None,
            stale: false,
        }
    }

    pub(crate) fn refresh(&mut self, modules: &Modules) {
        lock(&self.perf_map).refresh(self.pid);
        let known: HashMap<_, _> = self
            .code
            .iter()
            .filter_map(|it| Some(((it.file, it.module.to_string()), it.image.clone()?)))
            .collect();
        let mut code = Vec::new();
        for module in modules.modules.iter().filter(|module| module.has_code()) {
            let name = clean(&module.path.to_string_lossy());
            let key = (module.file, name);
            let image = known.get(&key).cloned().or_else(|| self.shelf.open(module, self.pid));
            let name: Arc<str> = key.1.into();
            code.extend(module.parts.iter().filter(|part| part.executable).map(|part| Code {
                start: part.start,
                end: part.end,
                offset: part.offset,
                module: Arc::clone(&name),
                file: module.file,
                image: image.clone(),
            }));
        }
        let made: Arc<str> = MADE.into();
        code.extend(
            modules
                .anonymous
                .iter()
                .filter(|region| region.executable && !KERNELS.contains(&region.name.as_str()))
                .map(|region| Code {
                    start: region.start,
                    end: region.end,
                    offset: 0,
                    module: Arc::clone(&made),
                    file: FileId::default(),
                    image: None,
                }),
        );
        code.sort_unstable_by_key(|it| it.start);
        code.truncate(MAX_CODE);
        self.caught_at =
            modules.anonymous.iter().find(|region| region.name == "[uprobes]").map(|region| region.start);
        let regions = modules.regions();
        let room = MAX_CODE - code.len();
        let is_free = |it: &&Code| {
            let next = regions.partition_point(|region| region.end <= it.start);
            regions.get(next).is_none_or(|region| region.start >= it.end)
        };
        let gone: Vec<_> = self.code.iter().filter(is_free).take(room).cloned().collect();
        code.extend(gone);
        code.sort_unstable_by_key(|it| it.start);
        self.code = code;
        let variables =
            |code: &Code| hotspot::variables(&code.module, code.image.as_ref()?, code.start, code.offset);
        self.jvm.refresh(self.code.iter().find_map(variables));
    }

    pub(crate) fn set_python(&mut self, layout: Option<CodeLayout>) {
        self.python = layout.map(|layout| Interpreter::new(self.pid, layout));
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    pub(crate) fn is_go(&self, address: u64) -> bool {
        at(&self.code, address).is_some_and(|code| code.is_go(address))
    }

    pub(crate) fn keeps_frame_pointers(&self) -> bool {
        match self.unwind {
            Unwind::FramePointers => true,
            Unwind::Dwarf => false,
            // What is loaded as a rule is libc, which keeps none on most systems: one look is enough there.
            // Whose a frame of JavaScript is stands in the frame.
            Unwind::Auto => {
                !self.code.is_empty()
                    && self.code.iter().rev().all(Code::keeps_chains)
                    && v8_of(&self.code).is_none()
            }
        }
    }

    pub(crate) fn unwind(&mut self, captured: &Captured<'_>) -> Unwound {
        let (code, unwind) = (&self.code, self.unwind);
        let code_end = code.last().map_or(u64::MAX, |it| it.end);
        let (caught_at, mut stale, mut caught) = (self.caught_at, false, false);
        let by_kernel = !captured.chain.is_empty();
        let jvm = &mut self.jvm;
        let has_rows = !by_kernel && unwind != Unwind::FramePointers;
        // addresses of which nothing says how their frames are undone
        let mut bare = Vec::new();
        let ground = |address: u64| {
            let found = at(code, address);
            // a return address lies behind what is looked up
            caught |= caught_at.is_some_and(|start| start == address.saturating_add(1));
            stale |= found.is_none() && !caught;
            let Some(found) = found else { return Ground::Nothing };
            let is_innermost = captured.interrupted && address == captured.ip;
            let place = hotspot::Place { inside: address, is_innermost, frame: None };
            let row = (has_rows && found.is_made()).then(|| jvm.row(place)).flatten();
            let way = row.map_or_else(|| found.way(address, unwind, by_kernel), Way::by_row);
            if way.row.is_none() {
                bare.push(address);
            }
            Ground::Code(way)
        };
        let space = Space { code, pid: self.pid, caught_at };
        let seek = |inside, registers: &_| scan::seek(inside, registers, captured, &space);
        let walk = walk(captured, self.max_frames, code_end, caught_at, ground, seek);
        self.stale = stale;
        let word = |address| registers::read(captured, address).ok();
        let (pid, v8, jvm) = (self.pid, &mut self.v8, &mut self.jvm);
        let mut java = |step: Step| {
            let is_innermost = step.inside == step.address;
            jvm.names(hotspot::Place { inside: step.inside, is_innermost, frame: step.fp }, &word)
        };
        let left = Cell::new(v8::MOST_A_STACK);
        let mut javascript = |step: Step, code: &Code| {
            if !bare.contains(&step.inside) || !code.may_run_javascript() {
                return None;
            }
            if v8.is_none() {
                *v8 = v8_of(&self.code).map(v8::Names::new);
            }
            let read = |address, to: &mut [u8]| read_memory(pid, address, to);
            v8.as_mut()?.at(step.inside, step.fp?, word, &read, &left)
        };
        let place = |step: Step| {
            let code = at(&self.code, step.inside).cloned();
            let made = code.as_ref().filter(|code| code.is_made());
            let names = made.and_then(|_| java(step));
            let names = names.or_else(|| javascript(step, code.as_ref()?));
            Place { step, names, code }
        };
        let python = self.python.as_mut().map(|python| python.lines(captured.python)).unwrap_or_default();
        Unwound {
            python,
            places: walk.steps.into_iter().map(place).collect(),
            end: walk.end,
            doubt: walk.doubt,
            caught,
            copied: captured.stack.len(),
            max_frames: self.max_frames,
            shelf: self.shelf.clone(),
            perf_map: Arc::clone(&self.perf_map),
        }
    }
}

/// What the process has in memory.
struct Space<'a> {
    code: &'a [Code],
    pid: u32,
    caught_at: Option<u64>,
}

impl scan::Memory for Space<'_> {
    fn code(&self, address: u64, most: usize) -> Vec<u8> {
        at(self.code, address).map(|code| code.bytes(address, most)).unwrap_or_default()
    }

    fn begin(&self, address: u64) -> Begin {
        at(self.code, address).and_then(|code| code.begin(address)).unwrap_or(Begin::At(address))
    }

    fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        read_memory(self.pid, address, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    fn catches(&self, address: u64) -> bool {
        self.caught_at == Some(address)
    }
}

/// What V8 says of itself, if it is there.
fn v8_of(code: &[Code]) -> Option<&v8::Metadata> {
    code.iter().find_map(|code| code.image.as_ref()?.v8())
}

fn at(code: &[Code], address: u64) -> Option<&Code> {
    let above = code.partition_point(|it| it.start <= address);
    code.get(above.checked_sub(1)?).filter(|it| address < it.end)
}
