//! The processes of a target: who they are, what they map, and the probes in them.

mod capturing;
mod intake;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{ProcessEvent, Slot};
use mlh_stacks::modules::FileId;
use mlh_stacks::unwind::Library;
use mlh_targets::HostError;
use mlh_targets::points::{Finder, Wish};
use mlh_targets::process::ProcessReading;
use mlh_targets::sweep::{ProcSweep, ProcView};

use self::capturing::Capturing;
use self::intake::{Executed, Mapped};
use super::bursts::Moment;
use super::evidence::Evidence;
use super::investigation::OpenError;
use super::listening::Listening;
use super::placing;
use super::plan::{Plan, Rung};
use super::quarry::Quarry;
use super::report::Member;
use super::space::Shared;
use super::tables::Tables;
use super::tracer::Tracer;
use crate::hunt::scope::Scope;
use crate::records::{KnownSubjects, Subject};

/// Processes that are looked at, at once.
pub(super) const MAX_MEMBERS: usize = 256;
/// Processes that have ended and stand in the report.
const MAX_GONE: usize = 256;
/// Sentences on what could not be looked at; a container may have thousands of processes.
const MAX_NOTES: usize = 64;
/// What a process has loaded is looked at again this often at most: its maps cost it, and its files cost the agent.
const SETTLED: Duration = Duration::from_secs(1);
/// For the names of what an ended process has done everybody else waits no longer.
const NAMES: Duration = Duration::from_millis(100);
/// A process that could not be admitted is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// Who a process is: a pid is given again.
type Identity = (u32, u64);

struct Living {
    start_ns: u64,
    member: Member,
    subject: Arc<Subject>,
    /// Files that have had their probes.
    files: HashSet<FileId>,
    cpu_ns: u64,
    /// How its stacks are captured.
    capture: Capturing,
    /// It has loaded code since it was looked at.
    stale: bool,
    looked: Instant,
}

/// What the processes of a target need of the look.
pub(super) struct Means<'a> {
    pub(super) tracer: &'a mut dyn Tracer,
    pub(super) listening: &'a Listening,
    pub(super) evidence: &'a mut Evidence,
    pub(super) now: Moment,
}

/// See the module.
pub(super) struct Members {
    quarry: Quarry,
    scope: Scope,
    wish: Wish,
    finder: Finder,
    shared: Shared,
    page_size: u64,
    /// No probes.
    unprobed: bool,
    /// No probes for now.
    paused: bool,
    sweep: ProcSweep,
    living: BTreeMap<Slot, Living>,
    /// Who came last, for when nobody is left.
    newest: Option<Arc<Subject>>,
    gone: Vec<Member>,
    /// Of the target's processes while they were members.
    cpu: Duration,
    /// Members that were not there any more when they were last measured.
    absent: Vec<Slot>,
    refused: HashMap<Identity, Instant>,
    /// Sentences for the report.
    notes: BTreeSet<String>,
}

impl Members {
    /// Finds the target. No process of it is looked at yet.
    ///
    /// # Errors
    /// There is none, or this host does not show it.
    pub(super) fn find(plan: &Plan, scope: &Scope) -> Result<Self, OpenError> {
        let quarry = Quarry::find(&plan.target)?;
        let host = |error: HostError| OpenError::Host(error.to_string());
        let sweep = ProcSweep::open().map_err(host)?;
        if sweep.view() == ProcView::Outer {
            let reason =
                "/proc shows another pid namespace than the sidecar's own: mount it anew in this one";
            return Err(OpenError::Host(reason.to_owned()));
        }
        Ok(Self {
            quarry,
            scope: scope.clone(),
            wish: placing::wish(plan),
            finder: Finder::new(),
            shared: Shared {
                max_frames: plan.filters.max_frames,
                unwind: plan.filters.unwind,
                library: plan.filters.library(),
            },
            page_size: mlh_targets::host::HostIdentity::read().page_size,
            unprobed: plan.rung == Rung::GrowthStacks,
            paused: false,
            sweep,
            living: BTreeMap::new(),
            newest: None,
            gone: Vec::new(),
            cpu: Duration::ZERO,
            absent: Vec::new(),
            refused: HashMap::new(),
            notes: BTreeSet::new(),
        })
    }

    /// Takes in all processes that the target consists of now.
    ///
    /// # Errors
    /// There is none that can be looked at: why.
    pub(super) fn begin(&mut self, means: &mut Means<'_>) -> Result<(), OpenError> {
        let pids = self.quarry.pids().unwrap_or_default();
        let mut reason = None;
        for pid in pids {
            if let Err(why) = self.admit(means, pid) {
                reason = reason.or(Some(why));
            }
        }
        match reason {
            _ if !self.living.is_empty() => Ok(()),
            Some(reason) => Err(reason),
            None => Err(OpenError::NoTarget("no process is in it".to_owned())),
        }
    }

