//! Bytes of a file that are read where they are needed, some at a time, and never held as a whole.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Where bytes come from. Those that are not there are missing from the answer; nothing is an error.
pub(crate) trait Source {
    /// The bytes from `offset` on, `most` of them at most.
    fn read(&self, offset: u64, most: usize) -> Vec<u8>;

    /// `N` bytes at `offset`.
    fn array<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        self.read(offset, N).try_into().ok()
    }
}

impl Source for File {
    fn read(&self, offset: u64, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            match self.read_at(rest, at) {
                Ok(0) | Err(_) => break,
                Ok(read) => done += read,
            }
        }
        bytes.truncate(done);
        bytes
    }
}

impl Source for [u8] {
    fn read(&self, offset: u64, most: usize) -> Vec<u8> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        rest.get(..most.min(rest.len())).unwrap_or_default().to_vec()
    }
}

/// A part of a source, for itself.
#[derive(Debug)]
pub(crate) struct Span<'a, S: ?Sized> {
    pub(crate) source: &'a S,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl<S: ?Sized> Clone for Span<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> Copy for Span<'_, S> {}

impl<S: Source + ?Sized> Source for Span<'_, S> {
    fn read(&self, offset: u64, most: usize) -> Vec<u8> {
        let most = self.size.saturating_sub(offset).min(most as u64);
        let most = usize::try_from(most).unwrap_or_default();
        self.offset.checked_add(offset).map(|offset| self.source.read(offset, most)).unwrap_or_default()
    }
}
