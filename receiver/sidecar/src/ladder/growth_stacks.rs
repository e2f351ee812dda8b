//! The rung `growth_stacks`: who touches memory that stays, by sampled page faults. No probe is placed.
//!
//! It needs `CAP_PERFMON` and the right to read the target's page map. It costs a fifth of each page fault and some microseconds for
//! each of 49 samples a second at most. It sees the stacks whose pages survive, from both halves of the time it was watched. It cannot
//! see memory from before, nor tell what a heap keeps for itself from what the program keeps, nor who holds a page that somebody else
//! touched before: a large buffer at a heap's end that comes and goes touches what small blocks that stay will have. Where the heap can be
//! walked (`heap`) only those are blamed whose blocks are seen to stay. In a collected heap whoever makes the garbage touches new memory
//! first, so that nobody is blamed for what lies there; it testifies late where nothing else can, and not at all where the runtime can be
//! asked. Where the processor can be asked who writes last to what stays (`writers`), or who makes the objects that stay where a collector
//! moves them (`makers`), that one is blamed instead, once enough is known.

use std::time::Duration;

use mlh_detect::growth_stacks::{Blocks, Figures, Pattern};
use mlh_detect::{Rung, Says, Testimony};
use mlh_targets::points::Runtime;

use super::climber::Wanted;
use super::heap::Heap;
use super::knowledge::{Lead, ranked};
use super::makers::{MAKERS, made};
use super::rung::{Look, Paid, runtime};
use super::writers::{Belief, WRITERS, Watches, watches, wrote};
use crate::growth_stacks::{Ended, GrowthLook, Names};
use crate::investigate::plan::{Origin, Plan, Target};
use crate::investigate::report::GrowthStack;
use crate::records::culprit;

/// What its testimony rests on.
pub(crate) const SOURCE: &str = "growth_pages";

/// Pages are looked at as often as in a look of a minute: what a verdict waits for.
const LENGTH: Duration = Duration::from_secs(60);
/// Before that nothing is said: what comes and goes within seconds has to have gone.
const LEAST: Duration = Duration::from_secs(20);
/// And until then nobody who is to blame is missed: stock is taken every few seconds.
const FIRST: Duration = Duration::from_secs(26);
/// The same of a heap that is collected, and of which nobody else tells anything: a collection is due by then where little is kept.
const LEAST_COLLECTED: Duration = Duration::from_secs(150);
/// Pages that survive, of all stacks that grow steadily: of fewer, chance may have put them into both halves.
const PAGES: u64 = 6;
/// Of a stack that touches memory beside a heap whose objects move so many blocks are known.
const BESIDE: u64 = 8;
/// Stacks that are named.
const TOP: usize = 16;
/// For names, each time, and so many times they may fail to come.
const NAMING: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

/// Sentences on those who are not blamed.
const UNTOLD: usize = 3;

/// What is remarked of a lead: its blocks were seen to stay; or they could not be looked at.
const STAYS: &str = "and its blocks are still there";
const MAY_BE_GONE: &str = "though its own blocks may be gone, and somebody else's lie there now";
/// Why somebody who touched what stays is not blamed.
const GIVEN_BACK: &str = "it has given back its own blocks there, and somebody else's lie there now";
const NOT_YET: &str = "whether its own blocks there stay was not seen for long enough";
pub(super) const COLLECTED: &str = "the heap is collected, and whoever makes the garbage touches it first";
/// Who tells more.
const PROBES: &str = "; probes in the allocator tell (escalation.max_rung: full_probes, or inspect)";

pub(super) struct GrowthStacks {
    look: GrowthLook,
    began: Duration,
    seen: Duration,
    /// Since when it is somebody else's turn, and for how long it was before.
    rests: Option<Duration>,
    rested: Duration,
    /// Before that nothing is said. `None`: pages that stay prove nothing of what runs there.
    least: Option<Duration>,
    /// To be walked, but when nothing is to be read.
    heap: Option<Heap>,
    hushed: bool,
    names: Names,
    failed: u32,
    growth: Vec<GrowthStack>,
    /// Who wrote last to what stays; who makes objects.
    writers: Vec<GrowthStack>,
    makers: Vec<GrowthStack>,
    /// A collector moves objects, and it is watched who makes them.
    is_moving: bool,
    not_seen: Vec<String>,
}

