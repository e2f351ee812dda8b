//! The parts of an ELF file that unwinding and naming need, read one by one and never mapped into memory: whoever writes the
//! file could cut it short, and touching a mapping behind the end of its file kills.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use flate2::read::ZlibDecoder;
use object::elf::{
    CompressionHeader64, ELF_NOTE_GNU, ELFCOMPRESS_ZLIB, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_LOAD,
    PT_NOTE, ProgramHeader64, SHF_COMPRESSED, SHT_NOBITS, SectionHeader64,
};
use object::read::elf::{FileHeader as _, NoteIterator, ProgramHeader as _, SectionHeader as _};
use object::{LittleEndian as LE, pod};

/// Program headers, section headers and their names take less in any real file.
const MAX_TABLE: u64 = 16 * 1024 * 1024;
const MAX_NOTES: u64 = 64 * 1024;
/// GNU writes 20 bytes, others up to 64.
const MAX_BUILD_ID: usize = 64;

/// What a 64-bit little-endian ELF file says of itself.
#[derive(Debug)]
pub(crate) struct Elf {
    /// Code that is loaded.
    code: Vec<Segment>,
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
        let code = segments.iter().filter(|it| it.p_type(LE) == PT_LOAD && it.p_flags(LE) & PF_X != 0);
        let code = code.map(|it| Segment {
            offset: it.p_offset(LE),
            size: it.p_filesz(LE),
            address: it.p_vaddr(LE),
        });
        Some(Self {
            code: code.collect(),
            sections: sections(file, header).unwrap_or_default(),
            build_id: build_id(file, segments),
        })
    }

    /// The virtual address, as the file counts, of the code at an offset. Several segments may share a page of the file
    /// (lld does not pad between them): those that are not code do not count.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        let inside = |it: &&Segment| offset.checked_sub(it.offset).is_some_and(|behind| behind < it.size);
        let segment = self.code.iter().find(inside)?;
        segment.address.checked_add(offset - segment.offset)
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

    /// Its contents, unpacked; `None` if they are more than `most` bytes.
    pub(crate) fn contents(&self, file: &File, most: u64) -> Option<Vec<u8>> {
        let bytes = read_at(file, self.offset, self.size, most)?;
        if !self.compressed {
            return Some(bytes);
        }
        let (header, packed) = pod::from_bytes::<CompressionHeader64<LE>>(&bytes).ok()?;
        let size = header.ch_size.get(LE);
        if header.ch_type.get(LE) != ELFCOMPRESS_ZLIB || size > most {
            return None;
        }
        let mut unpacked = Vec::new();
        ZlibDecoder::new(packed).take(size).read_to_end(&mut unpacked).ok()?;
        Some(unpacked)
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

fn build_id(file: &File, segments: &[ProgramHeader64<LE>]) -> Option<Vec<u8>> {
    for segment in segments.iter().filter(|it| it.p_type(LE) == PT_NOTE) {
        let Some(notes) = read_at(file, segment.p_offset(LE), segment.p_filesz(LE), MAX_NOTES) else {
            continue;
        };
        let Ok(mut notes) = NoteIterator::<FileHeader64<LE>>::new(LE, segment.p_align(LE), &notes) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            let is_id = note.name() == ELF_NOTE_GNU && note.n_type(LE) == NT_GNU_BUILD_ID;
            if is_id && (1..=MAX_BUILD_ID).contains(&note.desc().len()) {
                return Some(note.desc().to_vec());
            }
        }
    }
    None
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
