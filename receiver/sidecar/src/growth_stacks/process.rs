//! One process: its stacks, and which of its pages are there.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mlh_bpf::capture::Capture;
use mlh_bpf::python::PythonLayout;
use mlh_detect::growth_stacks::Answer;
use mlh_stacks::modules::Modules;
use mlh_stacks::unwind::{Captured, Library, Stack, Unwind, Unwinder};
use mlh_targets::interpreters::python;
use mlh_targets::pagemap::{PageState, Pagemap, PagemapError};

use crate::investigate::python_frame;

/// What the process maps is not read anew sooner than this: reading holds up its own mapping.
const SETTLED: Duration = Duration::from_secs(1);
/// The same where a file was mapped and may be no more: files are touched all the time.
const FILES_SETTLED: Duration = Duration::from_secs(10);
/// Files that are memory: they cannot be dropped, and hold what somebody has written.
const MEMORY: &[&str] = &["/memfd:", "/SYSV", "/dev/shm/", "/dev/zero", "/run/shm/", "/anon_hugepage"];

/// What the processes of a look have in common.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// Frames of a stack.
    pub(super) max_frames: usize,
    /// How they are unwound.
    pub(super) unwind: Unwind,
    /// Files that several of them map are read once.
    pub(super) library: Library,
}

/// What a function touches of its stack lies so far below the stack pointer at most, bytes,
const BELOW: u64 = 4096;
/// and so far above it: the frames of it and of its callers.
const FRAMES: u64 = 64 << 10;

/// How the stacks of a process are to be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Capturing {
    pub(super) pid: u32,
    /// The kernel follows its frame pointers.
    pub(super) by_kernel: bool,
    /// What its Python interpreter runs is told.
    pub(super) python: Option<PythonLayout>,
}

/// Its Python interpreter.
#[derive(Debug)]
enum Interpreter {
    /// None has been found yet; one may be loaded.
    Unknown,
    Known(PythonLayout),
    /// It cannot be looked into: why.
    Hidden(String),
}

/// See the module.
pub(super) struct Process {
    pub(super) pid: u32,
    /// It has ended, or runs another program.
    pub(super) ended: bool,
    /// Those of pages that are followed, by their identity.
    pub(super) stacks: HashMap<u64, Stack>,
    python: Interpreter,
    pagemap: Pagemap,
    unwinder: Unwinder,
    modules: Modules,
    refreshed: Instant,
}

impl Process {
    /// Errors are sentences.
    pub(super) fn open(pid: u32, shared: &Shared) -> Result<Self, String> {
        let pagemap = Pagemap::open(pid).map_err(|error| error.to_string())?;
        let modules = Modules::read(pid).map_err(|error| error.to_string())?;
        let unwinder = Unwinder::with_library(pid, shared.max_frames, shared.unwind, &shared.library);
        let mut new = Self {
            pid,
            ended: false,
            stacks: HashMap::new(),
            python: Interpreter::Unknown,
            pagemap,
            unwinder,
            modules: Modules::default(),
            refreshed: Instant::now(),
        };
        new.take(modules);
        Ok(new)
    }

    /// How its stacks are to be captured, as of what it maps now.
    pub(super) fn capturing(&self) -> Capturing {
        let python = if let Interpreter::Known(layout) = &self.python { Some(*layout) } else { None };
        Capturing { pid: self.pid, by_kernel: self.unwinder.keeps_frame_pointers(), python }
    }

    /// Why its Python frames are not told.
    pub(super) fn hidden_python(&self) -> Option<&str> {
        if let Interpreter::Hidden(reason) = &self.python { Some(reason) } else { None }
    }

    /// The stack of a fault.
    pub(super) fn unwind(&mut self, capture: &Capture) -> Stack {
        let Capture { ip, sp, bp, ref stack, truncated, ref chain, ref returns, ref python } = *capture;
        let python: Vec<_> = python.iter().map(python_frame).collect();
        // Where the kernel has touched the page in a system call the thread is behind the `syscall`. That is no call: what the
        // unwind information says of the very instruction holds.
        let captured =
            Captured { ip, interrupted: true, sp, bp, stack, truncated, chain, returns, python: &python };
        let unwound = self.unwinder.unwind(&captured);
        if self.unwinder.is_stale() && self.refresh(SETTLED) {
            self.unwinder.unwind(&captured)
        } else {
            unwound
        }
    }

