//! What a file says of how its functions' frames are undone: `.eh_frame`, or `.debug_frame`.

use std::fs::File;

use gimli::{
    BaseAddresses, DebugFrame, EhFrame, EndianSlice, FrameDescriptionEntry, LittleEndian, UnwindContext,
    UnwindSection, Vendor,
};

use super::elf::Elf;
use super::entries::Index;
use super::row::{Row, keep};
use super::source::{Source, Span};

/// Bytes of a section that must be held since it is compressed; what is loaded never is.
const MAX_UNPACKED: u64 = 20 * 1024 * 1024;
/// Bytes of what functions have in common; compilers write some thirty. It is read anew for each of them.
const MAX_COMMON: u32 = 1024;
/// Bytes on one function; the instructions are run from the first on for each address.
const MAX_ENTRY: u32 = 64 * 1024;
/// Bytes that are read at once; nearly all entries are shorter.
const USUAL: usize = 256;
/// Rows of a function that are looked at where all are.
const MAX_SAMPLED: usize = 64;
/// Whose additions to the instructions are understood: 64-bit Arm tells of signed return addresses.
const VENDOR: Vendor = if cfg!(target_arch = "aarch64") { Vendor::AArch64 } else { Vendor::Default };

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The tables of one file: read where they are needed, entry by entry, for large ones take more than what a look may hold.
pub(crate) struct Cfi(Vec<Table>);

/// One section.
struct Table {
    kind: Kind,
    place: Place,
    /// Virtual address.
    address: u64,
    bases: BaseAddresses,
    index: Index,
}

/// Where a section's bytes are.
enum Place {
    File {
        offset: u64,
        size: u64,
    },
    /// It was compressed.
    Unpacked(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    EhFrame,
    DebugFrame,
}

impl Cfi {
    /// `None` if the file has none.
    pub(crate) fn read(elf: &Elf, file: &File) -> Option<Self> {
        let sections = [(b".eh_frame".as_slice(), Kind::EhFrame), (b".debug_frame", Kind::DebugFrame)];
        let tables: Vec<_> =
            sections.into_iter().filter_map(|(name, kind)| Table::read(elf, file, name, kind)).collect();
        (!tables.is_empty()).then_some(Self(tables))
    }

    /// Bytes that it holds, at least.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(Table::size).sum()
    }

    /// How to undo the frame of the code at a virtual address of the file. `None` if no entry covers it.
    pub(crate) fn row(&self, file: &File, address: u64) -> Option<Row> {
        self.0.iter().find_map(|table| {
            let entry = table.index.find(file, address)?;
            table.entry(file, entry)?.row(address)
        })
    }

    /// Functions described by `.eh_frame`, which covers all code of a file that has one.
    pub(crate) fn functions(&self) -> u64 {
        self.0.iter().filter(|table| table.kind == Kind::EhFrame).map(|table| table.index.len()).sum()
    }

    /// All rows of one of them, in order, by its place in the order of addresses.
    pub(crate) fn rows(&self, file: &File, nth: u64) -> Option<Vec<Row>> {
        let table = self.0.iter().find(|table| table.kind == Kind::EhFrame)?;
        let (_, entry) = table.index.pair(file, nth)?;
        Some(table.entry(file, entry)?.rows())
    }
}

impl Table {
    fn read(elf: &Elf, file: &File, name: &[u8], kind: Kind) -> Option<Self> {
        let section = elf.section(name).filter(|section| section.size() > 0)?;
        let place = match section.place() {
            Some((offset, size)) => Place::File { offset, size },
            None => Place::Unpacked(section.contents(file, MAX_UNPACKED)?),
        };
        let address = |name: &[u8]| elf.section(name).map_or(0, |section| section.address);
        let bases = BaseAddresses::default().set_text(address(b".text")).set_got(address(b".got"));
        let mut table = Self { kind, place, address: section.address, bases, index: Index::Made(Vec::new()) };
        let linked = elf.section(b".eh_frame_hdr").filter(|_| kind == Kind::EhFrame).and_then(|header| {
            let (offset, size) = header.place()?;
            Index::linked(Span { source: file, offset, size }, header.address, section.address)
        });
        table.index = match linked {
            Some(index) => index,
            None => match &table.place {
                Place::File { offset, size } => {
                    table.make_index(Span { source: file, offset: *offset, size: *size })
                }
                Place::Unpacked(bytes) => table.make_index(whole(bytes)),
            },
        };
        Some(table)
    }

