//! Taking processes in: probes into what they map, now and when they load more.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::Slot;
use mlh_stacks::modules::{FileId, Modules};
use mlh_targets::host::HostClock;
use mlh_targets::points::BlindSpot;
use mlh_targets::process::{Absence, ProcessReading};

use super::capturing::Capturing;
use super::{AGAIN, Living, MAX_MEMBERS, Means, Members};
use crate::hunt::subjects::{Detail, learn};
use crate::investigate::investigation::OpenError;
use crate::investigate::listening::Listening;
use crate::investigate::placing::{self, Found};
use crate::investigate::quarry::is_admitted;
use crate::investigate::report::Member;
use crate::investigate::space::Space;
use crate::records::Subject;
use crate::records::words::printable;

/// Looks at the maps while a process is still being loaded.
const ROUNDS: usize = 3;

/// Newcomers are taken in for so long at a time.
const INTAKE: Duration = Duration::from_secs(1);

/// The ledger of a process's mappings, when its probes have been placed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mapped {
    /// It begins.
    Begins,
    /// It begins anew, after a pause.
    BeginsAnew,
    /// It goes on.
    GoesOn,
    /// It goes on, after losses.
    Lost,
}

/// A process has left one address space for another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Executed {
    pub(super) slot: Slot,
    pub(super) next: Slot,
    pub(super) pid: u32,
}

impl Members {
    /// Takes in those of these that are not in yet, as many as there is time for.
    pub(super) fn admit_all(&mut self, means: &mut Means<'_>, pids: &BTreeSet<u32>) {
        let known: BTreeSet<u32> = self.living.values().map(|living| living.member.pid).collect();
        let began = Instant::now();
        for &pid in pids.difference(&known) {
            // the budget waits for this; the others are found again by the next step
            if began.elapsed() >= INTAKE {
                break;
            }
            if let Err(reason) = self.admit(means, pid) {
                tracing::debug!(pid, %reason, "a process of the target is not looked at");
            }
        }
    }

    /// Takes a process in.
    pub(super) fn admit(&mut self, means: &mut Means<'_>, pid: u32) -> Result<(), OpenError> {
        let reading = self.read(&[pid]).pop();
        let reading = reading.ok_or_else(|| OpenError::NoTarget(absent(pid, &Absence::of(pid))))?;
        let identity = (pid, reading.start_ns);
        if self.refused.get(&identity).is_some_and(|when| when.elapsed() < AGAIN) {
            return Err(OpenError::Blind("it was refused a moment ago".to_owned()));
        }
        if self.living.len() >= MAX_MEMBERS {
            self.remark(format!(
                "of more than {MAX_MEMBERS} processes the first {MAX_MEMBERS} were looked at"
            ));
            return Err(OpenError::Blind("as many processes as can be are looked at already".to_owned()));
        }
        let taken = self.take_in(means, &reading, None);
        if let Err(reason) = &taken {
            self.refused.retain(|_, when| when.elapsed() < AGAIN);
            self.refused.insert(identity, Instant::now());
            if self.quarry.follows() {
                self.remark(format!("process {pid} ({}) was not looked at: {reason}", reading.comm));
            }
        }
        taken
    }

