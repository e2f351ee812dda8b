//! Captured stacks to traces, for one process.

use crate::debuginfod::Options;
use crate::modules::Modules;
use crate::os;
use crate::python::{CodeLayout, PythonFrame};
use crate::trace::Trace;

/// How stacks are unwound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unwind {
    /// By each file's unwind information, and by frame pointers where there is none; where code keeps none either, as that of the
    /// musl C library, by looking for return addresses on the stack, which the trace says. In the kernel where everything
    /// that a process maps keeps frame pointers.
    #[default]
    Auto,
    /// By frame pointers alone, in the kernel: the least work afterwards, and wrong or short wherever code keeps none.
    FramePointers,
    /// By unwind information alone.
    Dwarf,
}

/// Registers and stack of a thread at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Captured<'a> {
    /// Where a call was about to return to: an allocator's caller.
    pub ip: u64,
    /// `ip` is no return address but the very instruction that was being executed.
    pub interrupted: bool,
    /// The stack pointer then; of a return address once it has returned.
    pub sp: u64,
    /// The frame pointer register then.
    pub bp: u64,
    /// The stack from `sp` up.
    pub stack: &'a [u8],
    /// There was more of it; or of the chain.
    pub truncated: bool,
    /// Where the callers go on, innermost first, without `ip`, where the kernel has walked the stack by frame pointers.
    pub chain: &'a [u64],
    /// Of functions whose return somebody's probe catches, where they go on in truth, innermost first: on the stack stands the
    /// probe's address.
    pub returns: &'a [u64],
    /// What Python was running, innermost first.
    pub python: &'a [PythonFrame],
}

/// Files that have been opened, for several processes that map the same ones. Clones share them. A file is let go when the
/// last [`Unwinder`] that had it is.
#[derive(Debug, Clone, Default)]
pub struct Library(pub(crate) os::Shelf);

impl Library {
    /// One that may do what `options` say.
    #[must_use]
    pub fn with(options: Options) -> Self {
        Self(os::Shelf::with(options))
    }
}

/// Unwinds and names the stacks of one process. Keeps what it has read of the process's files.
#[derive(Debug)]
pub struct Unwinder(os::Stacks);

/// A stack that has been unwound, not named yet: cheap to make and to keep. What it needs of the process's files it holds
/// itself, so that it can be named later, by another thread, when the process is gone.
#[derive(Debug, Clone)]
pub struct Stack(pub(crate) os::Unwound);

/// A frame as it lies on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Where execution goes on.
    pub address: u64,
    /// The stack pointer then; absent where only addresses were captured.
    pub sp: Option<u64>,
}

impl Stack {
    /// Its frames, innermost first, without those that were inlined.
    pub fn callers(&self) -> impl Iterator<Item = Caller> {
        self.0.callers()
    }

    /// Tells it from the other stacks of the same process. Not the hash of its [`Trace`], for which names may be needed.
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.0.identity()
    }

    /// Names it. May take seconds, where a large file is met for the first time, and holds up no [`Unwinder`] meanwhile.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.0.trace()
    }
}

impl Unwinder {
    /// For a process, which may end meanwhile: what has been opened stays readable. A trace has at most `max_frames`
    /// frames, not counting inlined functions.
    #[must_use]
    pub fn new(pid: u32, max_frames: usize) -> Self {
        Self::with_library(pid, max_frames, Unwind::Auto, &Library::default())
    }

    /// For one of several processes: what they map in common is read once.
    #[must_use]
    pub fn with_library(pid: u32, max_frames: usize, unwind: Unwind, library: &Library) -> Self {
        Self(os::Stacks::new(pid, max_frames, unwind, &library.0))
    }

    /// What the process maps now; files that are new are opened. What is no longer mapped stays known until something
    /// else is in its place, for stacks that were copied before.
    pub fn refresh(&mut self, modules: &Modules) {
        self.0.refresh(modules);
    }

    /// Where the process's Python interpreter keeps the names of what it runs; `None`: there is none. They are read while stacks are
    /// unwound, from the process's memory.
    pub fn set_python(&mut self, layout: Option<CodeLayout>) {
        self.0.set_python(layout);
    }

    /// The last trace ended where nothing is known to be mapped: the process may have made or loaded code since the last
    /// [`refresh`](Self::refresh), after which the same stack may give a longer trace.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.is_stale()
    }

    /// Unwinds. Whatever the bytes are, this ends soon, and with at least one frame.
    pub fn unwind(&mut self, captured: &Captured<'_>) -> Stack {
        Stack(self.0.unwind(captured))
    }

    /// Unwinds and names.
    pub fn trace(&mut self, captured: &Captured<'_>) -> Trace {
        self.unwind(captured).trace()
    }

    /// The code at an address is Go's: what runs there has its stack among the objects of Go's heap.
    #[must_use]
    pub fn is_go(&self, address: u64) -> bool {
        self.0.is_go(address)
    }

    /// The kernel is to walk the process's stacks by frame pointers: it was asked for, or all code that the process maps
    /// keeps them as of the last [`refresh`](Self::refresh).
    #[must_use]
    pub fn keeps_frame_pointers(&self) -> bool {
        self.0.keeps_frame_pointers()
    }
}
