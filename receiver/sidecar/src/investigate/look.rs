//! What a look knows, beside the kernel's side of it.

use std::sync::Arc;
use std::time::Duration;

use mlh_bpf::alloc::heard::AllocCounters;
use mlh_detect::alloc::{Governor, Overdue, Spent};
use mlh_targets::host::own_cpu_time;

use super::bell::Bell;
use super::bursts::Bursts;
use super::evidence::{Evidence, StackKey};
use super::ledger::Losses;
use super::listening::Listening;
use super::members::Members;
use super::not_seen;
use super::plan::Plan;
use super::report::{Cost, Report, Totals};
use super::tables::Tables;
use super::told::{Told, Unfreed};

/// See the module.
pub(super) struct Look {
    pub(super) plan: Plan,
    pub(super) started: Duration,
    pub(super) agent_cpu: Duration,
    pub(super) kernel_bytes: u64,
    pub(super) listening: Listening,
    pub(super) bell: Arc<Bell>,
    pub(super) members: Members,
    pub(super) evidence: Evidence,
    pub(super) governor: Governor,
    pub(super) bursts: Bursts,
    pub(super) spent: Spent,
    /// Cost over the target's CPU time in the newest second.
    pub(super) overhead: f64,
    /// The share of the minute in which it turned out that no burst keeps within the budget.
    pub(super) over: Option<f64>,
    pub(super) losses: Losses,
}

impl Look {
    /// Takes what has been spent by now.
    pub(super) fn spend(&mut self, counters: &AllocCounters) {
        self.spent = Spent {
            emulated_hits: counters.emulated_hits,
            stepped_hits: counters.stepped_hits,
            returns: counters.returns,
            handler: Duration::from_nanos(counters.handler_ns),
            target_cpu: self.members.measure(),
        };
    }

    /// Takes what the kernel's tables hold, where they could be read.
    pub(super) fn take(&mut self, now: Duration, tables: Result<Tables, String>) {
        match tables {
            Ok(tables) => {
                self.evidence.take(self.bursts.moment(now), &tables, &mut self.listening.lock());
                self.listening.wake();
            }
            Err(reason) => {
                tracing::warn!(reason, "the newest figures could not be read; older ones are told");
            }
        }
    }

    pub(super) fn unfreed(&self, now: Duration, overdue: &[Overdue<StackKey>]) -> Vec<Told> {
        let overhead = self.cost(now).target_cpu_share;
        let ledger = self.listening.lock();
        let told = overdue.iter().filter_map(|due| {
            Some(Told::Unfreed(Box::new(Unfreed {
                at: now,
                subject: self.members.subject_of(due.key.slot)?,
                address: due.oldest.address,
                size: due.oldest.size,
                age: now.saturating_sub(due.oldest.born),
                occurrences: due.occurrences,
                bytes: due.bytes,
                grown: due.grown.is_some_and(|bytes| bytes > 0),
                stack: self.evidence.one(&ledger, &due.key)?,
                overhead,
            })))
        });
        told.collect()
    }

    pub(super) fn report(&self, now: Duration, top: usize) -> Report {
        let ((stacks, totals), losses) = {
            let ledger = self.listening.lock();
            (self.evidence.stacks(&ledger, top), ledger.losses())
        };
        let counters = self.evidence.counters();
        let totals = Totals {
            lost: losses.ring.max(counters.ring_full),
            rate_limited: counters.rate_limited.saturating_add(losses.rate_limited),
            ..totals
        };
        let members = self.members.report();
        let cost = self.cost(now);
        let not_seen = not_seen::sentences(&not_seen::Facts {
            plan: &self.plan,
            cost: &cost,
            watched: self.bursts.moment(now).watched,
            members: &members,
            notes: self.members.notes(),
            totals: &totals,
            counters,
            losses: &losses,
        });
        Report {
            rung: self.plan.rung,
            started: self.started,
            lasted: now.saturating_sub(self.started),
            members,
            stacks,
            growth: Vec::new(),
            totals,
            cost,
            not_seen,
            ended: None,
        }
    }

    pub(super) fn cost(&self, now: Duration) -> Cost {
        let spent = &self.spent;
        let lasted = now.saturating_sub(self.started);
        // who has lost the probes is not watched for the rest of the time
        let wanted = self.plan.duration.filter(|_| self.over.is_some()).unwrap_or(lasted).max(lasted);
        let watched = self.bursts.moment(now).watched;
        let watched = if wanted.is_zero() { 1.0 } else { watched.as_secs_f64() / wanted.as_secs_f64() };
        Cost {
            target_cpu_share: self.governor.overall(spent, lasted),
            agent_cpu_s: own_cpu_time().saturating_sub(self.agent_cpu).as_secs_f64(),
            kernel_bytes: self.kernel_bytes,
            hits: spent.emulated_hits.saturating_add(spent.stepped_hits),
            watched_share: watched.min(1.0),
            bursts: self.bursts.count(),
        }
    }
}
