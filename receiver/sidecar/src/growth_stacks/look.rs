//! One look.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use mlh_detect::growth_stacks::{LOOKS, Lies, PageSizes};
use mlh_stacks::unwind::Library;
use mlh_targets::host::{HostClock, HostIdentity};
use mlh_targets::pagemap::huge_page_size;

use super::book::{Book, MAX_NOTES, Told};
use super::names::Ended;
use super::nursery::Made;
use super::opening::{self, Open, Opening};
use super::process::{Capturing, Shared};
use super::sampler::{Sampler, Sink};
use super::watcher;
use crate::investigate::plan::{Plan, Target};
use crate::investigate::report::{GrowthStack, Report};
use crate::records::words::size;

/// Samples that may wait, 16 KiB each: while there are as many, the kernel's ring fills and it counts what finds no room.
const WAITING: usize = 512;
/// Looks at the pages, on average, over the length that was asked for. The more there are, the less of what comes and goes
/// is there at all of them.
const LOOKS_AT_PAGES: u32 = 40;
/// Between two of them, on average: no less and no more.
const SPACING: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// The same where nobody has said for how long.
const UNBOUNDED: Duration = Duration::from_secs(2);
/// Whoever steps asks so often for the book, and waits so long in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_micros(500);

/// What has come of a look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Those that grow steadily first, by how much.
    pub stacks: Vec<GrowthStack>,
    /// What was not seen, in sentences.
    pub not_seen: Vec<String>,
    /// Sampled faults of its memory.
    pub samples: u64,
    /// CPU time that counting and sampling faults have cost the target.
    pub cost: Duration,
    /// Kernel memory, bytes.
    pub kernel_bytes: u64,
}

impl Outcome {
    /// Into the report on the same target.
    pub fn enter(self, report: &mut Report) {
        let lasted = report.lasted.as_secs_f64();
        if lasted > 0.0 {
            // a target that uses more than one CPU pays a smaller share of its time than this
            report.cost.target_cpu_share += self.cost.as_secs_f64() / lasted;
        }
        report.cost.kernel_bytes = report.cost.kernel_bytes.saturating_add(self.kernel_bytes);
        report.not_seen.extend(self.not_seen);
        report.growth = self.stacks;
    }
}

/// Samples the page faults of a target, and follows what becomes of the pages. Dropping it takes everything out of the kernel.
pub struct GrowthLook {
    // goes before the thread that listens to it
    sampler: Option<Box<dyn Sampler>>,
    thread: Option<JoinHandle<()>>,
    /// Where the thread hears from, as long as the look is not over.
    put: Option<SyncSender<Told>>,
    opening: Opening,
    book: Arc<Mutex<Book>>,
    /// Whoever is sampled by pid.
    followed: BTreeSet<u32>,
    /// Why others are not.
    refused: BTreeSet<String>,
    /// Everybody of the target is sampled, whatever the pid.
    by_cgroup: bool,
    captured: HashMap<u32, Capturing>,
    kernel_bytes: u64,
}

impl GrowthLook {
    /// Begins with these processes, all that the target consists of now. `library`: files that may be open already.
    ///
    /// # Errors
    /// Why page faults cannot be sampled here, a sentence.
    pub fn begin(plan: &Plan, pids: &[u32], library: Library) -> Result<Self, String> {
        Self::begin_with(plan, pids, library, opening::by_kernel())
    }

