//! What the kernel tells as it happens, taken in on a thread of its own: so it waits for nobody, and nobody for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mlh_bpf::alloc::heard::{Block, Change, Heard, Mapping, ProcessEvent, Slot};
use mlh_bpf::alloc::point;

use super::bell::Bell;
use super::inbox::Inbox;
use super::plan::Plan;
use super::space::Space;
use super::told::{Operation, Told};
use super::tracer::Sink;
use crate::hunt::bucket::Bucket;

/// Call sites whose stacks are kept, over all processes.
const MAX_SITES: usize = 1 << 15;
/// Stacks that are kept. A frame takes some 200 bytes.
const MAX_TRACES: usize = 1 << 14;
/// Events of processes between two steps. Beyond, children are found by looking; all else comes from processes that have been
/// taken in, and is bounded by these.
const MAX_EVENTS: usize = 4096;
/// Records between two steps, beside what `max_events_per_second` lets through.
const MAX_TOLD: usize = 1 << 14;

/// See the module.
pub(super) struct Ledger {
    spaces: HashMap<Slot, Space>,
    events: Vec<ProcessEvent>,
    told: Vec<Told>,
    /// Records of operations are wanted.
    emit: bool,
    bucket: Bucket,
    losses: Losses,
}

/// What could not be kept, since the look began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Losses {
    /// Records that did not fit the ring.
    pub(super) ring: u64,
    /// Records that `max_events_per_second` held back, beside those that the kernel did.
    pub(super) rate_limited: u64,
    /// Records that nobody fetched in time.
    pub(super) channel: u64,
    /// Stacks of new call sites beyond those that are kept.
    pub(super) stacks: u64,
}

impl Ledger {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            spaces: HashMap::new(),
            events: Vec::new(),
            told: Vec::new(),
            emit: plan.emits(),
            bucket: Bucket::new(plan.filters.max_events_per_second),
            losses: Losses::default(),
        }
    }

    pub(super) fn insert(&mut self, slot: Slot, space: Space) {
        self.spaces.insert(slot, space);
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Space> {
        self.spaces.remove(&slot)
    }

    pub(super) fn space(&mut self, slot: Slot) -> Option<&mut Space> {
        self.spaces.get_mut(&slot)
    }

    pub(super) fn peek(&self, slot: Slot) -> Option<&Space> {
        self.spaces.get(&slot)
    }

    pub(super) fn spaces(&self) -> impl Iterator<Item = (Slot, &Space)> {
        self.spaces.iter().map(|(slot, space)| (*slot, space))
    }

    /// What has happened to processes since this was asked last.
    pub(super) fn take_events(&mut self) -> Vec<ProcessEvent> {
        std::mem::take(&mut self.events)
    }

    /// What is to be told since this was asked last.
    pub(super) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn losses(&self) -> Losses {
        self.losses
    }

    /// Takes in what the kernel tells. True: somebody should look after a process.
    pub(super) fn hear(&mut self, heard: &Heard) -> bool {
        match heard {
            Heard::Stack(copy) => {
                let (sites, traces) = self.kept();
                let room = sites < MAX_SITES && traces < MAX_TRACES;
                if let Some(space) = self.spaces.get_mut(&copy.call_site.slot)
                    && !space.stack(copy, room)
                {
                    self.losses.stacks += 1;
                }
                false
            }
            Heard::Mapping(mapping) => {
                self.mapping(mapping);
                false
            }
            Heard::Block(block) => {
                self.block(block);
                false
            }
            Heard::Process(event) => {
                self.process(*event);
                true
            }
            Heard::Lost(count) => {
                self.losses.ring = self.losses.ring.saturating_add(*count);
                self.spaces.values_mut().for_each(Space::note_lost);
                false
            }
        }
    }

    fn kept(&self) -> (usize, usize) {
        self.spaces.values().map(Space::kept).fold((0, 0), |sum, kept| (sum.0 + kept.0, sum.1 + kept.1))
    }

    fn process(&mut self, event: ProcessEvent) {
        if let ProcessEvent::LoadedCode { slot } = event {
            if let Some(space) = self.spaces.get_mut(&slot) {
                space.code_changed();
            }
            // the linker may tell thousands of times between two looks; once is enough
            if self.events.contains(&event) {
                return;
            }
        }
        if self.events.len() < MAX_EVENTS || !matches!(event, ProcessEvent::Forked { .. }) {
            self.events.push(event);
        }
    }

    fn mapping(&mut self, mapping: &Mapping) {
        let slot = mapping.call_site.slot;
        let Some(space) = self.spaces.get_mut(&slot) else { return };
        space.mapping(mapping);
        if !self.emit {
            return;
        }
        let (operation, freed, address, size) = match mapping.change {
            Change::Map { address, length, .. } => (point::Operation::Mmap, false, address, length),
            Change::Unmap { address, length } => (point::Operation::Munmap, true, address, length),
            Change::Remap { new, new_length, old_length, .. } => {
                (point::Operation::Mremap, new_length < old_length, new, new_length)
            }
            // neither maps nor unmaps; where the heap ended before is the ledger's to know
            Change::Break { .. } | Change::Advise { .. } => return,
        };
        let (at, call_site, rss_pages) = (mapping.at, mapping.call_site, mapping.rss_pages);
        let (ip, depth) = (call_site.ip, call_site.depth);
        self.tell(slot, ip, depth, &Bare { at, operation, freed, address, size, weight: 1, rss_pages });
    }

    fn block(&mut self, block: &Block) {
        if self.emit {
            let Block { at, call_site, operation, freed, address, size, weight, rss_pages, .. } = *block;
            let bare = Bare { at, operation, freed, address, size, weight, rss_pages };
            self.tell(call_site.slot, call_site.ip, call_site.depth, &bare);
        }
    }

    fn tell(&mut self, slot: Slot, ip: u64, depth: u32, bare: &Bare) {
        let Some(space) = self.spaces.get_mut(&slot) else { return };
        if self.bucket.take(bare.at, 1) == 0 {
            self.losses.rate_limited += 1;
            return;
        }
        if self.told.len() >= MAX_TOLD {
            self.losses.channel += 1;
            return;
        }
        let trace = space.site(ip, depth).and_then(|site| site.trace()).cloned();
        let culprit = trace.as_ref().and_then(|trace| trace.frames.get(trace.culprit?));
        self.told.push(Told::Operation(Box::new(Operation {
            at: bare.at,
            subject: Arc::clone(&space.subject),
            name: bare.operation.name(),
            freed: bare.freed,
            address: bare.address,
            size: bare.size,
            weight: bare.weight,
            caller_ip: culprit.map_or(ip, |frame| frame.address),
            trace,
            rss_pages: bare.rss_pages,
            rss_growth: space.rss_growth(bare.rss_pages),
        })));
    }
}

