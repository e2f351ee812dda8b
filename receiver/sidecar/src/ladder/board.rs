//! What is being done, for those who ask, and for those who must not do the same.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mlh_detect::{Rung, Stage};

/// One climb, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Climbing {
    /// For whom, in words.
    pub target: String,
    /// The rungs that are at work, the cheapest first.
    pub rungs: Vec<Rung>,
    /// How far the case had come when it began.
    pub stage: Stage,
    /// For how long it has been going on.
    pub lasted: Duration,
    /// Who is to blame so far, in words, the most first.
    pub culprits: Vec<String>,
}

impl Climbing {
    /// Why it is climbed, as records say it.
    #[must_use]
    pub fn why(&self) -> &'static str {
        if self.stage == Stage::Leaking { "detected" } else { "suspected" }
    }
}

/// One for a receiver.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    /// Each with when it was written.
    climbs: Vec<(Instant, Climbing)>,
    /// Who is looked at by order.
    ordered: BTreeSet<u32>,
}

impl Board {
    /// What is being climbed for now.
    pub(crate) fn climbs(&self) -> Vec<Climbing> {
        let written = self.lock();
        let now = |(at, climbing): &(Instant, Climbing)| Climbing {
            lasted: climbing.lasted + at.elapsed(),
            ..climbing.clone()
        };
        written.climbs.iter().map(now).collect()
    }

    pub(super) fn show(&self, climbs: Vec<Climbing>) {
        let now = Instant::now();
        self.lock().climbs = climbs.into_iter().map(|climbing| (now, climbing)).collect();
    }

    /// These processes are looked at by order, and no others.
    pub(crate) fn order(&self, pids: impl IntoIterator<Item = u32>) {
        self.lock().ordered = pids.into_iter().collect();
    }

    /// Whether one of them is.
    pub(super) fn is_ordered(&self, pids: &[u32]) -> bool {
        let written = self.lock();
        pids.iter().any(|pid| written.ordered.contains(pid))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
