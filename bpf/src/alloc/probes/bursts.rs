//! What the probes may cost, and taking all of them out for a while.

use std::time::Duration;

use super::Probes;
use crate::alloc::tables;
use crate::error::SweepError;

impl Probes {
    /// From now on the probes may cost their targets so much more, the traps included; `None`: without limit. Once it is spent
    /// they see nothing and are taken out, until [`begin`](Self::begin).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn allow(&self, cost: Option<Duration>) -> Result<(), SweepError> {
        self.purse.allow(cost)
    }

    /// Since when (since boot) nothing is seen of anybody; `None`: what is in place sees.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn closed_since(&self) -> Result<Option<Duration>, SweepError> {
        self.purse.closed_since()
    }

    /// Nothing is seen from `now` (since boot) on, and all probes are out by the end of this. Who is observed stays so, and what the
    /// tables hold stays readable.
    ///
    /// # Errors
    /// The kernel refuses; the probes are out all the same.
    pub fn pause(&mut self, now: Duration) -> Result<(), SweepError> {
        // first, so that all of them cease to see at once
        let closed = self.purse.close(now);
        self.in_place.close(|| true);
        self.members.values_mut().for_each(|member| member.placed.clear());
        closed
    }

    /// After a [`pause`](Self::pause): forgets all blocks, of whose end nothing would be known, and lets probes come again. What the
    /// call sites have done stays.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn begin(&mut self) -> Result<(), SweepError> {
        self.tables.forget_blocks()?;
        for member in self.members.values() {
            // what a thread was at then is over
            tables::forget_threads(&self.threads, member.host_pid);
        }
        self.in_place.open(|| self.purse.open())
    }
}
