//! The rung `growth_stacks`: who touches memory that stays, by sampled page faults. No probe is placed.
//!
//! It needs `CAP_PERFMON` and the right to read the target's page map. It costs a fifth of each page fault and some microseconds for
//! each of 49 samples a second at most. It sees the stacks whose pages survive, from both halves of the time it was watched. It cannot
//! see memory from before, nor tell what a heap keeps for itself from what the program keeps, nor who holds a page that somebody else
//! touched before: a large buffer at a heap's end that comes and goes is named for small blocks that stay there. Of a collected heap it
//! names who touches new memory; it testifies late where nothing else can, and not at all where the runtime can be asked.

use std::time::Duration;

use mlh_detect::growth_stacks::{Figures, Pattern};
use mlh_detect::{Rung, Says, Testimony};
use mlh_targets::points::Runtime;

use super::knowledge::{Lead, ranked};
use super::rung::{Look, Paid};
use crate::growth_stacks::{Ended, GrowthLook, Names};
use crate::investigate::plan::{Filters, Origin, Plan, Target};
use crate::investigate::report::GrowthStack;

/// What its testimony rests on.
pub(super) const SOURCE: &str = "growth_pages";

/// Pages are looked at as often as in a look of a minute: what a verdict waits for.
const LENGTH: Duration = Duration::from_secs(60);
/// Before that nothing is said: what comes and goes within seconds has to have gone.
const LEAST: Duration = Duration::from_secs(20);
/// The same of a heap that is collected, and of which nobody else tells anything: a collection is due by then where little is kept.
const LEAST_COLLECTED: Duration = Duration::from_secs(150);
/// Pages that survive, of all stacks that grow steadily: of fewer, chance may have put them into both halves.
const PAGES: u64 = 6;
/// Stacks that are named.
const TOP: usize = 16;
/// For names, each time, and so many times they may fail to come.
const NAMING: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

pub(super) struct GrowthStacks {
    look: GrowthLook,
    began: Duration,
    seen: Duration,
    /// Before that nothing is said. `None`: pages that stay prove nothing of what runs there.
    least: Option<Duration>,
    names: Names,
    failed: u32,
    growth: Vec<GrowthStack>,
    not_seen: Vec<String>,
}

impl GrowthStacks {
    /// Begins with these processes; `runtime`: what runs in the one that counts.
    ///
    /// # Errors
    /// Why page faults cannot be sampled, a sentence.
    pub(super) fn begin(
        target: &Target,
        filters: &Filters,
        pids: &[u32],
        runtime: Runtime,
        now: Duration,
    ) -> Result<Self, String> {
        let plan = Plan {
            target: target.clone(),
            rung: crate::investigate::plan::Rung::GrowthStacks,
            duration: Some(LENGTH),
            filters: filters.clone(),
            origin: Origin::Command,
        };
        let look = GrowthLook::begin(&plan, pids, filters.library())?;
        Ok(Self {
            look,
            began: now,
            seen: now,
            least: least(runtime),
            names: Names::new(),
            failed: 0,
            growth: Vec::new(),
            not_seen: Vec::new(),
        })
    }

    /// All that grows steadily has a name, or there was no way to one.
    fn is_named(&self) -> bool {
        self.failed >= TRIES || self.growth.iter().all(|stack| !stack.trace.frames.is_empty())
    }

    fn name(&mut self, ended: Ended) {
        let outcome = ended.named_by(&mut self.names, NAMING);
        self.growth = outcome.stacks;
        self.not_seen = outcome.not_seen;
        self.failed += u32::from(self.growth.iter().any(|stack| stack.trace.frames.is_empty()));
    }
}

impl Look for GrowthStacks {
    fn rung(&self) -> Rung {
        Rung::GrowthStacks
    }

    fn source(&self) -> &'static str {
        SOURCE
    }

    fn step(&mut self, _: Duration, pids: &[u32]) {
        self.look.step(pids);
    }

    fn see(&mut self, now: Duration) {
        if now.saturating_sub(self.began) < LEAST {
            return;
        }
        self.seen = now;
        let ended = self.look.so_far(now, TOP);
        // names cost more than all else: they are read once there is something to name
        if ended.figures().any(|(_, figures)| figures.pattern == Pattern::Steady) {
            self.name(ended);
        } else {
            self.growth.clear();
            self.not_seen = ended.not_seen().to_vec();
        }
    }

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        let watched = self.seen.saturating_sub(self.began);
        if watched < LEAST || !self.is_named() {
            return Vec::new();
        }
        let figures = self.growth.iter().filter(|stack| pid.is_none_or(|pid| stack.pid == pid));
        let says = match self.least {
            Some(least) if watched >= least => judged(figures.map(|stack| &stack.figures)),
            Some(_) | None => Says::Unclear("a collected heap touches new pages, leak or not"),
        };
        vec![Testimony { rung: self.rung(), source: SOURCE, at: self.seen, watched, says }]
    }

    fn leads(&self, pid: Option<u32>) -> Vec<Lead> {
        ranked(steady(&self.growth).filter(|lead| pid.is_none_or(|pid| lead.pid == pid)))
    }

    fn not_seen(&self) -> &[String] {
        &self.not_seen
    }

    fn paid(&self) -> Paid {
        Paid { target: self.look.spent(), kernel_bytes: self.look.kernel_bytes() }
    }

    fn growth(&self) -> &[GrowthStack] {
        &self.growth
    }
}

