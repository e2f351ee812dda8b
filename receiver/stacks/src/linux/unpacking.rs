//! Compressed sections, unpacked: into memory where they are small, else into a file that has no name.
//!
//! A few bytes can stand for as many as one likes: each section says how many it will be, that much is made room for or it
//! is not unpacked, and more is never written.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::ZlibDecoder;
use lzma_rust2::XzReader;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use object::elf::{CompressionHeader64, ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD};
use object::{LittleEndian as LE, pod};
use ruzstd::decoding::StreamingDecoder;

/// Unpacked on disk, of all files together; and of what is free there no more than a quarter.
const MAX_DISK: u64 = 1024 * 1024 * 1024;
/// Unpacked in memory, of all files together.
const MAX_MEMORY: u64 = 8 * 1024 * 1024;
/// Larger sections are unpacked on disk as long as that can be had.
const SMALL: u64 = 256 * 1024;
/// How far back what is packed may refer: the decoder keeps as much. Linkers' settings stay at 8 MiB.
const MAX_WINDOW: u64 = 16 * 1024 * 1024;
/// Parts that a section is packed in: linkers make one of each MiB. Each has a decoder of its own.
const MAX_PARTS: usize = 4096;

/// Room for what is unpacked. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    disk: Room,
    memory: Room,
    /// Where files may be made; what is kept in memory is passed over.
    folders: Arc<[PathBuf]>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::within(&[std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/tmp")])
    }
}

/// A file without a name, and the room that it takes.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) file: Arc<File>,
    /// For as long as the file is open.
    pub(crate) taken: Taken,
}

impl Scratch {
    /// With files in the first of `folders` that will do.
    pub(crate) fn within(folders: &[PathBuf]) -> Self {
        Self { disk: Room::of(MAX_DISK), memory: Room::of(MAX_MEMORY), folders: folders.into() }
    }

    /// Unpacks. `None` if there is no room, or it is not what it says.
    pub(crate) fn unpack(&self, packed: Packed<'_>) -> Option<Unpacked> {
        let size = packed.size;
        let on_disk = || Some((self.file(size)?, self.disk.take(size)?));
        let in_memory = || Some((memory(c"unpacked")?, self.memory.take(size)?));
        let (mut file, taken) = match size {
            ..=SMALL => in_memory().or_else(on_disk)?,
            _ => on_disk().or_else(in_memory)?,
        };
        packed.unpack(&mut file)?;
        Some(Unpacked { file: Arc::new(file), taken })
    }

    /// Unpacks the small ELF file that some distributions leave in the place of symbols.
    pub(crate) fn unpack_xz(&self, file: &File, offset: u64, size: u64) -> Option<Unpacked> {
        let taken = self.memory.take(MAX_MEMORY / 4)?;
        let packed = BufReader::new(Stretch { file, offset, left: size });
        let limit = u32::try_from(MAX_WINDOW / 1024).ok()?;
        let mut unpacked = XzReader::new_mem_limit(packed, false, limit).take(taken.size + 1);
        let mut into = memory(c"symbols")?;
        let written = io::copy(&mut unpacked, &mut into).ok()?;
        (written <= taken.size).then(|| Unpacked { file: Arc::new(into), taken: taken.shrink(written) })
    }

    fn file(&self, size: u64) -> Option<File> {
        self.folders
            .iter()
            .filter(|folder| has_room(folder, size))
            .find_map(|it| tempfile::tempfile_in(it).ok())
    }
}

fn memory(name: &CStr) -> Option<File> {
    memfd_create(name, MFdFlags::MFD_CLOEXEC).ok().map(File::from)
}

fn has_room(folder: &Path, size: u64) -> bool {
    statfs(folder).is_ok_and(|it| {
        let free = it.blocks_available().saturating_mul(u64::try_from(it.block_size()).unwrap_or_default());
        it.filesystem_type() != TMPFS_MAGIC && size <= free / 4
    })
}

/// A section as it is packed.
pub(crate) struct Packed<'a> {
    /// Bytes of it once it is unpacked, so it says.
    pub(crate) size: u64,
    method: Method,
    bytes: Stretch<'a>,
}

enum Method {
    Zlib,
    Zstd,
}

impl<'a> Packed<'a> {
    /// The section of `size` bytes at `offset`, whose header says how it is packed.
    pub(crate) fn read(file: &'a File, offset: u64, size: u64) -> Option<Self> {
        let mut header = [0; size_of::<CompressionHeader64<LE>>()];
        let left = size.checked_sub(header.len() as u64)?;
        file.read_exact_at(&mut header, offset).ok()?;
        let (header, _) = pod::from_bytes::<CompressionHeader64<LE>>(&header).ok()?;
        let method = match header.ch_type.get(LE) {
            ELFCOMPRESS_ZLIB => Method::Zlib,
            ELFCOMPRESS_ZSTD => Method::Zstd,
            _ => return None,
        };
        let bytes = Stretch { file, offset: offset.checked_add(size - left)?, left };
        Some(Self { size: header.ch_size.get(LE), method, bytes })
    }

    /// Writes what it unpacks to. `None` if that is not as long as it should be.
    pub(crate) fn unpack(self, into: &mut impl Write) -> Option<()> {
        let mut packed = BufReader::with_capacity(64 * 1024, self.bytes);
        let mut written = 0;
        for _ in 0..MAX_PARTS {
            if written >= self.size {
                break;
            }
            let left = self.size - written;
            let more = match self.method {
                Method::Zlib => io::copy(&mut ZlibDecoder::new(&mut packed).take(left), into).ok()?,
                Method::Zstd => {
                    let frame = StreamingDecoder::new_with_max_window_size(&mut packed, MAX_WINDOW).ok()?;
                    io::copy(&mut frame.take(left), into).ok()?
                }
            };
            // What is packed in several parts goes on behind the first.
            if more == 0 {
                return None;
            }
            written += more;
        }
        (written == self.size).then_some(())
    }
}

