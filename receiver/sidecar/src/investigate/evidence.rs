//! What each stack has allocated, from the kernel's tables and the ledger of mappings.

mod keys;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{AllocCounters, CallSite, Slot, Sums, Totals as SiteSums};
use mlh_bpf::alloc::point::Operation;
use mlh_detect::alloc::{
    Ages, Cohorts, Counts, Evidence as Figures, MappedSite, MappedSums, Mappings, Overdue, Pattern, Remains,
    SiteTotals, Survival, Tally, Unfreed,
};
use mlh_detect::growth_stacks::Lies;
use mlh_stacks::trace::{Frame, Trace};

pub(super) use self::keys::StackKey;
use self::keys::{bare, is_allocator, key, told};
use super::bursts::Moment;
use super::ledger::Ledger;
use super::plan::{Filters, Plan, Rung};
use super::report::{StackEvidence, Totals};
use super::tables::{Live, Tables};

/// Reading the table of live blocks takes at most one part in so many of the time.
const LIVE_SHARE: u32 = 20;
/// And is done this often at most.
const LIVE_SPACING: Duration = Duration::from_secs(1);
/// Stacks of processes that have ended, those that held most.
const MAX_GONE: usize = 1024;
/// Stacks told as unfreed at once, the largest first.
const MAX_DUE: usize = 256;

/// What a stack holds, from the table of live blocks.
#[derive(Debug, Clone, Copy, Default)]
struct Present {
    bytes: u64,
    count: u64,
    ages: Ages,
}

/// See the module.
pub(super) struct Evidence {
    debug: bool,
    /// Bytes; smaller mappings are no news in targeted mode.
    min_mapping: u64,
    /// On the clock of the time that was watched.
    tally: Tally<StackKey>,
    /// What the call sites had done when watching ceased last.
    forgone: HashMap<CallSite, SiteTotals>,
    /// A call site of each stack.
    sites: HashMap<StackKey, CallSite>,
    mapped: HashMap<StackKey, MappedSite>,
    mapped_totals: MappedSums,
    present: HashMap<StackKey, Present>,
    cohorts: Cohorts<StackKey>,
    remains: Remains<CallSite>,
    began: Duration,
    live_read: Option<(Instant, Duration)>,
    evicted: u64,
    counters: AllocCounters,
    unfreed: Unfreed<StackKey>,
    gone: Vec<StackEvidence>,
    gone_totals: Totals,
}

impl Evidence {
    pub(super) fn new(plan: &Plan) -> Self {
        let Filters { sampling_rate, min_unfreed_age, stack_dedup_window, min_allocation_size, .. } =
            plan.filters;
        let debug = plan.rung == Rung::Debug;
        let sampling_rate = if debug { 1 } else { sampling_rate };
        Self {
            debug,
            min_mapping: if debug { 0 } else { min_allocation_size },
            tally: Tally::new(Duration::ZERO, sampling_rate),
            forgone: HashMap::new(),
            sites: HashMap::new(),
            mapped: HashMap::new(),
            mapped_totals: MappedSums::default(),
            present: HashMap::new(),
            cohorts: Cohorts::default(),
            remains: Remains::default(),
            began: Duration::ZERO,
            live_read: None,
            evicted: 0,
            counters: AllocCounters::default(),
            unfreed: Unfreed::new(min_unfreed_age, stack_dedup_window),
            gone: Vec::new(),
            gone_totals: Totals::default(),
        }
    }

    pub(super) fn counters(&self) -> &AllocCounters {
        &self.counters
    }

