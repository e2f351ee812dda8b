//! `inspect`: one look at one target, and the report of it. No configuration is needed.
//!
//! Read in this order: `args` is what is asked for, `interrupt` ends it early, `growth` watches memory
//! meanwhile, `by_page` adds who touched the memory that stays, `verdict` concludes, `finding` holds it all, with the same stack of several processes `merged`; `text`, `json`,
//! `svg`, `pprof` and `html` write it down, `flame` draws for two of them.

mod args;
mod interrupt;
mod growth;
mod by_page;
mod verdict;
mod merged;
mod finding;
mod progress;
mod json;
mod text;
mod flame;
mod svg;
mod pprof;
mod html;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use mlh_pipeline::config::{LogLevel, LogSettings};
use mlh_targets::host::HostClock;
use uuid::Uuid;

pub use args::Args;

use self::args::Output;
use self::finding::Finding;
use self::growth::{Grown, Growth};
use self::interrupt::Interrupt;
use self::progress::Progress;
use self::text::Ink;
use self::verdict::Verdict;
use super::log::Log;
use super::{Exit, print};
use crate::growth_stacks::GrowthLook;
use crate::investigate::investigation::Investigation;
use crate::investigate::plan::{End, Origin, Plan, Rung};
use crate::investigate::report::Report;

/// Stacks in a report, where fewer are asked for: whose memory grows is seen of these.
const TOP: usize = 64;
/// Between two readings of the target's memory.
const SECOND: Duration = Duration::from_secs(1);
/// Stacks of growth by page get so long to be named, after those of the probes.
const LAST_NAMES: Duration = Duration::from_secs(30);
/// A wish to end early is heard within this.
const HEARD: Duration = Duration::from_millis(100);

pub(super) fn inspect(args: &Args) -> Exit {
    Log::to_stderr(LogSettings { level: LogLevel::Warn, ..LogSettings::default() });
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(reason) => {
            eprintln!("error: {reason}");
            return Exit::Usage;
        }
    };
    if args.output().is_binary() && std::io::stdout().is_terminal() {
        eprintln!("error: such a profile is nothing for a terminal: add `> heap.pb.gz`");
        return Exit::Usage;
    }
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return failed(&error.into()),
    };
    let progress = Progress::start(&plan.target, args.duration());
    let opened = Investigation::open(&plan);
    let investigation = match opened {
        Ok(investigation) => investigation,
        Err(error) => {
            progress.end();
            eprintln!("error: {error}");
            return Exit::Host;
        }
    };
    let growth_stacks = GrowthLook::begin(&plan, &investigation.pids(), investigation.library());
    if let (Err(reason), Rung::GrowthStacks) = (&growth_stacks, plan.rung) {
        progress.end();
        eprintln!("error: {reason}");
        return Exit::Host;
    }
    let look = Look {
        growth_stacks,
        growth: Growth::open(&plan.target, plan.filters.btf_path.as_deref()),
        progress,
        investigation,
    };
    match look.run(args, &interrupt) {
        Ok(seen) => told(args, &plan, &seen),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> Exit {
    eprintln!("error: {error:#}");
    Exit::Fatal
}

/// What was seen.
struct Seen {
    report: Report,
    grown: Grown,
    clock: HostClock,
}

struct Look {
    investigation: Investigation,
    /// Or why page faults cannot be sampled.
    growth_stacks: Result<GrowthLook, String>,
    growth: Growth,
    progress: Progress,
}

impl Look {
    fn run(mut self, args: &Args, interrupt: &Interrupt) -> anyhow::Result<Seen> {
        self.progress.placed(&self.investigation.report(self.investigation.started(), 0));
        let end = self.watch(self.investigation.started(), args.duration(), interrupt)?;
        self.progress.closing();
        // the last moment counts as well
        let now = HostClock::now_boot()?;
        self.growth.look(now, &self.investigation.pids());
        let by_page = self.growth_stacks.map(|look| look.close(now, args.named().max(TOP)));
        // names come when nothing is in the target any more: nobody watches what it costs from here on
        let (_, mut report) = self.investigation.close(now, args.named().max(TOP), end);
        by_page::add(&mut report, by_page.map(|ended| ended.named(LAST_NAMES)));
        self.progress.end();
        let clock = HostClock::read().context("the clock")?;
        Ok(Seen { report, grown: self.growth.outcome(), clock })
    }

    /// Until the time is over, somebody asks for the report, or there is nothing more to see.
    fn watch(&mut self, began: Duration, length: Duration, interrupt: &Interrupt) -> anyhow::Result<End> {
        let (over, mut next) = (began + length, HostClock::now_boot()?);
        let (mut rung, mut stepped) = (false, Duration::ZERO);
        loop {
            let now = HostClock::now_boot()?;
            // processes that come and go all the time do not make it all the more frequent
            let pause = self.investigation.until_due();
            let resumes = pause.is_some_and(|pause| pause.is_zero());
            let is_due =
                resumes || now >= next || now >= over || (rung && now.saturating_sub(stepped) >= HEARD);
            if is_due {
                (rung, stepped) = (false, now);
                if let Some(end) = self.investigation.step(now).ended {
                    return Ok(end);
                }
            }
            if now >= next {
                self.survey(now);
                next = (next + SECOND).max(now);
            }
            if interrupt.asked() {
                return Ok(End::Released(Origin::Command));
            }
            if now >= over {
                return Ok(End::Elapsed);
            }
            let wait = next.min(over).saturating_sub(now).min(HEARD).min(pause.unwrap_or(HEARD));
            rung |= self.investigation.wait(wait);
        }
    }

    /// Once a second.
    fn survey(&mut self, now: Duration) {
        let pids = self.investigation.pids();
        self.growth.look(now, &pids);
        if let Ok(look) = &mut self.growth_stacks {
            look.step(&pids);
        }
        let report = self.investigation.report(now, 0);
        self.progress.show(&report);
    }
}

/// Hands the report out.
fn told(args: &Args, plan: &Plan, seen: &Seen) -> Exit {
    let Seen { report, grown, clock } = seen;
    let verdict = Verdict::reach(grown, report);
    let finding = Finding { target: &plan.target, report, verdict: &verdict, grown, clock };
    let file = match rendered(args, &finding) {
        Ok(file) => file,
        Err(error) => return failed(&error),
    };
    match (print(&file), &report.ended) {
        (Exit::Success, Some(End::Failed(_))) => Exit::Fatal,
        (exit, _) => exit,
    }
}

fn rendered(args: &Args, finding: &Finding<'_>) -> anyhow::Result<Vec<u8>> {
    let text = match args.output() {
        Output::Text => text::render(finding, args.top(), ink()),
        Output::Json => json::render(finding, args.top())?,
        Output::Svg => svg::render(finding)?,
        Output::Html => html::render(finding, args.top(), &Uuid::new_v4().simple().to_string())?,
        Output::Pprof => return Ok(pprof::render(finding)?),
    };
    Ok(text.into_bytes())
}

/// Colours for a terminal whose owner has nothing against them (<https://no-color.org>).
fn ink() -> Ink {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !unwanted { Ink::Colours } else { Ink::Plain }
}
