//! One address space under observation, as far as it is told by events: its stacks, and its mappings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{CallSite, Change, Mapping, StackCopy};
use mlh_bpf::alloc::point::{FrameSize, Operation};
use mlh_bpf::capture::{self, Capture};
use mlh_detect::alloc::{MapChange, Mappings};
use mlh_stacks::modules::Modules;
use mlh_stacks::python::{CodeLayout, PythonFrame};
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Library, Stack, Unwind, Unwinder};

use super::allocator;
use super::apart::Shape;
use crate::records::Subject;

/// What the process maps is not read anew sooner than this: reading holds up the target's own mapping.
const FRESH: Duration = Duration::from_millis(100);
/// The same where an address is not known although nobody has told of new code: it may be made at run time.
const STRANGE: Duration = Duration::from_secs(1);
/// Different stacks that are told apart at one call site.
const VARIANTS: usize = 4;

/// What the processes of a look have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Frames of a stack.
    pub(super) max_frames: usize,
    /// How they are unwound.
    pub(super) unwind: Unwind,
    /// Files that several of them map are read once.
    pub(super) library: Library,
}

/// Where in an address space an operation was called from.
pub(super) type Place = (u64, u32);

/// See the module.
pub(super) struct Space {
    pub(super) pid: u32,
    pub(super) subject: Arc<Subject>,
    unwinder: Unwinder,
    /// Code has been loaded since the modules were read last.
    stale: bool,
    refreshed: Instant,
    sites: HashMap<Place, Site>,
    /// Each stack once, by the hash of its trace, with the identity of the first that had it: code that is made at run time may
    /// be made anew.
    traces: HashMap<u64, (u64, Arc<Trace>)>,
    /// Since when the ledger holds, and the ledger; absent until the probes are in place.
    mapped: Option<(Duration, Mappings<CallSite>)>,
    last_rss: Option<u64>,
}

/// What is known of a call site.
#[derive(Default)]
pub(super) struct Site {
    /// What was met first, once a stack has come.
    pub(super) operation: Option<Operation>,
    /// The stacks that led there.
    variants: Vec<Variant>,
    /// An allocator is at work there, for whomever.
    pub(super) is_allocator: bool,
}

/// One stack at a call site.
struct Variant {
    /// See [`Stack::identity`].
    identity: u64,
    /// That of the stack by which it is known.
    known_as: u64,
    /// How often it was seen.
    seen: u32,
    shape: Shape,
    naming: Naming,
}

/// How far a stack is.
enum Naming {
    /// It has no names yet.
    Waits(Box<Stack>),
    /// It has those that there are.
    Done(Arc<Trace>),
}

impl Variant {
    fn trace(&self) -> Option<&Arc<Trace>> {
        if let Naming::Done(trace) = &self.naming { Some(trace) } else { None }
    }
}

impl Site {
    /// The stack that leads there, as a rule: one that is complete, else the one seen most often.
    fn best(&self) -> Option<&Variant> {
        let is_complete = |variant: &Variant| variant.trace().is_some_and(|trace| trace.incomplete.is_none());
        // of equals the first
        self.variants.iter().rev().max_by_key(|variant| (is_complete(variant), variant.seen))
    }

    /// Tells that stack from all others of the address space, whether it has names or not. `None`: only the call site is known.
    pub(super) fn identity(&self) -> Option<u64> {
        self.best().filter(|variant| variant.seen > 0).map(|variant| variant.known_as)
    }

    /// Its names.
    pub(super) fn trace(&self) -> Option<&Arc<Trace>> {
        self.best()?.trace()
    }

    /// It has no names yet.
    pub(super) fn waits(&self) -> bool {
        self.best().is_some_and(|variant| variant.trace().is_none())
    }
}

/// What became of a stack that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is known.
    Known,
    /// It is to be named, by its identity; and where the call site has another one, what tells them apart.
    New(u64, Vec<FrameSize>),
    /// There was no room for it.
    NoRoom,
}

