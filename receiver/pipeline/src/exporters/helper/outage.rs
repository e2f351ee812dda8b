//! How the destination fares, as the log and the health check tell it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Failure;
use crate::component::ComponentId;
use crate::reporter::Reporter;

/// A destination that stays away is spoken of again after this time.
const REMINDER: Duration = Duration::from_secs(300);

/// Knows since when nothing gets through.
pub(super) struct Outage {
    reporter: Reporter,
    destination: String,
    /// While there is one.
    state: Mutex<Option<State>>,
}

struct State {
    since: SystemTime,
    told: Instant,
    latest: Instant,
}

impl Outage {
    pub(super) fn new(reporter: Reporter, destination: String) -> Self {
        Self { reporter, destination, state: Mutex::new(None) }
    }

    pub(super) fn id(&self) -> &ComponentId {
        self.reporter.id()
    }

    pub(super) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// An attempt that was begun at `begun` was taken. One begun before the latest failure is no sign of recovery:
    /// it was still under way when the destination went away.
    pub(super) fn over(&self, begun: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().is_none_or(|state| state.latest <= begun) {
            *state = None;
            self.reporter.ok();
        }
    }

    /// An attempt failed; `again` says whether there is another one for what was to be sent.
    pub(super) fn goes_on(&self, failure: &Failure, again: bool) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.is_some();
        let state = state.get_or_insert_with(|| State { since: SystemTime::now(), told: now, latest: now });
        state.latest = now;
        if known && now - state.told < REMINDER {
            return;
        }
        state.told = now;
        let since = humantime::format_rfc3339_seconds(state.since);
        let (destination, reason) = (&self.destination, failure.reason());
        let follows = if again { "trying again" } else { "what it does not take is lost" };
        let text = format!("{destination} has taken nothing since {since}; {follows}: {reason}");
        if known { self.reporter.still_failing(&text) } else { self.reporter.failing(&text) }
    }
}