    /// Blocks that the table has forgotten before they were freed, as far as it is known.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether the table of live blocks is to be read again.
    pub(super) fn wants_live(&self) -> bool {
        self.live_read
            .is_none_or(|(when, took)| when.elapsed() >= LIVE_SPACING.max(took.saturating_mul(LIVE_SHARE)))
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn forget_when_read(&mut self) {
        self.live_read = None;
    }

    /// Takes what the kernel's tables hold, and the ledger, as of `now`.
    pub(super) fn take(&mut self, now: Moment, tables: &Tables, ledger: &mut Ledger) {
        let at = now.at;
        self.counters = tables.counters;
        want(tables, ledger);
        let mut totals: HashMap<StackKey, SiteTotals> = HashMap::new();
        self.sites.clear();
        for (call_site, sums) in &tables.call_sites {
            let key = key(ledger, *call_site, false);
            self.sites.entry(key).or_insert(*call_site);
            let forgone = self.forgone.get(call_site).copied().unwrap_or_default();
            totals.entry(key).or_default().add(&site_totals(sums).less(&forgone));
        }
        self.mapped.clear();
        self.mapped_totals = MappedSums::default();
        for (_, space) in ledger.spaces() {
            let Some(mappings) = space.mappings() else { continue };
            self.mapped_totals.add(&mappings.others());
            for (call_site, site) in
                mappings.sites(at).filter(|(call_site, _)| !is_allocator(space, call_site))
            {
                self.mapped_totals.add(&site.sums);
                let key = key(ledger, call_site, true);
                self.sites.entry(key).or_insert(call_site);
                let known = self.mapped.entry(key).or_default();
                known.sums.add(&site.sums);
                merge(&mut known.ages, &site.ages);
                totals.entry(key).or_default().add(&SiteTotals::from(site.sums.anonymous));
            }
        }
        // a call site whose stack has come to be known is another one's now
        self.tally.retain(|key| totals.contains_key(key));
        self.tally.snapshot(now.watched, totals);
        if let Some(live) = &tables.live {
            self.take_live(at, live, ledger);
        }
    }

    /// Watching begins anew after a pause, before which the tables held this. Of the end of what was there then nothing will be known.
    pub(super) fn forgo(&mut self, tables: &Tables) {
        let had = tables.call_sites.iter().map(|(site, sums)| (*site, site_totals(sums).forgone()));
        self.forgone = had.collect();
        self.present.clear();
    }

    /// A burst begins.
    pub(super) fn begin(&mut self, at: Duration) {
        self.cohorts.begin(at);
        self.began = at;
    }

    /// A burst is over, and leaves these blocks.
    pub(super) fn rest(&mut self, tables: &Tables) {
        let Some(live) = &tables.live else { return };
        let blocks = live.blocks.iter().filter(|block| block.born >= self.began);
        self.remains.rest(blocks.map(|block| (block.call_site, bare(block))));
    }

    /// Where the blocks lie that the newest burst has left in these address spaces.
    pub(super) fn left(&self, of: impl Fn(Slot) -> bool) -> Vec<u64> {
        self.remains.addresses(|call_site| of(call_site.slot))
    }

    /// Takes what lies there now.
    pub(super) fn walked(&mut self, found: &HashMap<u64, Lies>) {
        self.remains.walked(found);
    }

    /// The `top` stacks whose blocks have stayed after a burst, each with the bytes of these.
    pub(super) fn remaining(&self, ledger: &Ledger, top: usize) -> Vec<(StackEvidence, u64)> {
        let kept = self.remains.kept().iter();
        // whose stack has come to be known since is told by that
        let told =
            kept.filter_map(|(site, bytes)| Some((self.one(ledger, &key(ledger, *site, false))?, *bytes)));
        told.take(top).collect()
    }

    /// What becomes of blocks with their age.
    pub(super) fn cohorts(&self) -> &Cohorts<StackKey> {
        &self.cohorts
    }

    fn take_live(&mut self, at: Duration, live: &Live, ledger: &Ledger) {
        if !self.debug {
            self.evicted = self.evicted.max(live.missing);
        }
        self.present.clear();
        for block in &live.blocks {
            let present = self.present.entry(key(ledger, block.call_site, false)).or_default();
            let weight = u64::from(block.weight);
            present.bytes = present.bytes.saturating_add(block.size.saturating_mul(weight));
            present.count = present.count.saturating_add(weight);
            present.ages.enter(at, &bare(block));
        }
        self.cohorts.read(at, told(live, ledger, 0));
        self.live_read = Some((live.when, live.took));
    }

    /// Stacks whose blocks or mappings have been there for too long and that are to be told now. Nothing where the table
    /// of live blocks was not read.
    pub(super) fn overdue(
        &mut self,
        at: Duration,
        tables: &Tables,
        ledger: &Ledger,
    ) -> Vec<Overdue<StackKey>> {
        let Some(live) = &tables.live else { return Vec::new() };
        self.unfreed.due(at, told(live, ledger, self.min_mapping), MAX_DUE)
    }

    /// The `top` stacks that hold the most, those of address spaces that are gone last; and the sums over all.
    pub(super) fn stacks(&self, ledger: &Ledger, top: usize) -> (Vec<StackEvidence>, Totals) {
        let figures: Vec<_> = self.tally.evidence().collect();
        let mut stacks: Vec<_> = figures
            .into_iter()
            .filter_map(|(key, figures)| Some((key, self.unnamed(ledger, &key, &figures)?)))
            .collect();
        let totals = self.totals(stacks.iter().map(|(_, stack)| stack));
        stacks.sort_unstable_by_key(|(key, stack)| (Reverse(stack.live_bytes), *key));
        stacks.truncate(top);
        let named =
            stacks.into_iter().map(|(key, stack)| self.named(ledger, &key, stack)).collect::<Vec<_>>();
        let left = top.saturating_sub(named.len());
        (named.into_iter().chain(self.gone.iter().take(left).cloned()).collect(), totals)
    }

    /// Bytes that each address space holds: blocks, and mappings that are memory.
    pub(super) fn held(&self) -> HashMap<Slot, u64> {
        let mut held: HashMap<Slot, u64> = HashMap::new();
        for (key, figures) in self.tally.evidence() {
            let known = self.present.get(&key).map_or(0, |present| present.bytes);
            let bytes = figures.estimate.live_bytes;
            let bytes = if self.forgot(&key) { bytes.min(known) } else { bytes };
            let sum = held.entry(key.slot).or_default();
            *sum = sum.saturating_add(bytes);
        }
        held
    }

    /// Some of its blocks may be missing from the table.
    fn forgot(&self, key: &StackKey) -> bool {
        !key.mapped && self.evicted > 0
    }

    /// The `top` stacks of which the most comes to stay, the most first: all the time, or, where there are none of these, in bursts.
    pub(super) fn leads(&self, ledger: &Ledger, top: usize) -> Vec<StackEvidence> {
        let kept = self.staying(ledger, top, |seen| seen.pattern == Pattern::Kept);
        if kept.is_empty() { self.staying(ledger, top, Survival::has_stayed) } else { kept }
    }

    fn staying(&self, ledger: &Ledger, top: usize, is_one: impl Fn(&Survival) -> bool) -> Vec<StackEvidence> {
        let kept = self.cohorts.all().filter(|(_, seen)| is_one(seen));
        let mut kept: Vec<(StackKey, f64)> = kept.map(|(key, seen)| (key, seen.velocity)).collect();
        kept.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        kept.iter().filter_map(|(key, _)| self.one(ledger, key)).take(top).collect()
    }

    /// What has become of what it allocated. Of one whose blocks the table forgets it is known only that they stay.
    fn survival(&self, key: &StackKey) -> Option<Survival> {
        let seen = self.cohorts.of(key)?;
        let pattern =
            if self.forgot(key) && seen.pattern != Pattern::Kept { Pattern::Unclear } else { seen.pattern };
        Some(Survival { pattern, ..seen })
    }

    /// One stack; `None` where nothing is known of it.
    pub(super) fn one(&self, ledger: &Ledger, key: &StackKey) -> Option<StackEvidence> {
        let figures = self.tally.site(key)?;
        let stack = self.unnamed(ledger, key, &figures)?;
        Some(self.named(ledger, key, stack))
    }

    /// With its frames.
    fn named(&self, ledger: &Ledger, key: &StackKey, stack: StackEvidence) -> StackEvidence {
        let Some((call_site, space)) = self.sites.get(key).zip(ledger.peek(key.slot)) else { return stack };
        let known = space.site(call_site.ip, call_site.depth).and_then(|site| site.trace());
        let trace = known.map_or_else(|| nameless(call_site.ip), |trace| trace.as_ref().clone());
        StackEvidence { trace, ..stack }
    }

    /// All but its frames, which are many.
    fn unnamed(&self, ledger: &Ledger, key: &StackKey, figures: &Figures) -> Option<StackEvidence> {
        let call_site = self.sites.get(key)?;
        let losses = ledger.losses();
        let space = ledger.peek(key.slot)?;
        let operation = space.site(call_site.ip, call_site.depth).and_then(|site| site.operation);
        let mapped = self.mapped.get(key).copied().unwrap_or_default();
        let present = self.present.get(key).copied().unwrap_or_default();
        let estimate = figures.estimate;
        let (mut live_bytes, mut live_count) = (estimate.live_bytes, estimate.live_count);
        let forgotten = self.forgot(key);
        if forgotten {
            // whether what was evicted is still there nobody knows; what is in the table is
            (live_bytes, live_count) = (live_bytes.min(present.bytes), live_count.min(present.count));
        }
        let ages = if key.mapped { mapped.ages } else { present.ages };
        Some(StackEvidence {
            pid: space.pid,
            operation: operation.map_or(if key.mapped { "mmap" } else { "malloc" }, Operation::name),
            mapped: key.mapped,
            live_bytes,
            live_count,
            error_bytes: estimate.error_bytes,
            allocated_bytes: estimate.allocated_bytes,
            allocated_count: estimate.allocated_count,
            freed_bytes: estimate.freed_bytes,
            freed_count: estimate.freed_count,
            allocation_rate: figures.allocation_rate,
            free_rate: figures.free_rate,
            ages: ages.counts,
            oldest: ages.oldest,
            largest: ages.largest,
            survival: self.survival(key),
            reserved_bytes: mapped.sums.reserved.live_bytes(),
            file_bytes: mapped.sums.file.live_bytes(),
            at_least: if key.mapped {
                losses.ring > 0 || space.mappings().is_some_and(Mappings::at_least)
            } else {
                forgotten || self.counters.table_full > 0 || self.counters.abandoned > 0
            },
            ..StackEvidence::default()
        })
    }

    /// An address space comes to its end. What it held then is kept, for the report.
    pub(super) fn end(&mut self, slot: Slot, ledger: &Ledger) {
        let figures: Vec<_> = self.tally.evidence().filter(|(key, _)| key.slot == slot).collect();
        let known = |(key, figures)| Some((key, self.unnamed(ledger, &key, &figures)?));
        let mut ended: Vec<(StackKey, StackEvidence)> = figures.into_iter().filter_map(known).collect();
        for (_, stack) in ended.iter().filter(|(key, _)| !key.mapped) {
            self.gone_totals = sum(self.gone_totals, stack);
            self.gone_totals.gone_bytes = self.gone_totals.gone_bytes.saturating_add(stack.live_bytes);
            self.gone_totals.gone_count = self.gone_totals.gone_count.saturating_add(stack.live_count);
        }
        // only those that may be kept get their frames, which are many
        ended.sort_by_key(|(_, stack)| Reverse(stack.live_bytes));
        ended.truncate(MAX_GONE);
        for (key, stack) in ended {
            self.gone.push(StackEvidence { gone: true, ..self.named(ledger, &key, stack) });
        }
        self.gone.sort_by_key(|stack| Reverse(stack.live_bytes));
        self.gone.truncate(MAX_GONE);
        self.tally.retain(|key| key.slot != slot);
        self.present.retain(|key, _| key.slot != slot);
        self.mapped.retain(|key, _| key.slot != slot);
        self.sites.retain(|key, _| key.slot != slot);
        self.cohorts.retain(|key| key.slot != slot);
        self.remains.retain(|call_site| call_site.slot != slot);
        self.forgone.retain(|call_site, _| call_site.slot != slot);
    }

    /// Blocks and their bytes of whose end nothing is known, since watching ceased for a while.
    fn forgone(&self) -> (u64, u64) {
        self.tally.evidence().fold((0, 0), |(count, bytes), (_, Figures { estimate, .. })| {
            (count.saturating_add(estimate.forgone_count), bytes.saturating_add(estimate.forgone_bytes))
        })
    }

    fn totals<'a>(&self, stacks: impl Iterator<Item = &'a StackEvidence>) -> Totals {
        let mut totals = self.gone_totals;
        for stack in stacks.filter(|stack| !stack.mapped) {
            totals = sum(totals, stack);
            totals.live_bytes = totals.live_bytes.saturating_add(stack.live_bytes);
            totals.live_count = totals.live_count.saturating_add(stack.live_count);
        }
        let mapped = self.mapped_totals.all();
        totals.mapped_bytes = mapped.live_bytes();
        totals.mapped_count = mapped.live();
        totals.unmapped_bytes = mapped.unmapped_bytes;
        totals.mapped_anonymous_bytes = self.mapped_totals.anonymous.live_bytes();
        totals.mapped_reserved_bytes = self.mapped_totals.reserved.live_bytes();
        let counters = &self.counters;
        totals.largest = counters.largest;
        totals.evicted = self.evicted;
        (totals.forgone_count, totals.forgone_bytes) = self.forgone();
        totals.not_fitted = counters.table_full;
        totals.unknown_frees = counters.unknown_frees;
        totals.failed = counters.failed;
        totals
    }
}

