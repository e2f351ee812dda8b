//! What a look did not see, in sentences.

use std::collections::BTreeSet;

use mlh_bpf::alloc::heard::AllocCounters;

use super::ledger::Losses;
use super::plan::{Plan, Rung};
use super::report::{Member, Totals};
use crate::records::words::size;

/// What is known.
pub(super) struct Facts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) members: &'a [Member],
    pub(super) notes: &'a BTreeSet<String>,
    pub(super) totals: &'a Totals,
    pub(super) counters: &'a AllocCounters,
    pub(super) losses: &'a Losses,
}

/// Each once, blind spots first.
pub(super) fn sentences(facts: &Facts<'_>) -> Vec<String> {
    let Facts { plan, members, notes, totals, counters, losses } = facts;
    let mut blind = BTreeSet::new();
    for member in *members {
        for spot in &member.blind_spots {
            blind.insert(format!("{} of {} are not seen: {}", spot.what, member.command, spot.reason));
        }
    }
    let mut told: Vec<String> = blind.into_iter().chain(notes.iter().cloned()).collect();
    if plan.rung == Rung::Targeted {
        let filters = &plan.filters;
        if filters.min_allocation_size > 0 {
            told.push(format!("allocations below {} were left out", size(filters.min_allocation_size)));
        }
        if filters.sampling_rate > 1 && filters.min_allocation_size < filters.large_allocation_size {
            told.push(format!(
                "of allocations below {} one in {} was taken, for all of them",
                size(filters.large_allocation_size),
                filters.sampling_rate
            ));
        }
    }
    told.push("what was allocated before the look began is not known".to_owned());
    let mut counted = |count: u64, what: &str| {
        if count > 0 {
            told.push(format!("{count} {what}"));
        }
    };
    counted(
        totals.evicted,
        "blocks were forgotten to make room for newer ones: what is told to be held is at least that",
    );
    counted(totals.not_fitted, "allocations found no room in the table and are in no figure");
    counted(counters.call_sites_full, "call sites found no room; what they hold is one sum");
    counted(counters.abandoned, "operations began and were never seen to end");
    counted(totals.lost, "records were lost between the kernel and here: mappings are at least what is told");
    counted(totals.rate_limited, "records were held back by max_events_per_second");
    counted(losses.channel, "records were not fetched in time");
    counted(losses.stacks, "stacks were beyond those that are kept; their callers are named alone");
    told
}