    /// Follows what has happened to the processes since before they were last measured. True: none is left, and none will come.
    pub(super) fn follow(&mut self, means: &mut Means<'_>, events: Vec<ProcessEvent>, lost: bool) -> bool {
        let (mut newcomers, mut executed, mut exited) = (BTreeSet::new(), Vec::<Executed>::new(), Vec::new());
        for event in events {
            match event {
                ProcessEvent::Forked { child, .. } if self.quarry.follows() && child != 0 => {
                    newcomers.insert(child);
                }
                ProcessEvent::Forked { .. } => {}
                ProcessEvent::Executed { slot, next, pid } => {
                    // a program that only executes another one, as `env` does, is not looked at
                    match executed.iter_mut().find(|known| known.next == slot) {
                        Some(known) => known.next = next,
                        None => executed.push(Executed { slot, next, pid }),
                    }
                }
                ProcessEvent::Exited { slot } => exited.push(slot),
                ProcessEvent::LoadedCode { slot } => {
                    if let Some(living) = self.living.get_mut(&slot) {
                        living.stale = true;
                    }
                }
            }
        }
        self.executed(means, &executed);
        self.end(means, &exited);
        let absent = std::mem::take(&mut self.absent);
        self.end(means, &absent);
        let belong = if self.quarry.follows() { self.quarry.pids() } else { None };
        if let Some(pids) = &belong {
            // a child may have left for another cgroup
            newcomers.retain(|pid| pids.contains(pid));
            newcomers.extend(pids);
            self.admit_all(means, &newcomers);
        }
        let stale = |living: &Living| (living.stale || lost) && living.looked.elapsed() >= SETTLED;
        let slots = self.living.iter().filter(|(_, living)| stale(living)).map(|(slot, _)| *slot);
        for slot in slots.collect::<Vec<_>>() {
            self.look_again(means, slot, if lost { Mapped::Lost } else { Mapped::GoesOn });
        }
        self.living.is_empty() && belong.is_none()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.living.values().map(|living| living.member.pid).collect()
    }

    /// All of them for a report, the living first.
    pub(super) fn report(&self) -> Vec<Member> {
        self.living.values().map(|living| living.member.clone()).chain(self.gone.iter().cloned()).collect()
    }

    pub(super) fn subject_of(&self, slot: Slot) -> Option<Arc<Subject>> {
        self.living.get(&slot).map(|living| Arc::clone(&living.subject))
    }

    /// Of what is told by address space, who it is.
    pub(super) fn subjects(&self, of: &HashMap<Slot, u64>) -> Vec<(Arc<Subject>, u64)> {
        let living = self.living.iter().filter_map(|(slot, living)| Some((living, of.get(slot)?)));
        living.map(|(living, bytes)| (Arc::clone(&living.subject), *bytes)).collect()
    }

    /// All of them that are there, by pid.
    pub(super) fn known(&self) -> KnownSubjects {
        self.living.values().map(|living| (living.member.pid, Arc::clone(&living.subject))).collect()
    }

    /// The files that are open for the names of its stacks.
    pub(super) fn library(&self) -> Library {
        self.shared.library.clone()
    }

    /// The target as records are about it.
    pub(super) fn subject(&self) -> Subject {
        let of = self.living.values().next().map(|living| &living.subject).or(self.newest.as_ref());
        self.quarry.subject(&of.map(|subject| subject.as_ref().clone()).unwrap_or_default())
    }

    pub(super) fn is_group(&self) -> bool {
        self.quarry.follows()
    }

    /// Nobody gets probes until [`resume`](Self::resume).
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// Takes all probes out.
    pub(super) fn release(&mut self, tracer: &mut dyn Tracer, braked: bool) {
        for (slot, living) in &mut self.living {
            tracer.release(*slot);
            living.member.braked = braked;
        }
    }

    /// Sees who is left, and what CPU time the target's processes have used while they were looked at.
    pub(super) fn measure(&mut self) -> Duration {
        let readings = self.read(&self.pids());
        self.absent.clear();
        for (slot, living) in &mut self.living {
            let reading = readings.iter().find(|reading| reading.pid == living.member.pid);
            match reading.filter(|reading| reading.start_ns == living.start_ns) {
                Some(reading) => {
                    let cpu_ns = reading.cpu_ns.unwrap_or(0);
                    self.cpu += Duration::from_nanos(cpu_ns.saturating_sub(living.cpu_ns));
                    living.cpu_ns = living.cpu_ns.max(cpu_ns);
                }
                None => self.absent.push(*slot),
            }
        }
        self.cpu
    }

    /// Address spaces come to their end.
    fn end(&mut self, means: &mut Means<'_>, slots: &[Slot]) {
        let ended: Vec<(Slot, Living)> =
            slots.iter().filter_map(|slot| Some((*slot, self.living.remove(slot)?))).collect();
        if ended.is_empty() {
            return;
        }
        let tables = Tables::read(means.tracer, true);
        // what has ended is reported with the names that it has now
        means.listening.settle_names(NAMES);
        let mut ledger = means.listening.lock();
        match tables {
            Ok(tables) => means.evidence.take(means.now, &tables, &mut ledger),
            Err(reason) => tracing::debug!(reason, "what an ended process had allocated could not be read"),
        }
        for (slot, _) in &ended {
            means.evidence.end(*slot, &ledger);
            ledger.remove(*slot);
        }
        drop(ledger);
        for (slot, living) in ended {
            means.tracer.release(slot);
            means.tracer.forget(slot);
            if self.gone.len() < MAX_GONE {
                self.gone.push(Member { gone: true, ..living.member });
            } else {
                self.remark(format!("more than {MAX_GONE} processes ended; the first {MAX_GONE} are listed"));
            }
        }
    }

    /// A sentence for the report.
    fn remark(&mut self, sentence: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.insert(sentence);
        }
    }

    /// Sentences on what could not be looked at.
    pub(super) fn notes(&self) -> &BTreeSet<String> {
        &self.notes
    }

    fn read(&mut self, pids: &[u32]) -> Vec<ProcessReading> {
        match self.sweep.only(pids, &[]) {
            Ok(readings) => readings.processes,
            Err(error) => {
                tracing::debug!(%error, "the processes of the target could not be read");
                Vec::new()
            }
        }
    }
}