/// An operation before it is known who did it.
struct Bare {
    at: Duration,
    operation: point::Operation,
    freed: bool,
    address: u64,
    size: u64,
    weight: u32,
    rss_pages: u64,
}

/// The ledger and the thread that fills it.
pub(super) struct Listening {
    ledger: Arc<Mutex<Ledger>>,
    inbox: Arc<Inbox>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Closes the inbox when the last who might put something in is gone.
struct Slit(Arc<Inbox>);

impl Drop for Slit {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Listening {
    /// Starts the thread, which hears what is put into the sink. It ends when that is gone and all is heard.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(plan: &Plan, bell: Arc<Bell>) -> std::io::Result<(Self, Sink)> {
        let (ledger, inbox) = (Arc::new(Mutex::new(Ledger::new(plan))), Arc::<Inbox>::default());
        let (shared, emptied, slit) = (Arc::clone(&ledger), Arc::clone(&inbox), Slit(Arc::clone(&inbox)));
        let work = move || listen(&emptied, &shared, &bell);
        let thread = thread::Builder::new().name("mlh-heard".to_owned()).spawn(work)?;
        let sink = move |heard| slit.0.put(heard);
        Ok((Self { ledger, inbox, thread: Some(thread) }, Box::new(sink)))
    }

    /// How full the inbox was at its fullest since this was asked last, 0..=1.
    pub(super) fn fullest(&self) -> f64 {
        self.inbox.fullest()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all that was put in is heard.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn settle(&self) {
        self.inbox.settle();
    }

    /// Waits until all is heard. The sink must be gone by now.
    pub(super) fn finish(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that listens to the probes had panicked");
        }
    }
}

fn listen(inbox: &Inbox, ledger: &Mutex<Ledger>, bell: &Bell) {
    // a panic here must not leave the ring's thread waiting for ever
    let deserted = Deserted(inbox);
    while let Some(records) = deserted.0.take() {
        for heard in records {
            if ledger.lock().unwrap_or_else(PoisonError::into_inner).hear(&heard) {
                bell.ring();
            }
        }
    }
}

struct Deserted<'a>(&'a Inbox);

impl Drop for Deserted<'_> {
    fn drop(&mut self) {
        self.0.desert();
    }
}
