//! The parts of an ELF file that unwinding and naming need, read one by one and never mapped into memory: whoever writes the
//! file could cut it short, and touching a mapping behind the end of its file kills.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use object::elf::{
    ELF_NOTE_GNU, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_LOAD, PT_NOTE, ProgramHeader64, SHF_COMPRESSED,
    SHT_NOBITS, SectionHeader64,
};
use object::read::elf::{FileHeader as _, NoteIterator, ProgramHeader as _, SectionHeader as _};
use object::{LittleEndian as LE, pod};

use super::unpacking::Packed;

/// Program headers, section headers and their names take less in any real file.
const MAX_TABLE: u64 = 16 * 1024 * 1024;
const MAX_NOTES: u64 = 64 * 1024;
/// Of code, and of data: linkers write some four.
const MAX_SEGMENTS: usize = 128;
/// GNU writes 20 bytes, others up to 64.
const MAX_BUILD_ID: usize = 64;

/// What a 64-bit little-endian ELF file says of itself.
#[derive(Debug)]
pub(crate) struct Elf {
    /// Code that is loaded.
    code: Vec<Segment>,
    /// The rest of what is loaded.
    data: Vec<Segment>,
    sections: Vec<Section>,
    /// As the linker wrote it.
    pub(crate) build_id: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

/// Where a section is.
#[derive(Debug)]
pub(crate) struct Section {
    name: Vec<u8>,
    /// Virtual address as the file counts.
    pub(crate) address: u64,
    /// Index of the section that it refers to.
    pub(crate) link: u32,
    offset: u64,
    size: u64,
    compressed: bool,
}

impl Elf {
    /// `None` for anything that is no such file.
    pub(crate) fn read(file: &File) -> Option<Self> {
        let head = read_at(file, 0, 64, 64)?;
        let header = FileHeader64::<LE>::parse(head.as_slice()).ok()?;
        header.endian().ok()?;
        let segments = read_at(file, header.e_phoff(LE), u64::from(header.e_phnum(LE)) * 56, MAX_TABLE)?;
        let count = usize::from(header.e_phnum(LE));
        let (segments, _) = pod::slice_from_bytes::<ProgramHeader64<LE>>(&segments, count).ok()?;
        let end = file.metadata().ok()?.len();
        let loaded = |is_code: bool| {
            let wanted = segments.iter().filter(|it| it.p_type(LE) == PT_LOAD);
            let wanted = wanted.filter(|it| (it.p_flags(LE) & PF_X != 0) == is_code);
            let segment = |it: &ProgramHeader64<LE>| {
                // What the file does not hold is not loaded.
                let held = end.checked_sub(it.p_offset(LE)).filter(|held| *held > 0)?;
                let size = it.p_filesz(LE).min(held);
                Some(Segment { offset: it.p_offset(LE), size, address: it.p_vaddr(LE) })
            };
            wanted.filter_map(segment).take(MAX_SEGMENTS).collect::<Vec<_>>()
        };
        let sections = sections(file, header).unwrap_or_default();
        let build_id = build_id(file, segments, &sections);
        Some(Self { code: loaded(true), data: loaded(false), sections, build_id })
    }

    /// The virtual address, as the file counts, of the code at an offset. Several segments may share a page of the file
    /// (lld does not pad between them): those that are not code do not count.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        let inside = |it: &&Segment| offset.checked_sub(it.offset).is_some_and(|behind| behind < it.size);
        let segment = self.code.iter().find(inside)?;
        segment.address.checked_add(offset - segment.offset)
    }

    /// The addresses of its code.
    pub(crate) fn code(&self) -> Vec<Range<u64>> {
        self.code.iter().map(|it| it.address..it.address.saturating_add(it.size)).collect()
    }

