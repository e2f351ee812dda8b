//! What a look costs its target.

use std::time::Duration;

/// What one hit costs the target beside the time in the probes' programs, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HitCosts {
    /// On an instruction that the kernel emulates.
    pub emulated: u64,
    /// On one that it single-steps.
    pub stepped: u64,
    /// Of a return that is caught.
    pub returned: u64,
}

/// What has been spent since the look began. None of it may go down, also when processes join the target and end; where
/// one does, judging begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Hits on emulated instructions.
    pub emulated_hits: u64,
    /// Hits on single-stepped ones.
    pub stepped_hits: u64,
    /// Returns caught.
    pub returns: u64,
    /// Time in the probes' programs.
    pub handler: Duration,
    /// CPU time of the target, all processes and threads. What the probes take is within it.
    pub target_cpu: Duration,
}

impl Spent {
    /// What the hits and the programs have cost the target.
    #[must_use]
    pub fn cost(&self, costs: &HitCosts) -> Duration {
        let hits = [
            (self.emulated_hits, costs.emulated),
            (self.stepped_hits, costs.stepped),
            (self.returns, costs.returned),
        ];
        let nanos =
            hits.into_iter().fold(0_u64, |sum, (hits, each)| sum.saturating_add(hits.saturating_mul(each)));
        self.handler.saturating_add(Duration::from_nanos(nanos))
    }

    pub(super) fn is_less_than(&self, before: &Self) -> bool {
        self.emulated_hits < before.emulated_hits
            || self.stepped_hits < before.stepped_hits
            || self.returns < before.returns
            || self.handler < before.handler
            || self.target_cpu < before.target_cpu
    }
}
