//! The turns of a climb: rungs above `coldness` are at work while it has one, and rest meanwhile.

use std::sync::Arc;
use std::time::Duration;

use mlh_detect::Rung;

use super::super::case::Case;
use super::super::climber::Wanted;
use super::super::docket::Docket;
use super::super::growth_stacks::GrowthStacks;
use super::super::probes::Probes;
use super::super::rung::Look;
use super::super::turns::{self, Entrant, Need};
use super::{Climb, takes_turns};
use crate::investigate::bell::Bell;
use crate::investigate::plan::End;

impl Climb {
    /// There is a rung above `coldness` at work, or one that may be tried.
    pub(in crate::ladder) fn wants_turn(&self, wanted: &Wanted) -> bool {
        let at_work = || self.looks.iter().any(|look| takes_turns(look.rung()));
        !self.spent && (at_work() || self.highest < wanted.escalation.max_rung)
    }

    /// Its turns are over for good.
    pub(super) fn leave_what_takes_turns(&mut self, now: Duration) {
        self.end_turn(now);
        self.spent = true;
        self.leave(|look| takes_turns(look.rung()));
    }

    /// Why it has no turn any more.
    pub(in crate::ladder) fn turn_ended(&self) -> Option<End> {
        match self.turn {
            Some(_) => None,
            None if self.spent => Some(End::Elapsed),
            None => Some(End::Yielded),
        }
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(in crate::ladder) fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// It is its turn: begins with the next rung, or goes on where it has begun.
    pub(in crate::ladder) fn take_turn(&mut self, now: Duration, wanted: &Wanted, bell: &Arc<Bell>) {
        self.turn = Some(now);
        let Some(pids) = self.pids(&wanted.scope) else { return };
        let mut failed = Vec::new();
        self.looks.retain_mut(|look| match look.go_on(now, &pids) {
            Ok(()) => true,
            Err(reason) => {
                failed.push((look.rung(), reason, look.paid().target));
                false
            }
        });
        for (rung, reason, paid) in failed {
            self.pay(rung, paid);
            self.refuse(rung, &reason);
        }
        while self.mode().is_none() && self.highest < wanted.escalation.max_rung {
            self.rise(now, wanted, bell);
        }
    }

    /// Its turn is over. What it knows stays, and what takes none goes on.
    pub(in crate::ladder) fn end_turn(&mut self, now: Duration) {
        self.turned = self.at_work(now);
        if self.turn.take().is_some() {
            self.rested = Some(now);
        }
        self.looks.iter_mut().for_each(|look| look.rest(now));
    }

    /// How long its turns have been by now.
    pub(super) fn at_work(&self, now: Duration) -> Duration {
        self.turned + self.turn.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// As far as turns go.
    pub(in crate::ladder) fn entrant(&self, now: Duration, docket: &Docket, wanted: &Wanted) -> Entrant {
        let stage = docket.stage(&self.case.about).unwrap_or(self.case.stage);
        let need = match () {
            () if self.cases().any(|case| docket.is_due(&case.about)) => Need::Due,
            () if self.is_spared() => Need::Spared,
            () => Need::Open,
        };
        let least = self.looks.iter().map(|look| look.least_turn()).fold(turns::LEAST, Duration::max);
        let Case { exhaustion, velocity, .. } = self.case;
        Entrant {
            began: self.turn,
            rested: self.rested,
            least,
            settled: self.is_settled(now, wanted),
            need,
            stage,
            exhaustion,
            velocity,
        }
    }

    /// Climbs to the next rung, where it may. One that places probes takes the place of the one before: probes hide callers from whoever
    /// else looks at stacks meanwhile.
    pub(super) fn rise(&mut self, now: Duration, wanted: &Wanted, bell: &Arc<Bell>) {
        let Some(next) = Rung::ALL.into_iter().find(|rung| *rung > self.highest) else { return };
        if next > wanted.escalation.max_rung {
            return;
        }
        // what a gate lets through the last rung sees as well, and at a gate each call costs the target the same
        let next = if next == Rung::GateProbes { wanted.escalation.max_rung } else { next };
        (self.risen, self.highest) = (self.at_work(now), next);
        match self.look(next, now, wanted, bell) {
            Ok(look) => {
                for mut left in self.leave(|look| takes_turns(look.rung())) {
                    left.see(now);
                    let leads = left.leads(None);
                    if !leads.is_empty() {
                        self.below = (leads, left.leads_source(None));
                    }
                }
                self.looks.push(look);
            }
            Err(reason) => self.refuse(next, &reason),
        }
    }

    /// Begins with a rung that takes turns.
    fn look(
        &self,
        rung: Rung,
        now: Duration,
        wanted: &Wanted,
        bell: &Arc<Bell>,
    ) -> Result<Box<dyn Look>, String> {
        let pids = self.pids(&wanted.scope).ok_or("it has ended")?;
        let leader = self.leader(&pids);
        if rung > Rung::GrowthStacks {
            let bell = Arc::clone(bell);
            return Ok(Box::new(Probes::begin(rung, &self.target, &self.case, leader, wanted, bell)?));
        }
        Ok(Box::new(GrowthStacks::begin(&self.target, wanted, &pids, leader, now)?))
    }
}