/// What was done.
fn sum(totals: Totals, stack: &StackEvidence) -> Totals {
    Totals {
        allocated_bytes: totals.allocated_bytes.saturating_add(stack.allocated_bytes),
        allocated_count: totals.allocated_count.saturating_add(stack.allocated_count),
        freed_bytes: totals.freed_bytes.saturating_add(stack.freed_bytes),
        freed_count: totals.freed_count.saturating_add(stack.freed_count),
        ..totals
    }
}

/// Has all call sites named, also those of which no stack has come.
pub(super) fn want(tables: &Tables, ledger: &mut Ledger) {
    tables.call_sites.iter().for_each(|(call_site, _)| ledger.want(*call_site));
}

/// Of a stack that nobody has named yet.
fn nameless(ip: u64) -> Trace {
    let frame = Frame { address: ip, module: "[unknown]".to_owned(), ..Frame::default() };
    let incomplete = Some("it had not been named by then".to_owned());
    Trace { frames: vec![frame], hash: ip, culprit: Some(0), incomplete }
}

fn site_totals(sums: &SiteSums) -> SiteTotals {
    SiteTotals { exact: counts(&sums.exact), sampled: counts(&sums.sampled), last: sums.last }
}

fn counts(sums: &Sums) -> Counts {
    Counts {
        allocated: sums.allocated,
        allocated_bytes: sums.allocated_bytes,
        allocated_squares: sums.allocated_squares,
        freed: sums.freed,
        freed_bytes: sums.freed_bytes,
        freed_squares: sums.freed_squares,
        ..Counts::default()
    }
}

fn merge(ages: &mut Ages, other: &Ages) {
    for (count, more) in ages.counts.iter_mut().zip(other.counts) {
        *count = count.saturating_add(more);
    }
    ages.oldest = ages.oldest.max(other.oldest);
    ages.largest = ages.largest.max(other.largest);
}
