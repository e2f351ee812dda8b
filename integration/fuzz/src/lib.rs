//! What the targets share: a file of any content that this process seems to map.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;

use mlh_stacks::modules::{FileId, Module, Modules, Part};
use tempfile::NamedTempFile;

/// Where the file seems to be mapped.
pub const BASE: u64 = 0x5555_0000_0000;

/// A file with this content, and the modules of a process that maps all of it as code at [`BASE`]. The file lives as long as it
/// is held.
///
/// # Panics
/// The file cannot be made: nothing to learn then.
#[must_use]
pub fn mapped(content: &[u8]) -> (NamedTempFile, Modules) {
    let folder =
        ["/dev/shm", "/tmp"].into_iter().find(|path| std::path::Path::new(path).is_dir()).unwrap_or(".");
    let mut file = NamedTempFile::new_in(folder).expect("a file");
    file.write_all(content).expect("its content");
    file.seek(SeekFrom::Start(0)).expect("its beginning");
    let it = file.as_file().metadata().expect("its metadata");
    let (major, minor) = (device_major(it.dev()), device_minor(it.dev()));
    let end = BASE + (content.len() as u64).next_multiple_of(4096).max(4096);
    let part = Part { start: BASE, end, offset: 0, executable: true, writable: false };
    let module = Module {
        path: file.path().to_owned(),
        deleted: false,
        file: FileId { major, minor, inode: it.ino() },
        parts: vec![part],
    };
    let modules = Modules { modules: vec![module], anonymous: Vec::new() };
    (file, modules)
}

/// As the C library takes a device number apart.
fn device_major(device: u64) -> u32 {
    (((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff)) as u32
}

fn device_minor(device: u64) -> u32 {
    (((device >> 12) & 0xffff_ff00) | (device & 0xff)) as u32
}

/// A number that the input begins with, and the rest of it.
#[must_use]
pub fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let (head, rest) = bytes.split_at(bytes.len().min(8));
    let mut number = [0; 8];
    number[..head.len()].copy_from_slice(head);
    (u64::from_le_bytes(number), rest)
}