    pub(super) fn begin_with(
        plan: &Plan,
        pids: &[u32],
        library: Library,
        open: Open,
    ) -> Result<Self, String> {
        let began = HostClock::now_boot().map_err(|error| error.to_string())?;
        let sizes = PageSizes { base: HostIdentity::read().page_size, huge: huge_page_size() };
        let shared = Shared { max_frames: plan.filters.max_frames, unwind: plan.filters.unwind, library };
        let is_group = !matches!(plan.target, Target::Pid(_));
        let mut book = Book::new(began, sizes, shared, is_group);
        let admitted: Vec<u32> = pids.iter().copied().filter(|pid| book.admit(*pid)).collect();
        if admitted.is_empty() && !is_group {
            return Err(book.notes().iter().cloned().collect::<Vec<_>>().join("; "));
        }
        book.set_members(admitted.iter().copied().collect());
        let book = Arc::new(Mutex::new(book));
        let (put, take) = sync_channel(WAITING);
        let mut opening = Opening::new(plan, open);
        let (sampler, by_cgroup) = opening.open(admitted.clone(), || sink(&put))?;
        let spacing = plan.duration.map_or(UNBOUNDED, |length| length / LOOKS_AT_PAGES);
        let spacing = spacing.clamp(SPACING.0, SPACING.1);
        let listening = Arc::clone(&book);
        let thread = std::thread::Builder::new()
            .name("mlh-growth".to_owned())
            .spawn(move || listen(&take, &listening, spacing))
            .map_err(|error| format!("no thread to listen: {error}"))?;
        let kernel_bytes = sampler.kernel_bytes();
        let mut new = Self {
            sampler: Some(sampler),
            thread: Some(thread),
            put: Some(put),
            opening,
            book,
            followed: admitted.into_iter().collect(),
            refused: BTreeSet::new(),
            by_cgroup,
            captured: HashMap::new(),
            kernel_bytes,
        };
        let wanted = lock(&new.book).capturing();
        new.capture(wanted, &pids.iter().copied().collect());
        Ok(new)
    }

    /// Nothing is sampled until it goes on. Pages are still looked at, less often: that costs the target nothing.
    pub fn rest(&mut self, now: Duration) {
        // what has been told by now is still taken in
        self.sampler = None;
        self.followed.clear();
        self.captured.clear();
        let watcher = {
            let mut book = lock(&self.book);
            book.rest(now);
            book.unwatch(now)
        };
        // not while the book is kept: it hands over what it has told first
        drop(watcher);
    }

    /// Samples these processes again, all that the target consists of now.
    ///
    /// # Errors
    /// Why that is not possible any more, a sentence.
    pub fn go_on(&mut self, now: Duration, pids: &[u32]) -> Result<(), String> {
        let Some(put) = self.put.as_ref().filter(|_| self.sampler.is_none()) else { return Ok(()) };
        let (known, wanted) = {
            let mut book = lock(&self.book);
            let known: Vec<u32> = pids.iter().copied().filter(|pid| book.admit(*pid)).collect();
            book.set_members(known.iter().copied().collect());
            (known, book.capturing())
        };
        let (sampler, by_cgroup) = self.opening.open(known.clone(), || sink(put))?;
        lock(&self.book).go_on(now);
        (self.kernel_bytes, self.by_cgroup) = (sampler.kernel_bytes(), by_cgroup);
        self.sampler = Some(sampler);
        self.followed = known.iter().copied().collect();
        self.capture(wanted, &self.followed.clone());
        let watched = lock(&self.book).watched();
        if let Some(pid) = watched {
            self.begin_watching(pid, now);
        }
        Ok(())
    }

    /// Watches addresses of this process in pages that it has just touched, to learn who writes there last (`mlh_detect`'s
    /// [`Writers`](mlh_detect::growth_stacks::Writers)), for no more than this share of a CPU's time together with all else that it pays
    /// for this look. Where that is not possible it is told among what was not seen. `is_walked`: whose the memory is where they rest will
    /// be told by walks over its heap.
    pub fn watch(&mut self, pid: u32, budget: Option<f64>, is_walked: bool, now: Duration) {
        lock(&self.book).watch(pid, budget, is_walked);
        self.begin_watching(pid, now);
    }

    /// The same of a process whose collector moves objects: beside it is watched who makes those that stay.
    pub fn watch_makers(&mut self, pid: u32, budget: Option<f64>, is_walked: bool, now: Duration) {
        lock(&self.book).watch_makers(pid, budget, is_walked);
        self.begin_watching(pid, now);
    }

    /// The heap is known whose objects are moved, and none of its pages counts among [`Blocks`](mlh_detect::growth_stacks::Blocks).
    #[must_use]
    pub fn follows_objects(&self) -> bool {
        lock(&self.book).made().is_some()
    }

