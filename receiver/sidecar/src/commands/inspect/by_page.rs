//! Growth by page within the report: beside what the probes have seen, and in its place where they see nothing of it.

use std::cmp::Reverse;

use mlh_detect::growth_stacks::{Figures, Pattern};
use mlh_stacks::trace::{CAUGHT, Trace};

use super::finding::blamed;
use crate::growth_stacks::Outcome;
use crate::investigate::plan::Rung;
use crate::investigate::report::{GrowthStack, Report, StackEvidence};
use crate::records::words::size;

/// The operation of a stack that is known by its pages.
const OPERATION: &str = "page_fault";

/// Whether a stack is known by its pages, and by no probe.
pub(super) fn is_by_page(stack: &StackEvidence) -> bool {
    stack.operation == OPERATION
}

/// Adds what has come of the sampled page faults. Stacks that are known by them lead where there were no probes, and where
/// those that grow steadily hold far more than all that the probes have seen: the filters passed over it, or no allocator that
/// is known is behind it, as with Go, the JVM or V8.
pub(super) fn add(report: &mut Report, outcome: Result<Outcome, String>) {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(reason) => {
            report.not_seen.push(format!("growth by page is not known: {reason}"));
            return;
        }
    };
    outcome.enter(report);
    let is_caught = |trace: &Trace| trace.incomplete.as_deref().is_some_and(|reason| reason.contains(CAUGHT));
    let nameless = report.growth.iter().filter(|it| it.trace.culprit.is_none() && is_caught(&it.trace));
    let hidden = nameless.fold(0_u64, |sum, growth| sum.saturating_add(growth.figures.bytes));
    if hidden > 0 && report.rung != Rung::GrowthStacks {
        report.not_seen.push(format!(
            "who is behind {} of growth by page: where a probe catches the returns of an allocator its caller cannot be told; \
             --mode growth_stacks places none",
            size(hidden)
        ));
    }
    let unprobed = report.rung == Rung::GrowthStacks;
    let seen = report.stacks.iter().fold(0_u64, |sum, stack| sum.saturating_add(stack.live_bytes));
    if unprobed || outweighs(steady(report).0, seen) {
        let leads =
            report.growth.iter().filter(|growth| unprobed || growth.figures.pattern == Pattern::Steady);
        let mut stacks: Vec<StackEvidence> = leads.map(|growth| evidence(report, growth)).collect();
        stacks.append(&mut report.stacks);
        report.stacks = stacks;
    }
}

/// Whether growth by page is more than the same memory seen by probes: twice as much, as what an allocator adds to each block is in
/// its pages and not in what was asked of it.
pub(super) fn outweighs(by_page: u64, probed: u64) -> bool {
    by_page / 2 > probed
}

/// By how much stacks grow steadily by pages, and how many do: without what they touched at the beginning.
pub(super) fn steady(report: &Report) -> (u64, usize) {
    let steady = report.growth.iter().filter(|growth| growth.figures.pattern == Pattern::Steady);
    steady
        .fold((0, 0), |(bytes, count), growth| (growth.figures.steady_bytes.saturating_add(bytes), count + 1))
}

/// The stack that grows the most of those that grow steadily by pages.
pub(super) fn first(report: &Report) -> Option<StackEvidence> {
    let growth = report.growth.iter().find(|growth| growth.figures.pattern == Pattern::Steady)?;
    Some(evidence(report, growth))
}

/// Whether a stack that is known by its pages grows steadily.
pub(super) fn is_steady(report: &Report, stack: &StackEvidence) -> bool {
    let is_it = |growth: &&GrowthStack| growth.pid == stack.pid && growth.trace.hash == stack.trace.hash;
    report.growth.iter().find(is_it).is_some_and(|growth| growth.figures.pattern == Pattern::Steady)
}

/// Whether the function that is to blame for a stack grows steadily by pages as well, in the same process.
pub(super) fn grows(report: &Report, stack: &StackEvidence) -> bool {
    let Some(frame) = blamed(&stack.trace) else { return false };
    let steady = report.growth.iter().filter(|growth| growth.figures.pattern == Pattern::Steady);
    steady
        .filter(|growth| growth.pid == stack.pid)
        .filter_map(|growth| blamed(&growth.trace))
        .any(|other| frame.is_of(other))
}

/// In which order growth is told: what is steady first, then by how much.
pub(super) fn order(figures: &Figures) -> impl Ord + use<> {
    (figures.pattern != Pattern::Steady, Reverse(figures.bytes))
}

/// Whether the same function is to blame for both.
pub(super) fn is_of(one: &GrowthStack, other: &GrowthStack) -> bool {
    blamed(&one.trace).zip(blamed(&other.trace)).is_some_and(|(one, other)| one.is_of(other))
}

fn evidence(report: &Report, growth: &GrowthStack) -> StackEvidence {
    let lives = report.members.iter().any(|member| member.pid == growth.pid && !member.gone);
    StackEvidence {
        pid: growth.pid,
        trace: growth.trace.clone(),
        operation: OPERATION,
        live_bytes: growth.figures.bytes,
        live_count: growth.figures.survivors,
        error_bytes: growth.figures.error_bytes,
        allocated_bytes: growth.figures.touched_bytes,
        allocated_count: growth.figures.samples,
        freed_bytes: growth.figures.touched_bytes.saturating_sub(growth.figures.bytes),
        freed_count: growth.figures.samples.saturating_sub(growth.figures.survivors),
        allocation_rate: growth.figures.velocity,
        gone: !lives && !report.members.is_empty(),
        ..StackEvidence::default()
    }
}