impl Space {
    pub(super) fn new(pid: u32, subject: Arc<Subject>, modules: &Modules, shared: &Shared) -> Self {
        let mut unwinder = Unwinder::with_library(pid, shared.max_frames, shared.unwind, &shared.library);
        unwinder.refresh(modules);
        Self {
            pid,
            subject,
            unwinder,
            stale: false,
            refreshed: Instant::now(),
            sites: HashMap::new(),
            traces: HashMap::new(),
            mapped: None,
            last_rss: None,
        }
    }

    /// What is mapped was read from `since` until `until`; every change from then on is told.
    pub(super) fn begin_mappings(
        &mut self,
        since: Duration,
        until: Duration,
        page_size: u64,
        modules: &Modules,
    ) {
        let mappings = Mappings::new(page_size, until, modules.regions(), modules.heap_end());
        self.mapped = Some((since, mappings));
    }

    /// The same after a time in which no change was told: what had been mapped until then is of no more interest.
    pub(super) fn begin_mappings_anew(
        &mut self,
        since: Duration,
        until: Duration,
        page_size: u64,
        modules: &Modules,
    ) {
        match &mut self.mapped {
            Some((from, mappings)) => {
                *from = since;
                mappings.begin_anew(until, modules.regions(), modules.heap_end());
            }
            None => self.begin_mappings(since, until, page_size, modules),
        }
    }

    /// The kernel may follow the frame pointers of its stacks.
    pub(super) fn keeps_frame_pointers(&self) -> bool {
        self.unwinder.keeps_frame_pointers()
    }

    /// Where its Python interpreter keeps the names of what it runs.
    pub(super) fn set_python(&mut self, layout: CodeLayout) {
        self.unwinder.set_python(Some(layout));
    }

    /// Code has been loaded or unloaded.
    pub(super) fn code_changed(&mut self) {
        self.stale = true;
    }

    /// What the process maps now.
    pub(super) fn refresh(&mut self, modules: &Modules) {
        self.unwinder.refresh(modules);
        (self.stale, self.refreshed) = (false, Instant::now());
    }

    /// Sees what the process maps now, if that was last done so long ago. False: not now.
    fn read_modules(&mut self, wait: Duration) -> bool {
        if self.refreshed.elapsed() < wait {
            return false;
        }
        // one that has ended has nothing more to load
        self.refreshed = Instant::now();
        let modules = Modules::read(self.pid).ok();
        modules.inspect(|modules| self.refresh(modules)).is_some()
    }

    /// Takes a stack in. `room`: more call sites and stacks may be added.
    pub(super) fn stack(&mut self, copy: &StackCopy, room: bool) -> Taken {
        if self.stale {
            self.read_modules(FRESH);
        }
        let place = (copy.call_site.ip, copy.call_site.depth);
        if !room && !self.sites.contains_key(&place) {
            return Taken::NoRoom;
        }
        let Capture { ip, sp, bp, ref stack, truncated, ref chain, ref returns, ref python } = copy.capture;
        let python: Vec<_> = python.iter().map(python_frame).collect();
        let captured =
            Captured { ip, interrupted: false, sp, bp, stack, truncated, chain, returns, python: &python };
        let mut unwound = self.unwinder.unwind(&captured);
        if self.unwinder.is_stale() && self.read_modules(STRANGE) {
            unwound = self.unwinder.unwind(&captured);
        }
        let site = self.sites.entry(place).or_default();
        site.operation.get_or_insert(copy.operation);
        let identity = unwound.identity();
        let known = site.variants.iter_mut().find(|variant| variant.identity == identity);
        if let Some(known) = known {
            known.seen = known.seen.saturating_add(1);
            return Taken::Known;
        }
        // the bare address is no stack
        let stacks = site.variants.iter().filter(|variant| variant.seen > 0).count();
        if stacks >= VARIANTS || (!room && stacks > 0) {
            return Taken::Known;
        }
        let shape = Shape::of(&unwound);
        let others = site.variants.iter().filter(|variant| variant.seen > 0);
        let apart = others.map(|other| shape.apart(&other.shape, place.0)).find(|frames| !frames.is_empty());
        let naming = Naming::Waits(Box::new(unwound));
        site.variants.push(Variant { identity, known_as: identity, seen: 1, shape, naming });
        Taken::New(identity, apart.unwrap_or_default())
    }

