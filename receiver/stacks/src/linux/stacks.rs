//! The stacks of one process: addresses to files, files to names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::demangle::clean;
use super::perf_map::PerfMap;
use super::shelf::{Shared, Shelf, lock};
use super::walk::{End, Ground, Step, walk};
use crate::blame::culprit;
use crate::modules::{FileId, Modules};
use crate::trace::{Frame, Trace};
use crate::unwind::{Captured, Unwind};

/// Mappings of code that are remembered, those included that are gone.
const MAX_CODE: usize = 16 * 1024;
/// Outermost functions of threads that have no way to say so.
const ROOTS: &[&str] = &[
    "_start",
    "clone",
    "__clone",
    "clone3",
    "__clone3",
    "start_thread",
    "__libc_start_main",
    "runtime.goexit",
    "runtime.goexit.abi0",
    "runtime.mstart",
];

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
    /// A walk has led to where nothing is.
    stale: bool,
}

/// A mapping of code.
#[derive(Clone)]
struct Code {
    start: u64,
    end: u64,
    /// Of the file, at the beginning.
    offset: u64,
    /// `[anon]` where there is no file.
    module: Arc<str>,
    file: FileId,
    image: Option<Shared>,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x} {}", self.start, self.end, self.module)
    }
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
        let made: Arc<str> = "[anon]".into();
        code.extend(
            modules.anonymous.iter().filter(|region| region.executable && region.name != "[vsyscall]").map(
                |region| Code {
                    start: region.start,
                    end: region.end,
                    offset: 0,
                    module: Arc::clone(&made),
                    file: FileId::default(),
                    image: None,
                },
            ),
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
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    pub(crate) fn keeps_frame_pointers(&self) -> bool {
        self.unwind == Unwind::FramePointers
    }

    pub(crate) fn unwind(&mut self, captured: &Captured<'_>) -> Unwound {
        let code = &self.code;
        let code_end = code.last().map_or(u64::MAX, |it| it.end);
        let (caught_at, mut stale, mut caught) = (self.caught_at, false, false);
        let ground = |address: u64| {
            let found = at(code, address);
            // a return address lies behind what is looked up
            caught |= caught_at.is_some_and(|start| start == address.saturating_add(1));
            stale |= found.is_none() && !caught;
            found.map_or(Ground::Nothing, |it| Ground::Code(it.row(address)))
        };
        let (steps, end) = walk(captured, self.max_frames, code_end, ground);
        self.stale = stale;
        let steps = steps.into_iter().map(|step| Place { step, code: at(&self.code, step.inside).cloned() });
        Unwound {
            steps: steps.collect(),
            end,
            caught,
            copied: captured.stack.len(),
            max_frames: self.max_frames,
            shelf: self.shelf.clone(),
            perf_map: Arc::clone(&self.perf_map),
        }
    }
}

/// See [`Stack`](crate::unwind::Stack).
#[derive(Debug, Clone)]
pub(crate) struct Unwound {
    steps: Vec<Place>,
    end: End,
    /// Somebody else's probe catches the return of the last frame.
    caught: bool,
    /// Bytes of the copy.
    copied: usize,
    max_frames: usize,
    shelf: Shelf,
    perf_map: Arc<Mutex<PerfMap>>,
}

/// A step, and the code it lies in.
#[derive(Debug, Clone)]
struct Place {
    step: Step,
    code: Option<Code>,
}

impl Unwound {
    pub(crate) fn identity(&self) -> u64 {
        let mut hash = Hash::new();
        self.steps.iter().for_each(|place| hash.add(&place.step.address.to_le_bytes()));
        hash.0
    }

    pub(crate) fn trace(&self) -> Trace {
        let mut hash = Hash::new();
        let mut frames = Vec::with_capacity(self.steps.len());
        let mut grown = false;
        for Place { step, code } in &self.steps {
            if let Some(code) = code {
                grown |= code.name(*step, &mut lock(&self.perf_map), &mut frames, &mut hash);
            } else {
                let module = "[unknown]".to_owned();
                hash.add(module.as_bytes());
                frames.push(Frame { address: step.address, module, ..Frame::default() });
            }
        }
        let incomplete = if self.caught {
            Some("somebody else's probe catches the return there, and the caller cannot be told".to_owned())
        } else {
            self.why(frames.last())
        };
        if grown {
            self.shelf.tidy();
        }
        Trace { culprit: culprit(&frames), frames, hash: hash.0, incomplete }
    }

