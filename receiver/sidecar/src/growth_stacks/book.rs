//! What is known of all processes of a look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use mlh_bpf::faults::{FAULT_COST, Heard, SAMPLE_COST, Touch as Fault};
use mlh_bpf::watch::{self, SWITCH_COST, WRITE_COST, Write};
use mlh_detect::growth_stacks::{BlockSurvival, Figures, Lies, Page, PageSizes, PageSurvival, Sums, Touch};
use mlh_stacks::unwind::Stack;
use mlh_targets::pagemap::PagemapError;

use super::nursery::Made;
use super::process::{Capturing, Process, Shared};
use super::watcher::Watcher;
use super::watching::{Fresh, Watching};

/// Sentences on what could not be looked at.
pub(super) const MAX_NOTES: usize = 16;
/// Processes that are looked at at once, and programs that they have run since the last look.
const MAX_PROCESSES: usize = 256;

/// Stacks that are told beside those that grow the most.
const MAX_OTHERS: usize = 64;

/// So far below its end, bytes, a thread's stack is looked for who made the thread.
const STACK: u64 = 1 << 20;

/// A stack of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    space: u32,
    identity: u64,
}

#[cfg(test)]
impl Key {
    pub(super) fn new(space: u32, identity: u64) -> Self {
        Self { space, identity }
    }
}

/// What the kernel tells.
#[derive(Debug)]
pub(super) enum Told {
    Fault(Heard),
    Watch(watch::Heard),
}

/// A stack, whose it is, and what has come of it.
pub(super) struct Found {
    pub(super) pid: u32,
    pub(super) stack: Stack,
    pub(super) figures: Figures,
}

/// What the kernel has told, taken in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Toll {
    /// Samples.
    pub(super) samples: u64,
    /// Faults that they stand for.
    pub(super) faults: u64,
    /// Writes to what is watched.
    pub(super) writes: u64,
    /// Times that a thread with a watch was switched to.
    pub(super) switches: u64,
}

impl Toll {
    /// CPU time that it has cost whoever is looked at.
    pub(super) fn cost(self) -> Duration {
        let all = [
            (SAMPLE_COST, self.samples),
            (FAULT_COST, self.faults),
            (WRITE_COST, self.writes),
            (SWITCH_COST, self.switches),
        ];
        let cost = all.map(|(cost, count)| (cost.as_nanos() as u64).saturating_mul(count));
        Duration::from_nanos(cost.into_iter().fold(0, u64::saturating_add))
    }
}

/// What was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Losses {
    /// Samples that the kernel had no room for.
    pub(super) ring: u64,
    /// Samples of processes that could not be looked at.
    pub(super) unread: u64,
    /// Samples of children that do not belong to the target.
    pub(super) children: u64,
}

/// See the module.
pub(super) struct Book {
    shared: Shared,
    /// Whoever is told of belongs to the target.
    is_group: bool,
    /// By address space: one for each program that a process runs.
    processes: BTreeMap<u32, Process>,
    living: HashMap<u32, u32>,
    members: BTreeSet<u32>,
    spaces: u32,
    survival: PageSurvival<Key>,
    /// Of the process whose heap is walked.
    blocks: Option<(u32, BlockSurvival<Key>)>,
    /// Of the process of which addresses are watched.
    watching: Option<Watching>,
    page_size: u64,
    /// The time in which nothing was sampled is left out of what is reckoned with: since when that is so now, and how much it was.
    rests: Option<Duration>,
    rested: Duration,
    toll: Toll,
    losses: Losses,
    notes: BTreeSet<String>,
}

impl Book {
    pub(super) fn new(began: Duration, sizes: PageSizes, shared: Shared, is_group: bool) -> Self {
        Self {
            shared,
            is_group,
            processes: BTreeMap::new(),
            living: HashMap::new(),
            members: BTreeSet::new(),
            spaces: 0,
            survival: PageSurvival::new(began, sizes, fastrand::u64(..)),
            blocks: None,
            watching: None,
            page_size: sizes.base,
            rests: None,
            rested: Duration::ZERO,
            toll: Toll::default(),
            losses: Losses::default(),
            notes: BTreeSet::new(),
        }
    }

    /// Takes a process in. False: it could not be looked at.
    pub(super) fn admit(&mut self, pid: u32) -> bool {
        if self.living.contains_key(&pid) {
            return true;
        }
        if self.processes.len() >= MAX_PROCESSES {
            self.note(format!(
                "growth by page is known of {MAX_PROCESSES} processes of the target, and of no more"
            ));
            return false;
        }
        match Process::open(pid, &self.shared) {
            Ok(process) => {
                if let Some(reason) = process.hidden_python() {
                    self.note(format!("growth by page: functions and lines of Python in process {pid} are not seen: {reason}"));
                }
                self.spaces = self.spaces.wrapping_add(1);
                self.processes.insert(self.spaces, process);
                self.living.insert(pid, self.spaces);
                true
            }
            Err(reason) => {
                self.note(format!("the growth of process {pid} could not be looked at: {reason}"));
                false
            }
        }
    }

