//! The probes that are in place. Two may take them out: who placed them, and who is woken when all that they may cost is spent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use libbpf_rs::Link;

/// Links that are let go of at once. Each takes its probes out at the beginning and then waits for the kernel, for tens of
/// milliseconds: one after the other the last ones would be hit all that while.
const AT_ONCE: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct InPlace(Arc<Mutex<Links>>);

#[derive(Debug, Default)]
struct Links {
    /// Nothing may be in place.
    closed: bool,
    /// By the index of the process's slot.
    of: HashMap<u32, Vec<Link>>,
}

impl InPlace {
    /// Keeps what has been placed in a process; where nothing may be, it is out by the end of this.
    pub(crate) fn add(&self, index: u32, links: impl IntoIterator<Item = Link>) {
        let mut known = self.lock();
        if known.closed {
            return take_out(links.into_iter().collect());
        }
        known.of.entry(index).or_default().extend(links);
    }

    /// Those of a process are out by the end of this.
    pub(crate) fn remove(&self, index: u32) {
        let mut known = self.lock();
        take_out(known.of.remove(&index).unwrap_or_default());
    }

    /// Where `is_due`, all are out by the end of this, and none come until it is [`opened`](Self::open) again.
    pub(crate) fn close(&self, is_due: impl FnOnce() -> bool) {
        let mut known = self.lock();
        if !is_due() {
            return;
        }
        known.closed = true;
        let all = known.of.drain().flat_map(|(_, links)| links).collect();
        take_out(all);
    }

    /// Once `ready` has done what is to be done before, probes may come again.
    pub(crate) fn open<E>(&self, ready: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut known = self.lock();
        ready()?;
        known.closed = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_out(mut links: Vec<Link>) {
    while !links.is_empty() {
        let some = links.split_off(links.len().saturating_sub(AT_ONCE));
        thread::scope(|scope| {
            for link in some {
                // without a thread it goes where it is
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}
