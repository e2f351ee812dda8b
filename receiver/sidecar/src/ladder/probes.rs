//! The rungs `gate_probes` and `full_probes`: who allocates what is not freed, by probes in the target's allocators.
//!
//! They need what targeted mode needs, and the operator's leave: they are climbed only where `escalation.max_rung` says so, and when
//! nobody was found to blame before. They cost what `overhead_budget` allows and no more: of a busy target they see bursts. They see by
//! stack whether what it allocates stays, and where bursts are too short for that, the `heap` is walked afterwards for what they have
//! left. They cannot see memory from before, nor what goes through no allocator that is known.

use std::sync::Arc;
use std::time::Duration;

use mlh_detect::{Rung, Says, Testimony};

use super::case::Case;
use super::climber::Wanted;
use super::heap::Heap;
use super::knowledge::{Lead, ranked};
use super::rung::{Look, Paid};
use crate::hunt::scope::Scope;
use crate::investigate::bell::Bell;
use crate::investigate::investigation::Investigation;
use crate::investigate::plan::{End, Filters, Origin, Plan, Rung as LookRung, Target};
use crate::investigate::report::{GrowthStack, StackEvidence};

/// Stacks that are told.
const TOP: usize = 10;
/// Blocks have to live for a while to be known as kept, and what was watched before a rest tells nothing of those after it.
const LEAST_TURN: Duration = Duration::from_secs(60);

/// What is remarked of a lead that was not seen to go on,
const AT_ONCE: &str = "though it came at once";
/// and of one whose blocks were found when nobody watched any more.
const LEFT: &str = "and its blocks were still there after the burst";

pub(super) struct Probes {
    rung: Rung,
    /// By how much the memory of the case grows, bytes a second.
    growth: f64,
    /// `None`: it rests, and no probe is placed.
    investigation: Option<Investigation>,
    plan: Plan,
    scope: Scope,
    bell: Arc<Bell>,
    /// The process whose heap is walked, but when nothing is to be read.
    leader: u32,
    heap: Option<Heap>,
    hushed: bool,
    said: Option<Testimony>,
    /// What was seen before the newest rest stands until as much is known again.
    stands: bool,
    leads: Vec<Lead>,
    not_seen: Vec<String>,
    paid: Paid,
    /// What it had cost before the newest rest.
    before: Duration,
    watched: f64,
    over: Option<End>,
}

impl Probes {
    /// Places the probes of `rung`, `leader` being the process whose heap counts; rings `bell` when a step is due.
    ///
    /// # Errors
    /// They cannot be placed: a sentence.
    pub(super) fn begin(
        rung: Rung,
        target: &Target,
        case: &Case,
        leader: u32,
        wanted: &Wanted,
        bell: Arc<Bell>,
    ) -> Result<Self, String> {
        let plan = Plan {
            target: target.clone(),
            rung: LookRung::Targeted,
            duration: None,
            filters: filters(rung, wanted),
            origin: Origin::Escalation { of: case.stage },
        };
        let mut new = Self {
            rung,
            growth: case.velocity,
            investigation: None,
            plan,
            scope: wanted.scope.clone(),
            bell,
            leader,
            heap: Heap::of(leader, Duration::ZERO),
            hushed: false,
            said: None,
            stands: false,
            leads: Vec::new(),
            not_seen: Vec::new(),
            paid: Paid::default(),
            before: Duration::ZERO,
            watched: 1.0,
            over: None,
        };
        new.place()?;
        Ok(new)
    }

    fn place(&mut self) -> Result<(), String> {
        let investigation = Investigation::open_ringing(&self.plan, &self.scope, Arc::clone(&self.bell));
        self.investigation = Some(investigation.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Looks for what the newest burst has left.
    fn walk(&mut self, now: Duration) {
        let Some(investigation) = &mut self.investigation else { return };
        let Some(heap) = self.heap.as_mut().filter(|heap| !self.hushed && heap.is_due(now)) else { return };
        let left = investigation.left(self.leader);
        if !left.is_empty() && !heap.walk(now, left, |found| investigation.walked(found)) {
            self.heap = None;
        }
    }
}

/// What the rung sees, as stacks are captured and named here.
fn filters(rung: Rung, wanted: &Wanted) -> Filters {
    let seen = if rung == Rung::FullProbes { Filters::full_probes() } else { Filters::gate_probes() };
    Filters {
        min_allocation_size: seen.min_allocation_size,
        large_allocation_size: seen.large_allocation_size,
        sampling_rate: seen.sampling_rate,
        max_tracked_allocations: seen.max_tracked_allocations,
        // nobody asked for records of single allocations
        emit_allocations: false,
        overhead_budget: wanted.budget,
        ..wanted.filters.clone()
    }
}

impl Look for Probes {
    fn rung(&self) -> Rung {
        self.rung
    }

    fn source(&self) -> &'static str {
        "survival"
    }

    fn step(&mut self, now: Duration, _: &[u32]) {
        if let (Some(investigation), None) = (&mut self.investigation, &self.over) {
            self.over = investigation.step(now).ended;
        }
    }

    fn rest(&mut self, now: Duration) {
        self.see(now);
        self.investigation = None;
        (self.before, self.paid.kernel_bytes, self.stands) = (self.paid.target, 0, true);
    }

    fn go_on(&mut self, _: Duration, _: &[u32]) -> Result<(), String> {
        if self.investigation.is_none() { self.place() } else { Ok(()) }
    }

    fn hush(&mut self, quiet: bool) {
        self.hushed = quiet;
    }

    fn see(&mut self, now: Duration) {
        self.walk(now);
        let Some(investigation) = &mut self.investigation else { return };
        let said = investigation.testimony(now, self.growth);
        let tells = said.is_some_and(|said| !matches!(said.says, Says::Unclear(_)));
        if tells || !self.stands {
            self.leads = investigation.leads(TOP).iter().map(lead).collect();
            (self.said, self.stands) = (said, false);
        }
        if self.leads.is_empty() {
            let remaining = investigation.remaining(TOP);
            self.leads = remaining.iter().map(|(stack, bytes)| left(stack, *bytes)).collect();
        }
        let report = investigation.report(now, 0);
        let target = report.lasted.mul_f64(report.cost.target_cpu_share.clamp(0.0, 1.0));
        let target = self.before.saturating_add(target);
        self.paid = Paid { target, kernel_bytes: report.cost.kernel_bytes };
        self.watched = report.cost.watched_share;
        self.not_seen = report.not_seen;
    }

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        self.said.iter().copied().filter(|_| pid.is_none()).collect()
    }