impl GrowthStacks {
    /// Begins with these processes; `leader`: the one whose runtime and heap count.
    ///
    /// # Errors
    /// Why page faults cannot be sampled, a sentence.
    pub(super) fn begin(
        target: &Target,
        wanted: &Wanted,
        pids: &[u32],
        leader: u32,
        now: Duration,
    ) -> Result<Self, String> {
        let plan = Plan {
            target: target.clone(),
            rung: crate::investigate::plan::Rung::GrowthStacks,
            duration: Some(LENGTH),
            filters: wanted.filters.clone(),
            origin: Origin::Command,
        };
        let mut look = GrowthLook::begin(&plan, pids, wanted.filters.library())?;
        let runtime = runtime(leader);
        let least = least(runtime);
        let heap = Heap::of(leader, now);
        if heap.as_ref().is_some_and(|heap| !heap.is_collected()) {
            look.follow_blocks(leader);
        }
        match watches(wanted, runtime) {
            Some(Watches::Writers) => look.watch(leader, wanted.budget, heap.is_some(), now),
            Some(Watches::Makers) => look.watch_makers(leader, wanted.budget, heap.is_some(), now),
            None => {}
        }
        Ok(Self {
            look,
            began: now,
            seen: now,
            rests: None,
            rested: Duration::ZERO,
            least,
            heap,
            hushed: false,
            names: Names::new(),
            failed: 0,
            growth: Vec::new(),
            writers: Vec::new(),
            makers: Vec::new(),
            is_moving: false,
            not_seen: Vec::new(),
        })
    }

    /// The time that page faults were sampled for, up to `seen`.
    fn watched(&self) -> Duration {
        self.rests.unwrap_or(self.seen).saturating_sub(self.began).saturating_sub(self.rested)
    }

    /// All that grows steadily has a name, or there was no way to one.
    fn is_named(&self) -> bool {
        let mut all = self.growth.iter().chain(&self.writers).chain(&self.makers);
        self.failed >= TRIES || all.all(|stack| !stack.trace.frames.is_empty())
    }

    fn name(&mut self, ended: Ended) {
        let outcome = ended.named_by(&mut self.names, NAMING);
        let of = |is: fn(&Figures) -> bool| -> Vec<_> {
            outcome.stacks.iter().filter(|stack| is(&stack.figures)).cloned().collect()
        };
        self.makers = of(|figures| figures.made != Blocks::default());
        self.writers = of(|figures| figures.votes > 0);
        self.growth = outcome.stacks;
        // those that touched nothing are no growth by page
        self.growth.retain(|stack| stack.figures.samples > 0);
        self.not_seen = outcome.not_seen;
        let mut all = self.growth.iter().chain(&self.writers).chain(&self.makers);
        self.failed += u32::from(all.any(|stack| stack.trace.frames.is_empty()));
        let ranked = self.ranked(None);
        let is_unknown = self.watched_for(None).0.is_empty();
        let untold = ranked.iter().filter(|_| is_unknown);
        let untold = untold.filter_map(|lead| Some((lead, self.standing(lead).untold()?)));
        let untold = untold.take(UNTOLD).map(|(lead, why)| {
            let more = if why == COLLECTED { "" } else { PROBES };
            format!("who keeps what {} touched first: {why}{more}", culprit(lead))
        });
        let untold: Vec<_> = untold.collect();
        self.not_seen.splice(0..0, untold);
    }

    fn standing(&self, lead: &Lead) -> Standing {
        let walked = self.heap.as_ref().is_some_and(Heap::tells);
        // of a heap whose objects are moved no touch is among them, but for some before it was found
        let is_beside = self.is_moving && lead.blocks.are_elsewhere() && lead.blocks.elsewhere >= BESIDE;
        let is_collected = self.least != Some(LEAST) && !(is_beside && lead.frame().is_some());
        Standing::of(&lead.blocks, is_collected, walked)
    }

