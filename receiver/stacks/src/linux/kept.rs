//! What has been read of a process, by its address there, in bounded memory.

use std::collections::HashMap;

/// Everything is forgotten before more than so many bytes would be kept.
#[derive(Debug)]
pub(super) struct Kept<T> {
    by_address: HashMap<u64, T>,
    bytes: usize,
    most: usize,
}

impl<T> Kept<T> {
    /// So many bytes at most.
    pub(super) fn within(most: usize) -> Self {
        Self { by_address: HashMap::new(), bytes: 0, most }
    }

    pub(super) fn get(&self, address: u64) -> Option<&T> {
        self.by_address.get(&address)
    }

    /// `bytes`: what it takes.
    pub(super) fn keep(&mut self, address: u64, found: T, bytes: usize) {
        if self.bytes.saturating_add(bytes) > self.most {
            self.by_address.clear();
            self.bytes = 0;
        }
        // what it takes the place of stays counted until everything is forgotten
        self.bytes = self.bytes.saturating_add(bytes);
        self.by_address.insert(address, found);
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.by_address.values()
    }
}
