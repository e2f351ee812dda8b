//! The kernel's tables, read.

use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{AllocCounters, CallSite, LiveBlock, Totals as SiteSums};

use super::tracer::Tracer;

/// What the kernel's tables hold at one moment.
pub(super) struct Tables {
    pub(super) counters: AllocCounters,
    pub(super) call_sites: Vec<(CallSite, SiteSums)>,
    pub(super) live: Option<Live>,
}

/// The table of live blocks.
pub(super) struct Live {
    pub(super) blocks: Vec<LiveBlock>,
    pub(super) when: Instant,
    pub(super) took: Duration,
    /// Blocks that must have been forgotten: so many at least.
    pub(super) missing: u64,
}

impl Tables {
    /// Reads them; that of the live blocks may be large.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn read(tracer: &dyn Tracer, with_live: bool) -> Result<Self, String> {
        let before = tracer.counters()?;
        let when = Instant::now();
        let live = if with_live { Some(tracer.live()?) } else { None };
        let took = when.elapsed();
        let counters = tracer.counters()?;
        let live = live.map(|blocks| {
            // what was tracked before, less what was untracked until after or went with its process, is no more than what there was in between
            let least = before.tracked.saturating_sub(counters.untracked).saturating_sub(counters.gone);
            Live { missing: least.saturating_sub(blocks.len() as u64), blocks, when, took }
        });
        Ok(Self { counters, call_sites: tracer.call_sites()?, live })
    }
}