    /// Those who wrote last to what stays.
    fn wrote(&self, pid: Option<u32>) -> Vec<Lead> {
        // of a heap whose objects move nothing is watched in this way
        let is_plain = self.is_moving || self.least == Some(LEAST);
        let belief = match &self.heap {
            Some(heap) if heap.tells() && heap.is_collected() => Belief::Left,
            Some(heap) if heap.tells() && is_plain => Belief::Blocks,
            _ if is_plain => Belief::Unseen,
            _ => Belief::Collected,
        };
        wrote(&self.writers, &self.growth, pid, belief)
    }

    /// Those who are blamed by watching addresses, and how: nobody as long as too little is known.
    fn watched_for(&self, pid: Option<u32>) -> (Vec<Lead>, &'static str) {
        if self.is_moving && !self.is_native(pid) {
            return (made(&self.makers, &self.growth, pid), MAKERS);
        }
        (self.wrote(pid), WRITERS)
    }

    /// Those who are blamed, and how they were seen.
    fn told(&self, pid: Option<u32>) -> (Vec<Lead>, &'static str) {
        let (watched, source) = self.watched_for(pid);
        if !watched.is_empty() {
            return (watched, source);
        }
        let all = self.ranked(pid).into_iter();
        (all.filter_map(|lead| self.standing(&lead).told(lead)).collect(), SOURCE)
    }

    /// What grows is mostly in other memory than the heap that a collector moves objects about in.
    fn is_native(&self, pid: Option<u32>) -> bool {
        let own = self.growth.iter().filter(|stack| pid.is_none_or(|pid| stack.pid == pid));
        let (mut native, mut moved) = (0_u64, 0_u64);
        for Figures { bytes, blocks, .. } in own.map(|stack| &stack.figures) {
            // some were touched before that heap was found
            let known = blocks.kept.saturating_add(blocks.given_back).saturating_add(blocks.elsewhere);
            let sum = if known < BESIDE { &mut moved } else { &mut native };
            *sum = sum.saturating_add(*bytes);
        }
        native > moved
    }

    /// Everybody who touched first what stays, whoever has it now.
    fn ranked(&self, pid: Option<u32>) -> Vec<Lead> {
        let is_of = |lead: &Lead| pid.is_none_or(|pid| lead.pid == pid);
        let steady = ranked(steady(&self.growth).filter(is_of));
        if steady.is_empty() { ranked(at_once(&self.growth).filter(is_of)) } else { steady }
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

    fn rest(&mut self, now: Duration) {
        self.look.rest(now);
        self.rests.get_or_insert(now);
    }

    fn go_on(&mut self, now: Duration, pids: &[u32]) -> Result<(), String> {
        self.look.go_on(now, pids)?;
        self.rested += self.rests.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        Ok(())
    }

    fn see(&mut self, now: Duration) {
        if now.saturating_sub(self.began) < LEAST {
            return;
        }
        self.seen = now;
        let look = &self.look;
        self.is_moving = look.follows_objects();
        if let Some(heap) = self.heap.as_mut().filter(|heap| !self.hushed && heap.is_due(now)) {
            let goes_on = heap.walk(now, look.block_addresses(), |found| look.walked(found));
            if !goes_on || heap.is_foreign() {
                look.walked_no_more();
            }
            if !goes_on {
                self.heap = None;
            }
        }
        let ended = self.look.so_far(now, TOP);
        // names cost more than all else: they are read once there is something to name
        if ended.figures().any(|(_, figures)| stays(figures.pattern) || figures.made.kept > 0) {
            self.name(ended);
        } else {
            self.growth.clear();
            self.writers.clear();
            self.makers.clear();
            self.not_seen = ended.not_seen().to_vec();
        }
    }

    fn hush(&mut self, quiet: bool) {
        self.hushed = quiet;
    }

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        let watched = self.watched();
        if watched < LEAST || !self.is_named() {
            return Vec::new();
        }
        let figures = self.growth.iter().filter(|stack| pid.is_none_or(|pid| stack.pid == pid));
        let says = says(figures.map(|stack| &stack.figures), self.least, watched);
        // what became of the pages in the meantime is news for a while, and no longer
        let at = self.rests.map_or(self.seen, |since| self.seen.min(since + LEAST));
        vec![Testimony { rung: self.rung(), source: SOURCE, at, watched, says }]
    }