    /// Puts a process under observation; one that has executed another program is already.
    fn take_in(
        &mut self,
        means: &mut Means<'_>,
        reading: &ProcessReading,
        slot: Option<Slot>,
    ) -> Result<(), OpenError> {
        let pid = reading.pid;
        let clock = HostClock::read().map_err(|error| OpenError::Host(error.to_string()))?;
        let subject = learn(Detail::Live, reading, &clock);
        if !is_admitted(&self.scope, &subject) {
            let name = subject.name();
            return Err(OpenError::NoTarget(format!("{name} (pid {pid}) is left out by include or exclude")));
        }
        let modules = Modules::read(pid).map_err(|error| OpenError::Host(error.to_string()))?;
        let admitted = slot.map_or_else(|| means.tracer.admit(pid), Ok);
        let slot = admitted.map_err(|reason| OpenError::Host(format!("pid {pid}: {reason}")))?;
        let subject = Arc::new(subject);
        let space = Space::new(pid, Arc::clone(&subject), &modules, &self.shared);
        means.listening.lock().insert(slot, space);
        let mut living = Living {
            start_ns: reading.start_ns,
            member: member(reading, &subject),
            subject,
            files: HashSet::new(),
            cpu_ns: reading.cpu_ns.unwrap_or(0),
            capture: Capturing::default(),
            stale: false,
            looked: Instant::now(),
        };
        let placed = self.place(means, slot, &mut living, Mapped::Begins);
        // whoever has the pid now, it must be the one whose files these were
        let same = placed.and_then(|()| {
            let same = reading.is_at_its_pid();
            same.then_some(()).ok_or_else(|| OpenError::NoTarget(format!("pid {pid} has just ended")))
        });
        if let Err(reason) = same {
            means.tracer.release(slot);
            means.tracer.forget(slot);
            means.listening.lock().remove(slot);
            return Err(reason);
        }
        self.newest = Some(Arc::clone(&living.subject));
        self.living.insert(slot, living);
        Ok(())
    }

    /// Places the probes that a process lacks, until no more code comes. `mapped`: what becomes of the ledger of its
    /// mappings then.
    fn place(
        &mut self,
        means: &mut Means<'_>,
        slot: Slot,
        living: &mut Living,
        mapped: Mapped,
    ) -> Result<(), OpenError> {
        let pid = living.member.pid;
        let host = |reason: String| OpenError::Host(reason);
        let mut modules = Modules::read(pid).map_err(|error| host(error.to_string()))?;
        if self.unprobed || self.paused {
            let points = self.finder.find(pid, &modules, &self.wish);
            living.member.runtime = points.runtime;
            if self.unprobed {
                living.member.blind_spots = points.stack_blind_spots;
            }
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let points = self.finder.find(pid, &modules, &self.wish);
            living.capture.choose(means, slot, pid, &modules);
            let found = placing::place(means.tracer, slot, &points, &mut living.files);
            living.member.blind_spots = [points.blind_spots, points.stack_blind_spots].concat();
            living.member.runtime = points.runtime;
            self.note(living, found)?;
            // from here on every change is told; what was there before is read now
            let before = HostClock::now_boot().map_err(|error| host(error.to_string()))?;
            let now = Modules::read(pid).map_err(|error| host(error.to_string()))?;
            let after = HostClock::now_boot().map_err(|error| host(error.to_string()))?;
            let settled = code(&now) == code(&modules);
            modules = now;
            if let Some(space) = means.listening.lock().space(slot) {
                space.refresh(&modules);
                match mapped {
                    Mapped::Begins => space.begin_mappings(before, after, self.page_size, &modules),
                    Mapped::BeginsAnew => {
                        space.begin_mappings_anew(before, after, self.page_size, &modules);
                    }
                    Mapped::GoesOn => {}
                    Mapped::Lost => space.reconcile(after, &modules),
                }
            }
            if settled {
                break;
            }
        }
        living.member.blind_spots.extend(living.capture.blind_spot());
        if living.member.probes == 0 && living.member.blind_spots.is_empty() {
            living.member.blind_spots.push(BlindSpot {
                what: "allocations".to_owned(),
                reason: "nothing that the process has loaded is an allocator that is known".to_owned(),
            });
        }
        Ok(())
    }

    fn note(&mut self, living: &mut Living, found: Found) -> Result<(), OpenError> {
        let member = &mut living.member;
        member.probes += found.placed;
        extend(&mut member.allocators, found.allocators);
        extend(&mut member.placements, found.placements);
        if member.probes == 0
            && let Some(reason) = found.refused.first()
        {
            return Err(OpenError::Host(reason.clone()));
        }
        let (name, pid) = (member.command.clone(), member.pid);
        for reason in found.refused {
            self.remark(format!("{name} (pid {pid}): {reason}"));
        }
        Ok(())
    }

