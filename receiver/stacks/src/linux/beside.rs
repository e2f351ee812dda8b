//! The files that belong to another one: where a distribution or a compiler has put what it took out of it. Looked for as
//! gdb does: first as the process sees the file system, then below the folder for debug information as we see it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::Crc;

use super::object::Object;
use super::open;
use super::shelf::hex;

/// A name, and what it is known by.
const MAX_LINK: u64 = 4096;
/// Files that have none but a sum are read as a whole to be known: larger ones are not taken.
const MAX_SUMMED: u64 = 4 * 1024 * 1024 * 1024;

/// Who maps a file, and by which name.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    pid: u32,
    path: PathBuf,
    folder: PathBuf,
}

impl Beside {
    /// Of the file that `pid` maps as `path`.
    pub(crate) fn new(pid: u32, path: &Path) -> Self {
        Self::with_folder(pid, path, Path::new("/usr/lib/debug"))
    }

    /// As [`new`](Self::new), with another folder for debug information.
    pub(crate) fn with_folder(pid: u32, path: &Path, folder: &Path) -> Self {
        Self { pid, path: path.to_owned(), folder: folder.to_owned() }
    }

    /// The debug information of a file that has none itself: by build id, else by `.gnu_debuglink`. Without a build id it is
    /// still to be checked whether it is that, for which it must be read as a whole.
    pub(crate) fn debug_information(&self, of: &Object) -> Option<(Object, Option<Sum>)> {
        let id = of.elf.build_id.as_deref();
        let by_id = |id| self.by_build_id(id, |it| it.elf.build_id.as_deref() == Some(id));
        if let Some(found) = id.and_then(by_id) {
            return Some((found, None));
        }
        let (name, rest) = link(of, b".gnu_debuglink")?;
        // What leads elsewhere is no name of a file.
        let Some(Component::Normal(_)) = one(name.components()) else { return None };
        // After the name's end, up to a multiple of four.
        let sum = Sum(u32::from_le_bytes(*rest.last_chunk()?));
        let same_id = |it: &Object| Some(id? == it.elf.build_id.as_deref()?);
        let home = self.path.parent()?;
        let elsewhere = self.folder.join(home.strip_prefix("/").unwrap_or(home));
        let itself = of.file.metadata().ok();
        [home.join(&name), home.join(".debug").join(&name), elsewhere.join(&name)].iter().find_map(|path| {
            let is_other = |it: &Object| !same(it.file.metadata().ok().as_ref(), itself.as_ref());
            let found = self.find(path, |it| is_other(it) && same_id(it) != Some(false))?;
            let unchecked = Some(sum).filter(|_| same_id(&found).is_none());
            Some((found, unchecked))
        })
    }

    /// The file that several files' debug information has in common, by `.gnu_debugaltlink`.
    pub(crate) fn supplement(&self, of: &Object) -> Option<Object> {
        let (name, id) = link(of, b".gnu_debugaltlink")?;
        let is_it = |it: &Object| it.elf.build_id.as_deref() == Some(id.as_slice());
        self.by_build_id(&id, is_it).or_else(|| {
            let from = self.path.parent().unwrap_or(Path::new("/"));
            let debug = self.folder.join(from.strip_prefix("/").unwrap_or(from));
            let by_id = self.folder.join(".build-id/xx");
            [from, &debug, &by_id].iter().find_map(|home| self.find(&home.join(&name), is_it))
        })
    }

    /// The build id of that file.
    pub(crate) fn supplement_id(of: &Object) -> Option<Vec<u8>> {
        link(of, b".gnu_debugaltlink").map(|(_, id)| id)
    }

    /// A file that a unit's functions have been put into, as the compiler has called it.
    pub(crate) fn split(&self, folder: &str, name: &str) -> Option<Object> {
        let beside = self.path.parent()?.join(Path::new(name).file_name()?);
        [Path::new(folder).join(name), beside]
            .iter()
            .find_map(|path| self.of_process(path).and_then(Object::read))
    }

    /// All such files of the program in one.
    pub(crate) fn package(&self) -> Option<Object> {
        let mut name = self.path.clone().into_os_string();
        name.push(".dwp");
        self.of_process(Path::new(&name)).and_then(Object::read)
    }

    fn by_build_id(&self, id: &[u8], is_it: impl Fn(&Object) -> bool) -> Option<Object> {
        let (first, rest) = id.split_first().filter(|(_, rest)| !rest.is_empty())?;
        self.find(&self.folder.join(format!(".build-id/{first:02x}/{}.debug", hex(rest))), is_it)
    }

