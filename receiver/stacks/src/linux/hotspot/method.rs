//! Methods of a process: their names, files and lines, read from its memory and kept.
//!
//! The process runs on, and may have unloaded what is read: what is kept is compared with what is there each time.

use super::descriptor;
use super::layout::{MethodLayout, SourceName};
use super::numbers::line_at;
use super::target::Target;
use crate::linux::demangle::clean;
use crate::linux::dwarf::Named;
use crate::linux::kept::Kept;

/// Longer names are cut, bytes.
const MAX_TEXT: u16 = 1024;
/// Longer tables of lines are cut, bytes.
const MAX_LINES: u64 = 16 << 10;
/// Bytes of what is kept; then everything is forgotten.
const MAX_KEPT: usize = 16 << 20;
/// Beside its texts and its table, a method takes so much.
const PER_METHOD: usize = 256;
/// A flag: there is a table of lines behind the bytecodes.
const HAS_LINES: u16 = 1;

/// What tells that the same method is still at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Where its part is that never changes.
    constant: u64,
    constants: u64,
    name: u16,
    signature: u16,
    code_size: u16,
}

#[derive(Debug)]
struct Known {
    head: Head,
    function: String,
    file: Option<String>,
    lines: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Methods {
    layout: MethodLayout,
    excluded: u8,
    known: Kept<Known>,
}

impl Methods {
    pub(super) fn new(layout: MethodLayout, excluded: u8) -> Self {
        Self { layout, excluded, known: Kept::within(MAX_KEPT) }
    }

    /// A method by its address, and the line of a bytecode by its index. `None` where no method is.
    pub(super) fn name(&mut self, address: u64, code: Option<u32>, target: Target<'_>) -> Option<Named> {
        let excluded = self.excluded;
        let known = self.known(address, target)?;
        let code = code.filter(|code| *code < u32::from(known.head.code_size));
        Some(Named {
            function: Some(known.function.clone()),
            file: known.file.clone(),
            line: code.and_then(|code| line_at(&known.lines, excluded, code)),
        })
    }

    /// Of the method at an address, the index of the bytecode at another one.
    pub(super) fn index(&mut self, address: u64, bytecode: u64, target: Target<'_>) -> Option<u32> {
        let start = self.known(address, target)?.head.constant.checked_add(self.layout.constant_size)?;
        u32::try_from(bytecode.checked_sub(start)?).ok()
    }

    fn known(&mut self, address: u64, target: Target<'_>) -> Option<&Known> {
        let head = self.head(address, target)?;
        if self.known.get(address).is_none_or(|known| known.head != head) {
            let found = self.describe(head, target)?;
            let file = found.file.as_ref().map_or(0, String::len);
            let size = PER_METHOD + found.function.len() + file + found.lines.len();
            self.known.keep(address, found, size);
        }
        self.known.get(address)
    }

    fn head(&self, address: u64, target: Target<'_>) -> Option<Head> {
        let layout = &self.layout;
        let constant =
            target.pointer(address, layout.constant).filter(|at| (address | at).is_multiple_of(8))?;
        Some(Head {
            constant,
            constants: target.pointer(constant, layout.constants)?,
            name: target.half(constant, layout.name)?,
            signature: target.half(constant, layout.signature)?,
            code_size: target.half(constant, layout.code_size)?,
        })
    }

    fn describe(&self, head: Head, target: Target<'_>) -> Option<Known> {
        let layout = &self.layout;
        let class = target.pointer(head.constants, layout.holder)?;
        let name = self.constant(head.constants, head.name, target)?;
        let signature = self.constant(head.constants, head.signature, target)?;
        let class_name = self.text(target.pointer(class, layout.class_name)?, target)?;
        // one that was cut is none
        let parameters = descriptor::parameters(&signature).unwrap_or_else(|| "...".to_owned());
        let function = format!("{}.{name}({parameters})", descriptor::class(&class_name));
        let source = match layout.source {
            Some(SourceName::InPool(at)) => target.half(head.constants, at),
            Some(SourceName::InClass(at)) => target.half(class, at),
            None => None,
        };
        let file = source.filter(|nth| *nth != 0);
        Some(Known {
            head,
            function: clean(&function),
            file: file.and_then(|nth| self.constant(head.constants, nth, target)).map(|name| clean(&name)),
            lines: self.lines(head, target).unwrap_or_default(),
        })
    }

    fn lines(&self, head: Head, target: Target<'_>) -> Option<Vec<u8>> {
        let layout = &self.layout;
        (target.half(head.constant, layout.flags)? & HAS_LINES != 0).then_some(())?;
        let before = layout.constant_size.checked_add(head.code_size.into())?;
        let whole = u64::from(target.int(head.constant, layout.whole_size)?) * 8;
        let size = whole.checked_sub(before)?.min(MAX_LINES);
        target.bytes(head.constant.checked_add(before)?, usize::try_from(size).ok()?)
    }

    /// A text by its number in the pool of constants.
    fn constant(&self, pool: u64, nth: u16, target: Target<'_>) -> Option<String> {
        (u32::from(nth) < target.int(pool, self.layout.pool_length)?).then_some(())?;
        let at = target.pointer(pool, self.layout.pool_size.checked_add(u64::from(nth) * 8)?)?;
        // versions mark there what they have looked up
        self.text(at & !1, target)
    }

    fn text(&self, symbol: u64, target: Target<'_>) -> Option<String> {
        let length = target.half(symbol, self.layout.text_length)?.min(MAX_TEXT);
        let bytes = target.bytes(symbol.checked_add(self.layout.text)?, length.into())?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
    }
}
