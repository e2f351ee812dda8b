//! What a file says of how its functions' frames are undone: `.eh_frame`, or `.debug_frame`.
//!
//! Rows are kept per address; [`Row`] is what remains of gimli's table of all registers.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, DebugFrame, EhFrame, EhFrameHdr, Encoding,
    EndianSlice, Expression, FrameDescriptionEntry, LittleEndian, Pointer, Register, RegisterRule,
    UnwindContext, UnwindExpression, UnwindOffset, UnwindSection, UnwindTableRow, Vendor,
};

use super::elf::Elf;

/// Node has 11 MiB, browsers some 20.
const MAX_SECTION: u64 = 20 * 1024 * 1024;
/// Functions of a file; the rest of more are not known.
const MAX_FUNCTIONS: usize = 500_000;
/// Addresses whose rows are kept.
const MAX_ROWS: usize = 16 * 1024;
/// Bytes of what functions have in common; compilers write some thirty. It is read anew for each of them.
const MAX_COMMON: u32 = 1024;
/// Bytes on one function; the instructions are run from the first on for each address.
const MAX_ENTRY: usize = 64 * 1024;
/// Bytes of an expression; those of a signal's frame have some ten.
const MAX_PROGRAM: usize = 128;

/// As many registers as DWARF knows by a number of its own on either machine.
pub(crate) const REGISTERS: usize = 33;

/// Whose additions to the instructions are understood: 64-bit Arm tells of signed return addresses.
const VENDOR: Vendor = if cfg!(target_arch = "aarch64") { Vendor::AArch64 } else { Vendor::Default };

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// How to undo one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The stack pointer of the caller.
    pub(crate) cfa: Rule,
    /// By DWARF number: how registers of the caller are found, where the file says.
    pub(crate) registers: Vec<(Register, Rule)>,
    /// Which of them is the return address.
    pub(crate) return_address: Register,
    /// The kernel has called this: the address above is where execution was, not behind a call.
    pub(crate) signal: bool,
    /// For expressions.
    pub(crate) encoding: Encoding,
}

/// How a value is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nobody knows it; of the return address: there is no caller.
    Undefined,
    /// As it is.
    Same,
    /// In memory, so many bytes from the caller's stack pointer.
    Offset(i64),
    /// The caller's stack pointer and so much.
    ValueOffset(i64),
    /// Another register and so much.
    Register(Register, i64),
    /// In memory, where a program says.
    Expression(Vec<u8>),
    /// What a program says.
    ValueExpression(Vec<u8>),
}

/// The tables of one file.
#[derive(Debug)]
pub(crate) struct Cfi {
    section: Vec<u8>,
    kind: Kind,
    bases: BaseAddresses,
    /// Functions by address, and where their entries are.
    index: Vec<(u64, usize)>,
    rows: HashMap<u64, Option<Arc<Row>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    EhFrame,
    DebugFrame,
}

impl Cfi {
    /// `None` if the file has none, or too much of it.
    pub(crate) fn read(elf: &Elf, file: &File) -> Option<Self> {
        let contents =
            |name: &[u8]| elf.section(name)?.contents(file, MAX_SECTION).filter(|it| !it.is_empty());
        let address = |name: &[u8]| elf.section(name).map_or(0, |section| section.address);
        let bases = BaseAddresses::default()
            .set_eh_frame(address(b".eh_frame"))
            .set_eh_frame_hdr(address(b".eh_frame_hdr"))
            .set_text(address(b".text"))
            .set_got(address(b".got"));
        let (section, kind) = match contents(b".eh_frame") {
            Some(section) => (section, Kind::EhFrame),
            None => (contents(b".debug_frame")?, Kind::DebugFrame),
        };
        let mut cfi = Self { section, kind, bases, index: Vec::new(), rows: HashMap::new() };
        let table = contents(b".eh_frame_hdr").filter(|_| kind == Kind::EhFrame);
        cfi.index = table.and_then(|table| read_table(&table, &cfi.bases)).unwrap_or_else(|| match kind {
            Kind::EhFrame => index(&cfi.eh_frame(), &cfi.bases),
            Kind::DebugFrame => index(&cfi.debug_frame(), &cfi.bases),
        });
        Some(cfi)
    }

    /// Bytes that it holds, at least.
    pub(crate) fn size(&self) -> usize {
        self.section.len() + self.index.len() * size_of::<(u64, usize)>()
    }

    /// How to undo the frame of the code at a virtual address of the file. `None` if no entry covers it.
    pub(crate) fn row(&mut self, address: u64) -> Option<Arc<Row>> {
        if let Some(known) = self.rows.get(&address) {
            return known.clone();
        }
        let row = match self.kind {
            Kind::EhFrame => self.row_in(&self.eh_frame(), address),
            Kind::DebugFrame => self.row_in(&self.debug_frame(), address),
        };
        let row = row.map(Arc::new);
        if self.rows.len() >= MAX_ROWS {
            self.rows.clear();
        }
        self.rows.insert(address, row.clone());
        row
    }

    fn row_in<'a, S>(&self, section: &S, address: u64) -> Option<Row>
    where
        S: UnwindSection<Bytes<'a>>,
    {
        let above = self.index.partition_point(|(start, _)| *start <= address);
        let (_, offset) = *self.index.get(above.checked_sub(1)?)?;
        let entry = section.fde_from_offset(&self.bases, offset.into(), common).ok()?;
        if !entry.contains(address) || entry.entry_len() > MAX_ENTRY {
            return None;
        }
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(section, &self.bases, &mut context, address).ok()?;
        keep(section, &entry, row)
    }

