//! What others of the same program in the same container have come to: a worker that grows up to what its siblings hold, and no
//! longer grow beyond, is on its way there.

use std::collections::HashMap;

use crate::sample::ContainerKey;

/// The sizes at which programs have settled, as of the last full pass. Bounded by the processes of that pass.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    /// The largest and the second, bytes.
    settled: HashMap<(ContainerKey, u64), [u64; 2]>,
}

impl Siblings {
    /// Forgets what an earlier pass saw.
    pub(crate) fn clear(&mut self) {
        self.settled.clear();
    }

    /// Takes in one that has settled.
    pub(crate) fn note(&mut self, container: ContainerKey, image: u64, bytes: u64) {
        let [first, second] = self.settled.entry((container, image)).or_default();
        if bytes > *first {
            (*first, *second) = (bytes, *first);
        } else {
            *second = (*second).max(bytes);
        }
    }

    /// What at least two have settled at or above, bytes: one alone may be of another kind, as the one that begins the
    /// others is. 0 where there are no two.
    pub(crate) fn level(&self, container: Option<ContainerKey>, image: u64) -> u64 {
        container.and_then(|container| self.settled.get(&(container, image))).map_or(0, |[_, second]| *second)
    }
}
