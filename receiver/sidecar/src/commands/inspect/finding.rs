//! All that a look has come to, in one place: the texts and the JSON are made of it.

use std::time::{Duration, SystemTime};

use mlh_stacks::names::brief;
use mlh_stacks::trace::{Frame, Trace};
use mlh_targets::host::HostClock;

use super::by_page;
use super::growth::Grown;
use super::merged::{Merged, merge};
use super::verdict::{Kind, Verdict};
use crate::investigate::plan::{End, Rung, Target};
use crate::investigate::report::{Member, Report, StackEvidence};
use crate::records::words::{about, moment, printable, rate, size, span, tail};

/// See the module.
pub(super) struct Finding<'a> {
    /// As it was asked for.
    pub(super) target: &'a Target,
    /// Stacks: by live bytes, as many as were asked for.
    pub(super) report: &'a Report,
    pub(super) verdict: &'a Verdict,
    pub(super) grown: &'a Grown,
    pub(super) clock: &'a HostClock,
}

impl Finding<'_> {
    /// The process that stands for the target: the one whose stacks hold the most.
    pub(super) fn leader(&self) -> Option<&Member> {
        let members = &self.report.members;
        // the living come first, of stacks as of members
        let most = self.report.stacks.first();
        let holds = |member: &&Member| most.is_some_and(|stack| stack.pid == member.pid);
        members.iter().find(holds).or_else(|| members.iter().find(|m| !m.gone)).or(members.first())
    }

    /// Of all that is live; where its process has ended, of all that was live at the end of such. What is known by pages and what is
    /// known by probes is the same memory: it has a share of its own kind.
    pub(super) fn share(&self, stack: &StackEvidence) -> f64 {
        let totals = &self.report.totals;
        let by_page = by_page::is_by_page(stack);
        let known = if by_page {
            0
        } else if stack.gone {
            totals.gone_bytes
        } else {
            totals.live_bytes.saturating_add(totals.mapped_anonymous_bytes)
        };
        let alike = self
            .report
            .stacks
            .iter()
            .filter(|other| other.gone == stack.gone && by_page::is_by_page(other) == by_page);
        let listed = alike.fold(0_u64, |sum, other| sum.saturating_add(other.live_bytes));
        stack.live_bytes as f64 / known.max(listed).max(1) as f64
    }

    /// It has kept what it allocated.
    pub(super) fn survives(&self, stack: &StackEvidence) -> bool {
        if by_page::is_by_page(stack) {
            return by_page::is_steady(self.report, stack);
        }
        stack.survives()
    }

    pub(super) fn time(&self, since_boot: Duration) -> SystemTime {
        self.clock.to_epoch(since_boot)
    }

    pub(super) fn ended(&self) -> SystemTime {
        self.time(self.report.started + self.report.lasted)
    }

    /// The one sentence, for a person woken at night.
    pub(super) fn sentence(&self) -> String {
        let verdict = self.verdict;
        let who = self.who(verdict.kind != Kind::Unknown);
        let growth = verdict.trend.as_ref().map(|trend| {
            let most = if self.grown.upper_bound { "at most " } else { "" };
            format!("{most}{}", rate(trend))
        });
        let growth = growth.unwrap_or_default();
        let said = match (verdict.kind, verdict.confidence) {
            (Kind::Leak, Some(_)) => {
                let since = verdict.onset.map(|at| moment(self.time(at), self.ended()));
                format!("{who} leaks {growth}, since {}{}", since.unwrap_or_default(), self.by_whom())
            }
            (Kind::Leak, None) => {
                let seen = span(self.grown.seen_for);
                format!("{who} leaks {growth}, as far as {seen} can tell{}", self.by_whom())
            }
            (Kind::Growing, _) => format!(
                "{who} grows steadily by {growth}, and {}",
                match (verdict.kept, verdict.by_page) {
                    (0, _) => "no stack that was seen keeps what it allocates".to_owned(),
                    (kept, true) => format!("the stacks that grow steadily account for only {}", size(kept)),
                    (kept, false) =>
                        format!("the stacks that keep what they allocate hold only {}", size(kept)),
                }
            ),
            (Kind::Calm, _) => {
                let (before, after) = (size(self.grown.before), size(self.grown.after));
                let over = span(self.grown.seen_for);
                format!(
                    "{who} is calm: {before}, then {after} after {over}, and no sustained growth{}",
                    self.kept()
                )
            }
            (Kind::Unknown, _) => {
                let reason = verdict.reason.as_deref().unwrap_or_default();
                format!("Whether {who} leaks is not known: {reason}{}", self.kept())
            }
        };
        let end = verdict
            .time_to_oom_s
            .and_then(about)
            .map(|when| format!("; at this rate memory is exhausted in {when}"));
        format!("{said}{}.", end.unwrap_or_default())
    }

    /// What belongs to the sentence: how sure it is, and what would say more.
    pub(super) fn remarks(&self) -> Vec<String> {
        let verdict = self.verdict;
        let mut remarks = Vec::new();
        if verdict.kind == Kind::Leak && verdict.confidence.is_none() {
            remarks.push(
                "A cache that is still being filled looks the same for so long; a look of 3 min or more gives a confidence."
                    .to_owned(),
            );
        }
        if verdict.trend.is_some() && verdict.keepers == 0 && self.report.rung == Rung::Targeted {
            remarks.push(
                "What the filters passed over is not among the stacks: a smaller --min-allocation-size or --mode debug shows it."
                    .to_owned(),
            );
        }
        remarks
            .extend(verdict.confidence.map(|confidence| format!("Confidence {:.0} %.", confidence * 100.0)));
        remarks
    }

    /// The stacks, each once.
    pub(super) fn merged(&self) -> Vec<Merged> {
        merge(&self.report.stacks, |stack| self.survives(stack))
    }

    /// The first of the stacks, where they explain the growth.
    fn by_whom(&self) -> String {
        let keeper = self.merged().into_iter().find(|merged| merged.survives);
        let keeper = keeper.filter(|keeper| !self.verdict.by_page || by_page::is_by_page(&keeper.stack));
        let by_page = by_page::first(self.report).filter(|_| self.verdict.by_page);
        let by_page = by_page.map(|stack| Merged { stack, processes: 1, survives: true });
        let Some(Merged { stack, processes, .. }) = keeper.or(by_page) else { return String::new() };
        let culprit = culprit(&stack).map_or_else(|| "a stack without a name".to_owned(), place);
        let of = if processes > 1 { format!(" of {processes} processes") } else { String::new() };
        if by_page::is_by_page(&stack) {
            let (held, error) = (size(stack.live_bytes), size(stack.error_bytes));
            return format!("; {culprit} touched {held} (+-{error}){of} that stay");
        }
        let held = format!("{} in {} {}", size(stack.live_bytes), number(stack.live_count), things(&stack));
        format!("; {culprit} holds {held}{of} and frees next to nothing")
    }

    /// What stacks keep, of all that has come since the look began and is there.
    fn kept(&self) -> String {
        let verdict = self.verdict;
        let (report, totals) = (self.report, &self.report.totals);
        let (there, how, one, many) = if verdict.by_page {
            let pages = report.growth.iter().map(|stack| stack.figures.bytes);
            let there = pages.fold(0, u64::saturating_add);
            (
                there,
                "touched meanwhile and not given back",
                "touches more all the time",
                "touch more all the time",
            )
        } else {
            let there = totals.live_bytes.saturating_add(totals.mapped_anonymous_bytes);
            (there, "allocated meanwhile and not freed", "keeps what it allocates", "keep what they allocate")
        };
        let who = match verdict.keepers {
            0 => return String::new(),
            1 => format!("one stack {one}"),
            count => format!("{count} stacks {many}"),
        };
        let (kept, there) = (size(verdict.kept), size(there.max(verdict.kept)));
        if kept == there {
            return format!("; {who}, {kept} by now");
        }
        format!("; {who}: {kept} of the {there} that were {how}")
    }

    /// The target by its name; `first`: at the beginning of a sentence.
    fn who(&self, first: bool) -> String {
        let Some(leader) = self.leader() else { return printable(&self.target.to_string()) };
        let (name, pid) = (name(leader), leader.pid);
        let (big, small, which) = match self.target {
            Target::Pid(_) => {
                let container = leader.container_id.as_deref().map(|id| format!(", container {}", short(id)));
                return format!("{name} (pid {pid}{})", container.unwrap_or_default());
            }
            Target::Container(id) => {
                ("Container", "container", short(leader.container_id.as_deref().unwrap_or(id)))
            }
            Target::CgroupId(id) => ("Cgroup", "cgroup", id.to_string()),
            Target::Cgroup(path) => ("Cgroup", "cgroup", tail(&printable(&path.to_string_lossy()))),
        };
        format!("{} {which} (most of it {name}, pid {pid})", if first { big } else { small })
    }
}

