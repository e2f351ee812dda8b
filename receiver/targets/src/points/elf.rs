//! An ELF file, read by ranges: it is whatever the target maps, may lie, and may change meanwhile. What cannot be read is
//! absent; nothing is kept but the pages of code that were looked at.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use object::LittleEndian;
use object::elf;
use object::pod::{Pod, from_bytes, slice_from_bytes};

type Header = elf::FileHeader64<LittleEndian>;
type ProgramHeader = elf::ProgramHeader64<LittleEndian>;
type Dynamic = elf::Dyn64<LittleEndian>;
type SectionHeader = elf::SectionHeader64<LittleEndian>;

/// Real files have a dozen.
const MAX_SEGMENTS: usize = 256;
/// `-ffunction-sections` objects aside, which nobody maps, a file has some forty.
const MAX_SECTIONS: usize = 16_384;
/// Longer names are not kept.
const MAX_SECTION_NAME: usize = 64;
/// Section names, dynamic sections, notes.
const MAX_SMALL: u64 = 1 << 20;
/// Two million functions.
const MAX_UNWIND_TABLE: u64 = 16 << 20;
/// musl's code is a tenth of that.
const MAX_LIBRARY: u64 = 4 << 20;
/// Constants beyond are not looked through.
const MAX_CONSTANTS: u64 = 64 << 20;
/// Read at once when looking through something.
const CHUNK: u64 = 1 << 20;
/// Bytes of code read at once.
const PAGE: u64 = 4096;
/// 4 MiB of code: far more than all functions that are looked at.
const MAX_PAGES: usize = 1024;
/// Bytes of code that are handed out for one file. An allocator with all its names takes some hundred thousand.
const MAX_CODE: u64 = 32 << 20;

/// Why nothing is read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ElfError {
    /// Something else that is mapped: data, code of its own format.
    #[error("it is no ELF file")]
    NotElf,
    /// Not looked into.
    #[error("it is built for a 32-bit machine")]
    ThirtyTwoBit,
    /// Another machine's.
    #[error("it is built for another machine")]
    OtherMachine,
    /// It contradicts itself.
    #[error("its ELF headers are damaged")]
    Damaged,
}

/// Whose instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// Whether it is this one. Another's code is run by an emulator, which would read a probe as an instruction.
    pub(crate) fn is_here(self) -> bool {
        std::env::consts::ARCH == if self == Self::X86_64 { "x86_64" } else { "aarch64" }
    }
}

/// A part that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    address: u64,
    offset: u64,
    size: u64,
    executable: bool,
}

/// A section's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Another section, by index.
    pub(crate) link: usize,
}

/// See above.
pub(crate) struct Elf {
    file: RefCell<File>,
    length: u64,
    pub(crate) machine: Machine,
    /// It names a dynamic linker.
    pub(super) interpreted: bool,
    /// It is no library.
    pub(super) is_program: bool,
    segments: Vec<Segment>,
    pub(crate) sections: Vec<Section>,
    pages: RefCell<HashMap<u64, Vec<u8>>>,
    code_left: Cell<u64>,
}

