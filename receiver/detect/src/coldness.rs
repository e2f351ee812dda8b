//! Whether a process references again what its memory grows by: what leaks is never referenced again, a cache that fills is.
//!
//! A window is a stretch of time over whose length the process's references are noted. At its end that part of the memory is cold
//! which was there at its beginning and was not referenced since. Of a leak all that came in one window is cold in the next: what is
//! cold grows as the memory does. What was cold or warm before there was a case does not matter, for only what is added counts.
//!
//! A collector references what it walks, in use or not. Between two of its walks nobody but the program references what is old, so windows
//! into which none fell speak before all others. What is dead and waits for a collector is as cold as what leaks.

use std::time::Duration;

use crate::evidence::{Rung, Says, Spare, Testimony};

/// What testimonies of this rung rest on.
pub const SOURCE: &str = "references";

/// Windows that are kept: a cache may come to be used, or a leak begin.
const MAX_WINDOWS: usize = 8;

/// Less growth from one window to the next is lost among pages that are referenced now and then by chance, bytes.
const MIN_GROWN: f64 = 262_144.0;

/// So many steps of such growth speak, the newest ones, and all must say the same.
const STEPS: usize = 3;

/// Of what it grows by, more than this is cold: nobody needs it ...
const COLD: f64 = 0.7;

/// ... which fewer steps than [`STEPS`] show only if it is more than this: what is asked for now and then is mostly cold for a while.
const COLD_AT_ONCE: f64 = 0.9;

/// Of what it grows by, less than this is cold: it is in use. Some is always cold, for readers have their favourites.
const WARM: f64 = 0.3;

/// That memory is in use is said of steps that take so long together, seconds: two of short windows, or one of long windows. A verdict that
/// rests on growth waits for longer anyway.
const IN_USE_FOR: f64 = 40.0;

/// Shares of more or less than all of it, by so much: other memory comes and goes, and nothing can be told.
const BEYOND: f64 = 0.4;

/// So much of the growth must be such memory as is marked.
const MAKES_UP: f64 = 0.5;

/// So much of the growth may be huge pages: of one of them a single reference makes all of it warm.
const HUGE: f64 = 0.2;

/// What is said of memory that is referenced again where a collector may have done so.
const WALKED: &str = "what it grows by is referenced again, by the program or by its collector";

/// Of memory that is not, where a collector may not have come to it yet,
const GARBAGE: &str = "what it grows by is not referenced again, as garbage is not until it is collected";

/// and of a heap that may have grown by its young generation, which is always referenced.
const YOUNG: &str = "what it grows by is referenced again, and may not be its old generation";

/// Who references the memory of a process beside the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Heap {
    /// Nobody.
    #[default]
    Plain,
    /// A collector that has hardly anything to free: what nobody refers to any more is given back at once.
    Counted,
    /// A collector: what is dead stays until it has come.
    Collected,
}

/// What a process holds at one moment, or at least for some time, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Private anonymous memory that is there.
    pub resident: u64,
    /// Of it, in huge pages.
    pub huge: u64,
    /// All that the process is charged for, as the sweeps count it.
    pub charged: u64,
    /// Of a heap with generations: what the old one holds, where that is told.
    pub old: Option<u64>,
}

impl Held {
    /// What is held at both moments: what comes and goes between them is not what memory grows by.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            resident: self.resident.min(other.resident),
            huge: self.huge.min(other.huge),
            charged: self.charged.min(other.charged),
            old: self.old.zip(other.old).map(|(one, other)| one.min(other)),
        }
    }
}

/// A stretch of time over which references were noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// On the clock of the sweeps.
    pub began: Duration,
    /// On the clock of the sweeps.
    pub ended: Duration,
    /// While it lasted, at least.
    pub held: Held,
    /// When it ended: private anonymous memory that was there and had not been referenced, bytes.
    pub cold: u64,
    /// Whether a collector walked in it what is old; where there is none none did. `None`: it tells nobody.
    pub walked: Option<bool>,
}

/// From one window to a later one.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Bytes by which the memory grew that is marked.
    grown: f64,
    /// Bytes by which what is cold grew.
    cold: f64,
    /// Bytes in huge pages that came.
    huge: f64,
    /// Bytes by which all of it grew.
    charged: f64,
    /// Bytes by which the old generation grew, where that is told.
    old: Option<f64>,
    seconds: f64,
}

impl Step {
    fn between(one: &Window, other: &Window) -> Self {
        let grown = |of: fn(&Window) -> u64| of(other) as f64 - of(one) as f64;
        Self {
            grown: grown(|window| window.held.resident),
            cold: grown(|window| window.cold),
            huge: grown(|window| window.held.huge),
            charged: grown(|window| window.held.charged),
            old: one.held.old.zip(other.held.old).map(|(one, other)| other as f64 - one as f64),
            seconds: other.began.saturating_sub(one.began).as_secs_f64(),
        }
    }

    /// Of what came, so much is cold.
    fn share(&self) -> f64 {
        self.cold / self.grown
    }
}

