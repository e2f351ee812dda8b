//! Which addresses of a process are watched, and what they have told.
//!
//! Whenever a page has just been touched and a watch is free, an address in it is watched, until it rests, too much is written there, it
//! is there no more or a minute has passed. What the process may pay is reckoned before: no more writes are asked for than it can afford.
//! Of a heap whose collector moves objects it is watched who makes them ([`Nursery`]), and beside it one address of other memory.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use mlh_bpf::watch::{THREADS_MAX, WATCHES_MAX, WRITE_COST, Write};
use mlh_detect::growth_stacks::{Answer, Blocks, Lies, Says, Watched, Writers, address_in};
use mlh_targets::host::HostClock;

use super::book::Key;
use super::nursery::{LOOKING, Made, Nursery};
use super::process::{Capturing, Process};
use super::watcher::Watcher;

/// Writes to one address that are asked for: requests write there some hundred times before a leak comes to lie there,
const MOST: u32 = 2048;
/// and with fewer most addresses would tell nothing: it is saved up for so many.
const LEAST: u32 = 512;
/// Writes that tell who makes an object: one, at each of the places that are watched.
const ONCE: u32 = WATCHES_MAX as u32;
/// Addresses that are watched for who writes there last, at once,
const ADDRESSES: usize = 2;
/// and where it is watched beside who makes objects.
const BESIDE: usize = 1;
/// It is looked so often whether what is watched is still there; and nothing is tried for so long after it was refused.
const CHECKING: Duration = Duration::from_secs(1);
/// And so often at least, what the addresses tell.
const SEEING: Duration = Duration::from_millis(250);
/// A page that was touched longer ago is none that was just touched: who knows who has written there since.
const FRESH: Duration = Duration::from_secs(1);
/// Of what may be spent, so many parts are left to what comes in the meantime.
const SPARED: u32 = 2;
/// Addresses that rest and wait for a walk over the heap. It walks every few seconds.
const MAX_RESTING: usize = 64;
/// So many refusals in a row are no chance.
const TRIES: u32 = 8;

/// A page that has just been touched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fresh {
    /// Since boot.
    pub(super) at: Duration,
    pub(super) address: u64,
    pub(super) key: Key,
}

/// An address that is watched.
struct Slot {
    number: u64,
    address: u64,
    /// Writes that were asked for.
    writes: u32,
    watched: Watched<Key>,
}

/// See the module.
pub(super) struct Watching {
    pid: u32,
    /// Of a CPU's time.
    budget: Option<f64>,
    page_size: u64,
    /// The heap is walked: who lies at an address can be asked.
    is_walked: bool,
    watcher: Option<Box<dyn Watcher>>,
    captured: Capturing,
    /// At work since then, and so long before.
    since: Duration,
    worked: Duration,
    fresh: Option<Fresh>,
    slots: Vec<Slot>,
    number: u64,
    checked: Duration,
    /// A debugger was at work then.
    is_traced: bool,
    /// Refusals in a row, and when the last one was.
    refused: u32,
    refused_at: Duration,
    /// Time slices of its threads when it was last looked, and those in which any of them had a watch.
    slices: Option<u64>,
    switches: u64,
    rested: u64,
    resting: Vec<(u64, Key)>,
    writers: Writers<Key>,
    /// Its heap is not known: who writes to other memory cannot be told from who makes objects, in no later turn either.
    is_hopeless: bool,
    /// Where objects are moved: pages of that heap tell nothing.
    nursery: Option<Nursery>,
}

impl Watching {
    pub(super) fn new(pid: u32, budget: Option<f64>, page_size: u64, is_walked: bool) -> Self {
        Self {
            pid,
            budget,
            page_size,
            is_walked,
            watcher: None,
            captured: Capturing::default(),
            since: Duration::ZERO,
            worked: Duration::ZERO,
            fresh: None,
            slots: Vec::new(),
            number: 0,
            checked: Duration::ZERO,
            is_traced: false,
            refused: 0,
            refused_at: Duration::ZERO,
            slices: None,
            switches: 0,
            rested: 0,
            resting: Vec::new(),
            writers: Writers::default(),
            is_hopeless: false,
            nursery: None,
        }
    }

