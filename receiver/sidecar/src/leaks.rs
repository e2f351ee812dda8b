//! Leaks that are known: verdicts that speak of the same one are told as one finding, over containers and restarts, and what
//! is known of it outlives the sidecar.
//!
//! Read in this order: `sighting` says what a finding says of a leak, [`Leaks`] here is what everybody asks, `message` what is
//! told at the control socket, [`settings`] where it is kept, `file` how it is written, in the shapes of `stored`, `keeper` when.

pub mod settings;

mod sighting;
mod workload;
mod message;
mod stored;
mod file;
mod keeper;

use std::sync::{Mutex, MutexGuard, PoisonError};

use mlh_detect::leaks::{Member, Place, Recognised, Registry};
use mlh_detect::{About, Finding};
use tokio::sync::watch;

pub(crate) use file::Store;
pub(crate) use keeper::keep;
pub use message::{LeakMemberMessage, LeakMessage};
pub(crate) use sighting::place;

use crate::records::{Clock, Subject};

/// All that are known. One for the process, whatever its configuration: the thread that judges writes it, the control socket
/// reads it, and it is kept in a file.
#[derive(Debug, Default)]
pub struct Leaks {
    registry: Mutex<Registry>,
    /// The newest revision.
    changes: watch::Sender<u64>,
}

impl Leaks {
    /// Takes what a finding says of a leak, and says what is known of that leak. `place` is what is to blame, where it is known.
    pub(crate) fn note(
        &self,
        finding: &Finding,
        subject: &Subject,
        place: Option<Place<'_>>,
        clock: &Clock,
    ) -> Option<Recognised> {
        let mut registry = self.registry();
        let known = sighting::note(&mut registry, finding, subject, place, clock);
        self.tell(&registry);
        known
    }

    /// Forgets members that are not there any more, and of whose end no finding told.
    pub(crate) fn retain(&self, is_there: impl Fn(&About) -> bool) {
        let mut registry = self.registry();
        registry.retain(|member: &Member| is_there(&member.about));
        self.tell(&registry);
    }

    /// Takes in what is kept there, and sees that it can be kept. What was damaged is said. Of another boot, or of one that
    /// nobody knows, nobody lives.
    ///
    /// # Errors
    /// See [`Store::open`] and [`Store::save`].
    pub(crate) fn open(&self, store: &Store) -> Result<Option<String>, String> {
        let (known, damage) = store.open()?;
        let same_boot = known.boot.is_some() && known.boot.as_deref() == store.boot();
        let mut leaks = known.leaks;
        if !same_boot {
            leaks.iter_mut().for_each(|leak| leak.members.clear());
        }
        self.registry().restore(leaks);
        store.save(&self.snapshot()).map_err(|error| store.failed(&error))?;
        Ok(damage)
    }

    /// All of them, as they are now.
    fn snapshot(&self) -> Registry {
        self.registry().clone()
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Those that are told at the control socket: those of now first, then the newest.
    pub(crate) fn messages(&self) -> Vec<LeakMessage> {
        let registry = self.registry();
        registry.leaks().into_iter().take(message::MOST).map(LeakMessage::from).collect()
    }

    fn tell(&self, registry: &Registry) {
        let revision = registry.revision();
        self.changes.send_if_modified(|told| std::mem::replace(told, revision) != revision);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
