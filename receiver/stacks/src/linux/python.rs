//! What Python was running, as the kernel's side tells it by addresses, to functions, files and lines.
//!
//! [`lines`] reads the tables that say which instruction is of which line, [`text`] texts, [`code`] code objects, [`mod@merge`] puts what
//! was running in the place of the interpreter's own functions. All of them are pure: the process's memory is handed to them.

mod lines;

mod text;

mod code;

mod merge;

use self::code::Code;
use crate::memory::Memory;
use crate::python::{CodeLayout, PythonFrame};

#[cfg(fuzzing)]
pub(super) use code::Code as Names;
pub(crate) use code::Line;
pub(crate) use merge::merge;

/// The interpreter of a process, and what is known of the code that it runs.
#[derive(Debug)]
pub(crate) struct Interpreter {
    memory: Memory,
    code: Code,
}

impl Interpreter {
    pub(crate) fn new(pid: u32, layout: CodeLayout) -> Self {
        Self { memory: Memory::of(pid), code: Code::new(layout) }
    }

    /// Names frames, in their order.
    pub(crate) fn lines(&mut self, frames: &[PythonFrame]) -> Vec<Line> {
        let memory = self.memory;
        self.code.lines(frames, &|address, to| memory.read(address, to))
    }
}
