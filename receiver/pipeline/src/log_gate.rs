//! Keeps a line of the log from being repeated without end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One line in this time; the counters tell the rest.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one line through in a while.
#[derive(Default)]
pub(crate) struct LogGate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: Option<Instant>,
    silenced: u64,
}

impl LogGate {
    /// How many lines were held back since the last one, if another may be written now.
    pub(crate) fn open(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.opened.is_some_and(|opened| opened.elapsed() < PAUSE) {
            state.silenced += 1;
            return None;
        }
        state.opened = Some(Instant::now());
        Some(std::mem::take(&mut state.silenced))
    }
}
