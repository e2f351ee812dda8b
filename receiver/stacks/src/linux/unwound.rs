//! A stack that has been unwound: its names, and why it ends where it does.

use std::sync::{Arc, Mutex};

use super::code::Code;
use super::dwarf::Named;
use super::hash::Hash;
use super::perf_map::PerfMap;
use super::python::{Line, merge};
use super::shelf::Shelf;
use super::walk::{Doubt, End, Step};
use crate::blame::culprit;
use crate::trace::{CAUGHT, Frame, Trace};
use crate::unwind::Caller;

/// Outermost functions of threads that have no way to say so.
const ROOTS: &[&str] = &[
    "_start",
    "clone",
    "__clone",
    "clone3",
    "__clone3",
    "start_thread",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "libc_start_main_stage2",
    "runtime.goexit",
    "runtime.goexit.abi0",
    "runtime.mstart",
    "runtime.mstart.abi0",
    "runtime.rt0_go",
    "runtime.rt0_go.abi0",
];

/// Beginnings of the names of what goes on on another stack in Go.
const STACK_SWITCHES: [&str; 2] = ["runtime.systemstack", "runtime.mcall"];

/// See [`Stack`](crate::unwind::Stack).
#[derive(Debug, Clone)]
pub(crate) struct Unwound {
    pub(crate) places: Vec<Place>,
    /// What Python was running.
    pub(crate) python: Vec<Line>,
    pub(crate) end: End,
    pub(crate) doubt: Option<Doubt>,
    /// Somebody else's probe catches the return of the last frame.
    pub(crate) caught: bool,
    /// Bytes of the copy.
    pub(crate) copied: usize,
    pub(crate) max_frames: usize,
    pub(crate) shelf: Shelf,
    pub(crate) perf_map: Arc<Mutex<PerfMap>>,
}

/// A step, the code it lies in, and who that is, innermost first, where a runtime's memory has told it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) step: Step,
    pub(crate) code: Option<Code>,
    pub(crate) names: Option<Arc<[Named]>>,
}

impl Unwound {
    pub(crate) fn identity(&self) -> u64 {
        let mut hash = Hash::new();
        for Place { step, names, .. } in &self.places {
            hash.add(&step.address.to_le_bytes());
            // an interpreter runs all functions at one address
            for Named { function, file, line } in names.iter().flat_map(|names| names.iter()) {
                let texts = [function, file].map(|text| text.as_deref().unwrap_or_default());
                texts.iter().for_each(|text| hash.add(text.as_bytes()));
                hash.add(&line.unwrap_or_default().to_le_bytes());
            }
        }
        self.python.iter().for_each(|line| line.identify(|part| hash.add(part)));
        hash.finish()
    }

    pub(crate) fn callers(&self) -> impl Iterator<Item = Caller> {
        self.places.iter().map(|Place { step, .. }| Caller { address: step.address, sp: step.sp })
    }

    pub(crate) fn trace(&self) -> Trace {
        let mut hash = Hash::new();
        let mut frames = Vec::with_capacity(self.places.len());
        // Where the frames of each step end, inlined functions are frames, too, and the hash so far.
        let mut ends = Vec::with_capacity(self.places.len());
        let mut grown = false;
        for Place { step, code, names } in &self.places {
            if let Some(code) = code {
                grown |= code.name(*step, names.as_deref(), &self.perf_map, &mut frames, &mut hash);
            } else {
                let module = "[unknown]".to_owned();
                hash.add(module.as_bytes());
                frames.push(Frame { address: step.address, module, ..Frame::default() });
            }
            ends.push((frames.len(), hash));
        }
        let sought = matches!(self.doubt, Some(Doubt::Sought(_)));
        // Whoever has called `main` is the last: there is nothing to look for behind it.
        let is_last = |(end, _): &&(usize, Hash)| sought && frames.get(..*end).is_some_and(is_root);
        let outermost = ends.iter().find(is_last).map(|(end, until)| {
            hash = *until;
            *end
        });
        frames.truncate(outermost.unwrap_or(frames.len()));
        let doubt = self.doubt(|step| {
            let (end, _) = ends.get(step)?;
            let end = Some(end).filter(|end| outermost.is_none_or(|outermost| **end < outermost))?;
            frames.get(end.checked_sub(1)?)
        });
        let why = if outermost.is_some() { None } else { self.why(&frames) };
        let reasons: Vec<_> = [doubt, why].into_iter().flatten().collect();
        let mut incomplete = (!reasons.is_empty()).then(|| reasons.join("; "));
        if grown {
            self.shelf.tidy();
        }
        if !self.python.is_empty() {
            (frames, incomplete) = merge(frames, &self.python, incomplete, self.max_frames);
            self.python.iter().for_each(|line| line.identify_anywhere(|part| hash.add(part)));
        }
        Trace { culprit: culprit(&frames), frames, hash: hash.finish(), incomplete }
    }