/// A stretch of a file.
struct Stretch<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Stretch<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(into.get_mut(..most).unwrap_or_default(), self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// What may still be taken. Clones share it.
#[derive(Debug, Clone)]
struct Room(Arc<AtomicU64>);

impl Room {
    fn of(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    fn take(&self, size: u64) -> Option<Taken> {
        let less = |left: u64| left.checked_sub(size);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Taken { room: self.clone(), size })
    }
}

/// A part of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Room,
    size: u64,
}

impl Taken {
    /// Bytes of it.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    fn shrink(mut self, size: u64) -> Self {
        self.room.0.fetch_add(self.size - size, Ordering::Relaxed);
        self.size = size;
        self
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom};
    use std::process::{Command, Stdio};

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// A section that says it unpacks to `says` bytes, of one that is packed like this.
    fn section(method: u32, says: u64, packed: &[u8]) -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        let words = [u64::from(method), says, 1];
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.write_all(&[&header, packed].concat()).unwrap();
        (file, (header.len() + packed.len()) as u64)
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn by_tool(words: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut command = Command::new(words[0]);
        let mut child =
            command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(bytes).unwrap());
            child.wait_with_output().unwrap().stdout
        })
    }

    fn unpack(scratch: &Scratch, method: u32, says: u64, packed: &[u8]) -> Option<(Unpacked, Vec<u8>)> {
        let (file, size) = section(method, says, packed);
        let unpacked = scratch.unpack(Packed::read(&file, 0, size)?)?;
        let mut bytes = Vec::new();
        let mut file = unpacked.file.try_clone().unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        Some((unpacked, bytes))
    }

    /// Guarantees: what is packed is unpacked, in one part or several, on disk or, without one, in memory as long as it is
    /// small; never to more than it says, and what says too much, or more than it has, is refused; room that was taken is
    /// given back.
    ///
    /// Needs: zstd.
    #[test]
    fn bounded() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = bytes.len() as u64;
        let zstd = by_tool(&["zstd", "-c"], &bytes);
        let (first, second) = bytes.split_at(700_001);
        let parts = [by_tool(&["zstd", "-c"], first), by_tool(&["zstd", "-c"], second)].concat();
        let room = tempfile::tempdir_in("/var/tmp").unwrap();
        for scratch in [Scratch::within(&[room.path().to_owned()]), Scratch::within(&[])] {
            let left = || (scratch.disk.0.load(Ordering::Relaxed), scratch.memory.0.load(Ordering::Relaxed));
            let free = left();
            for (method, packed) in
                [(ELFCOMPRESS_ZLIB, &zlib(&bytes)), (ELFCOMPRESS_ZSTD, &zstd), (ELFCOMPRESS_ZSTD, &parts)]
            {
                let (it, unpacked) = unpack(&scratch, method, whole, packed).unwrap();
                assert!(unpacked == bytes && left() != free);
                drop(it);
                assert_eq!(left(), free);
                assert_eq!(unpack(&scratch, method, 100, packed).unwrap().1, &bytes[..100]);
                assert!(unpack(&scratch, method, whole + 1, packed).is_none());
                assert!(unpack(&scratch, method, whole, &packed[..packed.len() / 2]).is_none());
                assert!(unpack(&scratch, method, 1 << 40, packed).is_none());
                assert!(unpack(&scratch, method, u64::MAX, packed).is_none());
                assert_eq!(left(), free);
            }
            assert!(unpack(&scratch, 77, 100, &zstd).is_none());
        }
        let none = Scratch::within(&[PathBuf::from("/dev/shm"), PathBuf::from("/nowhere")]);
        assert!(unpack(&none, ELFCOMPRESS_ZLIB, 9 << 20, &zlib(&vec![0; 9 << 20])).is_none());
        assert!(unpack(&none, ELFCOMPRESS_ZLIB, 7 << 20, &zlib(&vec![0; 7 << 20])).is_some());
        // In parts of a byte each.
        let most = MAX_PARTS as u64;
        assert!(unpack(&none, ELFCOMPRESS_ZLIB, most, &zlib(&[7]).repeat(MAX_PARTS)).is_some());
        assert!(unpack(&none, ELFCOMPRESS_ZLIB, most + 1, &zlib(&[7]).repeat(MAX_PARTS + 1)).is_none());
    }

    /// Guarantees: of what was packed with a view of the whole behind it, which the reader would have to hold, only as much
    /// is unpacked as fits.
    ///
    /// Needs: xz, zstd.
    #[test]
    fn large_windows() {
        let scratch = Scratch::within(&[]);
        let unpack_xz = |packed: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(packed).unwrap();
            scratch.unpack_xz(&file, 0, packed.len() as u64)
        };
        let bytes = b"some symbols".repeat(10_000);
        assert!(unpack_xz(&by_tool(&["xz", "-c"], &bytes)).is_some());
        assert!(unpack_xz(&by_tool(&["xz", "-c", "--lzma2=dict=64MiB"], &bytes)).is_none());
        assert!(unpack_xz(&by_tool(&["xz", "-c"], &vec![0; 3 << 20])).is_none());
        assert!(unpack_xz(b"no xz at all").is_none());
        let far = by_tool(&["zstd", "-c", "--long=27", "--no-content-size"], &bytes);
        assert!(unpack(&scratch, ELFCOMPRESS_ZSTD, bytes.len() as u64, &far).is_none());
    }
}