    fn make_index<S: Source + ?Sized>(&self, section: Span<'_, S>) -> Index {
        // Those of a file have theirs in common with the one before, as a rule, and that may lie far behind the window.
        let mut last: Option<(u64, Vec<u8>)> = None;
        Index::made(section, |window, at| {
            let common = |at| {
                let known = last.take().filter(|(known, _)| *known == at);
                let bytes = known.map(|(_, bytes)| bytes).or_else(|| bytes_of(&section, at, MAX_COMMON))?;
                Some(last.insert((at, bytes)).1.clone())
            };
            self.read_entry(window, at, common)?.begin()
        })
    }

    fn size(&self) -> usize {
        let unpacked = if let Place::Unpacked(bytes) = &self.place { bytes.len() } else { 0 };
        unpacked + self.index.size()
    }

    fn entry(&self, file: &File, at: u64) -> Option<Entry> {
        match &self.place {
            Place::File { offset, size } => {
                let section = Span { source: file, offset: *offset, size: *size };
                self.read_entry(&section, at, |common| bytes_of(&section, common, MAX_COMMON))
            }
            Place::Unpacked(bytes) => {
                let section = whole(bytes);
                self.read_entry(&section, at, |common| bytes_of(&section, common, MAX_COMMON))
            }
        }
    }

    /// What is at an offset of the section, and what it has in common with others, which `common` reads. `None` if that is no
    /// function's.
    fn read_entry<S: Source + ?Sized>(
        &self,
        section: &S,
        at: u64,
        common: impl FnOnce(u64) -> Option<Vec<u8>>,
    ) -> Option<Entry> {
        let mut own = bytes_of(section, at, MAX_ENTRY)?;
        let pointer = own.get_mut(4..8)?;
        let distance = u64::from(u32::from_le_bytes(pointer.try_into().ok()?));
        let (place, here) = match self.kind {
            Kind::EhFrame if distance == 0 => return None,
            Kind::EhFrame => (at.checked_add(4)?.checked_sub(distance)?, true),
            Kind::DebugFrame => (distance, false),
        };
        let common = common(place)?;
        // As if nothing else were in the section.
        let distance = if here { u32::try_from(common.len()).ok()?.checked_add(4)? } else { 0 };
        pointer.copy_from_slice(&distance.to_le_bytes());
        let begins = self.address.wrapping_add(at).wrapping_sub(common.len() as u64);
        Some(Entry {
            kind: self.kind,
            at: common.len(),
            bytes: [common, own].concat(),
            bases: self.bases.clone().set_eh_frame(begins),
        })
    }
}

fn whole(bytes: &[u8]) -> Span<'_, [u8]> {
    Span { source: bytes, offset: 0, size: bytes.len() as u64 }
}

/// An entry with its length before it.
fn bytes_of<S: Source + ?Sized>(section: &S, at: u64, most: u32) -> Option<Vec<u8>> {
    let usual = section.read(at, USUAL);
    let length = u32::from_le_bytes(*usual.first_chunk()?);
    if length > most {
        return None;
    }
    let size = 4 + usize::try_from(length).ok()?;
    let mut bytes = if size > USUAL { section.read(at, size) } else { usual };
    bytes.truncate(size);
    (bytes.len() == size).then_some(bytes)
}

/// What is said of one function, as a section of its own.
struct Entry {
    kind: Kind,
    bytes: Vec<u8>,
    /// Where it begins; what it has in common with others stands before it.
    at: usize,
    bases: BaseAddresses,
}

impl Entry {
    fn begin(&self) -> Option<u64> {
        match self.kind {
            Kind::EhFrame => self.parse(&self.eh_frame()).map(|entry| entry.initial_address()),
            Kind::DebugFrame => self.parse(&self.debug_frame()).map(|entry| entry.initial_address()),
        }
    }

    fn row(&self, address: u64) -> Option<Row> {
        match self.kind {
            Kind::EhFrame => self.row_in(&self.eh_frame(), address),
            Kind::DebugFrame => self.row_in(&self.debug_frame(), address),
        }
    }

