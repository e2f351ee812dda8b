//! `/proc/PID/maps` to modules, and modules to files that can be opened.
//!
//! The numbers of a line are for `procfs`. The name is not: it comes from whoever made the file, may hold any byte, and
//! `procfs` gives up the whole process for a name that is not UTF-8.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use procfs::FromRead as _;
use procfs::process::{MMPermissions, MemoryMap, MemoryMaps};

use crate::modules::{Anonymous, FileId, Module, Modules, ModulesError, Part};

/// Some 600,000 mappings; the kernel's own limit is 65,530 unless raised.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads what `pid` maps.
pub(crate) fn modules(pid: u32) -> Result<Modules, ModulesError> {
    let failed = |reason: String| ModulesError { pid, reason };
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(failed("it has too many mappings".to_owned()));
    }
    // A process that has just ended has nothing mapped, and the kernel says so without an error.
    if text.is_empty() {
        return Err(failed("it has ended, or is a thread of the kernel".to_owned()));
    }
    parse(&text).ok_or_else(|| failed("a line of /proc/PID/maps is not understood".to_owned()))
}

pub(super) fn parse(text: &[u8]) -> Option<Modules> {
    let mut found = Modules::default();
    let mut known: HashMap<(FileId, OsString), usize> = HashMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let (map, name) = parse_line(line)?;
        let (start, end) = map.address;
        let executable = map.perms.contains(MMPermissions::EXECUTE);
        let is_file = map.inode != 0 || name == b"[vdso]";
        if !is_file {
            let name = String::from_utf8_lossy(name).into_owned();
            found.anonymous.push(Anonymous { start, end, name, executable });
            continue;
        }
        let writable = map.perms.contains(MMPermissions::WRITE);
        let part = Part { start, end, offset: map.offset, executable, writable };
        let file = file_id(&map);
        let key = (file, OsStr::from_bytes(name).to_owned());
        let index = *known.entry(key).or_insert_with(|| {
            let (path, deleted) = path_of(name);
            found.modules.push(Module { path, deleted, file, parts: Vec::new() });
            found.modules.len() - 1
        });
        found.modules.get_mut(index)?.parts.push(part);
    }
    Some(found)
}

/// The numbers, and the name as it stands there.
fn parse_line(line: &[u8]) -> Option<(MemoryMap, &[u8])> {
    let fifth = line.iter().enumerate().filter(|(_, byte)| **byte == b' ').nth(4)?.0;
    let (numbers, name) = line.split_at_checked(fifth + 1)?;
    let map = MemoryMaps::from_read(numbers).ok()?.0.pop()?;
    let padding = name.iter().take_while(|byte| **byte == b' ').count();
    Some((map, name.get(padding..)?))
}

fn file_id(map: &MemoryMap) -> FileId {
    let number = |part: i32| u32::try_from(part).unwrap_or_default();
    FileId { major: number(map.dev.0), minor: number(map.dev.1), inode: map.inode }
}

/// The kernel writes a newline as `\012` and does not escape backslashes. A name that has these four characters by
/// itself is taken for another; its file is then found by its mapping.
fn path_of(name: &[u8]) -> (PathBuf, bool) {
    let (mut rest, deleted) = name.strip_suffix(b" (deleted)").map_or((name, false), |rest| (rest, true));
    let mut path = Vec::with_capacity(rest.len());
    while let Some((first, behind)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(behind) => {
                path.push(b'\n');
                rest = behind;
            }
            None => {
                path.push(*first);
                rest = behind;
            }
        }
    }
    (PathBuf::from(OsString::from_vec(path)), deleted)
}

