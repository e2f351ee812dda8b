//! Growth by page: who touched the memory that is still there.

use maud::{Markup, html};
use mlh_detect::growth_stacks::Pattern;

use super::super::finding::{Finding, number, whose};
use super::super::text::growth::{aside, ranked};
use super::{bar, stacks};
use crate::investigate::report::GrowthStack;
use crate::records::words::size;

/// The table, where somebody looked.
pub(super) fn section(finding: &Finding<'_>, top: usize) -> Markup {
    let stacks = ranked(&finding.report.growth);
    html! {
        @if !stacks.is_empty() {
            section aria-labelledby="growth" {
                h2 id="growth" { "Growth by page" }
                p.note {
                    "Memory that was touched for the first time during the look and is still there, estimated from sampled "
                    "page faults: whatever the allocator or the language."
                }
                table.stacks {
                    thead { tr {
                        th scope="col" { "#" } th scope="col" { "Share" } th.figure scope="col" { "Still there" }
                        th.figure scope="col" { "Touched" } th.figure scope="col" { "Growth/s" }
                        th.figure scope="col" { "Samples" } th scope="col" { "Over time" } th scope="col" { "Where" }
                    } }
                    tbody { @for (index, stack) in stacks.iter().take(top).enumerate() { (row(index, stack, &stacks)) } }
                }
                @if stacks.len() > top {
                    p.note { "and " (number((stacks.len() - top) as u64)) " more; all of them are in the flame graph" }
                }
            }
        }
    }
}

fn row(index: usize, stack: &GrowthStack, all: &[GrowthStack]) -> Markup {
    let note = aside(stack, all);
    html! {
        tr class=[(stack.figures.pattern == Pattern::Steady).then_some("kept")] {
            td data-label="#" { (index + 1) }
            td.share data-label="Share" { (format!("{:.1} %", stack.figures.share * 100.0)) (bar(stack.figures.share)) }
            td.figure data-label="Still there" { (size(stack.figures.bytes)) " ± " (size(stack.figures.error_bytes)) }
            td.figure data-label="Touched" { (size(stack.figures.touched_bytes)) }
            td.figure data-label="Growth/s" { (size(stack.figures.velocity.max(0.0) as u64)) "/s" }
            td.figure data-label="Samples" { (number(stack.figures.survivors)) " of " (number(stack.figures.samples)) }
            td.cohorts data-label="Over time" { (cohorts(&stack.figures.cohorts)) }
            td.where data-label="Where" {
                details open[index == 0] {
                    summary {
                        (whose(&stack.trace))
                        @if let Some(note) = note { " (" (note) ")" }
                    }
                    p.note { "pid " (stack.pid) }
                    (stacks::frames(&stack.trace))
                }
            }
        }
    }
}

/// A bar for each part of the look: what is still there of what was touched then.
fn cohorts(bytes: &[u64]) -> Markup {
    let most = bytes.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = 100.0 / bytes.len().max(1) as f64;
    html! {
        svg.bar role="img" aria-label="by the time it was touched" width="100%" height="24" {
            @for (index, bytes) in bytes.iter().enumerate() {
                @let height = *bytes as f64 / most * 24.0;
                g {
                    title { (size(*bytes)) }
                    rect x=(format!("{:.2}%", index as f64 * width)) y=(format!("{:.1}", 24.0 - height))
                        width=(format!("{:.2}%", width * 0.8)) height=(format!("{height:.1}")) {}
                }
            }
        }
    }
}