    fn rows(&self) -> Vec<Row> {
        match self.kind {
            Kind::EhFrame => self.rows_in(&self.eh_frame()),
            Kind::DebugFrame => self.rows_in(&self.debug_frame()),
        }
        .unwrap_or_default()
    }

    fn parse<'a, S>(&self, section: &S) -> Option<FrameDescriptionEntry<Bytes<'a>>>
    where
        S: UnwindSection<Bytes<'a>>,
    {
        section.fde_from_offset(&self.bases, self.at.into(), S::cie_from_offset).ok()
    }

    fn row_in<'a, S>(&self, section: &S, address: u64) -> Option<Row>
    where
        S: UnwindSection<Bytes<'a>>,
    {
        let entry = self.parse(section).filter(|entry| entry.contains(address))?;
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(section, &self.bases, &mut context, address).ok()?;
        keep(section, &entry, row)
    }

    fn rows_in<'a, S>(&self, section: &S) -> Option<Vec<Row>>
    where
        S: UnwindSection<Bytes<'a>>,
    {
        let entry = self.parse(section)?;
        let mut context = UnwindContext::new();
        let mut rows = entry.rows(section, &self.bases, &mut context).ok()?;
        let mut found = Vec::new();
        while let Ok(Some(row)) = rows.next_row() {
            found.extend(keep(section, &entry, row));
            if found.len() >= MAX_SAMPLED {
                break;
            }
        }
        Some(found)
    }

    fn eh_frame(&self) -> EhFrame<Bytes<'_>> {
        let mut section = EhFrame::new(&self.bytes, LittleEndian);
        section.set_address_size(8);
        section.set_vendor(VENDOR);
        section
    }

    fn debug_frame(&self) -> DebugFrame<Bytes<'_>> {
        let mut section = DebugFrame::from(EndianSlice::new(&self.bytes, LittleEndian));
        section.set_address_size(8);
        section.set_vendor(VENDOR);
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::row::Rule;

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
        let mut table = Table {
            kind: Kind::DebugFrame,
            place: Place::Unpacked(section),
            address: 0,
            bases: BaseAddresses::default(),
            index: Index::Made(Vec::new()),
        };
        let Place::Unpacked(bytes) = &table.place else { return None };
        table.index = table.make_index(whole(bytes));
        let nowhere = File::open("/dev/null").unwrap();
        Cfi(vec![table]).row(&nowhere, 0x1008).map(|row| row.cfa)
    }

    /// Bytes, and how many have been read of them.
    struct Counted(Vec<u8>, std::cell::Cell<usize>);

    impl Source for Counted {
        fn read(&self, offset: u64, most: usize) -> Vec<u8> {
            let read = self.0.as_slice().read(offset, most);
            self.1.set(self.1.get() + read.len());
            read
        }
    }

    /// Guarantees: where no linker has made an index, a section is read about once for it, however far what its entries have in
    /// common lies behind.
    #[test]
    fn read_once() {
        let mut section =
            [&12_u32.to_le_bytes()[..], &[0xff, 0xff, 0xff, 0xff, 1, 0, 1, 0x78, 16, 0, 0, 0]].concat();
        for nth in 0..10_000_u64 {
            let words = [0x1000 + nth * 16, 16].map(u64::to_le_bytes).concat();
            section.extend([&20_u32.to_le_bytes()[..], &[0; 4], &words].concat());
        }
        let size = section.len();
        let source = Counted(section, std::cell::Cell::new(0));
        let table = Table {
            kind: Kind::DebugFrame,
            place: Place::Unpacked(Vec::new()),
            address: 0,
            bases: BaseAddresses::default(),
            index: Index::Made(Vec::new()),
        };
        let index = table.make_index(Span { source: &source, offset: 0, size: size as u64 });
        assert_eq!(index.len(), 10_000);
        assert!(source.1.get() < 2 * size, "{} bytes read of {size}", source.1.get());
    }

    /// Guarantees: what each look would read anew, or what is kept of it, is no larger than compilers make it.
    #[test]
    fn large_entries() {
        assert_eq!(cfa(0, 0, 2), Some(Rule::ValueExpression(vec![0; 2])));
        assert_eq!(cfa(1000, 60_000, 128), Some(Rule::ValueExpression(vec![0; 128])));
        assert_eq!((cfa(1020, 0, 2), cfa(0, 70_000, 2), cfa(0, 0, 129)), (None, None, None));
    }
}
