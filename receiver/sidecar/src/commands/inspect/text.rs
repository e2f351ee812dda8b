//! The report for people: the verdict first, then who, what was seen, the stacks that hold the most, the cost, and what
//! was not seen.

pub(super) mod growth;

use mlh_stacks::trace::Frame;

use super::by_page::is_by_page;
use super::finding::{Finding, build_id, ending, function, name, number, short, source, spot, things, whose};
use super::merged::Merged;
use super::verdict::Kind;
use crate::investigate::plan::{Mode, Rung};
use crate::investigate::report::{Member, StackEvidence};
use crate::records::words::{moment, percent, printable, size, span};

/// Columns, as far as names are concerned.
const WIDTH: usize = 110;
/// Stacks whose frames are shown.
const UNFOLDED: usize = 5;
/// Frames of one stack.
const FRAMES: usize = 24;
/// Processes in the list.
const MEMBERS: usize = 10;

/// How the page is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Colours,
}

/// The whole report.
pub(super) fn render(finding: &Finding<'_>, top: usize, ink: Ink) -> String {
    let mut page = Page { text: String::new(), ink };
    page.verdict(finding);
    page.overview(finding);
    page.members(finding);
    let mut stacks = finding.merged();
    // of those that hold nothing there is nothing to tell people
    stacks.retain(|merged| merged.stack.live_bytes > 0);
    stacks.truncate(top);
    let by_page = stacks.iter().filter(|merged| is_by_page(&merged.stack)).count();
    let leads = by_page > 0 || finding.report.rung == Rung::GrowthStacks;
    if leads {
        page.growth(finding, top);
    }
    if by_page < stacks.len() || !leads {
        page.table(finding, &stacks, by_page);
    }
    if !leads {
        page.growth(finding, top);
    }
    for (rank, merged) in stacks.iter().take(UNFOLDED).enumerate() {
        page.stack(rank + 1, merged);
    }
    page.not_seen(finding);
    page.text
}

struct Page {
    text: String,
    ink: Ink,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A heading and what belongs to it.
    fn entry(&mut self, heading: &str, body: &str) {
        let heading = self.bold(&format!("{heading:<9}"));
        self.line(&format!("{heading} {body}"));
    }

    fn bold(&self, text: &str) -> String {
        self.dyed("1", text)
    }

