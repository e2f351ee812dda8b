//! Copies of stacks to traces, for one process.

use crate::modules::Modules;
use crate::os;
use crate::trace::Trace;

/// Registers and stack of a thread at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'a> {
    /// Where a call was about to return to: an allocator's caller.
    pub ip: u64,
    /// The stack pointer once it has returned.
    pub sp: u64,
    /// The frame pointer register then.
    pub bp: u64,
    /// The stack from `sp` up.
    pub stack: &'a [u8],
    /// There was more of it.
    pub truncated: bool,
}

/// Files that have been opened, for several processes that map the same ones. Clones share them. A file is let go when the
/// last [`Unwinder`] that had it is.
#[derive(Debug, Clone, Default)]
pub struct Library(pub(crate) os::Shelf);

/// Unwinds and names the stacks of one process. Keeps what it has read of the process's files.
#[derive(Debug)]
pub struct Unwinder(os::Stacks);

impl Unwinder {
    /// For a process, which may end meanwhile: what has been opened stays readable. A trace has at most `max_frames`
    /// frames, not counting inlined functions.
    #[must_use]
    pub fn new(pid: u32, max_frames: usize) -> Self {
        Self::with_library(pid, max_frames, &Library::default())
    }

    /// For one of several processes: what they map in common is read once.
    #[must_use]
    pub fn with_library(pid: u32, max_frames: usize, library: &Library) -> Self {
        Self(os::Stacks::new(pid, max_frames, &library.0))
    }

    /// What the process maps now; files that are new are opened. What is no longer mapped stays known until something
    /// else is in its place, for stacks that were copied before.
    pub fn refresh(&mut self, modules: &Modules) {
        self.0.refresh(modules);
    }

    /// The last trace ended where nothing is known to be mapped: the process may have made or loaded code since the last
    /// [`refresh`](Self::refresh), after which the same stack may give a longer trace.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.is_stale()
    }

    /// Unwinds and names. Whatever the bytes are, this ends soon, and with at least one frame.
    pub fn trace(&mut self, captured: &Captured<'_>) -> Trace {
        self.0.trace(captured)
    }
}
