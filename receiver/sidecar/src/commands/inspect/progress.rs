//! What whoever waits sees meanwhile, on standard error: a bar on a terminal, else a line now and then.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::finding::number;
use crate::investigate::plan::{Rung, Target};
use crate::investigate::report::Report;
use crate::records::words::size;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Progress {
    what: String,
    length: Duration,
    bar: Option<ProgressBar>,
    next_line: Duration,
}

impl Progress {
    /// From now on the beginning is shown.
    pub(super) fn start(target: &Target, length: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(length.as_secs()), ProgressDrawTarget::stderr());
            // without it a bar shows all the same
            if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos} of {len} s  {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message("placing probes");
            bar.tick();
            bar
        });
        let what = crate::records::words::printable(&target.to_string());
        Self { what, length, bar, next_line: LINE_EVERY }
    }

    /// The look begins: whoever waits may let the target do what is to be seen.
    pub(super) fn placed(&self, report: &Report) {
        if self.bar.is_none() {
            eprintln!("{}: {}", self.what, begun(report));
        }
    }

    /// What is known by now.
    pub(super) fn show(&mut self, report: &Report) {
        let message = message(report);
        match &self.bar {
            Some(bar) => {
                bar.set_position(report.lasted.as_secs().min(self.length.as_secs()));
                bar.set_message(message);
            }
            None if report.lasted >= self.next_line => {
                self.next_line += LINE_EVERY;
                let (lasted, length) = (report.lasted.as_secs(), self.length.as_secs());
                eprintln!("{}: {lasted} of {length} s, {message}", self.what);
            }
            None => {}
        }
    }

    /// The look is over: the probes go, the stacks get their names.
    pub(super) fn closing(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("naming stacks");
            bar.tick();
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether the look sees allocations.
fn is_probed(report: &Report) -> bool {
    report.rung != Rung::GrowthStacks && report.members.iter().any(|member| member.probes > 0)
}

fn begun(report: &Report) -> &'static str {
    match (is_probed(report), report.rung) {
        (true, _) => "probes are in place",
        (false, Rung::GrowthStacks) => "page faults are sampled",
        (false, _) => "no allocator was found to place probes in; page faults are sampled",
    }
}

fn message(report: &Report) -> String {
    if !is_probed(report) {
        return "sampling page faults".to_owned();
    }
    let totals = &report.totals;
    let live = size(totals.live_bytes.saturating_add(totals.mapped_anonymous_bytes));
    format!(
        "{} allocations, {} freed, {live} live",
        number(totals.allocated_count),
        number(totals.freed_count)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::investigate::report::Member;

    /// Guarantees: probes are said to be in place where there are some, and nowhere else.
    #[test]
    fn what_has_begun() {
        let of = |rung, probes| {
            let members = vec![Member { probes, ..Member::default() }];
            let report = Report { rung, members, ..Report::default() };
            (begun(&report), message(&report))
        };
        let (begun, message) = of(Rung::Targeted, 3);
        assert!(begun.starts_with("probes are in place") && message.contains("allocations"), "{message}");
        let (begun, message) = of(Rung::Debug, 0);
        assert!(begun.starts_with("no allocator was found"), "{begun}");
        assert_eq!(
            (message.as_str(), of(Rung::GrowthStacks, 0).0),
            ("sampling page faults", "page faults are sampled")
        );
    }
}