    fn begin_watching(&mut self, pid: u32, now: Duration) {
        let Some(put) = self.put.clone() else { return };
        let opened = watcher::open(
            self.opening.btf_path(),
            pid,
            Box::new(move |heard| {
                // whoever took it out has gone
                let _ = put.send(Told::Watch(heard));
            }),
        );
        let mut book = lock(&self.book);
        book.take_watcher(opened, now);
        self.kernel_bytes = self.kernel_bytes.saturating_add(book.watcher_bytes());
    }

    /// Follows who belongs to the target. To be called once a second. It waits for nothing: where stacks are being unwound or pages
    /// looked at just then, it is left for the next time.
    pub fn step(&mut self, pids: &[u32]) {
        let now: BTreeSet<u32> = pids.iter().copied().collect();
        let (known, wanted) = {
            let Some(mut book) = briefly(&self.book) else { return };
            book.set_members(now.clone());
            // a child of one that is followed is sampled from its first page on
            let known: BTreeSet<u32> = now.iter().copied().filter(|pid| book.knows(*pid)).collect();
            (known, book.capturing())
        };
        self.follow(&now, &known);
        self.capture(wanted, &now);
    }

    /// Samples whoever has come, and nobody who has gone. A process is taken in when the first of its faults is told.
    fn follow(&mut self, now: &BTreeSet<u32>, known: &BTreeSet<u32>) {
        let Some(sampler) = &mut self.sampler else { return };
        for pid in self.followed.difference(now) {
            sampler.release(*pid);
            self.captured.remove(pid);
        }
        self.followed.retain(|pid| now.contains(pid));
        for pid in now.difference(&self.followed.clone()) {
            if self.by_cgroup || known.contains(pid) {
                self.followed.insert(*pid);
                continue;
            }
            match sampler.follow(*pid) {
                Ok(()) => drop(self.followed.insert(*pid)),
                Err(reason) if self.refused.len() < MAX_NOTES => {
                    self.refused.insert(format!("the growth of process {pid} was not sampled: {reason}"));
                }
                Err(_) => {}
            }
        }
    }

    /// Has stacks captured as what the processes map by now allows. `now`: who belongs to the target.
    pub(super) fn capture(&mut self, wanted: Vec<Capturing>, now: &BTreeSet<u32>) {
        let Some(sampler) = &mut self.sampler else { return };
        let living: BTreeSet<u32> = wanted.iter().map(|process| process.pid).collect();
        self.captured.retain(|pid, _| {
            let stays = living.contains(pid) || now.contains(pid);
            if !stays {
                sampler.release(*pid);
            }
            stays
        });
        for now in wanted {
            let before = self.captured.insert(now.pid, now).unwrap_or_default();
            let walking =
                if before.by_kernel == now.by_kernel { Ok(()) } else { sampler.walk(now.pid, now.by_kernel) };
            let telling = if before.python == now.python {
                Ok(())
            } else {
                sampler.set_python(now.pid, now.python.as_ref())
            };
            if let Err(reason) = walking.and(telling) {
                tracing::debug!(
                    pid = now.pid,
                    reason,
                    "how stacks of page faults are captured could not be changed"
                );
            }
        }
    }

    /// What has been found so far, without an end: the `top` stacks that grow the most, to be named.
    #[must_use]
    pub fn so_far(&self, now: Duration, top: usize) -> Ended {
        let book = lock(&self.book);
        let (found, sums, losses, toll) = (book.found(now, top), book.sums(), book.losses(), book.toll());
        let (watches, made) = (book.watches(), book.made());
        let mut not_seen: Vec<String> = book.notes().iter().chain(&self.refused).cloned().collect();
        drop(book);
        let mut tell = |count: u64, what: &str| {
            if count > 0 {
                not_seen.push(format!("{count} {what}"));
            }
        };
        tell(
            losses.ring,
            "sampled page faults were lost between the kernel and here: growth by page is at least what is told",
        );
        tell(
            losses.unread,
            "sampled page faults are of processes that had ended before they could be looked at",
        );
        tell(losses.children, "sampled page faults are of children of the target, which are not looked at");
        tell(sums.not_fitted, "sampled page faults found no room; their stacks are not told");
        if sums.looks < u64::from(LOOKS) {
            not_seen.push(format!(
                "growth by page: the pages were looked at {} times, and it takes {LOOKS} to judge one",
                sums.looks
            ));
        } else {
            not_seen.push(format!(
                "growth by page is known by the page and from {} sampled faults ({} touched, {} still there): what a heap keeps for \
                 itself after it was freed counts as held, and a page counts for who touched it first, whoever has it now",
                sums.samples,
                size(sums.touched_bytes),
                size(sums.bytes)
            ));
        }
        if let Some((watched, rest)) = watches {
            not_seen.push(format!(
                "who writes last to memory that stays is known of single addresses: {watched} were watched, {rest} came to rest"
            ));
        }
        if let Some(Made { watched, stay, lost }) = made {
            not_seen.push(format!(
                "who makes objects that stay is known of single objects: {watched} were watched being made, {stay} of them stay, {lost} were \
                 lost from sight"
            ));
        }
        let outcome = Outcome {
            stacks: Vec::new(),
            not_seen,
            samples: sums.samples,
            cost: toll.cost(),
            kernel_bytes: self.kernel_bytes,
        };
        Ended { found, outcome }
    }