    /// It has loaded code, or something of it was lost.
    pub(super) fn look_again(&mut self, means: &mut Means<'_>, slot: Slot, mapped: Mapped) {
        let Some(mut living) = self.living.remove(&slot) else { return };
        (living.stale, living.looked) = (false, Instant::now());
        if let Err(reason) = self.place(means, slot, &mut living, mapped) {
            tracing::debug!(pid = living.member.pid, %reason, "what a process has loaded could not be looked at");
        }
        self.living.insert(slot, living);
    }

    /// Places the probes of all that are there, after a pause.
    pub(in crate::investigate) fn resume(&mut self, means: &mut Means<'_>) {
        self.paused = false;
        for slot in self.living.keys().copied().collect::<Vec<_>>() {
            if let Some(living) = self.living.get_mut(&slot) {
                living.files.clear();
                living.member.probes = 0;
            }
            self.look_again(means, slot, Mapped::BeginsAnew);
        }
    }

    /// Changes of address spaces were lost: whose mappings are gone is seen by what the processes map now.
    pub(in crate::investigate) fn reconcile(&self, listening: &Listening) {
        for (slot, living) in &self.living {
            let read = Modules::read(living.member.pid).ok().zip(HostClock::now_boot().ok());
            if let Some((modules, after)) = read
                && let Some(space) = listening.lock().space(*slot)
            {
                space.reconcile(after, &modules);
            }
        }
    }

    /// Processes run other programs: what was, is over.
    pub(super) fn executed(&mut self, means: &mut Means<'_>, executed: &[Executed]) {
        let known: Vec<&Executed> =
            executed.iter().filter(|executed| self.living.contains_key(&executed.slot)).collect();
        self.end(means, &known.iter().map(|executed| executed.slot).collect::<Vec<_>>());
        for Executed { next, pid, .. } in known {
            let mut taken = self.take_in_again(means, *pid, Some(*next));
            // one that has executed yet another program meanwhile has another address space than was told
            for _ in 1..ROUNDS {
                taken = taken.or_else(|_| self.take_in_again(means, *pid, None));
            }
            if let Err(reason) = taken {
                means.tracer.release(*next);
                means.tracer.forget(*next);
                tracing::debug!(pid, %reason, "a program that a process of the target executes is not looked at");
                self.remark(format!("process {pid} executed a program that was not looked at: {reason}"));
            }
        }
    }

    fn take_in_again(
        &mut self,
        means: &mut Means<'_>,
        pid: u32,
        slot: Option<Slot>,
    ) -> Result<(), OpenError> {
        let reading = self.read(&[pid]).pop();
        let reading = reading.ok_or_else(|| OpenError::NoTarget("it has ended".to_owned()))?;
        self.take_in(means, &reading, slot)
    }
}

fn member(reading: &ProcessReading, subject: &Subject) -> Member {
    Member {
        pid: reading.pid,
        command: reading.comm.clone(),
        executable: subject.executable_path.clone(),
        container_id: subject.container_id.clone(),
        cgroup_id: subject.cgroup_id().unwrap_or(0),
        ..Member::default()
    }
}

/// Why nobody can be looked at by this pid, and what to do.
fn absent(pid: u32, why: &Absence) -> String {
    match why {
        Absence::Nobody => {
            format!("there is no process with the pid {pid}; `ps -e` lists those that there are")
        }
        Absence::Ended { name, parent } => format!(
            "{} (pid {pid}) has ended, and its parent (pid {parent}) has not been told yet; there is nothing to look at any more",
            printable(name)
        ),
        Absence::Kernel(name) => format!(
            "{} (pid {pid}) is a thread of the kernel and has no memory of its own; name a process",
            printable(name)
        ),
    }
}

/// What of a process's files may hold allocators.
fn code(modules: &Modules) -> BTreeSet<FileId> {
    modules.modules.iter().filter(|module| module.has_code()).map(|module| module.file).collect()
}

fn extend(known: &mut Vec<String>, more: BTreeSet<&'static str>) {
    for name in more {
        if !known.iter().any(|known| known == name) {
            known.push(name.to_owned());
        }
    }
}