    /// It has been taken in.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.living.contains_key(&pid)
    }

    /// Whom the target consists of now. Those who belonged to it before have ended, or left it. Of a group there may be others
    /// already, whom whoever lists them has not met yet.
    pub(super) fn set_members(&mut self, pids: BTreeSet<u32>) {
        let before = std::mem::replace(&mut self.members, pids);
        for pid in before.difference(&self.members).copied().collect::<Vec<_>>() {
            self.end(pid);
        }
    }

    /// A process has ended, or runs another program.
    fn end(&mut self, pid: u32) {
        let space = self.living.remove(&pid);
        if let Some(process) = space.and_then(|space| self.processes.get_mut(&space)) {
            process.ended = true;
        }
        // its number may be another's soon
        if let Some(watching) = self.watching.as_mut().filter(|watching| watching.pid() == pid) {
            watching.give_up();
        }
    }

    /// Nothing is sampled from now on; pages are looked at all the same.
    pub(super) fn rest(&mut self, now: Duration) {
        self.rests.get_or_insert(now);
        if let Some((_, blocks)) = &mut self.blocks {
            blocks.rest();
        }
    }

    /// It is sampled again.
    pub(super) fn go_on(&mut self, now: Duration) {
        self.rested += self.rests.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
    }

    pub(super) fn is_resting(&self) -> bool {
        self.rests.is_some()
    }

    /// A moment, as if it had been sampled all the time.
    fn moment(&self, at: Duration) -> Duration {
        self.rests.map_or(at, |since| at.min(since)).saturating_sub(self.rested)
    }

    /// Takes in what the kernel has told.
    pub(super) fn take_in(&mut self, told: &Told) {
        match told {
            Told::Fault(heard) => self.hear(heard),
            Told::Watch(watch::Heard::Write(write)) => self.written(write),
            Told::Watch(watch::Heard::Born { .. }) => self.missed(),
            Told::Watch(watch::Heard::Lost(count)) => {
                self.toll.writes = self.toll.writes.saturating_add(*count);
                // whose, nobody knows: whoever wrote last may be among them, and some watchpoint may have told all that it may
                if let Some(watching) = &mut self.watching {
                    watching.give_up();
                }
            }
        }
    }

    /// Takes in a sampled fault, or that some were lost.
    pub(super) fn hear(&mut self, heard: &Heard) {
        match heard {
            Heard::Touch(fault) => self.touch(fault),
            Heard::Lost(count) => self.losses.ring = self.losses.ring.saturating_add(*count),
        }
    }

    fn touch(&mut self, fault: &Fault) {
        self.toll.samples += 1;
        self.toll.faults = self.toll.faults.saturating_add(fault.weight);
        if !self.living.contains_key(&fault.pid) {
            let joins = self.is_group && fault.pid != std::process::id();
            let belongs = joins || self.members.contains(&fault.pid);
            let lost = match (belongs, belongs && self.admit(fault.pid)) {
                (true, true) => None,
                (true, false) => Some(&mut self.losses.unread),
                (false, _) => Some(&mut self.losses.children),
            };
            if let Some(count) = lost {
                *count += 1;
                return;
            }
        }
        let at = self.moment(fault.at);
        let Some(space) = self.living.get(&fault.pid).copied() else { return };
        let Some(process) = self.processes.get_mut(&space) else { return };
        // what it reads and writes of files is not its memory
        if process.is_of_file(fault.address) {
            return;
        }
        let stack = process.unwind(&fault.capture);
        let own = Key { space, identity: stack.identity() };
        let page = Page { space, address: fault.address };
        // a thread's stack is kept by whoever made the thread, and touched its end for it
        let stack_end = process.stack_end(&fault.capture, fault.address);
        let within = stack_end.map(|end| end.saturating_sub(fault.address).min(STACK));
        let maker = within.and_then(|within| self.survival.above(page, within, &own));
        let key = maker.unwrap_or(own);
        let is_watchable = stack_end.is_none() && process.is_its_own(fault.address);
        if self.survival.touch(&Touch { at, page, key, weight: u64::from(fault.one_of) }) {
            if key == own {
                process.stacks.entry(own.identity).or_insert(stack);
            }
            let is_resting = self.rests.is_some();
            let watching = self.watching.as_mut().filter(|watching| watching.pid() == fault.pid);
            let is_moved = watching.as_ref().is_some_and(|watching| watching.is_moved(fault.address));
            let blocks = self.blocks.as_mut().filter(|(pid, _)| *pid == fault.pid && !is_resting);
            if let Some((_, blocks)) = blocks.filter(|_| !is_moved) {
                blocks.touch(key, fault.address);
            }
            if let Some(watching) = watching.filter(|_| is_watchable && !is_moved) {
                watching.offer(Fresh { at: fault.at, address: fault.address, key });
            }
        }
    }

    /// The heap of this process will be walked.
    pub(super) fn follow_blocks(&mut self, pid: u32) {
        self.blocks = Some((pid, BlockSurvival::default()));
    }

    /// Addresses of this process are to be watched.
    pub(super) fn watch(&mut self, pid: u32, budget: Option<f64>, is_walked: bool) {
        self.watching = Some(Watching::new(pid, budget, self.page_size, is_walked));
    }

    /// It is to be watched who makes the objects of this process, whose collector moves them.
    pub(super) fn watch_makers(&mut self, pid: u32, budget: Option<f64>, is_walked: bool) {
        self.watching = Some(Watching::of_moving(pid, budget, self.page_size, is_walked));
    }

    /// Of addresses that were watched so many were, and so many have come to rest.
    pub(super) fn watches(&self) -> Option<(u64, u64)> {
        self.watching.as_ref().map(Watching::tally)
    }

    /// The same of objects that were watched being made. `None`: none can be.
    pub(super) fn made(&self) -> Option<Made> {
        self.watching.as_ref()?.tally_of_made()
    }

    /// Whose addresses are.
    pub(super) fn watched(&self) -> Option<u32> {
        self.watching.as_ref().map(Watching::pid)
    }

    /// It is done by this, if it can be.
    pub(super) fn take_watcher(&mut self, opened: Result<Box<dyn Watcher>, String>, now: Duration) {
        match (&mut self.watching, opened) {
            (Some(watching), Ok(watcher)) => watching.begin(watcher, now),
            (_, Err(reason)) => self.note(unwatched(&reason)),
            (None, Ok(_)) => {}
        }
    }

    /// None is watched any more. What did it is to be dropped while nobody keeps the book.
    pub(super) fn unwatch(&mut self, now: Duration) -> Option<Box<dyn Watcher>> {
        self.watching.as_mut().and_then(|watching| watching.end(now))
    }

    /// Kernel memory, bytes.
    pub(super) fn watcher_bytes(&self) -> u64 {
        self.watching.as_ref().map_or(0, Watching::kernel_bytes)
    }

    /// Sees what has become of the addresses that are watched, and begins with others. Gives when that is to be done again, from now.
    /// `None`: none can be watched now.
    pub(super) fn see_to_watches(&mut self, now: Duration) -> Option<Duration> {
        let watching = self.watching.as_mut()?;
        let space = self.living.get(&watching.pid())?;
        let process = self.processes.get_mut(space)?;
        let spent = self.toll.cost();
        let seen = watching.see(now, spent, process);
        self.toll.switches = watching.switches();
        match seen {
            Ok(next) => next,
            Err(reason) => {
                self.note(unwatched(&reason));
                None
            }
        }
    }

    fn written(&mut self, write: &Write) {
        self.toll.writes = self.toll.writes.saturating_add(1);
        let (Some(watching), Some(space)) = (&mut self.watching, self.living.get(&write.pid)) else { return };
        let (Some(process), Some(address)) = (self.processes.get_mut(space), watching.address(write.watch))
        else {
            return;
        };
        // a thread's stack is kept by whoever made the thread, whatever it writes there for itself
        if process.stack_end(&write.capture, address).is_some() {
            return watching.written(write, None);
        }
        let stack = process.unwind(&write.capture);
        let key = Key { space: *space, identity: stack.identity() };
        process.stacks.entry(key.identity).or_insert(stack);
        watching.written(write, Some(key));
    }

    /// Somebody may have written unseen.
    fn missed(&mut self) {
        if let Some(watching) = &mut self.watching {
            watching.missed();
        }
    }

    /// Where it is asked what lies there.
    pub(super) fn block_addresses(&self) -> Vec<u64> {
        let blocks = self.blocks.iter().flat_map(|(_, blocks)| blocks.addresses());
        let watched = self.watching.iter().flat_map(Watching::resting);
        let addresses: BTreeSet<u64> = blocks.chain(watched).collect();
        addresses.into_iter().collect()
    }

    /// Nobody asks what lies anywhere any more.
    pub(super) fn walked_no_more(&mut self) {
        if let Some(watching) = &mut self.watching {
            watching.walked_no_more();
        }
    }

    /// What lies there.
    pub(super) fn walked(&mut self, found: &HashMap<u64, Lies>) {
        if let Some(watching) = &mut self.watching {
            watching.walked(found);
        }
        if let Some((_, blocks)) = &mut self.blocks {
            blocks.walked(found);
        }
    }

    /// Looks which pages are there, at any moment.
    pub(super) fn look(&mut self, now: Duration) {
        // of those without pages as well: they may have ended
        let mut asked: BTreeMap<u32, Vec<(u64, bool)>> =
            self.processes.keys().map(|space| (*space, Vec::new())).collect();
        for (page, is_first) in self.survival.pages() {
            asked.entry(page.space).or_default().push((page.address, is_first));
        }
        let mut ended = Vec::new();
        for (space, pages) in asked {
            let Some(process) = self.processes.get_mut(&space).filter(|process| !process.ended) else {
                continue;
            };
            match process.look(&pages) {
                Ok(answers) => {
                    for ((address, _), answer) in pages.into_iter().zip(answers) {
                        self.survival.answer(Page { space, address }, answer);
                    }
                }
                Err(PagemapError::Ended) => ended.push(process.pid),
                Err(error) => self.note(format!("which pages are still there could not be seen: {error}")),
            }
        }
        self.survival.looked(self.moment(now));
        ended.into_iter().for_each(|pid| self.end(pid));
        self.tidy();
    }

    /// What an ended process held is no growth of the others. Of the last one it is what it held at its end.
    fn tidy(&mut self) {
        if !self.living.is_empty() {
            let ended = self.processes.iter().filter(|(_, process)| process.ended);
            for space in ended.map(|(space, _)| *space).collect::<Vec<_>>() {
                self.processes.remove(&space);
                self.survival.forget(space);
            }
        }
        let held = self.survival.held();
        let wrote = self.watching.as_ref().map(Watching::keys).unwrap_or_default();
        for (space, process) in &mut self.processes {
            process.stacks.retain(|identity, _| {
                let key = Key { space: *space, identity: *identity };
                held.contains(&key) || wrote.contains(&key)
            });
        }
    }

    /// The `top` stacks that grow the most; and behind them, without figures of their own, others that wrote last to what stays.
    pub(super) fn found(&self, now: Duration, top: usize) -> Vec<Found> {
        let find = |(key, figures): (Key, Figures)| {
            let process = self.processes.get(&key.space)?;
            let stack = process.stacks.get(&key.identity)?.clone();
            let blocks = self.blocks.as_ref().map(|(_, blocks)| blocks.of(&key)).unwrap_or_default();
            let made = self.watching.as_ref().map(|watching| watching.made(&key));
            let (made, made_bytes) = made.unwrap_or_default();
            let votes = self.watching.as_ref().map_or(0, |watching| watching.votes(&key));
            Some((
                key,
                Found {
                    pid: process.pid,
                    stack,
                    figures: Figures { blocks, made, made_bytes, votes, ..figures },
                },
            ))
        };
        let figures = self.survival.figures(self.moment(now)).into_iter();
        let mut found: Vec<(Key, Found)> = figures.filter_map(find).take(top).collect();
        let wrote = self.watching.as_ref().map(Watching::voted).unwrap_or_default();
        let others = wrote.into_iter().filter(|key| found.iter().all(|(known, _)| known != key));
        let mut others: Vec<_> = others.filter_map(|key| find((key, Figures::default()))).collect();
        let counts = |(_, found): &(Key, Found)| {
            let figures = &found.figures;
            (figures.votes, figures.made_bytes, figures.made.given_back)
        };
        others.sort_by_key(|other| std::cmp::Reverse(counts(other)));
        found.extend(others.into_iter().take(MAX_OTHERS));
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// How the stacks of those that live are to be captured.
    pub(super) fn capturing(&self) -> Vec<Capturing> {
        self.processes.values().filter(|process| !process.ended).map(Process::capturing).collect()
    }

    pub(super) fn sums(&self) -> Sums {
        self.survival.sums()
    }

    pub(super) fn toll(&self) -> Toll {
        self.toll
    }

    pub(super) fn losses(&self) -> Losses {
        self.losses
    }

    pub(super) fn notes(&self) -> &BTreeSet<String> {
        &self.notes
    }

    /// A sentence for the report.
    pub(super) fn note(&mut self, sentence: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.insert(sentence);
        }
    }
}

fn unwatched(reason: &str) -> String {
    format!("who wrote last to memory that stays was not watched: {reason}")
}