/// The windows of one process.
#[derive(Debug, Clone, Default)]
pub struct References {
    heap: Heap,
    windows: Vec<Window>,
}

impl References {
    /// None yet, of a process with such a heap.
    #[must_use]
    pub fn of(heap: Heap) -> Self {
        Self { heap, windows: Vec::new() }
    }

    /// Takes a window in. Windows come in order and do not overlap.
    pub fn note(&mut self, window: Window) {
        if self.windows.len() >= MAX_WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push(window);
    }

    /// What they say together; `None` before there are two.
    #[must_use]
    pub fn testimony(&self) -> Option<Testimony> {
        let [first, .., last] = self.windows.as_slice() else { return None };
        let watched = last.ended.saturating_sub(first.began);
        Some(Testimony { rung: Rung::Coldness, source: SOURCE, at: last.ended, watched, says: self.says() })
    }

    fn says(&self) -> Says {
        let mut steps = steps(self.undisturbed());
        let told = !steps.is_empty() && self.undisturbed().all(|window| window.walked.is_some());
        if steps.is_empty() {
            steps = self::steps(self.windows.iter().rev());
        }
        match judge(&steps) {
            Says::Kept { .. } if self.heap == Heap::Collected => Says::Unclear(GARBAGE),
            Says::Spare(Spare::InUse) if !told => Says::Unclear(WALKED),
            Says::Spare(Spare::InUse) if self.heap == Heap::Collected && !is_old(&steps) => {
                Says::Unclear(YOUNG)
            }
            // an ebb, a walk of what is young, or a table that is rebuilt looks like use in single steps
            Says::Spare(Spare::InUse) if !self.is_shown(&steps) => {
                Says::Unclear("what it grows by is referenced again, which more windows must show")
            }
            says => says,
        }
    }

    /// Whether so many steps, or over so long a time, are enough to say that memory is in use.
    fn is_shown(&self, steps: &[Step]) -> bool {
        match self.heap {
            Heap::Plain => steps.iter().map(|step| step.seconds).sum::<f64>() >= IN_USE_FOR,
            Heap::Counted | Heap::Collected => steps.len() >= STEPS,
        }
    }

    /// The windows in which no collector is known to have walked what is old, the newest first. One that clears garbage away changes what is
    /// there as well: then only those since.
    fn undisturbed(&self) -> impl Iterator<Item = &Window> {
        let walked = |window: &&Window| window.walked == Some(true);
        let since = self.windows.iter().rposition(|window| self.heap == Heap::Collected && walked(&window));
        let windows = self.windows.iter().skip(since.map_or(0, |last| last + 1));
        windows.rev().filter(move |window| !walked(window))
    }
}

/// From each of these windows, the newest first, to the next one, where it grew by enough between them; so many as speak.
fn steps<'a>(mut windows: impl Iterator<Item = &'a Window>) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(mut later) = windows.next() else { return steps };
    for earlier in windows {
        let step = Step::between(earlier, later);
        if step.grown >= MIN_GROWN && step.seconds > 0.0 {
            steps.push(step);
            later = earlier;
        }
        if steps.len() >= STEPS {
            break;
        }
    }
    steps
}

/// What they say where only the program references its memory.
fn judge(steps: &[Step]) -> Says {
    let sum = |of: fn(&Step) -> f64| steps.iter().map(of).sum::<f64>();
    let (grown, charged) = (sum(|step| step.grown), sum(|step| step.charged));
    if steps.is_empty() {
        return Says::Unclear("its own memory grows too slowly for it");
    }
    if grown < MAKES_UP * charged {
        return Says::Unclear("what grows is not its own memory");
    }
    let all = |range: std::ops::Range<f64>| steps.iter().all(|step| range.contains(&step.share()));
    if all(COLD..1.0 + BEYOND) {
        if steps.len() < STEPS && !all(COLD_AT_ONCE..1.0 + BEYOND) {
            return Says::Unclear(
                "hardly any of what it grows by is referenced again, which more windows must show",
            );
        }
        let speeds = || steps.iter().map(|step| step.cold / step.seconds);
        let interval = (speeds().fold(f64::INFINITY, f64::min), speeds().fold(0.0, f64::max));
        let velocity = sum(|step| step.cold) / sum(|step| step.seconds);
        let share = (sum(|step| step.cold) / grown.max(charged)).min(1.0);
        return Says::Kept { velocity, interval, share };
    }
    if sum(|step| step.huge) > HUGE * grown {
        return Says::Unclear("it grows by huge pages, which are referenced as a whole");
    }
    if all(-BEYOND..WARM) {
        return Says::Spare(Spare::InUse);
    }
    Says::Unclear("some of what it grows by is referenced again, and some is not")
}

/// Whether it is the old generation that grew.
fn is_old(steps: &[Step]) -> bool {
    let old = steps.iter().map(|step| step.old).sum::<Option<f64>>();
    let grown = steps.iter().map(|step| step.grown).sum::<f64>();
    old.is_some_and(|old| (COLD..1.0 + BEYOND).contains(&(old / grown)))
}

#[cfg(test)]
mod tests;
