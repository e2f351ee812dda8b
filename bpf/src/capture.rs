//! What is taken from a thread at one moment, so that its stack can be told later. Portable.

/// Registers, and the stack in one of two forms: as a copy, or as addresses that the kernel has found by frame pointers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capture {
    /// Where the thread was, or where a call was about to return to.
    pub ip: u64,
    /// The stack pointer then.
    pub sp: u64,
    /// The frame pointer register then.
    pub bp: u64,
    /// The stack from `sp` up; empty where the kernel has walked it.
    pub stack: Vec<u8>,
    /// There was more of it, or more frames than the kernel walks.
    pub truncated: bool,
    /// Where the callers go on, innermost first, without `ip`; empty where the stack was copied.
    pub chain: Vec<u64>,
    /// What the thread's Python interpreter was running, innermost first; empty where there is none.
    pub python: Vec<PythonFrame>,
}

impl Capture {
    /// Bytes of what it points to.
    #[must_use]
    pub fn size(&self) -> usize {
        self.stack.len() + size_of_val(self.chain.as_slice()) + size_of_val(self.python.as_slice())
    }
}

/// A frame of a `CPython` interpreter, as addresses in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PythonFrame {
    /// Of its code object.
    pub code: u64,
    /// Where in the code it was: an address within the code object (3.11 and later), or an index as the version counts them
    /// (`f_lasti`).
    pub instruction: u64,
    /// The interpreter was entered from C for it: below it on the stack stands another C function.
    pub is_entry: bool,
}