    fn leads(&self, pid: Option<u32>) -> Vec<Lead> {
        ranked(self.leads.iter().filter(|lead| pid.is_none_or(|pid| lead.pid == pid)).cloned())
    }

    fn sees_blocks(&self) -> bool {
        true
    }

    fn not_seen(&self) -> &[String] {
        &self.not_seen
    }

    fn paid(&self) -> Paid {
        self.paid
    }

    fn growth(&self) -> &[GrowthStack] {
        &[]
    }

    fn watched_share(&self) -> f64 {
        self.watched
    }

    fn until_due(&self) -> Option<Duration> {
        self.investigation.as_ref()?.until_due()
    }

    fn least_turn(&self) -> Duration {
        LEAST_TURN
    }

    fn over(&self) -> Option<&End> {
        self.over.as_ref()
    }
}

/// What a stack keeps goes by how fast it keeps it: what it holds from the beginning of the look is no measure of that.
fn lead(stack: &StackEvidence) -> Lead {
    let kept = stack.survival.map_or(0.0, |seen| seen.velocity * seen.watched.as_secs_f64());
    let doubted = !stack.survives();
    let remark = doubted.then_some(AT_ONCE);
    Lead { bytes: kept.clamp(0.0, u64::MAX as f64) as u64, remark, doubted, ..of(stack) }
}

/// So many bytes of what a stack allocated in a burst are still there. That more of it comes all the time was not seen.
fn left(stack: &StackEvidence, bytes: u64) -> Lead {
    Lead { bytes, remark: Some(LEFT), doubted: true, ..of(stack) }
}

fn of(stack: &StackEvidence) -> Lead {
    Lead { pid: stack.pid, trace: stack.trace.clone(), count: Some(stack.live_count), ..Lead::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hunt::settings::HuntSettings;

    /// Guarantees: who is seen to keep what it allocates, more and more of it, is blamed without a doubt; whose blocks stay but came at once
    /// with one.
    #[test]
    fn doubts() {
        let survival = |pattern| mlh_detect::alloc::Survival {
            pattern,
            velocity: 10.0,
            interval: (9.0, 11.0),
            retention: 1.0,
            followed: 1,
            watched: Duration::from_secs(6),
        };
        let stack = |pattern| StackEvidence { survival: Some(survival(pattern)), ..StackEvidence::default() };
        for (pattern, doubted) in
            [(mlh_detect::alloc::Pattern::Kept, false), (mlh_detect::alloc::Pattern::Once, true)]
        {
            let lead = lead(&stack(pattern));
            assert_eq!((lead.bytes, lead.doubted, lead.remark.is_some()), (60, doubted, doubted));
            assert!(survival(pattern).has_stayed());
            let left = left(&stack(pattern), 40);
            assert_eq!((left.bytes, left.doubted, left.remark), (40, true, Some(LEFT)));
        }
        assert!(!survival(mlh_detect::alloc::Pattern::TurnsOver).has_stayed());
    }

    /// Guarantees: the rungs see what they are named for, within the budget of a target that nobody named, with the stacks as the
    /// configuration wants them and no record of single allocations.
    #[test]
    fn what_is_seen() {
        let mut settings = HuntSettings::default();
        settings.filters.max_frames = 9;
        settings.filters.emit_allocations = true;
        let wanted = Wanted::of(&settings);
        let gates = filters(Rung::GateProbes, &wanted);
        let full = filters(Rung::FullProbes, &wanted);
        for filters in [&gates, &full] {
            assert_eq!((filters.max_frames, filters.emit_allocations), (9, false));
            assert_eq!((filters.overhead_budget, filters.sampling_rate), (Some(0.001), 1));
        }
        assert!(gates.min_allocation_size > 0);
        assert_eq!(full.min_allocation_size, 0);
    }
}
