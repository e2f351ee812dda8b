//! One address space under observation, as far as it is told by events: its stacks, and its mappings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{CallSite, Change, Mapping, StackCopy};
use mlh_bpf::alloc::point::Operation;
use mlh_bpf::capture::Capture;
use mlh_detect::alloc::{MapChange, Mappings};
use mlh_stacks::modules::Modules;
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Library, Unwind, Unwinder};

use super::allocator;
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
    /// Each stack once, by its hash.
    traces: HashMap<u64, Arc<Trace>>,
    /// Since when the ledger holds, and the ledger; absent until the probes are in place.
    mapped: Option<(Duration, Mappings<CallSite>)>,
    last_rss: Option<u64>,
}

/// What is known of a call site.
pub(super) struct Site {
    /// What was met first.
    pub(super) operation: Operation,
    /// The stacks that led there, each with how often it was seen.
    variants: Vec<(Arc<Trace>, u32)>,
    /// An allocator is at work there, for whomever.
    pub(super) is_allocator: bool,
}

impl Site {
    /// The stack that leads there, as a rule: one that is complete, else the one seen most often.
    pub(super) fn trace(&self) -> Option<&Arc<Trace>> {
        let rank = |(trace, seen): &&(Arc<Trace>, u32)| (trace.incomplete.is_none(), *seen);
        // of equals the first
        self.variants.iter().rev().max_by_key(rank).map(|(trace, _)| trace)
    }
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

    /// Takes a stack in. `room` are the call sites and stacks that may still be added; false: there was none.
    pub(super) fn stack(&mut self, copy: &StackCopy, room: bool) -> bool {
        if self.stale {
            self.read_modules(FRESH);
        }
        let place = (copy.call_site.ip, copy.call_site.depth);
        if !room && !self.sites.contains_key(&place) {
            return false;
        }
        let Capture { ip, sp, bp, ref stack, truncated, .. } = copy.capture;
        let captured = Captured { ip, sp, bp, stack, truncated, ..Captured::default() };
        let mut trace = self.unwinder.trace(&captured);
        if self.unwinder.is_stale() && self.read_modules(STRANGE) {
            trace = self.unwinder.trace(&captured);
        }
        let allocates = allocator::is_on(&trace);
        let site = self.sites.entry(place).or_insert_with(|| Site {
            operation: copy.operation,
            variants: Vec::new(),
            is_allocator: false,
        });
        site.is_allocator |= allocates;
        let known = site.variants.iter().position(|(known, _)| known.hash == trace.hash);
        if let Some(known) = known {
            site.variants[known].1 = site.variants[known].1.saturating_add(1);
        } else if site.variants.len() < VARIANTS && (room || site.variants.is_empty()) {
            let trace = self.traces.entry(trace.hash).or_insert_with(|| Arc::new(trace));
            site.variants.push((Arc::clone(trace), 1));
        }
        true
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

    /// The name of a single address, where no stack is known.
    pub(super) fn name(&mut self, ip: u64) -> Trace {
        self.unwinder.trace(&Captured { ip, truncated: true, ..Captured::default() })
    }

    /// By how many pages the process has grown since this was asked last.
    pub(super) fn rss_growth(&mut self, rss_pages: u64) -> u64 {
        rss_pages.saturating_sub(self.last_rss.replace(rss_pages).unwrap_or(rss_pages))
    }
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
