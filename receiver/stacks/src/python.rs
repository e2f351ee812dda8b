//! What a Python interpreter was running.

/// A frame of a `CPython` interpreter, as addresses in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PythonFrame {
    /// Of its code object.
    pub code: u64,
    /// Where in the code it was: an address within the code object (3.11 and later), or an index as the version counts them.
    pub instruction: u64,
    /// The interpreter was entered from C for it: below it on the stack stands another C function.
    pub is_entry: bool,
}