    /// Ends it: nothing is sampled any more. Of what was found the `top` stacks that grow the most are kept, to be named.
    #[must_use]
    pub fn close(mut self, now: Duration, top: usize) -> Ended {
        self.stop();
        self.so_far(now, top)
    }

    /// The heap of this process will be walked: what lies where it touches memory is asked.
    pub fn follow_blocks(&self, pid: u32) {
        lock(&self.book).follow_blocks(pid);
    }

    /// The addresses to ask about now, in order.
    #[must_use]
    pub fn block_addresses(&self) -> Vec<u64> {
        lock(&self.book).block_addresses()
    }

    /// Takes what lies there.
    pub fn walked(&self, found: &HashMap<u64, Lies>) {
        lock(&self.book).walked(found);
    }

    /// Nobody walks the heap any more.
    pub fn walked_no_more(&self) {
        lock(&self.book).walked_no_more();
    }

    /// CPU time that it has cost the target so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        lock(&self.book).toll().cost()
    }

    /// Kernel memory, bytes.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        self.sampler.as_ref().map_or(0, |_| self.kernel_bytes)
    }

    /// Waits until all that was told has been taken in.
    fn stop(&mut self) {
        (self.sampler, self.put) = (None, None);
        let watcher = lock(&self.book).unwatch(Duration::ZERO);
        drop(watcher);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows growth by page has failed");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
impl GrowthLook {
    pub(super) fn book(&self) -> Arc<Mutex<Book>> {
        Arc::clone(&self.book)
    }
}

impl Drop for GrowthLook {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sink(put: &SyncSender<Told>) -> Sink {
    let put = put.clone();
    Box::new(move |heard| {
        // whoever took it out has gone
        let _ = put.send(Told::Fault(heard));
    })
}

/// Takes in what is told, and looks at the pages at random moments, until nothing more will be told.
fn listen(take: &Receiver<Told>, book: &Mutex<Book>, spacing: Duration) {
    let mut next = Duration::ZERO;
    loop {
        let now = HostClock::now_boot().unwrap_or(next);
        if now >= next {
            // the first time there is nothing to see
            let mut book = lock(book);
            if !next.is_zero() {
                book.look(now);
            }
            let spacing = if book.is_resting() { SPACING.1 } else { spacing };
            // whatever comes and goes in step with something, this does not
            next = now + spacing.mul_f64(2.0 * fastrand::f64());
        }
        // looking at pages, or naming the first stack, may have taken a while
        let now = HostClock::now_boot().unwrap_or(now);
        let again = lock(book).see_to_watches(now);
        let patience = next.saturating_sub(now);
        match take.recv_timeout(again.map_or(patience, |again| patience.min(again))) {
            Ok(told) => {
                let mut book = lock(book);
                book.take_in(&told);
                // nothing rests as long as writes to it wait here
                take.try_iter().take(WAITING).for_each(|told| book.take_in(&told));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// `None`: somebody else has it, and will for longer than a moment.
fn briefly(book: &Mutex<Book>) -> Option<MutexGuard<'_, Book>> {
    for _ in 0..TRIES {
        match book.try_lock() {
            Ok(book) => return Some(book),
            Err(TryLockError::Poisoned(book)) => return Some(book.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
    None
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