impl Elf {
    /// Reads the headers.
    pub(crate) fn open(file: File) -> Result<Self, ElfError> {
        let length = file.metadata().map_err(|_| ElfError::NotElf)?.len();
        let mut elf = Self {
            file: RefCell::new(file),
            length,
            machine: Machine::X86_64,
            interpreted: false,
            is_program: false,
            segments: Vec::new(),
            sections: Vec::new(),
            pages: RefCell::default(),
            code_left: Cell::new(MAX_CODE),
        };
        let head = elf.read(0, size_of::<Header>() as u64).ok_or(ElfError::NotElf)?;
        if !head.starts_with(&elf::ELFMAG) {
            return Err(ElfError::NotElf);
        }
        match (head[4], head[5]) {
            (elf::ELFCLASS64, elf::ELFDATA2LSB) => {}
            (elf::ELFCLASS32, _) => return Err(ElfError::ThirtyTwoBit),
            _ => return Err(ElfError::OtherMachine),
        }
        let (header, _) = from_bytes::<Header>(&head).map_err(|()| ElfError::Damaged)?;
        elf.machine = match header.e_machine.get(LittleEndian) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            _ => return Err(ElfError::OtherMachine),
        };
        elf.read_segments(header).ok_or(ElfError::Damaged)?;
        // a stripped file may have no section headers, or wrong ones: then it has no symbols
        elf.read_sections(header);
        elf.is_program =
            header.e_type.get(LittleEndian) == elf::ET_EXEC || elf.interpreted || elf.is_marked_as_program();
        Ok(elf)
    }

    fn read_segments(&mut self, header: &Header) -> Option<()> {
        let count = usize::from(header.e_phnum.get(LittleEndian)).min(MAX_SEGMENTS);
        let table = self.table::<ProgramHeader>(header.e_phoff.get(LittleEndian), count)?;
        for segment in items::<ProgramHeader>(&table) {
            let flags = segment.p_flags.get(LittleEndian);
            match segment.p_type.get(LittleEndian) {
                elf::PT_LOAD => self.segments.push(Segment {
                    address: segment.p_vaddr.get(LittleEndian),
                    offset: segment.p_offset.get(LittleEndian),
                    size: segment.p_filesz.get(LittleEndian),
                    executable: flags & elf::PF_X != 0,
                }),
                elf::PT_INTERP => self.interpreted = true,
                _ => {}
            }
        }
        Some(())
    }

    fn read_sections(&mut self, header: &Header) -> Option<()> {
        let at = header.e_shoff.get(LittleEndian);
        let count = usize::from(header.e_shnum.get(LittleEndian)).min(MAX_SECTIONS);
        let table = self.table::<SectionHeader>(at, count)?;
        let headers = items::<SectionHeader>(&table);
        let names = headers.get(usize::from(header.e_shstrndx.get(LittleEndian)))?;
        let names =
            self.read(names.sh_offset.get(LittleEndian), names.sh_size.get(LittleEndian).min(MAX_SMALL))?;
        self.sections = headers
            .iter()
            .map(|section| Section {
                name: section_name(&names, section.sh_name.get(LittleEndian) as usize).to_owned(),
                kind: section.sh_type.get(LittleEndian),
                address: section.sh_addr.get(LittleEndian),
                offset: section.sh_offset.get(LittleEndian),
                size: section.sh_size.get(LittleEndian),
                link: section.sh_link.get(LittleEndian) as usize,
            })
            .collect();
        Some(())
    }

    /// Position-independent programs look like libraries, but for a mark of the linker's.
    fn is_marked_as_program(&self) -> bool {
        let entries = self.small_section(".dynamic").unwrap_or_default();
        items::<Dynamic>(&entries).iter().any(|entry| {
            let flags = entry.d_val.get(LittleEndian);
            entry.d_tag.get(LittleEndian) == elf::DT_FLAGS_1 && flags & u64::from(elf::DF_1_PIE) != 0
        })
    }

    /// The bytes of `count` records of a table.
    fn table<T: Pod>(&self, offset: u64, count: usize) -> Option<Vec<u8>> {
        self.read(offset, (count * size_of::<T>()) as u64)
    }

    /// Exactly these bytes of the file. The caller bounds `size`.
    pub(crate) fn read(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        if offset.checked_add(size)? > self.length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(offset)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The bytes of a small section: notes, headers.
    pub(super) fn small_section(&self, name: &str) -> Option<Vec<u8>> {
        let section = self.section(name).filter(|section| section.kind != elf::SHT_NOBITS)?;
        (section.size <= MAX_SMALL).then(|| self.read(section.offset, section.size))?
    }

    /// Where in the file this sequence stands in code that is not larger than a C library's.
    pub(super) fn find_in_code(&self, sequence: &[u8]) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.executable && segment.size <= MAX_LIBRARY).find_map(
            |segment| {
                let bytes = self.read(segment.offset, segment.size)?;
                let at = bytes.windows(sequence.len()).position(|window| window == sequence)?;
                segment.offset.checked_add(at as u64)
            },
        )
    }

    /// Whether constants of the program hold one of these, and which.
    pub(super) fn mentions<'a>(&self, texts: &[&'a str]) -> Option<&'a str> {
        let section = self.section(".rodata")?;
        let longest = texts.iter().map(|text| text.len()).max()?;
        let end = section.size.min(MAX_CONSTANTS);
        let mut read = 0;
        while read < end {
            // a text may lie across the border
            let bytes = self
                .read(section.offset.checked_add(read)?, (CHUNK + longest as u64).min(section.size - read))?;
            let holds = |text: &&&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            if let Some(text) = texts.iter().find(holds) {
                return Some(text);
            }
            read += CHUNK;
        }
        None
    }

    /// Where functions begin, as far as the unwind tables say so: sorted. Empty where there are none.
    pub(super) fn function_starts(&self) -> Vec<u64> {
        let table = || {
            let section = self.section(".eh_frame_hdr")?;
            let bytes = self.read(section.offset, section.size.min(MAX_UNWIND_TABLE))?;
            // version 1; the count as four bytes; pairs of four bytes, relative to the section
            let (head, pairs) = bytes.split_at_checked(12)?;
            if [head[0], head[2], head[3]] != [1, 0x03, 0x3b] {
                return None;
            }
            let starts = pairs.chunks_exact(8).filter_map(|pair| pair.first_chunk());
            Some(
                starts
                    .map(|start| section.address.wrapping_add_signed(i32::from_le_bytes(*start).into()))
                    .collect(),
            )
        };
        let mut starts: Vec<u64> = table().unwrap_or_default();
        starts.sort_unstable();
        starts
    }

    /// What of the file is loaded to this address, and may run.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        let segment = self.code_segment(address)?;
        segment.offset.checked_add(address - segment.address)
    }

    /// To which address the code at an offset of the file is loaded, as the file counts. The offset may lie before the segment, in its
    /// first page.
    pub(crate) fn code_address(&self, offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            let start = segment.offset / PAGE * PAGE;
            segment.executable && offset.checked_sub(start).is_some_and(|into| into < segment.size)
        };
        let segment = self.segments.iter().find(holds)?;
        Some(segment.address.wrapping_sub(segment.offset).wrapping_add(offset))
    }

    fn code_segment(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| {
            segment.executable && address.checked_sub(segment.address).is_some_and(|into| into < segment.size)
        })
    }

    /// The eight bytes that are loaded to this address as the file has them: a variable's first value.
    pub(super) fn initial_word(&self, address: u64) -> Option<u64> {
        let into = |segment: &Segment| {
            let into = address.checked_sub(segment.address)?;
            (into.checked_add(8)? <= segment.size).then(|| segment.offset.checked_add(into))?
        };
        let offset = self.segments.iter().find_map(into)?;
        self.read(offset, 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The code from this address on: up to `size` bytes, fewer where the segment ends before.
    pub(super) fn code(&self, address: u64, size: u64) -> Option<Vec<u8>> {
        self.code_left.set(self.code_left.get().checked_sub(size)?);
        let segment = self.code_segment(address)?;
        let mut at = address - segment.address;
        let end = segment.size.min(at.checked_add(size)?);
        let mut bytes = Vec::new();
        while at < end {
            let page_start = at / PAGE * PAGE;
            let page_size = PAGE.min(segment.size - page_start);
            let file_offset = segment.offset.checked_add(page_start)?;
            if !self.pages.borrow().contains_key(&file_offset) {
                let page = self.read(file_offset, page_size)?;
                let mut pages = self.pages.borrow_mut();
                if pages.len() >= MAX_PAGES {
                    pages.clear();
                }
                pages.insert(file_offset, page);
            }
            let pages = self.pages.borrow();
            let page = pages.get(&file_offset)?;
            let take = (end - at).min(page_size - (at - page_start));
            let from = (at - page_start) as usize;
            bytes.extend_from_slice(page.get(from..from + take as usize)?);
            at += take;
        }
        Some(bytes)
    }
}

/// A table's records; none where it is not a whole number of them.
pub(crate) fn items<T: Pod>(bytes: &[u8]) -> &[T] {
    slice_from_bytes(bytes, bytes.len() / size_of::<T>()).map_or(&[], |(items, _)| items)
}

/// Those that are looked for are short: of thousands of sections each could have the longest name that the table holds.
fn section_name(names: &[u8], at: usize) -> &str {
    let rest = names.get(at..).unwrap_or_default();
    c_string(&rest[..rest.len().min(MAX_SECTION_NAME)], 0)
}

/// The text from here to the next zero byte; empty where it is none.
pub(crate) fn c_string(bytes: &[u8], at: usize) -> &str {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}