    /// What has become of the pages, by the addresses in them, in order; of each whether it is the first time.
    pub(super) fn look(&mut self, pages: &[(u64, bool)]) -> Result<Vec<Answer>, PagemapError> {
        if pages.is_empty() {
            // whether it lives, by any page
            return self.pagemap.states(&[0]).map(|_| Vec::new());
        }
        let addresses: Vec<u64> = pages.iter().map(|(address, _)| *address).collect();
        let states = self.pagemap.states(&addresses)?;
        Ok(states.into_iter().zip(pages).map(|(state, page)| self.answer(state, *page)).collect())
    }

    /// The page is one of a file, as far as is known: of such as can be written back or read anew.
    pub(super) fn is_of_file(&mut self, address: u64) -> bool {
        let is_of_file = |process: &Self| process.mapped_as_memory(address) == Some(false);
        is_of_file(self) && (!self.refresh(FILES_SETTLED) || is_of_file(self))
    }

    /// Where the stack ends that a thread has there and touches for itself, as far as can be told by how near it is; `u64::MAX` where
    /// nothing is known to be mapped there yet. `None`: it touches something else, or has its stack among objects, as Go's have.
    pub(super) fn stack_end(&self, capture: &Capture, address: u64) -> Option<u64> {
        let sp = capture.sp;
        let is_near = (sp.saturating_sub(BELOW)..sp.saturating_add(FRAMES)).contains(&address);
        if !is_near || self.unwinder.is_go(capture.ip) {
            return None;
        }
        let mut end = u64::MAX;
        for part in &self.modules.anonymous {
            match ((part.start..part.end).contains(&sp), (part.start..part.end).contains(&address)) {
                (true, true) => end = part.end,
                (false, false) => {}
                _ => return None,
            }
        }
        Some(end)
    }

    /// Nobody else has the memory at an address: it is of no file and of no shared memory, as far as is known.
    pub(super) fn is_its_own(&self, address: u64) -> bool {
        self.modules.at(address).is_none()
    }

    fn answer(&mut self, state: PageState, (address, is_first): (u64, bool)) -> Answer {
        match state {
            // a page of a file that was written to, and that was not known to be one when it was touched
            PageState::Anonymous if is_first && self.mapped_as_memory(address) == Some(false) => Answer::Gone,
            PageState::Anonymous if is_first && self.pagemap.is_huge(address) => Answer::Huge,
            PageState::Anonymous => Answer::There,
            PageState::FileOrShared if self.is_memory(address) => Answer::There,
            PageState::Absent | PageState::FileOrShared => Answer::Gone,
        }
    }

    /// Not of a file: shared memory.
    fn is_memory(&mut self, address: u64) -> bool {
        let known = self.mapped_as_memory(address);
        if known.is_none() && self.refresh(SETTLED) {
            return self.mapped_as_memory(address).unwrap_or(false);
        }
        known.unwrap_or(false)
    }

    /// `None`: nothing is known to be mapped there.
    fn mapped_as_memory(&self, address: u64) -> Option<bool> {
        if let Some((module, _)) = self.modules.at(address) {
            return Some(is_memory(&module.path));
        }
        let of = |region: &&mlh_stacks::modules::Anonymous| (region.start..region.end).contains(&address);
        self.modules.anonymous.iter().find(of).map(|_| true)
    }

    /// Sees what it maps now, if that was last done so long ago. False: not now.
    fn refresh(&mut self, settled: Duration) -> bool {
        if self.refreshed.elapsed() < settled {
            return false;
        }
        self.refreshed = Instant::now();
        let Ok(modules) = Modules::read(self.pid) else { return false };
        self.take(modules);
        true
    }

    fn take(&mut self, modules: Modules) {
        self.unwinder.refresh(&modules);
        if matches!(self.python, Interpreter::Unknown) {
            self.python = match python::find(self.pid, &modules) {
                Ok(Some(found)) => {
                    self.unwinder.set_python(Some(found.code));
                    Interpreter::Known(found.layout)
                }
                Ok(None) => Interpreter::Unknown,
                Err(error) => Interpreter::Hidden(error.to_string()),
            };
        }
        self.modules = modules;
    }
}

fn is_memory(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    MEMORY.iter().any(|beginning| name.starts_with(beginning.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: shared memory is memory, and files are not.
    #[test]
    fn memory() {
        for (path, expected) in [
            ("/memfd:arena", true),
            ("/SYSV00000000", true),
            ("/dev/shm/queue", true),
            ("/dev/zero", true),
            ("/usr/lib/libc.so.6", false),
            ("/var/lib/db/shm", false),
        ] {
            assert_eq!(is_memory(Path::new(path)), expected, "{path}");
        }
    }
}
