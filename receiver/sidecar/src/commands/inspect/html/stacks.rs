//! The stacks that hold the most, each with its frames.

use maud::{Markup, html};
use mlh_stacks::trace::{Frame, Trace};

use super::super::by_page::is_by_page;
use super::super::finding::{Finding, build_id, function, number, source, spot, things, whose};
use super::super::flame::MARK;
use super::super::merged::Merged;
use super::bar;
use crate::investigate::plan::Rung;
use crate::records::words::{printable, size, span};

/// The table, or that there is nothing for it.
pub(super) fn section(finding: &Finding<'_>, top: usize) -> Markup {
    let mut stacks = finding.merged();
    stacks.retain(|merged| merged.stack.live_bytes > 0 && !is_by_page(&merged.stack));
    let more = stacks.len().saturating_sub(top);
    stacks.truncate(top);
    html! {
        section aria-labelledby="stacks" {
            h2 id="stacks" { "Stacks by live bytes" }
            @if finding.report.rung == Rung::GrowthStacks {
                p { "No probe was placed: allocations are not known." }
            } @else if stacks.is_empty() {
                p { "No allocation was seen that is still live." }
            } @else {
                table.stacks {
                    thead { tr {
                        th scope="col" { "#" } th scope="col" { "Share" } th.figure scope="col" { "Live" }
                        th.figure scope="col" { "Count" } th.figure scope="col" { "Alloc/s" }
                        th.figure scope="col" { "Freed" } th scope="col" { "Where" }
                    } }
                    tbody {
                        @for (index, merged) in stacks.iter().enumerate() { (row(finding, index, merged)) }
                    }
                }
                @if more > 0 { p.note { "and " (number(more as u64)) " more; all of them are in the flame graph" } }
            }
        }
    }
}

fn row(finding: &Finding<'_>, index: usize, merged: &Merged) -> Markup {
    let stack = &merged.stack;
    let share = finding.share(stack);
    let freed = stack.freed_bytes as f64 / stack.allocated_bytes.max(1) as f64;
    let about = match (stack.at_least, stack.error_bytes) {
        (true, _) => "≥ ",
        (false, 0) => "",
        (false, _) => "~ ",
    };
    let rate = size(stack.allocation_rate.max(0.0) as u64);
    html! {
        tr class=[merged.survives.then_some("kept")] {
            td data-label="#" { (index + 1) }
            td.share data-label="Share" { (format!("{:.1} %", share * 100.0)) (bar(share)) }
            td.figure data-label="Live" { (about) (size(stack.live_bytes)) }
            td.figure data-label="Count" { (number(stack.live_count)) }
            td.figure data-label="Alloc/s" { (rate) "/s" }
            td.figure data-label="Freed" { (format!("{:.0} %", freed * 100.0)) }
            td.where data-label="Where" {
                details open[index == 0] {
                    summary {
                        (whose(&stack.trace))
                        @if stack.gone { " (its process has ended)" }
                    }
                    p.note { (said(merged)) }
                    (frames(&stack.trace))
                }
            }
        }
    }
}

/// What a row has no column for.
fn said(merged: &Merged) -> String {
    let stack = &merged.stack;
    let whose = match merged.processes {
        1 => format!("pid {}", stack.pid),
        count => format!("{count} processes, first pid {}", stack.pid),
    };
    let doubt = match stack.error_bytes {
        0 => String::new(),
        error => format!("; estimated, ± {}", size(error)),
    };
    let keeps = if merged.survives { "; it keeps what it allocates" } else { "" };
    let (oldest, largest) = (span(stack.oldest), size(stack.largest));
    format!(
        "{} by {} of {whose}, the oldest {oldest} old, the largest {largest}{doubt}{keeps}",
        things(stack),
        stack.operation
    )
}

/// A stack, innermost first.
pub(super) fn frames(trace: &Trace) -> Markup {
    html! {
        ol.frames {
            @for (index, frame) in trace.frames.iter().enumerate() {
                (line(frame, trace.culprit == Some(index)))
            }
        }
        @if let Some(why) = &trace.incomplete { p.note { "The stack ends here: " (printable(why)) } }
    }
}

fn line(frame: &Frame, is_culprit: bool) -> Markup {
    let file = frame.file.as_deref().map(printable);
    html! {
        li class=[is_culprit.then_some("culprit")] {
            @if is_culprit { span.mark title="to blame" { (MARK) } " " }
            code.function {
                @if frame.function.is_some() { (function(frame)) } @else { "?" }
            }
            @if let Some(source) = source(frame) { " " span.source title=[file] { (source) } }
            @if frame.inlined { " " span.note { "inlined" } }
            " " span.module title=(titled(frame)) {
                (spot(frame))
                @if frame.function.is_none() && let Some(id) = build_id(frame) { ", build id " (id) }
            }
        }
    }
}

/// All that names a frame's module, for debuggers and servers of debug information.
fn titled(frame: &Frame) -> String {
    let module = printable(&frame.module);
    match &frame.build_id {
        Some(id) => format!("{module}, build id {}", printable(id)),
        None => module,
    }
}
