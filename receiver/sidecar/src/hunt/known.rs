//! The stacks that hold the most of those processes that are looked at, for verdicts that fall meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::investigate::report::{Report, StackEvidence};

/// One for a receiver: the thread that looks at a target writes it, the one that judges reads it.
#[derive(Debug, Default)]
pub(super) struct KnownStacks(Mutex<HashMap<u32, Arc<StackEvidence>>>);

impl KnownStacks {
    /// Replaces all that was known.
    pub(super) fn set(&self, report: &Report) {
        let mut known = HashMap::new();
        // those that hold the most come first
        for stack in report.stacks.iter().filter(|stack| !stack.gone && stack.live_bytes > 0) {
            known.entry(stack.pid).or_insert_with(|| Arc::new(stack.clone()));
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Nobody is looked at any more.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The one of a process, by its pid in the sidecar's own namespace.
    pub(super) fn of(&self, pid: u32) -> Option<Arc<StackEvidence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&pid).cloned()
    }
}
