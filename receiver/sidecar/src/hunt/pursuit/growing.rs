//! A look without probes: who touches memory that stays, followed beside the processes of the target.

use std::time::Duration;

use super::Current;
use crate::growth_stacks::{GrowthLook, Names};
use crate::investigate::investigation::Investigation;
use crate::investigate::plan::Rung;
use crate::investigate::report::Report;

/// Stacks that are told.
const TOP: usize = 100;
/// For names, each time they are read.
const NAMING: Duration = Duration::from_secs(5);

pub(super) struct Growing {
    look: GrowthLook,
    names: Names,
}

impl Growing {
    /// Begins, where the order asks for it.
    ///
    /// # Errors
    /// Why page faults cannot be sampled, a sentence.
    pub(super) fn beside(investigation: &Investigation) -> Result<Option<Self>, String> {
        if investigation.plan().rung != Rung::GrowthStacks {
            return Ok(None);
        }
        let (plan, pids) = (investigation.plan(), investigation.pids());
        let look = GrowthLook::begin(plan, &pids, investigation.library())?;
        Ok(Some(Self { look, names: Names::new() }))
    }

    pub(super) fn step(&mut self, pids: &[u32]) {
        self.look.step(pids);
    }

    /// Into the report, what is known by now.
    fn tell(&mut self, now: Duration, report: &mut Report) {
        self.look.so_far(now, TOP).named_by(&mut self.names, NAMING).enter(report);
    }

    /// Ends it, and tells what has come of it.
    pub(super) fn close(mut self, now: Duration, report: &mut Report) {
        self.look.close(now, TOP).named_by(&mut self.names, NAMING).enter(report);
    }
}

impl Current {
    /// What is known of the target by now.
    pub(super) fn report(&mut self, now: Duration, top: usize) -> Report {
        let mut report = self.investigation.report(now, top);
        if let Some(growing) = &mut self.growing {
            growing.tell(now, &mut report);
        }
        report
    }
}