    fn why(&self, last: Option<&Frame>) -> Option<String> {
        let last = last?;
        let is_root = last.function.as_deref().is_some_and(|name| ROOTS.contains(&name));
        match self.end {
            End::Root => None,
            End::Lost | End::Uncharted if is_root => None,
            End::Copied => Some(format!("it is deeper than the {} bytes that were copied", self.copied)),
            End::Limit => Some(format!("it has more than {} frames", self.max_frames)),
            End::Lost => Some(format!("{} says that it has a caller, which cannot be found", name_of(last))),
            End::Uncharted => Some(match self.steps.last().and_then(|place| place.code.as_ref()) {
                None => format!("nothing was mapped at {:#x} when it was last looked", last.address),
                Some(code) if code.is_made() => {
                    format!("{} was made at run time and keeps no frame pointers", name_of(last))
                }
                Some(code) if code.image.is_none() => format!("{} could not be opened", last.module),
                Some(code) if code.has_rows() => {
                    format!("{} has no unwind information for {}", last.module, name_of(last))
                }
                Some(_) => format!("{} has no unwind information", last.module),
            }),
        }
    }
}

fn at(code: &[Code], address: u64) -> Option<&Code> {
    let above = code.partition_point(|it| it.start <= address);
    code.get(above.checked_sub(1)?).filter(|it| address < it.end)
}

fn name_of(frame: &Frame) -> String {
    frame.function.clone().unwrap_or_else(|| format!("the code at {:#x}", frame.address))
}

impl Code {
    fn row(&self, address: u64) -> Option<Arc<super::cfi::Row>> {
        let mut image = lock(self.image.as_ref()?);
        let address = image.address_of(self.offset.checked_add(address - self.start)?)?;
        image.row(address)
    }

    fn is_made(&self) -> bool {
        self.file == FileId::default() && &*self.module != "[vdso]"
    }

    fn has_rows(&self) -> bool {
        self.image.as_ref().is_some_and(|image| lock(image).has_rows())
    }

    /// Appends the frames of one step, and what it adds to the identity of the stack. True if names had to be read.
    fn name(&self, step: Step, perf_map: &mut PerfMap, frames: &mut Vec<Frame>, hash: &mut Hash) -> bool {
        let within = step.inside.saturating_sub(self.start);
        let frame = Frame { address: step.address, module: self.module.to_string(), ..Frame::default() };
        let mut image = self.image.as_ref().map(|it| lock(it));
        let in_file = image.as_ref().and_then(|it| it.address_of(self.offset.checked_add(within)?));
        let (Some(address), Some(image)) = (in_file, image.as_mut()) else {
            let function = perf_map.at(step.inside);
            hash.add(base_name(&self.module));
            match &function {
                Some(function) => hash.add(function.as_bytes()),
                // Code that is made anew by each process has no place to know it by.
                None if self.is_made() => {}
                None => hash.add(&self.offset.saturating_add(within).to_le_bytes()),
            }
            frames.push(Frame { function, offset: step.address.saturating_sub(self.start), ..frame });
            return false;
        };
        let offset = address.saturating_add(step.address.saturating_sub(step.inside));
        hash.add(image.build_id().unwrap_or(base_name(&self.module)));
        hash.add(&offset.to_le_bytes());
        let held = image.held();
        let names = image.names(address);
        let grown = image.held() > held;
        let outermost = names.len().saturating_sub(1);
        frames.extend(names.iter().enumerate().map(|(depth, named)| Frame {
            function: named.function.clone(),
            file: named.file.clone(),
            line: named.line,
            inlined: depth < outermost,
            offset,
            ..frame.clone()
        }));
        grown
    }
}

fn base_name(module: &str) -> &[u8] {
    module.rsplit('/').next().unwrap_or(module).as_bytes()
}

/// FNV-1a, 64 bits: the same for ever.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// A part, and its end.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
