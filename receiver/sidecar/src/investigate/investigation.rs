//! One look at one target, from the first probe to the last.

mod governing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mlh_detect::Testimony;
use mlh_detect::alloc::{Governor, HitCosts, Spent};
use mlh_detect::growth_stacks::Lies;
use mlh_stacks::unwind::Library;
use mlh_targets::host::{HostClock, own_cpu_time};

use super::bell::Bell;
use super::bursts::Bursts;
use super::evidence::{self, Evidence};
use super::ledger::Losses;
use super::listening::Listening;
use super::look::Look;
use super::members::{Means, Members};
use super::plan::{End, Plan};
use super::report::{Report, StackEvidence};
use super::survivors;
use super::tables::Tables;
use super::told::Told;
use super::tracer::{self, Sink, Tracer};
use crate::hunt::scope::Scope;
use crate::metrics::stage;
use crate::records::{KnownSubjects, Subject};

/// What has come of the time since the step before.
#[derive(Debug, Default)]
pub struct Step {
    /// To be told, in order of time.
    pub told: Vec<Told>,
    /// Why there is nothing more to look at: call [`Investigation::close`] with it.
    pub ended: Option<End>,
}

/// Why a target cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no such process, cgroup or container, or too many go by that name.
    #[error("{0}")]
    NoTarget(String),
    /// This host does not allow it: what is missing, and how to get it.
    #[error("{0}")]
    Host(String),
    /// Nothing of the target can be seen: why.
    #[error("{0}")]
    Blind(String),
}

/// What moves the metrics, since the look began.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Meters {
    /// For how long it has been looked.
    pub lasted: Duration,
    /// Allocations that were tracked.
    pub tracked: u64,
    /// Deallocations of these.
    pub untracked: u64,
    /// Bytes of the largest allocation, tracked or not.
    pub largest: u64,
    /// What has been lost, by stage.
    pub lost: Vec<(&'static str, u64)>,
    /// Cost over the target's CPU time in the newest second.
    pub overhead: f64,
    /// Kernel memory of all maps, bytes.
    pub kernel_bytes: u64,
    /// What has not been freed: by whom, and bytes.
    pub unfreed: Vec<(Arc<Subject>, u64)>,
    /// How full the channel was by which the target is heard, at its fullest since this was asked last: 0..=1.
    pub buffer_usage: f64,
}

/// One look. Dropping it takes the probes out.
pub struct Investigation {
    // goes before what listens to it
    tracer: Box<dyn Tracer>,
    look: Look,
}

impl Investigation {
    /// Finds the target and places the probes.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left behind.
    pub fn open(plan: &Plan) -> Result<Self, OpenError> {
        Self::open_ringing(plan, &Scope::default(), Arc::default())
    }