    /// The offset of what is loaded to a virtual address, and how many bytes of its segment follow.
    pub(crate) fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        let mut loaded = self.code.iter().chain(&self.data);
        let (behind, segment) = loaded.find_map(|it| {
            let behind = address.checked_sub(it.address).filter(|behind| *behind < it.size)?;
            Some((behind, it))
        })?;
        Some((segment.offset.checked_add(behind)?, segment.size - behind))
    }

    /// What is loaded and is no code: offset, virtual address and size.
    pub(crate) fn data(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.data.iter().map(|it| (it.offset, it.address, it.size))
    }

    /// Nobody has taken its sections away.
    pub(crate) fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    pub(crate) fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    pub(crate) fn section_at(&self, index: u32) -> Option<&Section> {
        self.sections.get(usize::try_from(index).ok()?)
    }
}

impl Section {
    /// Bytes in the file, compressed or not.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where it is in the file: offset and size. `None` if it is compressed.
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        (!self.compressed).then_some((self.offset, self.size))
    }

    /// Its contents, unpacked; `None` if they are more than `most` bytes.
    pub(crate) fn contents(&self, file: &File, most: u64) -> Option<Vec<u8>> {
        let Some(packed) = self.packed(file) else { return read_at(file, self.offset, self.size, most) };
        let packed = packed.filter(|it| it.size <= most)?;
        let mut unpacked = Vec::new();
        packed.unpack(&mut unpacked)?;
        Some(unpacked)
    }

    /// As it is packed, if it is; within, `None` if that cannot be read.
    pub(crate) fn packed<'a>(&self, file: &'a File) -> Option<Option<Packed<'a>>> {
        self.compressed.then(|| Packed::read(file, self.offset, self.size))
    }
}

fn sections(file: &File, header: &FileHeader64<LE>) -> Option<Vec<Section>> {
    let count = usize::from(header.e_shnum(LE));
    let table = read_at(file, header.e_shoff(LE), count as u64 * 64, MAX_TABLE)?;
    let (table, _) = pod::slice_from_bytes::<SectionHeader64<LE>>(&table, count).ok()?;
    let names = table.get(usize::from(header.e_shstrndx(LE)))?;
    let names = read_at(file, names.sh_offset(LE), names.sh_size(LE), MAX_TABLE)?;
    let section = |it: &SectionHeader64<LE>| {
        let name = names.get(it.sh_name(LE) as usize..).unwrap_or_default();
        // Only what is looked for by name needs one, and all of that is short.
        let name = name.get(..name.len().min(32)).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        Section {
            name,
            address: it.sh_addr(LE),
            link: it.sh_link(LE),
            offset: it.sh_offset(LE),
            size: if it.sh_type(LE) == SHT_NOBITS { 0 } else { it.sh_size(LE) },
            compressed: it.sh_flags(LE) & u64::from(SHF_COMPRESSED) != 0,
        }
    };
    Some(table.iter().map(section).collect())
}

/// Files that only hold debug information may have no segments.
fn build_id(file: &File, segments: &[ProgramHeader64<LE>], sections: &[Section]) -> Option<Vec<u8>> {
    let segments = segments.iter().filter(|it| it.p_type(LE) == PT_NOTE);
    let loaded = segments.map(|it| (it.p_offset(LE), it.p_filesz(LE), it.p_align(LE)));
    let section = sections.iter().find(|section| section.name == b".note.gnu.build-id");
    loaded.chain(section.map(|it| (it.offset, it.size, 4))).find_map(|(offset, size, align)| {
        let notes = read_at(file, offset, size, MAX_NOTES)?;
        let mut notes = NoteIterator::<FileHeader64<LE>>::new(LE, align, &notes).ok()?;
        while let Ok(Some(note)) = notes.next() {
            let is_id = note.name() == ELF_NOTE_GNU && note.n_type(LE) == NT_GNU_BUILD_ID;
            if is_id && (1..=MAX_BUILD_ID).contains(&note.desc().len()) {
                return Some(note.desc().to_vec());
            }
        }
        None
    })
}

/// What the file does not hold is not made room for.
fn read_at(file: &File, offset: u64, size: u64, most: u64) -> Option<Vec<u8>> {
    let end = offset.checked_add(size)?;
    if size > most || end > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}