    fn find(&self, path: &Path, is_it: impl Fn(&Object) -> bool) -> Option<Object> {
        let ours = || path.starts_with(&self.folder).then(|| open::regular(path)).flatten();
        let check = |file: File| Object::read(file).filter(|it| is_it(it));
        self.of_process(path).and_then(check).or_else(|| ours().and_then(check))
    }

    fn of_process(&self, path: &Path) -> Option<File> {
        path.is_absolute().then(|| open::in_root_of(self.pid, path)).flatten()
    }
}

/// A section that names a file: the name, and what follows.
fn link(of: &Object, section: &[u8]) -> Option<(PathBuf, Vec<u8>)> {
    let contents = of.elf.section(section)?.contents(&of.file, MAX_LINK)?;
    let end = contents.iter().position(|byte| *byte == 0)?;
    let (name, rest) = contents.split_at_checked(end)?;
    let name = PathBuf::from(OsStr::from_bytes(name));
    Some((name, rest.get(1..)?.to_vec()))
}

fn one<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next();
    first.filter(|_| all.next().is_none())
}

fn same(one: Option<&std::fs::Metadata>, other: Option<&std::fs::Metadata>) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |it: &std::fs::Metadata| (it.dev(), it.ino());
    one.map(id) == other.map(id)
}

/// What `.gnu_debuglink` knows a file by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum(u32);

impl Sum {
    /// Reads the whole of a file, which may take seconds.
    pub(crate) fn is_of(self, file: &File) -> bool {
        sum_of(file) == Some(self)
    }
}

fn sum_of(file: &File) -> Option<Sum> {
    let size = file.metadata().ok()?.len();
    if size > MAX_SUMMED {
        return None;
    }
    let (mut sum, mut part, mut at) = (Crc::new(), vec![0; 64 * 1024], 0);
    while at < size {
        let read = file.read_at(&mut part, at).ok().filter(|read| *read > 0)?;
        sum.update(part.get(..read)?);
        at += read as u64;
    }
    Some(Sum(sum.sum()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn run(room: &Path, words: &[&str]) {
        let done = Command::new(words[0]).args(&words[1..]).current_dir(room).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn object(path: &Path) -> Object {
        Object::read(File::open(path).unwrap()).unwrap()
    }

    /// Guarantees: what a link names is also found below the folder for debug information, under the path of the file; a
    /// link that leads elsewhere, to the file itself, or is broken, leads nowhere.
    ///
    /// Needs: cc, objcopy, strip.
    #[test]
    fn below_the_folder() {
        let room = tempfile::tempdir().unwrap();
        let (it, debug) = (room.path().join("it"), room.path().join("debug"));
        fs::write(room.path().join("it.c"), "int main(void) { return 0; }\n").unwrap();
        run(room.path(), &["cc", "-g", "-Wl,--build-id=none", "it.c", "-o", "it"]);
        let place = debug.join(room.path().strip_prefix("/").unwrap());
        fs::create_dir_all(&place).unwrap();
        run(room.path(), &["objcopy", "--only-keep-debug", "it", "it.dbg"]);
        run(room.path(), &["strip", "it"]);
        fs::copy(&it, room.path().join("bare")).unwrap();
        run(room.path(), &["objcopy", "--add-gnu-debuglink=it.dbg", "it"]);
        fs::rename(room.path().join("it.dbg"), place.join("it.dbg")).unwrap();
        let beside = Beside::with_folder(std::process::id(), &it, &debug);
        let (found, sum) = beside.debug_information(&object(&it)).unwrap();
        let sum = sum.unwrap();
        assert!(found.has(b".debug_info") && sum.is_of(&found.file) && !Sum(!sum.0).is_of(&found.file));
        let sum = sum.0.to_le_bytes();
        let named = |name: &[u8]| [name, &[0], &sum[..]].concat();
        let right = named(b"it.dbg");
        for (link, leads) in [
            (right.clone(), true),
            (named(b"../it.dbg"), false),
            (named(place.join("it.dbg").as_os_str().as_bytes()), false),
            (named(b"bare"), false),
            (named(b"."), false),
            (named(b""), false),
            (b"it.dbg".to_vec(), false),
            (right[..8].to_vec(), false),
            (vec![b'x'; 100_000], false),
        ] {
            fs::write(room.path().join("link"), &link).unwrap();
            fs::copy(room.path().join("bare"), &it).unwrap();
            run(room.path(), &["objcopy", "--add-section", ".gnu_debuglink=link", "it"]);
            let found = beside.debug_information(&object(&it));
            let is_it = found.is_some_and(|(found, sum)| sum.is_none_or(|sum| sum.is_of(&found.file)));
            assert_eq!(is_it, leads, "{link:?}");
        }
    }
}