/// The name people know a process by.
pub(super) fn name(member: &Member) -> String {
    let base = member.executable.as_deref().map(base_name).filter(|base| !base.is_empty());
    printable(base.unwrap_or(&member.command))
}

/// The first twelve digits of a container's id, as container tools take them.
pub(super) fn short(id: &str) -> String {
    printable(id).chars().take(12).collect()
}

/// The frame to blame, if there is one.
pub(super) fn culprit(stack: &StackEvidence) -> Option<&Frame> {
    blamed(&stack.trace)
}

/// The same of any stack.
pub(super) fn blamed(trace: &Trace) -> Option<&Frame> {
    trace.culprit_frame()
}

/// Who is to blame, by its place; or that nobody is known.
pub(super) fn whose(trace: &Trace) -> String {
    match blamed(trace) {
        Some(frame) => place(frame),
        None if trace.frames.is_empty() => "(no stack)".to_owned(),
        None => "(no frame of the program)".to_owned(),
    }
}

/// `function (file:line)`, or where the function has no name `module+0x1a2b`.
pub(super) fn place(frame: &Frame) -> String {
    let function = function(frame);
    match source(frame) {
        Some(source) => format!("{function} ({source})"),
        None => function,
    }
}

/// The function without its parameters, or else where in which build of which module.
pub(super) fn function(frame: &Frame) -> String {
    match (&frame.function, build_id(frame)) {
        (Some(function), _) => without_parameters(&printable(&brief(function))).trim_end().to_owned(),
        (None, Some(id)) => format!("{} (build id {id})", spot(frame)),
        (None, None) => spot(frame),
    }
}

