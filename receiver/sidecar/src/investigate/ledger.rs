//! What the kernel tells as it happens: each address space, and what is to be told and named of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mlh_bpf::alloc::heard::{Block, CallSite, Change, Heard, Mapping, ProcessEvent, Slot};
use mlh_bpf::alloc::point::{self, FrameSize};
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::Stack;

use super::pending::{Known, Pending};
use super::plan::Plan;
use super::space::{Place, Space, Taken};
use super::told::{Operation, Told};
use crate::hunt::bucket::Bucket;

/// Call sites whose stacks are kept, over all processes.
const MAX_SITES: usize = 1 << 15;
/// Stacks that are kept. A frame takes some 200 bytes.
const MAX_TRACES: usize = 1 << 14;
/// Events of processes between two steps. Beyond, children are found by looking; all else comes from processes that have been
/// taken in, and is bounded by these.
const MAX_EVENTS: usize = 4096;
/// Stacks that wait for their names. Each takes some KiB until then.
const MAX_UNNAMED: usize = 2048;

/// See the module.
pub(super) struct Ledger {
    spaces: HashMap<Slot, Space>,
    events: Vec<ProcessEvent>,
    pending: Pending,
    unnamed: VecDeque<Job>,
    /// What tells stacks apart, by address space. As many as there are stacks, at most.
    apart: Vec<(Slot, Vec<FrameSize>)>,
    /// One has been taken out to be named.
    in_hand: bool,
    /// Nobody names any more.
    over: bool,
    /// Records of operations are wanted.
    emit: bool,
    bucket: Bucket,
    losses: Losses,
}

/// A stack that is to be named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    slot: Slot,
    place: Place,
    identity: u64,
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
            pending: Pending::default(),
            unnamed: VecDeque::new(),
            apart: Vec::new(),
            in_hand: false,
            over: false,
            emit: plan.emits(),
            bucket: Bucket::new(plan.filters.max_events_per_second),
            losses: Losses::default(),
        }
    }

    pub(super) fn insert(&mut self, slot: Slot, space: Space) {
        self.spaces.insert(slot, space);
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Space> {
        let Self { spaces, pending, .. } = self;
        pending.end(slot, |slot, place| known(spaces, slot, place));
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

    /// What tells stacks apart that share a call site, since this was asked last.
    pub(super) fn take_apart(&mut self) -> Vec<(Slot, Vec<FrameSize>)> {
        std::mem::take(&mut self.apart)
    }

    /// What is to be told since this was asked last, as far as it has names.
    pub(super) fn take_told(&mut self) -> Vec<Told> {
        let Self { spaces, pending, .. } = self;
        pending.take(|slot, place| known(spaces, slot, place))
    }

    /// Has a call site named by its address, if no stack of it has come.
    pub(super) fn want(&mut self, CallSite { slot, ip, depth }: CallSite) {
        if ip != 0
            && self.unnamed.len() < MAX_UNNAMED
            && let Some(space) = self.spaces.get_mut(&slot)
            && let Some(identity) = space.want((ip, depth))
        {
            self.unnamed.push_back(Job { slot, place: (ip, depth), identity });
        }
    }

    /// Takes out what is to be named next.
    pub(super) fn next_to_name(&mut self) -> Option<(Job, Stack)> {
        self.in_hand = false;
        while let Some(job) = self.unnamed.pop_front() {
            let stack = self.spaces.get(&job.slot).and_then(|space| space.unnamed(job.place, job.identity));
            if let Some(stack) = stack {
                self.in_hand = true;
                return Some((job, stack));
            }
        }
        None
    }

    /// It has its names.
    pub(super) fn named(&mut self, job: &Job, trace: Trace) {
        if let Some(space) = self.spaces.get_mut(&job.slot) {
            space.named(job.place, job.identity, trace);
        }
    }

    /// Stacks that have come have no names yet.
    pub(super) fn is_naming(&self) -> bool {
        !self.over && (self.in_hand || !self.unnamed.is_empty())
    }

    pub(super) fn stop_naming(&mut self) {
        self.over = true;
    }

    pub(super) fn has_stopped_naming(&self) -> bool {
        self.over
    }

    pub(super) fn losses(&self) -> Losses {
        self.losses
    }

    /// Takes in what the kernel tells. True: somebody should look after a process.
    pub(super) fn hear(&mut self, heard: &Heard) -> bool {
        match heard {
            Heard::Stack(copy) => {
                let (sites, traces) = self.kept();
                let unnamed = self.unnamed.len();
                let room = sites < MAX_SITES && traces + unnamed < MAX_TRACES && unnamed < MAX_UNNAMED;
                let CallSite { slot, ip, depth } = copy.call_site;
                match self.spaces.get_mut(&slot).map(|space| space.stack(copy, room)) {
                    Some(Taken::New(identity, apart)) => {
                        self.unnamed.push_back(Job { slot, place: (ip, depth), identity });
                        let is_news = !apart.is_empty();
                        self.apart.extend(is_news.then_some((slot, apart)));
                        return is_news;
                    }
                    Some(Taken::NoRoom) => self.losses.stacks += 1,
                    Some(Taken::Known) | None => {}
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
        let operation = Operation {
            at: bare.at,
            subject: Arc::clone(&space.subject),
            name: bare.operation.name(),
            freed: bare.freed,
            address: bare.address,
            size: bare.size,
            weight: bare.weight,
            caller_ip: ip,
            trace: None,
            rss_pages: bare.rss_pages,
            rss_growth: space.rss_growth(bare.rss_pages),
        };
        if !self.pending.push(slot, (ip, depth), operation) {
            self.losses.channel += 1;
        }
    }
}

/// What is known of the stack at a place.
fn known(spaces: &HashMap<Slot, Space>, slot: Slot, (ip, depth): Place) -> Known {
    match spaces.get(&slot).and_then(|space| space.site(ip, depth)) {
        Some(site) if site.waits() => Known::Waits,
        site => Known::Trace(site.and_then(|site| site.trace()).cloned()),
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
