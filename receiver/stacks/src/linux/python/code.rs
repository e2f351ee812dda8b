//! Code objects of a process: their names, files and lines, read from its memory and kept.
//!
//! The process runs on, and may have freed what is read: nothing is believed that is not of the type that it must be, and what is
//! kept is compared with what is there each time.

use std::sync::Arc;

use super::lines::line_at;
use super::text::{State, text};
use crate::linux::kept::Kept;
use crate::python::{CodeLayout, LineTable, PythonFrame};

/// A layout whose fields lie further away is none, bytes.
const MAX_HEAD: usize = 4096;
/// Longer names are not read, characters.
const MAX_TEXT: u64 = 4096;
/// Longer tables are not read, bytes: of such a function only the first line is known.
const MAX_TABLE: u64 = 64 << 10;
/// Bytes of tables that are gone through for one stack, frame by frame; behind that only first lines are told.
const MAX_TABLES: usize = 1 << 20;
/// Bytes of what is kept; then everything is forgotten.
const MAX_KEPT: usize = 16 << 20;
/// Beside its texts and its table, a code object takes so much.
const PER_CODE: usize = 256;
/// The name of what is not there any more.
const GONE: &str = "<gone>";

/// Reads the process's memory: from an address, into all of the bytes. False: it cannot be read.
pub(crate) type Read<'a> = dyn Fn(u64, &mut [u8]) -> bool + 'a;

/// A frame of Python by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Qualified where the version keeps that; `<gone>` where it could not be read.
    pub(crate) function: Arc<str>,
    pub(crate) file: Option<Arc<str>>,
    pub(crate) line: Option<u32>,
    /// Of the instruction, bytes from where the code begins.
    pub(crate) offset: u64,
    pub(crate) is_entry: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Code {
    layout: CodeLayout,
    known: Kept<Known>,
    /// Of code objects, texts and byte strings, once their names have been read.
    types: [Option<u64>; 3],
}

/// What an object must be: position in [`Code::types`], and the name of its type.
type Type = (usize, &'static [u8]);
const CODE: Type = (0, b"code\0");
const TEXT: Type = (1, b"str\0");
const BYTES: Type = (2, b"bytes\0");

/// What tells that the same code object is still at its address: none of these ever changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    object_type: u64,
    file: u64,
    name: u64,
    lines: u64,
    first_line: u32,
}

#[derive(Debug)]
struct Known {
    head: Head,
    function: Arc<str>,
    file: Arc<str>,
    /// `None`: it is too long.
    table: Option<Box<[u8]>>,
}

impl Code {
    pub(crate) fn new(layout: CodeLayout) -> Self {
        Self { layout, known: Kept::within(MAX_KEPT), types: [None; 3] }
    }

    /// Names frames, in their order.
    pub(crate) fn lines(&mut self, frames: &[PythonFrame], read: &Read<'_>) -> Vec<Line> {
        let mut left = MAX_TABLES;
        frames.iter().map(|frame| self.line(frame, &mut left, read)).collect()
    }

    /// `left`: bytes of tables that may still be gone through.
    fn line(&mut self, frame: &PythonFrame, left: &mut usize, read: &Read<'_>) -> Line {
        let is_entry = frame.is_entry;
        let offset = self.offset(frame);
        let form = self.layout.table;
        let Some(known) = self.known(frame.code, read) else {
            return Line { function: GONE.into(), file: None, line: None, offset: 0, is_entry };
        };
        let first_line = known.head.first_line;
        let table = known.table.as_deref().filter(|table| table.len() <= *left);
        *left -= table.map_or(0, <[u8]>::len);
        Line {
            function: Arc::clone(&known.function),
            file: Some(Arc::clone(&known.file)),
            // one that has not begun stands in its first line
            line: offset
                .zip(table)
                .map_or(Some(first_line), |(offset, table)| line_at(form, table, first_line, offset)),
            offset: offset.unwrap_or(0),
            is_entry,
        }
    }