    /// Has a call site of which no stack has come named by its address. `None`: it has something already.
    pub(super) fn want(&mut self, (ip, depth): Place) -> Option<u64> {
        if self.sites.contains_key(&(ip, depth)) {
            return None;
        }
        let stack = self.unwinder.unwind(&Captured { ip, truncated: true, ..Captured::default() });
        let identity = stack.identity();
        let (shape, naming) = (Shape::of(&stack), Naming::Waits(Box::new(stack)));
        let variant = Variant { identity, known_as: identity, seen: 0, shape, naming };
        self.sites.insert((ip, depth), Site { variants: vec![variant], ..Site::default() });
        Some(identity)
    }

    /// The stack that is to be named, if it still is.
    pub(super) fn unnamed(&self, place: Place, identity: u64) -> Option<Stack> {
        let site = self.sites.get(&place)?;
        let variant = site.variants.iter().find(|variant| variant.identity == identity)?;
        if let Naming::Waits(stack) = &variant.naming { Some(stack.as_ref().clone()) } else { None }
    }

    /// A stack has its names.
    pub(super) fn named(&mut self, place: Place, identity: u64, trace: Trace) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let allocates = allocator::is_on(&trace);
        let (known_as, trace) = self.traces.entry(trace.hash).or_insert_with(|| (identity, Arc::new(trace)));
        if let Some(variant) = site.variants.iter_mut().find(|variant| variant.identity == identity) {
            (variant.known_as, variant.naming) = (*known_as, Naming::Done(Arc::clone(trace)));
            site.is_allocator |= allocates;
        }
    }

    /// Takes a change of the address space in.
    pub(super) fn mapping(&mut self, mapping: &Mapping) {
        if let Some((since, mappings)) = &mut self.mapped
            && mapping.at >= *since
        {
            mappings.apply(mapping.at, mapping.call_site, change(mapping.change), mapping.serves_allocation);
        }
    }

    /// Records were lost: what is mapped is not known exactly any more.
    pub(super) fn note_lost(&mut self) {
        if let Some((_, mappings)) = &mut self.mapped {
            mappings.note_lost();
        }
    }

    /// All that is mapped, after losses.
    pub(super) fn reconcile(&mut self, at: Duration, modules: &Modules) {
        if let Some((_, mappings)) = &mut self.mapped {
            mappings.reconcile(at, modules.regions(), modules.heap_end());
        }
    }

    pub(super) fn mappings(&self) -> Option<&Mappings<CallSite>> {
        self.mapped.as_ref().map(|(_, mappings)| mappings)
    }

    pub(super) fn site(&self, ip: u64, depth: u32) -> Option<&Site> {
        self.sites.get(&(ip, depth))
    }

    /// Call sites and stacks that are kept.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.sites.len(), self.traces.len())
    }

    /// By how many pages the process has grown since this was asked last.
    pub(super) fn rss_growth(&mut self, rss_pages: u64) -> u64 {
        rss_pages.saturating_sub(self.last_rss.replace(rss_pages).unwrap_or(rss_pages))
    }
}

pub(crate) fn python_frame(frame: &capture::PythonFrame) -> PythonFrame {
    let capture::PythonFrame { code, instruction, is_entry } = *frame;
    PythonFrame { code, instruction, is_entry }
}

fn change(change: Change) -> MapChange {
    match change {
        Change::Map { address, length, protection, flags } => {
            MapChange::Map { address, length, protection, flags }
        }
        Change::Unmap { address, length } => MapChange::Unmap { address, length },
        Change::Remap { old, old_length, new, new_length, flags } => {
            MapChange::Remap { old, old_length, new, new_length, flags }
        }
        Change::Break { to } => MapChange::Break { to },
        Change::Advise { address, length, advice } => MapChange::Advise { address, length, advice },
    }
}