    fn leads_source(&self, pid: Option<u32>) -> &'static str {
        self.told(pid).1
    }

    fn leads(&self, pid: Option<u32>) -> Vec<Lead> {
        self.told(pid).0
    }

    fn not_seen(&self) -> &[String] {
        &self.not_seen
    }

    fn seeks(&self) -> bool {
        let is_new = self.watched() < FIRST;
        let is_near = |lead: &Lead| self.standing(lead).may_keep(&lead.blocks);
        // objects have to live for a while, and to be collected around
        let are_made = self.is_moving && self.watched() < LENGTH && !self.makers.is_empty();
        is_new || are_made || !self.writers.is_empty() || self.ranked(None).first().is_some_and(is_near)
    }

    fn paid(&self) -> Paid {
        Paid { target: self.look.spent(), kernel_bytes: self.look.kernel_bytes() }
    }

    fn growth(&self) -> &[GrowthStack] {
        &self.growth
    }
}

/// How somebody stands who touched first what stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The blocks are there for which it was touched.
    Keeps,
    /// Nobody can see whose blocks lie there.
    Doubted,
    /// Not to be blamed: why.
    Untold(&'static str),
}

impl Standing {
    /// By what has become of the blocks; `walked`: the heap that the process has from its C library is looked into.
    fn of(blocks: &Blocks, is_collected: bool, walked: bool) -> Self {
        match blocks {
            blocks if blocks.are_kept() => Self::Keeps,
            blocks if blocks.are_given_back() => Self::Untold(GIVEN_BACK),
            _ if is_collected => Self::Untold(COLLECTED),
            blocks if walked && !blocks.are_elsewhere() => Self::Untold(NOT_YET),
            _ => Self::Doubted,
        }
    }

    fn untold(self) -> Option<&'static str> {
        if let Self::Untold(why) = self { Some(why) } else { None }
    }

    /// It is not known yet, and may turn out to be the one: in a collected heap only who has blocks beside it.
    fn may_keep(self, blocks: &Blocks) -> bool {
        match self {
            Self::Untold(NOT_YET) => true,
            Self::Untold(COLLECTED) => blocks.kept > blocks.given_back,
            _ => false,
        }
    }

    fn told(self, lead: Lead) -> Option<Lead> {
        match self {
            Self::Keeps => Some(Lead { remark: Some(STAYS), ..lead }),
            Self::Doubted => Some(Lead { remark: Some(MAY_BE_GONE), doubted: true, ..lead }),
            Self::Untold(_) => None,
        }
    }
}

/// What a look that somebody ordered says of a process, or of all it looks at; `leader`: the one whose runtime counts. `None`: it is too
/// early.
pub(crate) fn ordered(
    growth: &[GrowthStack],
    pid: Option<u32>,
    leader: u32,
    at: Duration,
    watched: Duration,
) -> Option<Testimony> {
    let figures = growth.iter().filter(|stack| pid.is_none_or(|pid| stack.pid == pid));
    (watched >= LEAST).then(|| Testimony {
        rung: Rung::GrowthStacks,
        source: SOURCE,
        at,
        watched,
        says: says(figures.map(|stack| &stack.figures), least(runtime(leader)), watched),
    })
}

/// The stacks that grow steadily and have frames.
pub(super) fn steady(growth: &[GrowthStack]) -> impl Iterator<Item = Lead> {
    let steady = growth.iter().filter(|stack| stack.figures.pattern == Pattern::Steady);
    steady.filter_map(|stack| lead(stack, stack.figures.steady_bytes))
}