    /// Of an instruction, bytes from where the code begins. `None`: before that.
    fn offset(&self, frame: &PythonFrame) -> Option<u64> {
        // as far as the version counts in 32 bits, with a sign
        let index = Some(frame.instruction).filter(|index| *index <= i32::MAX.cast_unsigned().into());
        match self.layout.table {
            LineTable::Lnotab => index,
            LineTable::Linetable => index.map(|index| index * 2),
            LineTable::Positions => {
                let start = frame.code.checked_add(self.layout.instructions.into())?;
                frame.instruction.checked_sub(start)
            }
        }
    }

    /// The code object at an address.
    fn known(&mut self, address: u64, read: &Read<'_>) -> Option<&Known> {
        let head = self.head(address, read)?;
        if self.known.get(address).is_none_or(|known| known.head != head) {
            let found = self.describe(head, read)?;
            let size = PER_CODE
                + found.function.len()
                + found.file.len()
                + found.table.as_deref().map_or(0, <[u8]>::len);
            self.known.keep(address, found, size);
        }
        self.known.get(address)
    }

    fn head(&mut self, address: u64, read: &Read<'_>) -> Option<Head> {
        let layout = self.layout;
        let fields = [layout.object_type, layout.file, layout.name, layout.first_line, layout.lines];
        let size = fields.iter().max().map(|last| *last as usize + 8).filter(|size| *size <= MAX_HEAD)?;
        let mut bytes = vec![0; size];
        if !read(address, &mut bytes) {
            return None;
        }
        let field =
            |offset: u32| bytes.get(offset as usize..)?.first_chunk().map(|it| u64::from_le_bytes(*it));
        let line =
            bytes.get(layout.first_line as usize..)?.first_chunk().map(|it| u32::from_le_bytes(*it))?;
        let head = Head {
            object_type: field(layout.object_type)?,
            file: field(layout.file)?,
            name: field(layout.name)?,
            lines: field(layout.lines)?,
            first_line: line,
        };
        self.is_a(head.object_type, CODE, read).then_some(head)
    }

    fn describe(&mut self, head: Head, read: &Read<'_>) -> Option<Known> {
        Some(Known {
            head,
            function: self.text(head.name, read)?.into(),
            file: self.text(head.file, read)?.into(),
            table: self.table(head.lines, read)?.map(Into::into),
        })
    }

    /// The type of this address is the one that is wanted.
    fn is_a(&mut self, of: u64, (place, name): Type, read: &Read<'_>) -> bool {
        if self.types[place] == Some(of) {
            return true;
        }
        let mut called = [0; 8];
        let called = &mut called[..name.len()];
        let right = of
            .checked_add(self.layout.type_name.into())
            .and_then(|at| word(at, read))
            .is_some_and(|at| read(at, called) && called == name);
        if right {
            self.types[place] = Some(of);
        }
        right
    }

    /// The object at this address is of the type that is wanted.
    fn object(&mut self, address: u64, wanted: Type, read: &Read<'_>) -> bool {
        let of = address.checked_add(self.layout.object_type.into()).and_then(|at| word(at, read));
        of.is_some_and(|of| self.is_a(of, wanted, read))
    }

    fn text(&mut self, address: u64, read: &Read<'_>) -> Option<String> {
        let layout = self.layout;
        if !self.object(address, TEXT, read) {
            return None;
        }
        let length = word(address.checked_add(layout.text_length.into())?, read)?;
        let mut state = [0; 4];
        if length > MAX_TEXT || !read(address.checked_add(layout.text_state.into())?, &mut state) {
            return None;
        }
        let state = State::of(u32::from_le_bytes(state))?;
        let at = if state.is_ascii { layout.text_ascii } else { layout.text_other };
        let mut bytes = vec![0; usize::try_from(length).ok()? * state.width];
        read(address.checked_add(at.into())?, &mut bytes).then(|| text(&bytes, state.width))
    }

    /// A table of lines; within, `None` if it is too long.
    fn table(&mut self, address: u64, read: &Read<'_>) -> Option<Option<Vec<u8>>> {
        let layout = self.layout;
        if !self.object(address, BYTES, read) {
            return None;
        }
        let size = word(address.checked_add(layout.bytes_size.into())?, read)?;
        if size > MAX_TABLE {
            return Some(None);
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        read(address.checked_add(layout.bytes.into())?, &mut bytes).then_some(Some(bytes))
    }
}

fn word(address: u64, read: &Read<'_>) -> Option<u64> {
    let mut bytes = [0; 8];
    read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests;
