//! What the look was, whom it saw, what it cost and what it did not see.

use maud::{Markup, html};

use super::super::finding::{Finding, ending, name, number, short};
use crate::investigate::plan::{Mode, Rung};
use crate::investigate::report::Member;
use crate::records::words::{moment, percent, printable, size, span};

/// Processes in the list.
const MEMBERS: usize = 200;

/// Target, time and sums.
pub(super) fn look(finding: &Finding<'_>) -> Markup {
    let (report, grown) = (finding.report, finding.grown);
    let totals = &report.totals;
    let how = report.rung.sees();
    let ended = report.ended.as_ref().and_then(|end| ending(end).1);
    let started = moment(finding.time(report.started), finding.ended());
    html! {
        section aria-label="The look" {
            dl.facts {
                @if let Some(leader) = finding.leader() {
                    dt { "Target" }
                    dd {
                        (printable(leader.executable.as_deref().unwrap_or(&leader.command))) ", pid " (leader.pid)
                        @if let Some(id) = &leader.container_id { ", container " (short(id)) }
                        ", " (leader.runtime.name())
                    }
                }
                dt { "Look" }
                dd {
                    (span(report.lasted)) " from " (started) ", " (Mode::Investigating(report.rung).name()) ": " (how)
                    @if let Some(why) = ended { ". " (why) }
                }
                @if !grown.seen_for.is_zero() {
                    dt { "Memory" }
                    dd { (size(grown.before)) " → " (size(grown.after)) ", at most " (size(grown.peak)) }
                }
                @if report.rung != Rung::GrowthStacks {
                    dt { "Seen" }
                    dd {
                        (number(totals.allocated_count)) " allocations of " (size(totals.allocated_bytes)) ", "
                        (number(totals.freed_count)) " of them freed (" (size(totals.freed_bytes)) "); "
                        (number(totals.live_count)) " blocks of " (size(totals.live_bytes)) " live"
                        @if totals.mapped_count > 0 {
                            "; " (number(totals.mapped_count)) (if totals.mapped_count == 1 { " mapping" } else { " mappings" })
                            " with " (size(totals.mapped_anonymous_bytes)) " of memory"
                        }
                    }
                }
            }
        }
    }
}

/// The processes.
pub(super) fn members(finding: &Finding<'_>) -> Markup {
    let members = &finding.report.members;
    html! {
        @if !members.is_empty() {
            section aria-labelledby="members" {
                h2 id="members" { "Processes" }
                table.members {
                    thead { tr {
                        th.figure scope="col" { "Pid" } th scope="col" { "Name" } th scope="col" { "Runtime" }
                        th.figure scope="col" { "Probes" } th scope="col" { "Allocators" } th scope="col" { "Not seen of it" }
                    } }
                    tbody { @for member in members.iter().take(MEMBERS) { (row(member)) } }
                }
                @if members.len() > MEMBERS { p.note { "and " (number((members.len() - MEMBERS) as u64)) " more" } }
            }
        }
    }
}

fn row(member: &Member) -> Markup {
    let allocators: Vec<String> = member.allocators.iter().map(|name| printable(name)).collect();
    html! {
        tr {
            td.figure data-label="Pid" { (member.pid) }
            td data-label="Name" {
                (name(member))
                @if member.gone { " (ended)" }
                @if member.braked { " (its probes cost more than the budget)" }
            }
            td data-label="Runtime" { (member.runtime.name()) }
            td.figure data-label="Probes" { (member.probes) }
            td data-label="Allocators" { (allocators.join(", ")) }
            td data-label="Not seen of it" {
                @for spot in &member.blind_spots { p { (printable(&spot.what)) ": " (printable(&spot.reason)) } }
            }
        }
    }
}

/// What it cost the target, and us.
pub(super) fn cost(finding: &Finding<'_>) -> Markup {
    let cost = &finding.report.cost;
    html! {
        section aria-labelledby="cost" {
            h2 id="cost" { "Cost" }
            p {
                (format!("{:.2} %", cost.target_cpu_share * 100.0)) " of the target's CPU time (of one CPU at least)"
                @if cost.hits > 0 { " for " (number(cost.hits)) " hits" }
                "; " (format!("{:.1} s", cost.agent_cpu_s)) " of CPU and " (size(cost.kernel_bytes)) " of kernel memory here."
                @if cost.watched_share < 0.995 {
                    " The probes were in place " (percent(cost.watched_share)) " of the time."
                }
            }
        }
    }
}

/// The blind spots of the whole look.
pub(super) fn not_seen(finding: &Finding<'_>) -> Markup {
    let trouble = finding.grown.trouble.iter();
    let trouble = trouble.map(|why| format!("The target's memory could not always be read: {why}."));
    let all: Vec<String> = finding.report.not_seen.iter().cloned().chain(trouble).collect();
    html! {
        @if !all.is_empty() {
            section aria-labelledby="not-seen" {
                h2 id="not-seen" { "Not seen" }
                ul { @for sentence in &all { li { (printable(sentence)) } } }
            }
        }
    }
}
