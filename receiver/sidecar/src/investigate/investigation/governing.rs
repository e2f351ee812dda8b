//! Keeping a look within its budget: probes out, and in again.

use std::time::Duration;

use mlh_detect::alloc::{Spent, Turn};
use mlh_targets::host::HostClock;

use super::Investigation;
use crate::investigate::members::Members;
use crate::investigate::tables::Tables;

impl Investigation {
    /// What the probes may cost until the first step.
    pub(super) fn open_purse(&mut self, now: Duration) -> Result<(), String> {
        let spent = Spent::default();
        match self.look.governor.judge(now, spent, false) {
            Turn::Watch { may_cost } => self.tracer.allow(may_cost),
            Turn::Pause { .. } | Turn::GiveUp { .. } => Ok(()),
        }
    }

    /// Keeps within the budget. True: that cannot be done, and the probes are out for good.
    pub(super) fn govern(&mut self, now: Duration) -> Result<bool, String> {
        let counters = self.tracer.counters()?;
        let closed = self.tracer.closed_since()?;
        let look = &mut self.look;
        look.spend(&counters);
        let turn = look.governor.judge(now, look.spent, closed.is_some());
        look.overhead = look.governor.share();
        let was_paused = look.bursts.is_paused();
        match turn {
            Turn::Watch { may_cost } => {
                self.tracer.allow(may_cost)?;
                if was_paused {
                    self.resume(now)?;
                }
            }
            Turn::Pause { until } => {
                self.pause(now, closed, until)?;
            }
            Turn::GiveUp { share } => {
                self.pause(now, closed, Duration::MAX)?;
                self.look.over = Some(share);
                self.look.members.release(self.tracer.as_mut(), true);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `closed`: since when nothing has been seen, where that was before.
    fn pause(&mut self, now: Duration, closed: Option<Duration>, until: Duration) -> Result<(), String> {
        if !self.look.bursts.is_paused() {
            self.tracer.pause(now)?;
            self.look.members.pause();
        }
        self.look.bursts.pause(closed.unwrap_or(now), until);
        Ok(())
    }

    /// Where all that was allowed is spent since the step before, nothing is known of the time since.
    pub(super) fn note_closed(&mut self, now: Duration) {
        let closed = self.tracer.closed_since().ok().flatten();
        if closed.is_some()
            && !self.look.bursts.is_paused()
            && let Err(reason) = self.pause(now, closed, now)
        {
            tracing::warn!(reason, "the end of a burst could not be noted");
        }
    }

    /// Another burst. What was there at the end of the one before is known no more.
    fn resume(&mut self, now: Duration) -> Result<(), String> {
        let tables = Tables::read(self.tracer.as_ref(), false)?;
        self.look.evidence.forgo(&tables);
        self.tracer.begin()?;
        self.with_members(now, Members::resume);
        // placing took a while
        let begun = HostClock::now_boot().unwrap_or(now).max(now);
        self.look.bursts.resume(begun);
        self.look.evidence.begin(begun);
        Ok(())
    }

    /// How long it is until a [`step`](Self::step) is due though no second has gone by: a pause is over then. `None`: there is none.
    #[must_use]
    pub fn until_due(&self) -> Option<Duration> {
        let due = self.look.bursts.due()?;
        Some(due.saturating_sub(HostClock::now_boot().unwrap_or(due)))
    }
}

/// Nobody can tell when the next burst comes.
pub(super) fn seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}
