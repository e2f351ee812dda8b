//! A stack with names, and the frame in it that is to blame.

use crate::blame::{MADE, nameless_library};

/// What the reason why a stack ends begins with where somebody else's probe hides the caller.
pub const CAUGHT: &str = "somebody else's probe catches the return there";

/// A stack, innermost frame first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// What called what.
    pub frames: Vec<Frame>,
    /// The same for the same stack in every process that runs the same files, on every host, whatever their paths and load
    /// addresses: of build ids and offsets, of file names and offsets where there is no build id, of functions' names where
    /// code was made at run time, of functions, lines and files below where packages are installed for Python.
    pub hash: u64,
    /// The first frame outside allocators, libc, language runtimes and libraries of containers: index into `frames`.
    pub culprit: Option<usize>,
    /// Why it ends before the thread's outermost function, where it does, and why somebody in between may be missing.
    pub incomplete: Option<String>,
}

impl Trace {
    /// The frame to blame.
    #[must_use]
    pub fn culprit_frame(&self) -> Option<&Frame> {
        self.frames.get(self.culprit?)
    }

    /// The file, as the process maps it, in which the frame to blame calls functions without names that are to blame as well.
    #[must_use]
    pub fn nameless_library(&self) -> Option<&str> {
        nameless_library(&self.frames, self.culprit?)
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
    /// nothing was mapped when it was last looked; `[python]` for what a Python interpreter was running, whose `address` is that of
    /// the interpreter's own function, `offset` that of the instruction in the bytecode, and `file` as Python has it.
    pub module: String,
    /// Where in the module the instruction is that is being executed, as the file itself counts (virtual address of the file); of
    /// a call its last byte, so that whoever looks it up finds the call and not what follows it. In code without a file, from the
    /// beginning of its mapping.
    pub offset: u64,
    /// Build id of the module in hexadecimal digits, as the linker wrote it, where it did: with `offset` what
    /// `debuginfod-find` and `llvm-symbolizer` take.
    pub build_id: Option<String>,
    /// Source file, with debug information.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
    /// It was inlined into the next frame.
    pub inlined: bool,
}

impl Frame {
    /// Whether both are of one function, wherever in it. Without names it is the place that tells. Of code that was made at run time the
    /// class of a method may be known to one of them alone.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        let is_method = |whole: &str, name: &str| {
            let class = whole.strip_suffix(name).filter(|class| class.ends_with('.'));
            class.is_some() && self.module == MADE && self.file.is_some() && self.file == other.file
        };
        self.module == other.module
            && match (&self.function, &other.function) {
                (Some(one), Some(other)) => one == other || is_method(one, other) || is_method(other, one),
                _ => self.offset == other.offset,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a method of JavaScript is one function whether its class is known or not; of another class, or in another file, it is not,
    /// nor where code is not made at run time.
    #[test]
    fn one_function() {
        let frame = |module: &str, function: &str, file: &str| Frame {
            module: module.to_owned(),
            function: Some(function.to_owned()),
            file: Some(file.to_owned()),
            ..Frame::default()
        };
        let method = frame(MADE, "Store.set", "store.js");
        let is_of = |function, file| method.is_of(&frame(MADE, function, file));
        assert!(is_of("Store.set", "store.js") && is_of("set", "store.js"));
        assert!(frame(MADE, "set", "store.js").is_of(&method));
        assert!(!is_of("Cache.set", "store.js") && !is_of("set", "other.js") && !is_of("et", "store.js"));
        assert!(!frame("[python]", "Store.set", "a.py").is_of(&frame("[python]", "set", "a.py")));
    }
}
