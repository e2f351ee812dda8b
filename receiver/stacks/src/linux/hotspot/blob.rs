//! A piece of code: a compiled method, the interpreter, or a stub of HotSpot's own.

use std::ops::Range;
use std::sync::Arc;

use gimli::{Encoding, Format};

use super::layout::{BlobLayout, Span};
use super::target::Target;
use crate::linux::row::{FRAME, RETURN, Row, Rule, STACK};

/// Words of a frame; more are none.
const MAX_FRAME: u32 = 1 << 16;
/// Bytes of code; more are none.
const MAX_CODE: u64 = 64 << 20;

/// What is at the beginning of it, which tells as well that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) address: u64,
    /// Where its name is.
    pub(super) name: u64,
    pub(super) code: Range<u64>,
    /// Words, the return address included.
    frame_size: u32,
    /// The frame is made from so far behind the beginning on.
    frame_complete: i32,
    /// Of a compiled method alone.
    pub(super) method: u64,
    compile_id: u32,
}

/// What sort of code it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Compiled,
    Interpreter,
    /// It leads to a method, and makes no frame.
    Adapter(Arc<str>),
    Stub(Arc<str>),
}

impl Kind {
    /// By the name that HotSpot gives it.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "nmethod" | "native nmethod" => Self::Compiled,
            "Interpreter" => Self::Interpreter,
            "I2C/C2I adapters" | "vtable chunks" => Self::Adapter(name.into()),
            _ => Self::Stub(name.into()),
        }
    }
}

impl Blob {
    pub(super) fn read(address: u64, layout: &BlobLayout, target: Target<'_>) -> Option<Self> {
        let code = match layout.code {
            Span::Addresses(begin, end) => target.word(address, begin)?..target.word(address, end)?,
            Span::Offsets(begin, end) => {
                let at = |offset: u64| address.checked_add(target.int(address, offset)?.into());
                at(begin)?..at(end)?
            }
        };
        let is_sound = code.start > address && code.start <= code.end && code.end - address <= MAX_CODE;
        let frame_complete = if layout.is_frame_complete_short {
            i32::from(target.half(address, layout.frame_complete)?.cast_signed())
        } else {
            target.int(address, layout.frame_complete)?.cast_signed()
        };
        is_sound.then_some(Self {
            address,
            name: target.pointer(address, layout.name)?,
            code,
            frame_size: target.int(address, layout.frame_size)?,
            frame_complete,
            method: target.word(address, layout.method)?,
            compile_id: target.int(address, layout.compile_id)?,
        })
    }

    /// How to undo the frame of the code at an address. `is_innermost`: it was interrupted there, and its frame may not be made yet.
    /// `None`: that is not known.
    pub(super) fn row(&self, kind: &Kind, address: u64, is_innermost: bool) -> Option<Row> {
        let by_stack = |words: u32| Rule::Register(STACK, i64::from(words) * 8);
        let by_frame = || (Rule::Register(FRAME, 16), true);
        let has_frame = || (1..=MAX_FRAME).contains(&self.frame_size);
        let into = address.saturating_sub(self.code.start);
        let is_unmade = u64::try_from(self.frame_complete).is_ok_and(|complete| into < complete);
        let (cfa, keeps_frame) = match kind {
            Kind::Adapter(_) => (by_stack(1), false),
            Kind::Compiled if is_innermost && is_unmade => (by_stack(1), false),
            Kind::Compiled if !has_frame() => return None,
            Kind::Compiled => (by_stack(self.frame_size), self.frame_size > 1),
            Kind::Stub(_) if has_frame() => (by_stack(self.frame_size), self.frame_size > 1),
            Kind::Interpreter | Kind::Stub(_) => by_frame(),
        };
        let mut registers = vec![(RETURN, Rule::Offset(-8))];
        registers.extend(keeps_frame.then_some((FRAME, Rule::Offset(-16))));
        // what the method has beside its frame, for itself, belongs to no caller
        registers.extend((*kind == Kind::Interpreter).then_some((STACK, Rule::Offset(-24))));
        Some(Row {
            framed: cfa == Rule::Register(FRAME, 16),
            cfa,
            registers,
            return_address: RETURN,
            signal: false,
            encoding: Encoding { address_size: 8, format: Format::Dwarf32, version: 4 },
        })
    }
}