    /// Who may be missing in between.
    fn doubt<'a>(&self, frame: impl Fn(usize) -> Option<&'a Frame>) -> Option<String> {
        // whoever goes on on another stack makes no frame for it; only Go's own runtime can be its caller
        let is_switch = |frame: &Frame| {
            frame.function.as_deref().is_some_and(|name| STACK_SWITCHES.iter().any(|it| name.starts_with(it)))
        };
        if let Doubt::Interrupted(step) | Doubt::Pointless(step) = self.doubt?
            && frame(step).is_some_and(is_switch)
        {
            return None;
        }
        Some(match self.doubt? {
            Doubt::Interrupted(step) => {
                format!(
                    "{} had not made its frame, or makes none: its caller may be missing",
                    name_of(frame(step)?)
                )
            }
            Doubt::Sought(step) => {
                let frame = frame(step)?;
                let name = name_of(frame);
                format!(
                    "{name} has no unwind information: its caller was found by looking for a return address"
                )
            }
            Doubt::Pointless(step) => {
                format!("{} keeps no frame pointer: its caller may be missing", name_of(frame(step)?))
            }
        })
    }

    /// Why there is nothing behind the last frame.
    fn why(&self, frames: &[Frame]) -> Option<String> {
        if self.caught {
            return Some(format!("{CAUGHT}, and the caller cannot be told"));
        }
        let last = frames.last()?;
        let is_root = is_root(frames);
        Some(match self.end {
            End::Root => return None,
            End::Lost | End::Uncharted | End::Chained | End::Astray(_) if is_root => return None,
            End::Copied => format!("it is deeper than the {} bytes that were copied", self.copied),
            End::Limit => format!("it has more than {} frames", self.max_frames),
            End::Kernel => format!("the kernel has walked no further than {} frames", self.places.len()),
            End::Elsewhere => {
                format!("{} was called on another stack, of which nothing was copied", name_of(last))
            }
            End::Chained => format!("frame pointers lead no further than {}", name_of(last)),
            End::Astray(to) => {
                format!("the frame pointer of {} leads to {to:#x}, where no code was mapped", name_of(last))
            }
            End::Lost => format!("{} says that it has a caller, which cannot be found", name_of(last)),
            End::Uncharted => match self.places.last().and_then(|place| place.code.as_ref()) {
                None => format!("nothing was mapped at {:#x} when it was last looked", last.address),
                Some(code) if code.is_made() => {
                    format!("{} was made at run time and keeps no frame pointers", name_of(last))
                }
                Some(code) if code.image.is_none() => format!("{} could not be opened", last.module),
                Some(code) if code.has_rows() => {
                    format!("{} has no unwind information for {}", last.module, name_of(last))
                }
                Some(_) => format!("{} has no unwind information", last.module),
            },
        })
    }
}

/// The stack ends with a function that nobody has called.
fn is_root(frames: &[Frame]) -> bool {
    let bare = frames.last().and_then(|frame| frame.function.as_deref()?.split('@').next());
    bare.is_some_and(|name| ROOTS.contains(&name)) || is_entry(frames)
}

/// The stack ends with the C library's call of `main`, whose name is no symbol in distributors' files.
fn is_entry(frames: &[Frame]) -> bool {
    let [.., before, last] = frames else { return false };
    let library = last.module.rsplit('/').next().unwrap_or_default();
    let is_c = ["libc.", "libc-2.", "ld-musl"].iter().any(|name| library.starts_with(name));
    is_c && last.function.is_none() && before.function.as_deref() == Some("main")
}

fn name_of(frame: &Frame) -> String {
    frame.function.clone().unwrap_or_else(|| format!("the code at {:#x}", frame.address))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::modules::FileId;

    /// Guarantees: what a search has found behind a thread's outermost function is no part of the stack, nor of what it is known by.
    #[test]
    fn behind_the_root() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"1000 100 work\n2000 100 _start\n3000 100 rubbish\n").unwrap();
        let perf_map = Arc::new(Mutex::new(PerfMap::of(file)));
        let code = Code {
            start: 0x1000,
            end: 0x4000,
            offset: 0,
            module: "[anon]".into(),
            file: FileId::default(),
            image: None,
        };
        let trace = |addresses: &[u64]| {
            let step = |address| Step { address, inside: address - 1, sp: None, fp: None };
            let place = |address: &u64| Place { step: step(*address), code: Some(code.clone()), names: None };
            let unwound = Unwound {
                places: addresses.iter().map(place).collect(),
                python: Vec::new(),
                end: End::Lost,
                doubt: Some(Doubt::Sought(0)),
                caught: false,
                copied: 0,
                max_frames: 64,
                shelf: Shelf::default(),
                perf_map: Arc::clone(&perf_map),
            };
            unwound.trace()
        };
        let whole = trace(&[0x1010, 0x2010]);
        assert_eq!(whole.frames.len(), 2);
        assert_eq!(
            (trace(&[0x1010, 0x2010, 0x3010]), trace(&[0x1010, 0x2010, 0x9999])),
            (whole.clone(), whole)
        );
        assert_ne!(trace(&[0x1010]).hash, trace(&[0x1010, 0x2010]).hash);
    }
}