    fn eh_frame(&self) -> EhFrame<Bytes<'_>> {
        let mut section = EhFrame::new(&self.section, LittleEndian);
        section.set_address_size(8);
        section.set_vendor(VENDOR);
        section
    }

    fn debug_frame(&self) -> DebugFrame<Bytes<'_>> {
        let mut section = DebugFrame::from(EndianSlice::new(&self.section, LittleEndian));
        section.set_address_size(8);
        section.set_vendor(VENDOR);
        section
    }
}

/// The linker's own index. `None` if there is none: then [`index`] makes one.
fn read_table(table: &[u8], bases: &BaseAddresses) -> Option<Vec<(u64, usize)>> {
    let header = EhFrameHdr::new(table, LittleEndian).parse(bases, 8).ok()?;
    let mut found = Vec::new();
    let table = header.table()?;
    let mut entries = table.iter(bases);
    while let Ok(Some((Pointer::Direct(function), Pointer::Direct(entry)))) = entries.next() {
        let offset = entry.checked_sub(bases.eh_frame.section?)?;
        found.push((function, usize::try_from(offset).ok()?));
        if found.len() >= MAX_FUNCTIONS {
            break;
        }
    }
    found.sort_unstable();
    Some(found)
}

/// What functions have in common, from its place in the section.
fn common<'a, S>(
    section: &S,
    bases: &BaseAddresses,
    offset: S::Offset,
) -> gimli::Result<CommonInformationEntry<Bytes<'a>>>
where
    S: UnwindSection<Bytes<'a>>,
{
    let at: usize = UnwindOffset::into(offset);
    let length = section.section().slice().get(at..).and_then(<[u8]>::first_chunk);
    if length.is_none_or(|length| u32::from_le_bytes(*length) > MAX_COMMON) {
        return Err(gimli::Error::OffsetOutOfBounds(at as u64));
    }
    section.cie_from_offset(bases, offset)
}

/// Finds all entries by going through them.
fn index<'a, S>(section: &S, bases: &BaseAddresses) -> Vec<(u64, usize)>
where
    S: UnwindSection<Bytes<'a>>,
{
    let mut found = Vec::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(entry) = entry else { continue };
        if let Ok(entry) = entry.parse(common) {
            found.push((entry.initial_address(), entry.offset()));
        }
        if found.len() >= MAX_FUNCTIONS {
            break;
        }
    }
    found.sort_unstable();
    found
}

fn keep<'a, S>(
    section: &S,
    entry: &FrameDescriptionEntry<Bytes<'a>>,
    row: &UnwindTableRow<usize>,
) -> Option<Row>
where
    S: UnwindSection<Bytes<'a>>,
{
    let program = |expression: &UnwindExpression<usize>| {
        let Expression(bytes) = expression.get(section).ok()?;
        (bytes.len() <= MAX_PROGRAM).then(|| bytes.slice().to_vec())
    };
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Rule::Register(*register, *offset),
        CfaRule::Expression(expression) => Rule::ValueExpression(program(expression)?),
    };
    let rule = |rule: &RegisterRule<usize>| {
        Some(match rule {
            RegisterRule::Undefined => Rule::Undefined,
            RegisterRule::SameValue => Rule::Same,
            RegisterRule::Offset(offset) => Rule::Offset(*offset),
            RegisterRule::ValOffset(offset) => Rule::ValueOffset(*offset),
            RegisterRule::Register(register) => Rule::Register(*register, 0),
            RegisterRule::Expression(expression) => Rule::Expression(program(expression)?),
            RegisterRule::ValExpression(expression) => Rule::ValueExpression(program(expression)?),
            _ => return None,
        })
    };
    let return_address = entry.cie().return_address_register();
    let is_known = |register: Register| register == return_address || usize::from(register.0) < REGISTERS;
    let registers = row.registers().filter(|(register, _)| is_known(*register));
    Some(Row {
        cfa,
        registers: registers.filter_map(|(register, found)| Some((*register, rule(found)?))).collect(),
        return_address,
        signal: entry.is_signal_trampoline(),
        encoding: entry.cie().encoding(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the caller's stack pointer is, of the one function in a table of these sizes: so many idle instructions for all
    /// functions and for this one, and so long an expression.
    fn cfa(common: usize, own: usize, expression: usize) -> Option<Rule> {
        let with_length =
            |bytes: Vec<u8>| [u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec(), bytes].concat();
        let mut section = vec![0xff, 0xff, 0xff, 0xff, 1, 0, 1, 0x78, 16];
        section.resize(section.len() + common, 0);
        let mut section = with_length(section);
        // From 0x1000 on, 16 bytes.
        let mut entry =
            [vec![0; 4], 0x1000_u64.to_le_bytes().to_vec(), 16_u64.to_le_bytes().to_vec()].concat();
        entry.push(0x0f);
        entry.extend([expression as u8 & 0x7f | 0x80, (expression >> 7) as u8]);
        entry.resize(entry.len() + expression + own, 0);
        section.extend(with_length(entry));
        let (kind, bases) = (Kind::DebugFrame, BaseAddresses::default());
        let mut cfi = Cfi { section, kind, bases, index: Vec::new(), rows: HashMap::new() };
        cfi.index = index(&cfi.debug_frame(), &cfi.bases);
        cfi.row(0x1008).map(|row| row.cfa.clone())
    }

    /// Guarantees: what each look would read anew, or what is kept of it, is no larger than compilers make it.
    #[test]
    fn large_entries() {
        assert_eq!(cfa(0, 0, 2), Some(Rule::ValueExpression(vec![0; 2])));
        assert_eq!(cfa(1000, 60_000, 128), Some(Rule::ValueExpression(vec![0; 128])));
        assert_eq!((cfa(1020, 0, 2), cfa(0, 70_000, 2), cfa(0, 0, 129)), (None, None, None));
    }
}
