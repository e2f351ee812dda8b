//! By what stacks are known, and what lives by it.

use mlh_bpf::alloc::heard::{CallSite, LiveBlock, Slot};
use mlh_detect::alloc::{Block, Mappings};

use crate::investigate::ledger::Ledger;
use crate::investigate::space::{Site, Space};
use crate::investigate::tables::Live;

/// One stack of one process. What is mapped counts apart from what is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::investigate) struct StackKey {
    pub(in crate::investigate) slot: Slot,
    pub(in crate::investigate) mapped: bool,
    stack: StackId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum StackId {
    /// See [`Site::identity`].
    Known(u64),
    /// The call site, where no copy of the stack has come.
    Unknown(u64, u32),
}

#[cfg(test)]
impl StackKey {
    /// One that is known by its call site alone.
    pub(in crate::investigate) fn unknown(CallSite { slot, ip, depth }: CallSite) -> Self {
        Self { slot, mapped: false, stack: StackId::Unknown(ip, depth) }
    }
}

pub(super) fn key(ledger: &Ledger, call_site: CallSite, mapped: bool) -> StackKey {
    let CallSite { slot, ip, depth } = call_site;
    let site = ledger.peek(slot).and_then(|space| space.site(ip, depth));
    let stack = site.and_then(Site::identity).map_or(StackId::Unknown(ip, depth), StackId::Known);
    StackKey { slot, mapped, stack }
}

/// All that lives: blocks, and mappings of `least` bytes or more that serve no allocations.
pub(super) fn told<'a>(
    live: &'a Live,
    ledger: &'a Ledger,
    least: u64,
) -> impl Iterator<Item = (StackKey, Block)> + 'a {
    let blocks = live.blocks.iter().map(|block| (key(ledger, block.call_site, false), bare(block)));
    let mapped = ledger.spaces().flat_map(move |(_, space)| {
        let live = space.mappings().into_iter().flat_map(Mappings::live);
        let told =
            live.filter(move |(call_site, block)| block.size >= least && !is_allocator(space, call_site));
        told.map(|(call_site, block)| (key(ledger, call_site, true), block))
    });
    blocks.chain(mapped)
}

/// What is mapped there serves allocations, of which some may not be told: it does not count on top of them.
pub(super) fn is_allocator(space: &Space, call_site: &CallSite) -> bool {
    space.site(call_site.ip, call_site.depth).is_some_and(|site| site.is_allocator)
}

pub(super) fn bare(block: &LiveBlock) -> Block {
    let LiveBlock { address, size, weight, born, .. } = *block;
    Block { address, size, weight, born }
}