/// The stacks that grow steadily and have frames.
pub(super) fn steady(growth: &[GrowthStack]) -> impl Iterator<Item = Lead> {
    let steady = growth.iter().filter(|stack| stack.figures.pattern == Pattern::Steady);
    steady.filter(|stack| !stack.trace.frames.is_empty()).map(|stack| Lead {
        pid: stack.pid,
        trace: stack.trace.clone(),
        share: 0.0,
        bytes: stack.figures.steady_bytes,
        count: None,
        pattern: Some(stack.figures.pattern.name()),
    })
}

/// What the stacks say together.
fn judged<'a>(stacks: impl Iterator<Item = &'a Figures>) -> Says {
    let (mut pages, mut velocity, mut spread, mut kept, mut all) = (0_u64, 0.0, 0.0_f64, 0_u64, 0_u64);
    for figures in stacks {
        all = all.saturating_add(figures.bytes);
        if figures.pattern != Pattern::Steady {
            continue;
        }
        pages = pages.saturating_add(figures.survivors);
        kept = kept.saturating_add(figures.bytes);
        velocity += figures.velocity;
        let error = figures.error_bytes as f64 / figures.bytes.max(1) as f64;
        spread += (figures.velocity * error).powi(2);
    }
    if pages < PAGES || velocity <= 0.0 {
        return Says::Unclear("too little of what was touched has stayed");
    }
    let half = spread.sqrt();
    let share = kept as f64 / all.max(1) as f64;
    Says::Kept { velocity, interval: ((velocity - half).max(0.0), velocity + half), share }
}

/// How long a process must be watched before pages that stay say something: pages of a collected heap stay whoever needs them, until it
/// is collected. `None`: its runtime can be asked (see `outside`), and knows better.
fn least(runtime: Runtime) -> Option<Duration> {
    match runtime {
        Runtime::Go | Runtime::Jvm => None,
        Runtime::Node | Runtime::Dotnet | Runtime::Ruby => Some(LEAST_COLLECTED),
        Runtime::Native | Runtime::Cpython | Runtime::Php => Some(LEAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(pattern: Pattern, survivors: u64, bytes: u64, velocity: f64) -> Figures {
        Figures { pattern, survivors, bytes, error_bytes: bytes / 10, velocity, ..Figures::default() }
    }

    /// Guarantees: what stacks keep that grow steadily is told as one velocity with an interval around it and their share of what
    /// stays; few pages, and what came up at the beginning alone, say nothing.
    #[test]
    fn what_stays_is_kept() {
        let start = figures(Pattern::StartUp, 40, 160_000, 0.0);
        let (one, other) =
            (figures(Pattern::Steady, 5, 20_000, 600.0), figures(Pattern::Steady, 5, 20_000, 800.0));
        let Says::Kept { velocity, interval, share } = judged([&start, &one, &other].into_iter()) else {
            panic!("nothing is kept")
        };
        assert_eq!((velocity.round(), share), (1400.0, 0.2));
        assert_eq!((interval.0.round(), interval.1.round()), (1300.0, 1500.0));
        assert!(matches!(judged([&one].into_iter()), Says::Unclear(_)));
        assert!(matches!(judged([&start].into_iter()), Says::Unclear(_)));
        assert!(matches!(judged([].into_iter()), Says::Unclear(_)));
    }

    /// Guarantees: leads are those stacks that grow steadily and have a name.
    #[test]
    fn leads_grow_steadily() {
        let stack = |pattern, frames| GrowthStack {
            pid: 7,
            trace: mlh_stacks::trace::Trace { frames, ..Default::default() },
            figures: Figures { steady_bytes: 5, ..figures(pattern, 9, 9, 9.0) },
        };
        let frame = || vec![mlh_stacks::trace::Frame::default()];
        let growth = [
            stack(Pattern::Levelled, frame()),
            stack(Pattern::Steady, frame()),
            stack(Pattern::Steady, Vec::new()),
        ];
        let told: Vec<_> = steady(&growth).map(|lead| (lead.pid, lead.bytes, lead.pattern)).collect();
        assert_eq!(told, [(7, 5, Some("steady"))]);
    }
}