/// Those whose pages have stayed and are not from the beginning alone, in half of the time: a leak in bursts, as likely as not.
fn at_once(growth: &[GrowthStack]) -> impl Iterator<Item = Lead> {
    let figures = |stack: &&GrowthStack| stays(stack.figures.pattern) && stack.figures.survivors >= PAGES;
    let stacks = growth.iter().filter(figures);
    stacks.filter_map(|stack| Some(Lead { doubted: true, ..lead(stack, stack.figures.bytes)? }))
}

fn stays(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::Steady | Pattern::Levelled | Pattern::Late)
}

/// `None`: it has no frames.
fn lead(stack: &GrowthStack, bytes: u64) -> Option<Lead> {
    (!stack.trace.frames.is_empty()).then(|| Lead {
        pid: stack.pid,
        trace: stack.trace.clone(),
        bytes,
        pattern: Some(stack.figures.pattern.name()),
        blocks: stack.figures.blocks,
        ..Lead::default()
    })
}

/// What the stacks say, where nothing is said before `least`.
fn says<'a>(stacks: impl Iterator<Item = &'a Figures>, least: Option<Duration>, watched: Duration) -> Says {
    match least {
        Some(least) if watched >= least => judged(stacks),
        Some(_) | None => Says::Unclear("a collected heap touches new pages, leak or not"),
    }
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
#[cfg(all(target_os = "linux", target_arch = "x86_64", feature = "ebpf"))]
mod real;

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

    /// Guarantees: leads are those stacks that grow steadily and have a name; where there are none those that have grown in half of the time,
    /// with a doubt.
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
        let start = stack(Pattern::StartUp, frame());
        let told: Vec<_> = at_once(&[stack(Pattern::Late, frame()), start]).collect();
        assert_eq!(told.iter().map(|lead| (lead.bytes, lead.doubted)).collect::<Vec<_>>(), [(9, true)]);
    }

    /// Guarantees: whose blocks are seen to stay is blamed, whatever collects its heap; who has given them back is not, however much of
    /// what stays it touched, nor who touches what is collected, nor anybody in a heap that is walked before it is known; where nothing
    /// can be walked over, somebody is blamed with a doubt.
    #[test]
    fn who_is_blamed() {
        let seen = |kept, given_back, elsewhere| Blocks { kept, given_back, elsewhere };
        let (keeps, gives, mapped) = (seen(20, 1, 0), seen(1, 30, 0), seen(0, 0, 9));
        for (blocks, is_collected, walked, expected) in [
            (keeps, false, true, Standing::Keeps),
            (keeps, true, true, Standing::Keeps),
            (gives, false, true, Standing::Untold(GIVEN_BACK)),
            (Blocks::default(), false, true, Standing::Untold(NOT_YET)),
            (seen(9, 9, 0), false, true, Standing::Untold(NOT_YET)),
            (mapped, false, true, Standing::Doubted),
            (Blocks::default(), false, false, Standing::Doubted),
            (mapped, true, true, Standing::Untold(COLLECTED)),
            (Blocks::default(), true, false, Standing::Untold(COLLECTED)),
        ] {
            let standing = Standing::of(&blocks, is_collected, walked);
            assert_eq!(standing, expected, "{blocks:?}");
            let told = standing.told(Lead::default());
            assert_eq!(told.is_some(), standing.untold().is_none());
            assert_eq!(told.is_some_and(|lead| lead.doubted), standing == Standing::Doubted);
        }
        let may_keep = |blocks| Standing::of(&blocks, true, true).may_keep(&blocks);
        assert!(may_keep(seen(3, 1, 0)) && !may_keep(seen(1, 3, 0)) && !may_keep(Blocks::default()));
        let of_plain = |blocks| Standing::of(&blocks, false, true).may_keep(&blocks);
        assert!(of_plain(Blocks::default()) && !of_plain(keeps) && !of_plain(gives));
    }
}