    /// Of a process whose collector moves objects.
    pub(super) fn of_moving(pid: u32, budget: Option<f64>, page_size: u64, is_walked: bool) -> Self {
        Self { nursery: Some(Nursery::of(pid)), ..Self::new(pid, budget, page_size, is_walked) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn begin(&mut self, watcher: Box<dyn Watcher>, now: Duration) {
        self.captured = Capturing::default();
        (self.watcher, self.since, self.refused, self.slices) = (Some(watcher), now, 0, None);
    }

    /// What watches is to be dropped then. What rests by now is not forgotten.
    pub(super) fn end(&mut self, now: Duration) -> Option<Box<dyn Watcher>> {
        let watcher = self.watcher.take()?;
        self.worked += now.saturating_sub(self.since);
        self.slots.clear();
        self.fresh = None;
        if let Some(nursery) = &mut self.nursery {
            nursery.rest();
        }
        Some(watcher)
    }

    pub(super) fn kernel_bytes(&self) -> u64 {
        self.watcher.as_ref().map_or(0, |watcher| watcher.kernel_bytes())
    }

    /// The address is of a heap whose objects are moved: who touches its pages says nothing of who has what lies there.
    pub(super) fn is_moved(&self, address: u64) -> bool {
        self.nursery.as_ref().is_some_and(|nursery| nursery.has(address))
    }

    /// A page has been touched: the newest is watched next.
    pub(super) fn offer(&mut self, fresh: Fresh) {
        self.fresh = self.watcher.is_some().then_some(fresh);
    }

    /// Nothing that is watched now will tell anything.
    pub(super) fn give_up(&mut self) {
        self.fresh = None;
        for slot in self.slots.drain(..) {
            if let Some(watcher) = &mut self.watcher {
                watcher.release(slot.number);
            }
        }
        if let Some(nursery) = &mut self.nursery {
            nursery.give_up(self.watcher.as_mut());
        }
    }

    /// Times that a thread was switched to while addresses were watched.
    pub(super) fn switches(&self) -> u64 {
        self.switches
    }

    /// Where this watch is, if it still is.
    pub(super) fn address(&self, number: u64) -> Option<u64> {
        let slot = self.slots.iter().find(|slot| slot.number == number).map(|slot| slot.address);
        slot.or_else(|| self.nursery.as_ref()?.address(number))
    }

    /// `by`: whom. `None`: it is nobody to blame for what it wrote.
    pub(super) fn written(&mut self, write: &Write, by: Option<Key>) {
        if let Some(nursery) = &mut self.nursery {
            nursery.written(write.watch, by);
        }
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.number == write.watch) {
            slot.watched.written(write.at, write.thread, by);
        }
    }

    /// Threads have come that are not watched yet, or something was lost.
    pub(super) fn missed(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let failed = watcher.cover().err().unwrap_or_default();
        self.slots.retain(|slot| !failed.contains(&slot.number));
        let now = HostClock::now_boot().unwrap_or(Duration::MAX);
        self.slots.iter_mut().for_each(|slot| slot.watched.missed(now));
    }

    /// Sees what the addresses tell, and watches others; `spent`: what the process has paid for all of the look. Gives when that is to be
    /// done again, from now. `None`: nothing can be watched now.
    ///
    /// # Errors
    /// Nothing can be watched any more: a sentence.
    pub(super) fn see(
        &mut self,
        now: Duration,
        spent: Duration,
        process: &mut Process,
    ) -> Result<Option<Duration>, String> {
        if self.watcher.is_none() || self.is_hopeless || self.refused >= TRIES {
            return Ok(None);
        }
        let is_due = now.saturating_sub(self.checked) >= CHECKING;
        if is_due {
            self.checked = now;
            self.follow_capturing(process);
            self.count_switches();
            self.is_traced = is_traced(self.pid);
        }
        self.see_nursery(now, spent)?;
        let mut told = Vec::new();
        let watcher = &mut self.watcher;
        self.slots.retain(|slot| {
            let says = slot.watched.says(now);
            let mut is_there = || {
                let answers = process.look(&[(slot.address, false)]);
                answers.is_ok_and(|answers| answers.first().is_some_and(|answer| *answer != Answer::Gone))
            };
            let stays = says == Says::Waits && (!is_due || is_there());
            if let Says::Rests(by) = says
                && is_there()
            {
                told.push((slot.address, by));
            }
            if !stays && let Some(watcher) = watcher {
                watcher.release(slot.number);
            }
            stays
        });
        for (address, by) in told {
            if !self.is_walked {
                self.rested += 1;
                self.writers.vote(by);
            } else if self.resting.len() < MAX_RESTING {
                self.rested += 1;
                self.resting.push((address, by));
            }
        }
        let most = if self.nursery.is_some() { BESIDE } else { ADDRESSES };
        let is_free = self.slots.len() < most && now.saturating_sub(self.refused_at) >= CHECKING;
        let fresh = self.fresh.take_if(|fresh| is_free || now.saturating_sub(fresh.at) > FRESH);
        if let Some(fresh) = fresh.filter(|fresh| is_free && now.saturating_sub(fresh.at) <= FRESH) {
            self.watch(now, spent, fresh)?;
        }
        Ok(Some(if self.nursery.is_some() { LOOKING } else { SEEING }))
    }

    fn see_nursery(&mut self, now: Duration, spent: Duration) -> Result<(), String> {
        if self.nursery.is_none() {
            return Ok(());
        }
        let may = now.saturating_sub(self.refused_at) >= CHECKING && !self.is_traced;
        let affords = may && self.affordable(now, spent) >= ONCE;
        let most = if affords { WATCHES_MAX.saturating_sub(self.slots.len()) } else { 0 };
        let (Some(nursery), Some(watcher)) = (&mut self.nursery, &mut self.watcher) else { return Ok(()) };
        if let Err(reason) = nursery.follow(now) {
            self.is_hopeless = true;
            self.give_up();
            return Err(reason);
        }
        match nursery.watch(now, watcher.as_mut(), most) {
            Ok(()) => Ok(()),
            Err(reason) => {
                (self.refused, self.refused_at) = (self.refused + 1, now);
                if self.refused < TRIES { Ok(()) } else { Err(reason) }
            }
        }
    }

    fn watch(&mut self, now: Duration, spent: Duration, fresh: Fresh) -> Result<(), String> {
        let writes = self.affordable(now, spent);
        if writes < LEAST {
            return Ok(());
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        let address = address_in(fresh.address, self.page_size, fastrand::u64(..));
        self.number += 1;
        let traced = is_traced(self.pid).then(|| Err("a debugger is at work on it".to_owned()));
        match traced.unwrap_or_else(|| watcher.watch(self.number, address, writes)) {
            Ok(each) => {
                self.refused = 0;
                let watched = Watched::new(now, fresh.key, each);
                self.slots.push(Slot { number: self.number, address, writes, watched });
                Ok(())
            }
            Err(reason) => {
                (self.refused, self.refused_at) = (self.refused + 1, now);
                if self.refused < TRIES { Ok(()) } else { Err(reason) }
            }
        }
    }

    /// Writes that the process can pay for, beside those that others may tell.
    fn affordable(&self, now: Duration, spent: Duration) -> u32 {
        let worked = self.worked + now.saturating_sub(self.since);
        let allowed = worked.mul_f64(self.budget.unwrap_or(1.0).clamp(0.0, 1.0));
        let asked: u32 = self.slots.iter().map(|slot| slot.writes.saturating_sub(slot.watched.count())).sum();
        let left = allowed.saturating_sub(spent).saturating_sub(WRITE_COST * asked) / SPARED;
        u32::try_from(left.as_nanos() / WRITE_COST.as_nanos().max(1)).unwrap_or(MOST).min(MOST)
    }

    /// Switching to a thread with a watch costs it something.
    fn count_switches(&mut self) {
        let is_watching = !self.slots.is_empty() || self.nursery.as_ref().is_some_and(Nursery::is_watching);
        let now = if is_watching { slices(self.pid) } else { None };
        if let (Some(before), Some(now)) = (self.slices, now) {
            self.switches = self.switches.saturating_add(now.saturating_sub(before));
        }
        self.slices = now;
    }

    /// Has stacks captured as what the process maps by now allows.
    fn follow_capturing(&mut self, process: &Process) {
        let (now, Some(watcher)) = (process.capturing(), &mut self.watcher) else { return };
        let walking =
            if now.by_kernel == self.captured.by_kernel { Ok(()) } else { watcher.walk(now.by_kernel) };
        let telling =
            if now.python == self.captured.python { Ok(()) } else { watcher.set_python(now.python.as_ref()) };
        if let Err(reason) = walking.and(telling) {
            tracing::debug!(reason, "how stacks of writes are captured could not be changed");
        }
        self.captured = now;
    }

    /// Addresses of which it is asked what lies there.
    pub(super) fn resting(&self) -> impl Iterator<Item = u64> {
        self.resting.iter().map(|(address, _)| *address)
    }

    /// What lies there. Who wrote last to memory that nobody has keeps nothing there.
    pub(super) fn walked(&mut self, found: &HashMap<u64, Lies>) {
        let (writers, is_moved) = (&mut self.writers, self.nursery.is_some());
        self.resting.retain(|(address, by)| match found.get(address) {
            // else it may be of the heap that objects are moved about in, as long as that has not been found
            Some(lies) if matches!(lies, Lies::Block(_)) || (*lies == Lies::Elsewhere && !is_moved) => {
                writers.vote(*by);
                false
            }
            Some(_) => false,
            None => true,
        });
    }

    /// Nobody tells that any more.
    pub(super) fn walked_no_more(&mut self) {
        self.is_walked = false;
        for (_, by) in std::mem::take(&mut self.resting) {
            self.writers.vote(by);
        }
    }

    /// How many addresses were watched, and how many have come to rest.
    pub(super) fn tally(&self) -> (u64, u64) {
        (self.number, self.rested)
    }

    /// The same of objects that were watched being made. `None`: none can be.
    pub(super) fn tally_of_made(&self) -> Option<Made> {
        self.nursery.as_ref().filter(|nursery| nursery.is_found()).map(Nursery::tally)
    }

    /// What has become of what this stack has made, and bytes that what stays stands for.
    pub(super) fn made(&self, key: &Key) -> (Blocks, u64) {
        let of = |nursery: &Nursery| (nursery.blocks(key), nursery.bytes(key));
        self.nursery.as_ref().map(of).unwrap_or_default()
    }

    /// Addresses of which this stack was the last writer.
    pub(super) fn votes(&self, key: &Key) -> u64 {
        self.writers.of(key)
    }

    /// The stacks of which there are any, or of which it is known otherwise what has become of their objects.
    pub(super) fn voted(&self) -> HashSet<Key> {
        let mut voted = self.writers.keys();
        voted.extend(self.nursery.iter().flat_map(Nursery::known));
        voted
    }

    /// The stacks that are still needed.
    pub(super) fn keys(&self) -> HashSet<Key> {
        let mut keys = self.writers.keys();
        keys.extend(self.resting.iter().map(|(_, by)| *by));
        keys.extend(self.slots.iter().filter_map(|slot| slot.watched.last()));
        keys.extend(self.nursery.iter().flat_map(Nursery::keys));
        keys
    }
}

/// How often its threads have been switched to. `None`: that cannot be read, or there are more than could be watched.
fn slices(pid: u32) -> Option<u64> {
    let threads: Vec<_> =
        fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().take(THREADS_MAX + 1).collect();
    let of = |thread: &fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(2)?.parse::<u64>().ok()
    };
    (threads.len() <= THREADS_MAX).then(|| threads.iter().filter_map(of).fold(0, u64::saturating_add))
}

/// A debugger is at work: it may want the watchpoints for itself.
fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