    /// As [`open`](Self::open), where `scope` says who may be looked at; rings `bell` when a [`step`](Self::step) is due
    /// before its time.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_ringing(plan: &Plan, scope: &Scope, bell: Arc<Bell>) -> Result<Self, OpenError> {
        Self::open_with(plan, scope, bell, tracer::open)
    }

    pub(super) fn open_with(
        plan: &Plan,
        scope: &Scope,
        bell: Arc<Bell>,
        open: impl FnOnce(&Plan, Sink) -> Result<Box<dyn Tracer>, OpenError>,
    ) -> Result<Self, OpenError> {
        let members = Members::find(plan, scope)?;
        let (listening, sink) = Listening::start(plan, Arc::clone(&bell))
            .map_err(|error| OpenError::Host(format!("no thread to listen: {error}")))?;
        let tracer = open(plan, sink)?;
        let started = HostClock::now_boot().map_err(|error| OpenError::Host(error.to_string()))?;
        let costs = tracer.costs();
        let costs = HitCosts { emulated: costs.emulated, stepped: costs.stepped, returned: costs.returned };
        let look = Look {
            plan: plan.clone(),
            started,
            agent_cpu: own_cpu_time(),
            kernel_bytes: tracer.kernel_bytes(),
            listening,
            bell,
            members,
            evidence: Evidence::new(plan),
            governor: Governor::new(plan.filters.overhead_budget, costs, plan.duration, governing::seed()),
            bursts: Bursts::begin(started),
            spent: Spent::default(),
            overhead: 0.0,
            over: None,
            losses: Losses::default(),
        };
        let mut new = Self { tracer, look };
        new.open_purse(started).map_err(OpenError::Host)?;
        new.with_members(started, Members::begin)?;
        // placing took a while; the time that was asked for begins now
        new.look.started = HostClock::now_boot().unwrap_or(started);
        new.look.bursts = Bursts::begin(new.look.started);
        new.look.evidence.begin(new.look.started);
        Ok(new)
    }

    fn with_members<R>(&mut self, now: Duration, act: impl FnOnce(&mut Members, &mut Means<'_>) -> R) -> R {
        let Self { tracer, look } = self;
        let Look { listening, evidence, members, bursts, .. } = look;
        act(members, &mut Means { tracer: tracer.as_mut(), listening, evidence, now: bursts.moment(now) })
    }

    /// What was asked for.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.look.plan
    }

    /// When it began, since boot.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.look.started
    }

    /// Waits until something has happened to a process of the target, `timeout` at most. True: it has, and a
    /// [`step`](Self::step) is due.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.look.bell.wait(Some(timeout))
    }

    /// Takes stock. To be called once a second and after [`wait`](Self::wait). `now` is the time since boot.
    pub fn step(&mut self, now: Duration) -> Step {
        self.try_step(now)
            .unwrap_or_else(|reason| Step { told: Vec::new(), ended: Some(End::Failed(reason)) })
    }

    fn try_step(&mut self, now: Duration) -> Result<Step, String> {
        // the budget first: nothing may keep it waiting
        let was_paused = self.look.bursts.is_paused();
        if self.govern(now)? {
            let tables = Tables::read(self.tracer.as_ref(), true);
            self.look.take(now, tables);
            return Ok(Step { told: self.look.listening.lock().take_told(), ended: Some(End::OverBudget) });
        }
        let (events, losses, apart) = {
            let mut ledger = self.look.listening.lock();
            (ledger.take_events(), ledger.losses(), ledger.take_apart())
        };
        for (slot, frames) in apart {
            if let Err(reason) = self.tracer.tell_apart(slot, &frames) {
                tracing::debug!(reason, "stacks that share a call site are not told apart");
            }
        }
        let lost = losses.ring > self.look.losses.ring;
        self.look.losses = losses;
        let is_gone = self.with_members(now, |members, means| members.follow(means, events, lost));
        let told = if was_paused && self.look.bursts.is_paused() {
            // nothing has happened since the tables were read last
            self.look.listening.lock().take_told()
        } else {
            self.take_stock(now)?
        };
        let look = &self.look;
        let is_over = look.plan.duration.is_some_and(|duration| now.saturating_sub(look.started) >= duration);
        let ended = if is_gone { Some(End::TargetGone) } else { is_over.then_some(End::Elapsed) };
        Ok(Step { told, ended })
    }

    fn take_stock(&mut self, now: Duration) -> Result<Vec<Told>, String> {
        let look = &mut self.look;
        let now = look.bursts.moment(now);
        // at the end of a burst for the last time
        let with_live = look.evidence.wants_live() || look.bursts.is_paused();
        let tables = Tables::read(self.tracer.as_ref(), with_live)?;
        let (mut told, overdue) = {
            let mut ledger = look.listening.lock();
            look.evidence.take(now, &tables, &mut ledger);
            if look.bursts.is_paused() {
                look.evidence.rest(&tables);
            }
            (ledger.take_told(), look.evidence.overdue(now.at, &tables, &ledger))
        };
        look.listening.wake();
        told.extend(look.unfreed(now.at, &overdue));
        Ok(told)
    }

    /// What is to be told by now, without taking stock: cheap enough for ten times a second.
    pub fn told(&mut self) -> Vec<Told> {
        self.look.listening.lock().take_told()
    }

    /// The pids of the processes that are looked at now.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.look.members.pids()
    }

    /// The target, as records are about it, and whether it is more than one process.
    #[must_use]
    pub fn subject(&self) -> (Subject, bool) {
        (self.look.members.subject(), self.look.members.is_group())
    }

    /// The processes that are looked at now, as records are about them.
    #[must_use]
    pub fn subjects(&self) -> KnownSubjects {
        self.look.members.known()
    }

    /// The files that are open for the names of its stacks: who looks at the same processes may use them too.
    #[must_use]
    pub fn library(&self) -> Library {
        self.look.members.library()
    }

    /// The share of the target's CPU time that was over the budget, where it was.
    #[must_use]
    pub fn over(&self) -> Option<f64> {
        self.look.over
    }

    /// What is known by now, with the `top` stacks that hold the most (`usize::MAX`: all). Ages are as of the newest time
    /// that the table of live blocks was read: seconds ago, where it is large.
    pub fn report(&mut self, now: Duration, top: usize) -> Report {
        self.note_closed(now);
        let tables = Tables::read(self.tracer.as_ref(), self.look.evidence.wants_live());
        self.look.take(now, tables);
        self.look.report(now, top)
    }

    /// What it says of a case in which memory grows by `charged_growth` bytes a second. `None`: it has no probes.
    #[must_use]
    pub fn testimony(&self, now: Duration, charged_growth: f64) -> Option<Testimony> {
        let look = &self.look;
        let rung = survivors::rung(&look.plan)?;
        let (cohorts, evicted) = (look.evidence.cohorts(), look.evidence.evicted());
        Some(survivors::testimony(cohorts, rung, evicted, look.bursts.moment(now), charged_growth))
    }

    /// The `top` stacks of which the most comes to stay, the most first: all the time, or, where there are none of these, in bursts.
    #[must_use]
    pub fn leads(&self, top: usize) -> Vec<StackEvidence> {
        self.look.evidence.leads(&self.look.listening.lock(), top)
    }

    /// Where the blocks lie that the newest burst has left in this process, once it is over: who reads the target's heap can tell whether
    /// they are still there.
    #[must_use]
    pub fn left(&self, pid: u32) -> Vec<u64> {
        let look = &self.look;
        if !look.bursts.is_paused() {
            return Vec::new();
        }
        let ledger = look.listening.lock();
        look.evidence.left(|slot| ledger.peek(slot).is_some_and(|space| space.pid == pid))
    }

    /// Takes what lies there now, by address.
    pub fn walked(&mut self, found: &HashMap<u64, Lies>) {
        self.look.evidence.walked(found);
    }

    /// The `top` stacks whose blocks were still there some time after a burst, each with the bytes of these, the most first.
    #[must_use]
    pub fn remaining(&self, top: usize) -> Vec<(StackEvidence, u64)> {
        self.look.evidence.remaining(&self.look.listening.lock(), top)
    }

    /// For the metrics, as of the newest step.
    #[must_use]
    pub fn meters(&self, now: Duration) -> Meters {
        let look = &self.look;
        let (counters, losses) = (look.evidence.counters(), look.listening.lock().losses());
        Meters {
            lasted: now.saturating_sub(look.started),
            tracked: counters.tracked,
            untracked: counters.untracked,
            largest: counters.largest,
            lost: vec![
                (stage::KERNEL_RING, losses.ring.max(counters.ring_full)),
                (stage::TARGET_CHANNEL, losses.channel),
                (stage::LIVE_TABLE, counters.table_full),
                (stage::CALL_SITES, counters.call_sites_full.saturating_add(losses.stacks)),
                (stage::RATE_LIMIT, counters.rate_limited.saturating_add(losses.rate_limited)),
                (stage::EVICTED, look.evidence.evicted()),
            ],
            overhead: look.overhead,
            kernel_bytes: look.kernel_bytes,
            unfreed: look.members.subjects(&look.evidence.held()),
            buffer_usage: look.listening.fullest(),
        }
    }

    /// Takes stock for the last time, and the probes out.
    #[must_use]
    pub fn close(mut self, now: Duration, top: usize, end: End) -> (Vec<Told>, Report) {
        self.note_closed(now);
        let Self { mut tracer, mut look } = self;
        // stock first: while probes are taken out one by one, those that are still there see half of what happens
        let tables = Tables::read(tracer.as_ref(), true);
        if look.over.is_none() {
            if let Ok(tables) = &tables {
                look.spend(&tables.counters);
            }
            look.members.release(tracer.as_mut(), false);
        }
        // with the probes gone the ring is emptied
        drop(tracer);
        look.listening.finish();
        let losses = look.listening.lock().losses();
        if losses.ring > look.losses.ring {
            look.members.reconcile(&look.listening);
        }
        if let Ok(tables) = &tables {
            evidence::want(tables, &mut look.listening.lock());
        }
        look.listening.finish_names(&end);
        look.take(now, tables);
        let told = look.listening.lock().take_told();
        (told, Report { ended: Some(end), ..look.report(now, top) })
    }
}

#[cfg(all(test, target_os = "linux"))]
impl Investigation {
    /// Waits until all that was told has been heard.
    pub(super) fn listened(&self) {
        self.look.listening.settle();
    }

    /// Has the table of live blocks read at the next step.
    pub(super) fn live_is_due(&mut self) {
        self.look.evidence.forget_when_read();
    }
}
