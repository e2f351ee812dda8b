//! What is taken from a thread at one moment, so that its stack can be told later. Portable.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `MLH_RETURNS_MAX`: functions of a stack of which it is told where they return to in truth.
pub const RETURNS_MAX: usize = 4;

/// `struct mlh_capture`. Behind the row that has it follows the stack: a copy, or addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CaptureRecord {
    /// Where the unwinder is to begin.
    pub ip: u64,
    /// Stack pointer there.
    pub sp: u64,
    /// Frame pointer there.
    pub bp: u64,
    /// Of what follows, bytes; the row may be longer.
    pub length: u32,
    /// Not 0: there was more.
    pub truncated: u32,
    /// Of functions whose return a probe catches, where they go on in truth, innermost first; 0: no more.
    pub returns: [u64; RETURNS_MAX],
}

/// In which form a row has a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Copy,
    Addresses,
}

impl CaptureRecord {
    /// With what follows the row. `None`: it says that there is more than there is.
    pub(crate) fn with(&self, rest: &[u8], form: Form) -> Option<Capture> {
        let bytes = rest.get(..usize::try_from(self.length).ok()?)?;
        let mut capture = Capture {
            ip: self.ip,
            sp: self.sp,
            bp: self.bp,
            truncated: self.truncated != 0,
            returns: self.returns.into_iter().take_while(|address| *address != 0).collect(),
            ..Capture::default()
        };
        match form {
            Form::Copy => capture.stack = bytes.to_vec(),
            Form::Addresses => {
                let (words, _) = bytes.as_chunks();
                let addresses = words.iter().map(|word| u64::from_ne_bytes(*word));
                // none where the first caller is not known by itself
                capture.chain = addresses.filter(|address| *address != 0).collect();
            }
        }
        Some(capture)
    }
}

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
    /// Of functions whose return a probe catches (their return addresses on the stack are the probe's), where they go on in truth,
    /// innermost first.
    pub returns: Vec<u64>,
    /// What the thread's Python interpreter was running, innermost first; empty where there is none.
    pub python: Vec<PythonFrame>,
}

impl Capture {
    /// Bytes of what it points to.
    #[must_use]
    pub fn size(&self) -> usize {
        let words = [self.chain.as_slice(), self.returns.as_slice()];
        let words: usize = words.into_iter().map(size_of_val).sum();
        self.stack.len() + words + size_of_val(self.python.as_slice())
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
