//! Appends to a path: whole chunks or nothing.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::rotation::Rotation;

pub(super) struct Writer {
    path: PathBuf,
    append: bool,
    rotation: Option<Rotation>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, append: bool, rotation: Option<Rotation>) -> Self {
        Self { path, append, rotation }
    }

    /// Shows that the file can be written, and empties it unless it is to be appended to.
    pub(super) fn open_first(&self) -> Result<()> {
        let file = open(&self.path)?;
        if self.append { Ok(()) } else { file.set_len(0) }
    }

    /// Appends all of `chunk`. When that fails the file is left as it was, so that no half line stays behind.
    pub(super) fn append(&mut self, chunk: &[u8]) -> Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        let mut file = open(&self.path)?;
        let mut length = file.metadata()?.len();
        if let Some(rotation) = &self.rotation
            && length > 0
            && length.saturating_add(chunk.len() as u64) > rotation.max_bytes
        {
            // Closed first: some systems refuse to rename an open file.
            drop(file);
            rotation.rotate(&self.path, SystemTime::now())?;
            file = open(&self.path)?;
            length = 0;
        }
        file.write_all(chunk).map_err(|error| {
            let taken_back = file.set_len(length);
            let context = if taken_back.is_ok() { "" } else { ", and a part of a line stays behind" };
            Error::new(error.kind(), format!("{}: {error}{context}", self.path.display()))
        })
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))
}