/// `module+0x1a2b`.
pub(super) fn spot(frame: &Frame) -> String {
    format!("{}+{:#x}", printable(base_name(&frame.module)), frame.offset)
}

/// The first twelve digits of the build id: enough to tell builds apart. JSON and the titles of the page have all of them.
pub(super) fn build_id(frame: &Frame) -> Option<String> {
    frame.build_id.as_deref().map(short)
}

/// `Session::remember(std::string const&) const` to `Session::remember`. What is no such name stays as it is.
fn without_parameters(name: &str) -> &str {
    let Some(list) = name.strip_suffix(" const").unwrap_or(name).strip_suffix(')') else { return name };
    let mut depth = 1_u32;
    let opening = list.char_indices().rev().find(|(_, char)| {
        match char {
            ')' => depth += 1,
            '(' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let before = opening.map_or("", |(index, _)| &list[..index]);
    if before.is_empty() || before.ends_with("operator") || before.ends_with("::") { name } else { before }
}

/// `file:line`, the file without its directories.
pub(super) fn source(frame: &Frame) -> Option<String> {
    let file = printable(base_name(frame.file.as_deref()?));
    Some(frame.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")))
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// What a stack has allocated, in a word.
pub(super) fn things(stack: &StackEvidence) -> &'static str {
    match (stack.mapped, stack.live_count) {
        _ if by_page::is_by_page(stack) => "sampled pages",
        (true, 1) => "mapping",
        (true, _) => "mappings",
        (false, 1) => "block",
        (false, _) => "blocks",
    }
}

/// With a comma between thousands.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let comma = |(index, digit): (usize, char)| {
        let first = index > 0 && (digits.len() - index).is_multiple_of(3);
        first.then_some(',').into_iter().chain(std::iter::once(digit))
    };
    digits.chars().enumerate().flat_map(comma).collect()
}

/// Why the look has ended: a word, and where there is more to say, a sentence.
pub(super) fn ending(end: &End) -> (&'static str, Option<String>) {
    match end {
        End::Elapsed => ("elapsed", None),
        End::Released(_) => ("interrupted", Some("It was ended early by a signal.".to_owned())),
        End::Replaced => ("replaced", Some("Another look took its place.".to_owned())),
        End::TargetGone => ("target_gone", Some("The last process of the target ended before.".to_owned())),
        End::OverBudget => (
            "over_budget",
            Some(
                "Not even one short burst of it keeps within the budget; --overhead-budget allows more."
                    .to_owned(),
            ),
        ),
        // these are for looks of the running sidecar
        End::Shutdown | End::Verdict | End::Cleared(_) | End::Yielded => (end.name(), None),
        End::Failed(reason) => ("failed", Some(format!("It broke off: {}", printable(reason)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: of a C++ name the parameters are left out and nothing else; names of other languages stay.
    #[test]
    fn parameters() {
        for (name, expected) in [
            ("Session::remember(std::string const&) const", "Session::remember"),
            ("keep(void (*)(int), unsigned long)", "keep"),
            ("Map<void (int)>::insert(int&&)", "Map<void (int)>::insert"),
            ("main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()"),
            ("Functor::operator()", "Functor::operator()"),
            ("(anonymous namespace)::leak(int)", "(anonymous namespace)::leak"),
            ("Outer::(anonymous)", "Outer::(anonymous)"),
            ("main.(*Server).handle", "main.(*Server).handle"),
            (
                "<alloc::vec::Vec<T> as core::ops::Drop>::drop",
                "<alloc::vec::Vec<T> as core::ops::Drop>::drop",
            ),
            ("malloc", "malloc"),
            ("odd)", "odd)"),
            ("()", "()"),
            ("", ""),
        ] {
            assert_eq!(without_parameters(name), expected);
        }
    }

    /// Guarantees: thousands are set apart.
    #[test]
    fn numbers() {
        let texts: Vec<String> = [0, 12, 999, 1000, 12_345, 1_234_567].into_iter().map(number).collect();
        assert_eq!(texts, ["0", "12", "999", "1,000", "12,345", "1,234,567"]);
    }
}
