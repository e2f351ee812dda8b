//! The files that are open, shared by the processes that map them.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::dwarf::Room;
use super::image::Image;
use super::open;
use crate::modules::Module;

/// Open at the same time, by all processes together.
const MAX_FILES: usize = 400;
/// Bytes held of all files together. As much as the bounds of one file's symbols and tables add up to, so that the largest
/// is not read anew for each name.
const MAX_HELD: u64 = 48 * 1024 * 1024;

/// A file that is shared.
pub(crate) type Shared = Arc<Mutex<Image>>;

/// Which file in which state: device, inode, and when it was last changed.
type Key = (u64, u64, i64, i64);

/// See [`Library`](crate::unwind::Library).
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    files: Arc<Mutex<HashMap<Key, Weak<Mutex<Image>>>>>,
    room: Room,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("files", &lock(&self.files).len()).finish()
    }
}

impl Shelf {
    /// The file that `pid` maps. `None` if it cannot be opened, or too many are.
    pub(crate) fn open(&self, module: &Module, pid: u32) -> Option<Shared> {
        let file = open::regular(&module.reachable_path(pid)?)?;
        let it = file.metadata().ok()?;
        let key = (it.dev(), it.ino(), it.ctime(), it.ctime_nsec());
        let mut files = lock(&self.files);
        if let Some(known) = files.get(&key).and_then(Weak::upgrade) {
            return Some(known);
        }
        files.retain(|_, file| file.strong_count() > 0);
        if files.len() >= MAX_FILES {
            return None;
        }
        let image = Arc::new(Mutex::new(Image::new(file, &self.room, |build_id| separate(pid, build_id))));
        files.insert(key, Arc::downgrade(&image));
        Some(image)
    }

    /// Lets go of what has been read if that has become too much: of lines first and for good, or they would be read anew
    /// for each name; what else is needed again is read again.
    pub(crate) fn tidy(&self) {
        let files: Vec<_> = lock(&self.files).values().filter_map(Weak::upgrade).collect();
        let held = || files.iter().map(|file| lock(file).held()).sum::<u64>();
        if held() > MAX_HELD {
            files.iter().for_each(|file| lock(file).forgo_lines());
        }
        if held() > MAX_HELD {
            files.iter().for_each(|file| lock(file).forget());
        }
    }
}

/// Where distributions put debug information, in the process's root or in ours.
fn separate(pid: u32, build_id: &[u8]) -> Option<std::fs::File> {
    let (first, rest) = build_id.split_first()?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let path = format!("/usr/lib/debug/.build-id/{first:02x}/{}.debug", hex(rest));
    open::in_root_of(pid, Path::new(&path)).or_else(|| open::regular(Path::new(&path)))
}

/// What a panic in another thread has left is as good as before: nothing is kept that is half done.
pub(crate) fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
