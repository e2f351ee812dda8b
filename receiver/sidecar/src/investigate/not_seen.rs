//! What a look did not see, in sentences.

use std::collections::BTreeSet;
use std::time::Duration;

use mlh_bpf::alloc::heard::AllocCounters;

use super::ledger::Losses;
use super::plan::{Origin, Plan, Rung};
use super::report::{Cost, Member, Totals};
use crate::records::words::{percent, size};

/// What is known.
pub(super) struct Facts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cost: &'a Cost,
    pub(super) watched: Duration,
    pub(super) members: &'a [Member],
    pub(super) notes: &'a BTreeSet<String>,
    pub(super) totals: &'a Totals,
    pub(super) counters: &'a AllocCounters,
    pub(super) losses: &'a Losses,
}

/// Each once, blind spots first.
pub(super) fn sentences(facts: &Facts<'_>) -> Vec<String> {
    let Facts { plan, cost, watched, members, notes, totals, counters, losses } = facts;
    let mut blind = BTreeSet::new();
    for member in *members {
        for spot in &member.blind_spots {
            blind.insert(format!("{} are not seen in {}: {}", spot.what, member.command, spot.reason));
        }
    }
    let mut told: Vec<String> = blind.into_iter().chain(notes.iter().cloned()).collect();
    if plan.rung == Rung::Targeted {
        let filters = &plan.filters;
        if filters.min_allocation_size > 0 {
            let least = size(filters.min_allocation_size);
            told.push(format!(
                "allocations below {least} were left out ({})",
                named("min_allocation_size", plan)
            ));
        }
        if filters.sampling_rate > 1 && filters.min_allocation_size < filters.large_allocation_size {
            told.push(format!(
                "of allocations below {} one in {} was taken, for all of them ({})",
                size(filters.large_allocation_size),
                filters.sampling_rate,
                named("sampling_rate", plan)
            ));
        }
    }
    if cost.bursts > 1 || cost.watched_share < 0.995 {
        told.push(bursts(cost, *watched));
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
    counted(
        totals.forgone_count,
        "blocks and mappings were there when a burst ended; of their end nothing is known, and they are not told to be held",
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

/// A setting as whoever asked for the look knows it: by its key, or as an option of `inspect`.
fn named(key: &str, plan: &Plan) -> String {
    if plan.origin == Origin::Command { format!("--{}", key.replace('_', "-")) } else { key.to_owned() }
}

fn bursts(cost: &Cost, watched: Duration) -> String {
    let share = percent(cost.watched_share);
    let seconds = watched.as_secs_f64() / cost.bursts.max(1) as f64;
    let each = if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.0} s") };
    let many = if cost.bursts == 1 { "one burst".to_owned() } else { format!("{} bursts", cost.bursts) };
    format!(
        "the probes were in place for {share} of the time, in {many} of {each} on average, so that they cost no more than \
         overhead_budget: what is told to be held is what the last one left"
    )
}
