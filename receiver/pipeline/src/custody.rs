//! Data that a component has taken and not yet passed on. Whatever becomes of it is counted, once.

use std::sync::Arc;

use crate::component::{ComponentId, Loss, Telemetry};
use crate::data::{Data, Signal};

/// Answers for a number of items. Dropping it counts them as lost, so that a cancelled task, an aborted queue
/// or an early return can never lose data in silence.
pub(crate) struct Custody {
    telemetry: Arc<dyn Telemetry>,
    signal: Signal,
    items: u64,
    abandoned: &'static str,
}

impl Custody {
    /// Takes charge of `data`; `abandoned` is the stage of a loss that nobody declared.
    pub(crate) fn of(data: &Data, telemetry: Arc<dyn Telemetry>, abandoned: &'static str) -> Self {
        Self { telemetry, signal: data.signal(), items: data.items() as u64, abandoned }
    }

    /// The items still answered for.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// Splits off the custody of some of the items; at most those that are left.
    pub(crate) fn part(&mut self, items: u64) -> Self {
        let items = items.min(self.items);
        self.items -= items;
        Self { telemetry: Arc::clone(&self.telemetry), signal: self.signal, items, abandoned: self.abandoned }
    }

    /// Some of the items are gone; at most those that are left.
    pub(crate) fn lose(&mut self, stage: &'static str, count: u64) {
        let count = count.min(self.items);
        self.items -= count;
        if count > 0 {
            self.telemetry.lost(self.signal, Loss { stage, count });
        }
    }

    /// All that is left is gone.
    pub(crate) fn lost(mut self, stage: &'static str) {
        self.lose(stage, self.items);
    }

    /// All that is left has reached its destination.
    pub(crate) fn delivered(mut self, exporter: &ComponentId) {
        let items = std::mem::take(&mut self.items);
        if items > 0 {
            self.telemetry.delivered(self.signal, exporter, items);
        }
    }

    /// Somebody else answers for it now.
    pub(crate) fn handed_on(mut self) {
        self.items = 0;
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        self.lose(self.abandoned, self.items);
    }
}
