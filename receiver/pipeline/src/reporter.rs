//! Tells the host how a component fares, on change only. The host writes it to the log.

use std::sync::{Arc, Mutex, PoisonError};

use crate::component::{BuildContext, ComponentError, ComponentId, Host, Status};

/// One component's line to its host.
pub(crate) struct Reporter {
    host: Arc<dyn Host>,
    id: ComponentId,
    last: Mutex<Option<Status>>,
}

impl Reporter {
    pub(crate) fn new(context: &BuildContext) -> Self {
        Self { host: Arc::clone(&context.host), id: context.id.clone(), last: Mutex::new(None) }
    }

    pub(crate) fn id(&self) -> &ComponentId {
        &self.id
    }

    /// All is well.
    pub(crate) fn ok(&self) {
        self.change(Status::Ok, || None);
    }

    /// Something fails and is tried again.
    pub(crate) fn failing(&self, reason: &str) {
        self.change(Status::RecoverableError, || Some(reason.to_owned()));
    }

    /// It still fails; said again, because by now the reason may be another, and the log of long ago may be gone.
    pub(crate) fn still_failing(&self, reason: &str) {
        tracing::warn!(component = %self.id, reason, "component still has trouble");
        self.host.report(&self.id, Status::RecoverableError, Some(reason.to_owned()));
    }

    /// It will not work again.
    pub(crate) fn broken(&self, reason: &str) {
        self.change(Status::PermanentError, || Some(reason.to_owned()));
    }

    /// An error that names the component.
    pub(crate) fn error(&self, reason: impl Into<String>) -> ComponentError {
        ComponentError { component: self.id.clone(), reason: reason.into() }
    }

    fn change(&self, status: Status, reason: impl FnOnce() -> Option<String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != Some(status) {
            *last = Some(status);
            self.host.report(&self.id, status, reason());
        }
    }
}