    fn dyed(&self, code: &str, text: &str) -> String {
        match self.ink {
            Ink::Plain => text.to_owned(),
            Ink::Colours => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn verdict(&mut self, finding: &Finding<'_>) {
        let colour = match finding.verdict.kind {
            Kind::Leak => "1;31",
            Kind::Growing => "1;33",
            Kind::Calm => "1;32",
            Kind::Unknown => "1",
        };
        let sentence = self.dyed(colour, &finding.sentence());
        self.line(&sentence);
        for remark in finding.remarks() {
            self.line(&remark);
        }
        self.line("");
    }

    fn overview(&mut self, finding: &Finding<'_>) {
        let (report, grown) = (finding.report, finding.grown);
        if let Some(leader) = finding.leader() {
            self.entry("Target", &who(leader));
        }
        let how = report.rung.sees();
        let started = moment(finding.time(report.started), finding.ended());
        let mode = Mode::Investigating(report.rung).name();
        let ended = report.ended.as_ref().and_then(|end| ending(end).1).map(|why| format!(". {why}"));
        let ended = ended.unwrap_or_default();
        self.entry("Look", &format!("{} from {started}, {mode}: {how}{ended}", span(report.lasted)));
        if !grown.seen_for.is_zero() {
            let (before, after) = (size(grown.before), size(grown.after));
            let change = if grown.after >= grown.before {
                format!("+{}", size(grown.after - grown.before))
            } else {
                format!("-{}", size(grown.before - grown.after))
            };
            let note = if grown.upper_bound { " (a sum over its processes)" } else { "" };
            self.entry(
                "Memory",
                &format!("{before} -> {after} ({change}), at most {}{note}", size(grown.peak)),
            );
        }
        let cost = &report.cost;
        if report.rung == Rung::GrowthStacks {
            let (share, kernel) = (cost.target_cpu_share * 100.0, size(cost.kernel_bytes));
            let here = format!("{:.1} s of CPU and {kernel} of kernel memory here", cost.agent_cpu_s);
            self.entry("Cost", &format!("{share:.2} % of one CPU to the target; {here}"));
            return;
        }
        let totals = &report.totals;
        let mapped = match (totals.mapped_count, size(totals.mapped_anonymous_bytes)) {
            (0, _) => String::new(),
            (1, bytes) => format!("; 1 mapping, {bytes} of it memory"),
            (count, bytes) => format!("; {} mappings, {bytes} of them memory", number(count)),
        };
        self.entry(
            "Seen",
            &format!(
                "{} allocations of {}, {} of them freed ({}); {} blocks of {} live{mapped}",
                number(totals.allocated_count),
                size(totals.allocated_bytes),
                number(totals.freed_count),
                size(totals.freed_bytes),
                number(totals.live_count),
                size(totals.live_bytes),
            ),
        );
        let watched = match cost.watched_share {
            share if share < 0.995 => {
                format!("; the probes were in place {} of the time", percent(share))
            }
            _ => String::new(),
        };
        self.entry(
            "Cost",
            &format!(
                "{:.2} % of the target's CPU time (of one CPU at least) for {} hits; {:.1} s of CPU and {} of kernel memory here{watched}",
                cost.target_cpu_share * 100.0,
                number(cost.hits),
                cost.agent_cpu_s,
                size(cost.kernel_bytes)
            ),
        );
    }

    /// Where there are several.
    fn members(&mut self, finding: &Finding<'_>) {
        let members = &finding.report.members;
        if members.len() < 2 {
            return;
        }
        self.entry("Processes", &number(members.len() as u64));
        for member in members.iter().take(MEMBERS) {
            let note = match (member.gone, member.braked) {
                (true, _) => ", ended",
                (false, true) => ", its probes were taken out: they cost more than the budget",
                (false, false) => "",
            };
            self.line(&format!("{:9} {}{note}", "", brief(member)));
        }
        if members.len() > MEMBERS {
            self.line(&format!("{:9} and {} more", "", members.len() - MEMBERS));
        }
    }

    /// Those that the probes have seen, without so many that stand above.
    fn table(&mut self, finding: &Finding<'_>, stacks: &[Merged], above: usize) {
        self.line("");
        if stacks.is_empty() {
            self.line("No allocation was seen that is still live.");
            return;
        }
        let heading = format!(
            "{:>3} {:>7} {:>12} {:>9} {:>11} {:>6}  {}",
            "#", "share", "live", "count", "alloc/s", "freed", "where"
        );
        let heading = self.bold(&heading);
        self.line(&heading);
        for (rank, merged) in stacks.iter().enumerate().skip(above) {
            self.line(&row(finding, rank + 1, &merged.stack));
        }
    }

    fn stack(&mut self, rank: usize, merged: &Merged) {
        let stack = &merged.stack;
        let things = things(stack);
        let doubt = match stack.error_bytes {
            0 => String::new(),
            error => format!(" (estimated, +-{})", size(error)),
        };
        let at_least = if stack.at_least { "at least " } else { "" };
        let whose = match (merged.processes, stack.gone) {
            (1, false) => format!("pid {}", stack.pid),
            (1, true) => format!("pid {}, which has ended", stack.pid),
            (count, false) => format!("{count} processes, first pid {}", stack.pid),
            (count, true) => format!("{count} processes that have ended, first pid {}", stack.pid),
        };
        let (held, count) = (size(stack.live_bytes), number(stack.live_count));
        let head = if is_by_page(stack) {
            let what = match (stack.gone, merged.processes) {
                (false, _) => format!("still there of what {whose} touched"),
                (true, 1) => format!("left of what pid {} had touched when it ended", stack.pid),
                (true, count) => format!(
                    "left of what {count} processes, first pid {}, had touched when they ended",
                    stack.pid
                ),
            };
            format!("{rank}. {held}{doubt} {what}, from {count} {things}")
        } else {
            let oldest = span(stack.oldest);
            format!(
                "{rank}. {at_least}{held}{doubt} in {count} {things} by {} of {whose}, the oldest {oldest} old",
                stack.operation
            )
        };
        self.line("");
        let head = self.bold(&head);
        self.line(&head);
        let frames = &stack.trace.frames;
        for (index, frame) in frames.iter().take(FRAMES).enumerate() {
            let mark = if stack.trace.culprit == Some(index) { ">" } else { " " };
            self.line(&format!("   {mark} {}", line_of(frame)));
        }
        if frames.len() > FRAMES {
            self.line(&format!("     and {} more (-o json shows all)", frames.len() - FRAMES));
        }
        if let Some(why) = &stack.trace.incomplete {
            self.line(&format!("     the stack ends here: {}", printable(why)));
        }
    }

    fn not_seen(&mut self, finding: &Finding<'_>) {
        let trouble = finding.grown.trouble.iter();
        let trouble = trouble.map(|why| format!("The target's memory could not always be read: {why}."));
        let all: Vec<String> = finding.report.not_seen.iter().cloned().chain(trouble).collect();
        if all.is_empty() {
            return;
        }
        self.line("");
        let heading = self.bold("Not seen");
        self.line(&heading);
        for sentence in all {
            self.line(&format!("  - {}", printable(&sentence)));
        }
    }
}

fn row(finding: &Finding<'_>, rank: usize, stack: &StackEvidence) -> String {
    let about = match (stack.at_least, stack.error_bytes) {
        (true, _) => ">=",
        (false, 0) => "",
        (false, _) => "~",
    };
    let freed = match stack.allocated_bytes {
        0 => 0.0,
        allocated => stack.freed_bytes as f64 / allocated as f64 * 100.0,
    };
    let room = WIDTH - 64;
    let place = whose(&stack.trace);
    let ended = if stack.gone { "  (ended)" } else { "" };
    format!(
        "{rank:>3} {:>5.1} % {:>12} {:>9} {:>11} {freed:>4.0} %  {}{ended}",
        finding.share(stack) * 100.0,
        format!("{about}{}", size(stack.live_bytes)),
        number(stack.live_count),
        format!("{}/s", size(stack.allocation_rate.max(0.0) as u64)),
        shortened(&place, room)
    )
}

/// `function  file:line  [module+0x1a2b]`, without a name `?  [module+0x1a2b, build id 0123456789ab]`.
fn line_of(frame: &Frame) -> String {
    let build_id = build_id(frame).filter(|_| frame.function.is_none());
    let build_id = build_id.map(|id| format!(", build id {id}")).unwrap_or_default();
    let place = format!("{}{build_id}", shortened(&spot(frame), 40));
    // what is in no file has brackets of its own
    let place = if frame.module.starts_with('[') { place } else { format!("[{place}]") };
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    let rest = match source(frame) {
        Some(source) => format!("{inlined}  {source}  {place}"),
        None => format!("{inlined}  {place}"),
    };
    let room = WIDTH.saturating_sub(5 + rest.chars().count()).max(40);
    let name = frame.function.as_ref().map_or_else(|| "?".to_owned(), |_| function(frame));
    format!("{}{rest}", shortened(&name, room))
}

fn who(member: &Member) -> String {
    let path = member.executable.as_deref().unwrap_or(&member.command);
    let container = member.container_id.as_deref().map(|id| format!(", container {}", short(id)));
    format!(
        "{}, pid {}{}, {}, {}",
        shortened(&printable(path), WIDTH),
        member.pid,
        container.unwrap_or_default(),
        member.runtime.name(),
        probes(member)
    )
}

fn brief(member: &Member) -> String {
    format!("{} (pid {}), {}, {}", name(member), member.pid, member.runtime.name(), probes(member))
}

fn probes(member: &Member) -> String {
    let all = |names: &[String]| names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(" and ");
    match member.probes {
        0 => "no probes".to_owned(),
        count if member.allocators.is_empty() => format!("{count} probes"),
        count => format!("{count} probes in {}", all(&member.allocators)),
    }
}

/// No longer than `room` characters: the beginning and the end, which say the most of a path or of a C++ name.
fn shortened(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let (head, end) = ((room - 3) / 2, (room - 2) / 2);
    let tail: String = text.chars().skip(length - end).collect();
    text.chars().take(head).collect::<String>() + "..." + &tail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what is too long keeps its ends and never exceeds its room.
    #[test]
    fn long_names() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("0123456789", 8), "01...789");
        assert_eq!(shortened("ü123456789", 9), "ü12...789");
    }
}
