//! A file that is kept open, so that probes go into the very one that was looked at, whatever its name stands for by then.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// An open file. Two are equal if they are one.
#[derive(Debug, Clone)]
pub struct Opened(Arc<File>);

impl Opened {
    /// Keeps it open as long as this and its clones live.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// A path that leads to it, for this process alone and as long as it is open.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        crate::os::path_of(&self.0)
    }
}

impl PartialEq for Opened {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Opened {}
