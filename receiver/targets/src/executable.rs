//! What is worth knowing of the executable of a process that a finding is about. Read on demand, never in a pass.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use object::elf::{ELF_NOTE_GNU, FileHeader32, FileHeader64, NT_GNU_BUILD_ID, PT_NOTE};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};

use crate::os;

/// The file's beginning holds the program headers, and with every common linker the note too.
const HEAD: u64 = 64 * 1024;
/// A larger note segment is not read.
const MAX_NOTES: u64 = 64 * 1024;
/// GNU writes 20 bytes, others up to 64.
const MAX_BUILD_ID: usize = 64;

/// The build id that the linker wrote (`.note.gnu.build-id`). Shown as lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BuildId(Vec<u8>);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The path of the executable, in the process's own mount namespace, with no mark of deletion. `None` when the
/// process is gone or may not be looked at (another user's needs `CAP_SYS_PTRACE`).
#[must_use]
pub fn path(pid: u32) -> Option<PathBuf> {
    os::executable_path(pid)
}

/// The executable's build id; `Ok(None)` where it has none or is no ELF file.
///
/// # Errors
/// The process is gone, may not be looked at, or its executable is no regular file.
pub fn build_id(pid: u32) -> io::Result<Option<BuildId>> {
    let mut file = os::open_executable(pid)?;
    read_build_id(&mut file)
}

/// Reads the build id of an ELF image, touching at most 64 KiB at its beginning and as much for each note segment
/// that lies behind.
///
/// # Errors
/// Reading failed. A malformed image is `Ok(None)`.
pub fn read_build_id<F: Read + Seek>(file: &mut F) -> io::Result<Option<BuildId>> {
    let head = read_at(file, 0, HEAD)?;
    match head.get(4) {
        Some(1) => in_elf::<FileHeader32<object::Endianness>, F>(&head, file),
        Some(2) => in_elf::<FileHeader64<object::Endianness>, F>(&head, file),
        _ => Ok(None),
    }
}

fn in_elf<E, F>(head: &[u8], file: &mut F) -> io::Result<Option<BuildId>>
where
    E: FileHeader<Endian = object::Endianness>,
    F: Read + Seek,
{
    let Some((endian, segments)) = E::parse(head).ok().and_then(|header| {
        let endian = header.endian().ok()?;
        Some((endian, header.program_headers(endian, head).ok()?))
    }) else {
        return Ok(None);
    };
    for segment in segments.iter().filter(|s| s.p_type(endian) == PT_NOTE) {
        let (offset, size): (u64, u64) = (segment.p_offset(endian).into(), segment.p_filesz(endian).into());
        if size > MAX_NOTES {
            continue;
        }
        let notes = read_at(file, offset, size)?;
        let Ok(mut notes) = NoteIterator::<E>::new(endian, segment.p_align(endian), &notes) else { continue };
        while let Ok(Some(note)) = notes.next() {
            let is_id = note.name() == ELF_NOTE_GNU && note.n_type(endian) == NT_GNU_BUILD_ID;
            if is_id && (1..=MAX_BUILD_ID).contains(&note.desc().len()) {
                return Ok(Some(BuildId(note.desc().to_vec())));
            }
        }
    }
    Ok(None)
}

fn read_at<F: Read + Seek>(file: &mut F, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const ID: [u8; 20] = [0xab; 20];

    /// A 64-bit little-endian ELF image with one note segment at `offset`.
    fn image(offset: u64, declared_size: u64, with_note: bool) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        bytes.resize(16, 0);
        bytes.extend(2_u16.to_le_bytes()); // executable
        bytes.extend(62_u16.to_le_bytes()); // x86-64
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes()); // entry
        bytes.extend(64_u64.to_le_bytes()); // program headers
        bytes.extend(0_u64.to_le_bytes()); // sections
        bytes.extend(0_u32.to_le_bytes());
        for value in [64_u16, 56, 1, 64, 0, 0] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(4_u32.to_le_bytes()); // PT_NOTE
        bytes.extend(4_u32.to_le_bytes());
        for value in [offset, 0, 0, declared_size, declared_size, 4] {
            bytes.extend(value.to_le_bytes());
        }
        if with_note {
            bytes.resize(usize::try_from(offset).unwrap(), 0);
            for value in [4_u32, 20, 3] {
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend(b"GNU\0");
            bytes.extend(ID);
        }
        bytes
    }

    fn id_in(bytes: Vec<u8>) -> Option<String> {
        read_build_id(&mut Cursor::new(bytes)).unwrap().map(|id| id.to_string())
    }

    /// Guarantees: the id is found at the file's beginning and behind the part that is read first.
    #[test]
    fn found_near_and_far() {
        assert_eq!(id_in(image(120, 36, true)), Some("ab".repeat(20)));
        assert_eq!(id_in(image(200_000, 36, true)), Some("ab".repeat(20)));
    }

    /// Guarantees: a hostile image, that is one cut short at any byte, of absurd sizes or offsets, or with bytes
    /// flipped, ends in no id, not in a panic or a large allocation.
    #[test]
    fn hostile_images() {
        assert_eq!(id_in(image(120, u64::MAX, true)), None);
        assert_eq!(id_in(image(u64::MAX - 8, 36, false)), None);
        assert_eq!(id_in(b"#!/bin/sh\n".to_vec()), None);
        let whole = image(120, 36, true);
        for length in 0..whole.len() {
            assert_eq!(id_in(whole[..length].to_vec()), None, "cut at {length}");
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                drop(read_build_id(&mut Cursor::new(broken)));
            }
        }
    }
}
