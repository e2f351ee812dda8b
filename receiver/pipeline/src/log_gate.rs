//! Keeps a line of the log from being repeated without end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One line of a kind in this time; the counters tell the rest.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one line of each kind through in a while.
#[derive(Default)]
pub(crate) struct LogGate {
    kinds: Mutex<BTreeMap<&'static str, State>>,
}

#[derive(Default)]
struct State {
    opened: Option<Instant>,
    silenced: u64,
}

impl LogGate {
    /// How many lines of this kind were held back since the last one, if another may be written now.
    pub(crate) fn open(&self, kind: &'static str) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let state = kinds.entry(kind).or_default();
        if state.opened.is_some_and(|opened| opened.elapsed() < PAUSE) {
            state.silenced += 1;
            return None;
        }
        state.opened = Some(Instant::now());
        Some(std::mem::take(&mut state.silenced))
    }
}
