//! Who is to blame, as far as the rungs of a climb know it, and whether more is to be learnt of that.

use std::sync::Arc;
use std::time::Duration;

use mlh_detect::Rung;

use super::super::case::Case;
use super::super::climber::Wanted;
use super::super::knowledge::{Knowledge, ranked};
use super::{Climb, HIGHER, takes_turns};

/// A verdict may wait for the last rung for so long: probes come in bursts.
const PROBING: Duration = Duration::from_secs(60);

impl Climb {
    /// It is known who is to blame, as far as that goes.
    pub(in crate::ladder) fn has_leads(&self) -> bool {
        self.knowledge.as_ref().is_some_and(|known| !known.leads.is_empty())
    }

    /// Memory is kept, and it is known who is to blame beyond doubt.
    pub(super) fn blames(&self) -> bool {
        let first = self.knowledge.as_ref().and_then(|known| known.leads.first());
        self.kept && first.is_some_and(|lead| !lead.doubted)
    }

    /// There is nobody to be found who is more to blame: it is beyond doubt, or nobody looks more closely any more.
    pub(super) fn is_settled(&self, now: Duration, wanted: &Wanted) -> bool {
        self.blames() || (self.kept && self.has_leads() && !self.may_find(now, wanted))
    }

    /// A rung is at work, or is still to come, that will find who is to blame if anybody does. Growth stacks, and a turn that is still to
    /// come, are waited for only while nobody has been found: they take away a doubt at most.
    pub(super) fn awaits_culprit(&self, now: Duration, wanted: &Wanted) -> bool {
        if self.turn.is_none() {
            return !self.has_leads() && self.wants_turn(wanted) && self.at_work(now) < HIGHER;
        }
        let seeks = || !self.has_leads() && self.looks.iter().any(|look| look.seeks());
        !self.blames() && (self.may_find(now, wanted) || seeks())
    }

    /// Probes are permitted and still to come, or have not been at work for long.
    fn may_find(&self, now: Duration, wanted: &Wanted) -> bool {
        let max_rung = wanted.escalation.max_rung;
        let is_new = || self.at_work(now).saturating_sub(self.risen) < PROBING;
        let probes = || self.looks.iter().any(|look| look.rung() == max_rung);
        max_rung > Rung::GrowthStacks && (self.highest < max_rung || (is_new() && probes()))
    }

    /// Who is to blame: as the dearest rung tells it that knows what lives, else the dearest one, which sees the most.
    pub(super) fn known(&self, case: &Case) -> Option<Arc<Knowledge>> {
        let part = self.part(case);
        let mut dearest_first: Vec<_> = self.looks.iter().rev().collect();
        dearest_first.sort_by_key(|look| !look.sees_blocks());
        let mut leads = dearest_first.into_iter().map(|look| (look.leads(part), look.leads_source(part)));
        let below = || {
            let of_part = self.below.0.iter().filter(|lead| part.is_none_or(|pid| lead.pid == pid));
            (ranked(of_part.cloned()), self.below.1)
        };
        let (leads, source) = leads.find(|(leads, _)| !leads.is_empty()).unwrap_or_else(below);
        let kinds: Vec<_> = self.looks.iter().flat_map(|look| look.kinds()).collect();
        let not_seen = self.not_seen();
        // that nobody can be blamed, and why, takes the place of somebody who was to blame before
        let is_nobody = !not_seen.is_empty() && self.looks.iter().any(|look| takes_turns(look.rung()));
        let is_known = !leads.is_empty() || !kinds.is_empty() || is_nobody;
        is_known.then(|| Arc::new(Knowledge { leads, kinds, source, not_seen }))
    }
}