/// See [`Module::reachable_path`].
pub(crate) fn reachable_path(module: &Module, pid: u32) -> Option<PathBuf> {
    if module.file == FileId::default() || !module.path.is_absolute() {
        return None;
    }
    let relative = module.path.strip_prefix("/").ok()?;
    let by_name = Path::new(&format!("/proc/{pid}/root")).join(relative);
    let is_it = |path: &Path| regular(path).is_some_and(|it| id_of(&it) == module.file);
    if is_it(&by_name) {
        return Some(by_name);
    }
    // Of a process that has changed its root the kernel tells names as its reader sees them.
    if is_it(&module.path) {
        return Some(module.path.clone());
    }
    let code_first =
        module.parts.iter().filter(|p| p.executable).chain(module.parts.iter().filter(|p| !p.executable));
    let by_mapping = code_first
        .take(4)
        .map(|part| PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", part.start, part.end)))
        .find(|path| regular(path).is_some());
    // overlayfs and btrfs tell another device by `stat` than in `maps`: without the right to `map_files` the inode must do.
    let same_inode = |path: &PathBuf| regular(path).is_some_and(|it| it.ino() == module.file.inode);
    by_mapping
        .or_else(|| Some(PathBuf::from(format!("/proc/{pid}/exe"))).filter(|path| is_it(path)))
        .or_else(|| Some(by_name).filter(|path| !module.deleted && same_inode(path)))
}

fn regular(path: &Path) -> Option<Metadata> {
    fs::metadata(path).ok().filter(Metadata::is_file)
}

fn id_of(it: &Metadata) -> FileId {
    let number = |part: u64| u32::try_from(part).unwrap_or_default();
    FileId { major: number(major(it.dev())), minor: number(minor(it.dev())), inode: it.ino() }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that has a copy of `cat` for its program; it waits for its input to end.
    struct Cat(Child);

    impl Cat {
        fn run(program: &Path) -> Self {
            // by another process: what a thread here starts meanwhile would hold it open for writing
            assert!(Command::new("cp").arg("/bin/cat").arg(program).status().unwrap().success());
            let mut child =
                Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // Once it has echoed a byte it has loaded all that it will.
            use std::io::Write as _;
            child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            Self(child)
        }

        fn modules(&self) -> Modules {
            modules(self.0.id()).unwrap()
        }
    }

    impl Drop for Cat {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            drop(self.0.wait());
        }
    }

    /// Guarantees: a file whose name is not UTF-8, has blanks, a line break and the kernel's own mark of deletion in it,
    /// is found and can be opened, before and after it is removed; the rest of the process is found as well.
    /// Needs: the right to follow `/proc/PID/map_files`, for the removed one.
    #[test]
    fn odd_names_and_removed_files() {
        let room = tempfile::tempdir().unwrap();
        let program = room.path().join(OsStr::from_bytes(b"a b\n\xff (deleted)"));
        let cat = Cat::run(&program);
        let id = id_of(&fs::metadata(&program).unwrap());
        let contents = fs::read(&program).unwrap();
        for removed in [false, true] {
            if removed {
                fs::remove_file(&program).unwrap();
            }
            let found = cat.modules();
            let module = found.modules.iter().find(|m| m.file == id).unwrap();
            assert!(module.has_code());
            assert!(module.deleted);
            let path = module.reachable_path(cat.0.id()).unwrap();
            assert_eq!(fs::read(path).unwrap(), contents);
            assert!(
                found.modules.iter().any(|m| m.path.to_string_lossy().contains("libc.so.6") && !m.deleted)
            );
            assert!(
                found.modules.iter().any(|m| m.path == Path::new("[vdso]") && m.file == FileId::default())
            );
            assert!(found.heap_end().is_some());
        }
    }

    /// Guarantees: where another file has taken the name, the one that is mapped is opened.
    /// Needs: the right to follow `/proc/PID/map_files`.
    #[test]
    fn replaced_file() {
        let room = tempfile::tempdir().unwrap();
        let program = room.path().join("it");
        let cat = Cat::run(&program);
        let contents = fs::read(&program).unwrap();
        let other = room.path().join("other");
        fs::write(&other, b"another").unwrap();
        fs::rename(&other, &program).unwrap();
        let found = cat.modules();
        let module = found.modules.iter().find(|m| m.path == program).unwrap();
        assert_eq!(fs::read(module.reachable_path(cat.0.id()).unwrap()).unwrap(), contents);
    }

    /// Guarantees: addresses and offsets translate into each other, regions are in order and do not overlap, and this
    /// very function is where its module says that code is.
    #[test]
    fn addresses() {
        let found = modules(std::process::id()).unwrap();
        let here = addresses as fn() as usize as u64;
        let (module, part) = found.at(here).unwrap();
        assert!(part.executable);
        let offset = part.offset_of(here).unwrap();
        assert_eq!(module.code_addresses(offset).collect::<Vec<_>>(), [here]);
        assert_eq!((part.offset_of(part.end), part.address_of(u64::MAX)), (None, None));
        assert!(found.at(0).is_none());
        let regions = found.regions();
        assert!(regions.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert!(regions.iter().any(|region| region.contains(&(&raw const regions as u64))));
    }

    /// Guarantees: whoever has ended, or is of the kernel, is an error; a special file is not opened.
    #[test]
    fn nobody_there() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(modules(pid).is_err());
        let null = fs::metadata("/dev/null").unwrap();
        let module =
            Module { path: "/dev/null".into(), deleted: false, file: id_of(&null), parts: Vec::new() };
        assert_eq!(module.reachable_path(std::process::id()), None);
    }

    /// Guarantees: no text in place of the kernel's makes the reader panic, and none is half understood.
    #[test]
    fn hostile_text() {
        let whole: &[u8] =
            b"55d0-55d8 r-xp 00001000 103:02 77    /SYSV\n7ff0-7ff8 rw-p 00000000 00:00 0 [stack:\n";
        let good = parse(whole).unwrap();
        assert_eq!(good.modules[0].path, Path::new("/SYSV"));
        assert_eq!(good.modules[0].file, FileId { major: 0x103, minor: 2, inode: 77 });
        assert_eq!(good.anonymous[0].name, "[stack:");
        for at in 0..whole.len() {
            drop(parse(&whole[..at]));
            for byte in [0, b' ', b'\n', b'-', 0xff] {
                let mut broken = whole.to_vec();
                broken[at] = byte;
                drop(parse(&broken));
            }
        }
        assert_eq!(parse(b"55d0-55d8 r-xp 00001000 103:02\n"), None);
    }
}
