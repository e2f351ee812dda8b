//! A stack with names, and the frame in it that is to blame.

/// A stack, innermost frame first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// What called what.
    pub frames: Vec<Frame>,
    /// The same for the same stack in every process that runs the same files, whatever their load addresses.
    pub hash: u64,
    /// The first frame outside allocators, libc and language runtimes' allocation paths: index into `frames`.
    pub culprit: Option<usize>,
    /// Why it ends before the thread's outermost function, where it does.
    pub incomplete: Option<String>,
}

impl Trace {
    /// The frame to blame.
    #[must_use]
    pub fn culprit_frame(&self) -> Option<&Frame> {
        self.frames.get(self.culprit?)
    }

    /// Where the frame to blame goes on, in the process.
    #[must_use]
    pub fn caller_ip(&self) -> Option<u64> {
        self.culprit_frame().map(|frame| frame.address)
    }
}

/// One function on the stack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Where execution goes on in the process; inlined functions share it.
    pub address: u64,
    /// Demangled; absent without a symbol.
    pub function: Option<String>,
    /// The file's name as the process maps it, e.g. `/usr/bin/api-server`; `[anon]` where no file is, `[unknown]` where
    /// nothing was mapped when it was last looked.
    pub module: String,
    /// Of the address in the module, as the file itself counts (virtual address of the file); in code without a file, from
    /// the beginning of its mapping.
    pub offset: u64,
    /// Source file, with debug information.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
    /// It was inlined into the next frame.
    pub inlined: bool,
}
