//! The files that are open, shared by the processes that map them.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::beside::Beside;
use super::fetching::Client;
use super::image::Image;
use super::object::Means;
use super::open;
use crate::debuginfod::Options;
use crate::modules::Module;

/// Open at the same time, by all processes together.
const MAX_FILES: usize = 400;
/// Bytes held of all files together, pages not counted.
const MAX_HELD: u64 = 32 * 1024 * 1024;

/// A file that is shared.
pub(crate) type Shared = Arc<Image>;

/// Which file in which state: device, inode, and when it was last changed.
type Key = (u64, u64, i64, i64);

/// See [`Library`](crate::unwind::Library).
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    files: Arc<Mutex<HashMap<Key, Weak<Image>>>>,
    means: Means,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("files", &lock(&self.files).len()).finish()
    }
}

impl Shelf {
    pub(crate) fn with(options: Options) -> Self {
        let servers = options.debuginfod.and_then(Client::start);
        Self { means: Means { servers, ..Means::default() }, ..Self::default() }
    }

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
        if files.values().filter_map(Weak::upgrade).map(|file| file.files()).sum::<usize>() >= MAX_FILES {
            return None;
        }
        let image = Arc::new(Image::new(file, Beside::new(pid, &module.path), &self.means));
        files.insert(key, Arc::downgrade(&image));
        Some(image)
    }

    /// Lets go of what has been read if that has become too much, but for the file that was used last, so that the largest
    /// is not read anew for each name. What is needed again is read again.
    pub(crate) fn tidy(&self) {
        let mut files: Vec<_> = lock(&self.files).values().filter_map(Weak::upgrade).collect();
        files.sort_by_key(|file| file.used());
        let mut held = files.iter().map(|file| file.held()).sum::<u64>();
        files.pop();
        for file in files {
            if held <= MAX_HELD {
                return;
            }
            held = held.saturating_sub(file.held());
            file.forget();
        }
    }
}

/// In hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a panic in another thread has left is as good as before: nothing is kept that is half done.
pub(crate) fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
