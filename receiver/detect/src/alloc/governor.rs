//! Keeps what a look costs its target within a budget: the probes are in place in bursts, as long as what they cost allows, and
//! come back at moments that nobody can foresee.
//!
//! What counts is the minute that has just gone by, and the whole of the look: of neither is more paid than the budget's share.
//! So much may be paid as these allow, less what was paid in them, less a reserve: between the moment at which that is spent
//! and the one at which the last probe is out the target goes on paying. A target that is quiet is watched all of the time.

use std::collections::VecDeque;
use std::time::Duration;

use super::spent::{HitCosts, Spent};

/// What the target is taken to use at least: one CPU. One that idles would lose its probes over a few hits otherwise; a leak
/// in a quiet service is what is looked for. Of a CPU a budget of 0.1 % is a millisecond a second: less than the kernel's own
/// timer takes, and nobody can tell.
const LEAST_CPU: f64 = 1.0;
/// The time in which no more may be paid than the budget's share of it.
const MINUTE: Duration = Duration::from_secs(60);
/// A look begins as if it had been going on for so long, or for all of its length where that is less: it would see nothing at
/// first otherwise.
const GRACE: Duration = Duration::from_secs(10);
/// Of what a minute allows, so much is kept for what is paid after the alarm.
const RESERVE: f64 = 0.5;
/// So many times the most that was ever paid after it.
const CAUTION: f64 = 1.25;
/// Where the reserve is more of what a minute allows than this, no burst is worth it.
const HOPELESS: f64 = 0.9;
/// Of what can be had beside the reserve, a burst waits for this share at least, and at most all of it: by chance.
const LEAST_BURST: f64 = 0.5;
/// A pause is longer by up to this share of it, by chance: who hits as if by a clock would be met at the same point of it
/// otherwise.
const JITTER: f64 = 0.25;
/// And so long at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Between two moments that are remembered.
const SPACING: Duration = Duration::from_millis(500);

/// What is to be done until it is judged again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn {
    /// The probes are to be in place, and may cost so much until then; `None`: without limit.
    Watch {
        /// From now on.
        may_cost: Option<Duration>,
    },
    /// They are to be out.
    Pause {
        /// When to ask again.
        until: Duration,
    },
    /// They are to be out for good: what a burst costs before it can be ended is more than a minute allows.
    GiveUp {
        /// What it has taken in the minute before, of the target's CPU time or of one CPU: 0.001 is 0.1 %.
        share: f64,
    },
}

/// A moment, and seconds since the look began.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    at: Duration,
    paid: f64,
    cpu: f64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The probes are in place, until this sum has been paid.
    Watching {
        ceiling: f64,
    },
    Paused {
        until: Duration,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Governor {
    budget: Option<f64>,
    costs: HitCosts,
    grace: Duration,
    random: u64,
    state: State,
    /// Oldest first; the first one is before the minute, or when the look began.
    moments: VecDeque<Moment>,
    /// When it began.
    begun: Moment,
    last: Spent,
    /// Most that was paid beyond what was allowed, seconds.
    worst: f64,
    /// Of the newest step.
    share: f64,
}

impl Governor {
    /// `budget`: share of the target's CPU time, `None`: no limit. `length`: of the look, where that is known. `seed`: any
    /// number, a random one unless all is to happen once more.
    #[must_use]
    pub fn new(budget: Option<f64>, costs: HitCosts, length: Option<Duration>, seed: u64) -> Self {
        Self {
            budget,
            costs,
            grace: length.map_or(GRACE, |length| GRACE.min(length)),
            random: seed,
            state: State::Watching { ceiling: f64::INFINITY },
            moments: VecDeque::new(),
            begun: Moment::default(),
            last: Spent::default(),
            worst: 0.0,
            share: 0.0,
        }
    }

    /// What has been spent by now, and whether all that was allowed is: then nothing has been seen since. To be asked before the
    /// first probe is placed, once a second while they are in place, and when a pause is over.
    pub fn judge(&mut self, at: Duration, spent: Spent, is_spent: bool) -> Turn {
        self.enter(at, spent);
        let Some(budget) = self.budget else { return Turn::Watch { may_cost: None } };
        let left = self.left(budget, at);
        match self.state {
            State::Watching { .. } if left > 0.0 && !is_spent => self.watch(left),
            State::Watching { ceiling } => {
                self.worst = self.worst.max(self.paid() - ceiling);
                self.pause(budget, at)
            }
            State::Paused { until } if at < until => Turn::Pause { until },
            State::Paused { .. } if left > 0.0 => self.watch(left),
            State::Paused { .. } => self.pause(budget, at),
        }
    }

    /// What has been spent in all.
    #[must_use]
    pub fn cost(&self, spent: &Spent) -> Duration {
        spent.cost(&self.costs)
    }

    /// Of the target's CPU time, or of one CPU where it uses less, since the time before.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The share over all of the time, `lasted`, as the budget counts it.
    #[must_use]
    pub fn overall(&self, spent: &Spent, lasted: Duration) -> f64 {
        ratio(self.cost(spent).as_secs_f64(), spent.target_cpu.as_secs_f64(), lasted)
    }

    fn watch(&mut self, left: f64) -> Turn {
        self.state = State::Watching { ceiling: self.paid() + left };
        Turn::Watch { may_cost: Some(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)) }
    }

    fn pause(&mut self, budget: f64, at: Duration) -> Turn {
        let in_full = budget * MINUTE.as_secs_f64() * self.cpus(at);
        if self.reserve(in_full) >= HOPELESS * in_full {
            let share = ratio(self.paid_within(at), 0.0, MINUTE) / self.cpus(at);
            return Turn::GiveUp { share };
        }
        let wanted = LEAST_BURST + (1.0 - LEAST_BURST) * self.chance();
        let enough = |governor: &Self, then: Duration| {
            let allowed = governor.allowed(budget, then);
            let left = governor.left(budget, then);
            left > 0.0 && left >= wanted * (allowed - governor.reserve(allowed))
        };
        let mut until = at.saturating_add(SHORTEST_PAUSE);
        // when the minute has gone by, all that was paid is out of it
        let latest = at.saturating_add(MINUTE + MINUTE);
        while until < latest && !enough(self, until) {
            until = until.saturating_add(SPACING);
        }
        let jitter = (until - at).mul_f64(JITTER * self.chance());
        let until = until.saturating_add(jitter);
        self.state = State::Paused { until };
        Turn::Pause { until }
    }

    fn enter(&mut self, at: Duration, spent: Spent) {
        let before = self.moments.back().copied();
        let paid = self.cost(&spent).as_secs_f64();
        let moment = Moment { at, paid, cpu: spent.target_cpu.as_secs_f64() };
        if before.is_none() || spent.is_less_than(&self.last) {
            self.moments.clear();
            self.begun = moment;
        }
        self.last = spent;
        self.share = match self.moments.back() {
            Some(last) if last.at < at => {
                ratio(paid - last.paid, moment.cpu - last.cpu, at.saturating_sub(last.at))
            }
            Some(_) => self.share,
            None => 0.0,
        };
        // the newest is always there, and older ones are so far apart
        let settled = self.moments.iter().rev().nth(1);
        if settled.is_some_and(|settled| at.saturating_sub(settled.at) < SPACING) {
            self.moments.pop_back();
        }
        self.moments.push_back(moment);
        while self.moments.get(1).is_some_and(|next| at.saturating_sub(next.at) >= MINUTE) {
            self.moments.pop_front();
        }
    }

    fn newest(&self) -> Moment {
        self.moments.back().copied().unwrap_or_default()
    }

    fn paid(&self) -> f64 {
        self.newest().paid
    }

    /// Of the minute before `at`, and of some time before that rather than of less.
    fn since(&self, at: Duration) -> Moment {
        let begins = at.saturating_sub(MINUTE);
        let before = self.moments.iter().rev().find(|moment| moment.at <= begins);
        before.or(self.moments.front()).copied().unwrap_or_default()
    }

    fn paid_within(&self, at: Duration) -> f64 {
        self.paid() - self.since(at).paid
    }

    /// That the target uses, at least what it is taken to.
    fn cpus(&self, at: Duration) -> f64 {
        let (since, newest) = (self.since(at), self.newest());
        let wall = newest.at.saturating_sub(since.at).as_secs_f64();
        let cpus = if wall > 0.0 { (newest.cpu - since.cpu) / wall } else { 0.0 };
        cpus.max(LEAST_CPU)
    }

    /// What may be paid from `at` on, as far as it is known now: seconds.
    fn left(&self, budget: f64, at: Duration) -> f64 {
        let allowed = self.allowed(budget, at);
        let of_minute = allowed - self.paid_within(at) - self.reserve(allowed);
        let newest = self.newest();
        let cpus = (newest.cpu - self.begun.cpu) / newest.at.saturating_sub(self.begun.at).as_secs_f64();
        let of_all = budget * self.lasted(at).as_secs_f64() * cpus.max(LEAST_CPU);
        // `max` is never NaN, of no time neither
        of_minute.min(of_all - (newest.paid - self.begun.paid) - CAUTION * self.worst)
    }

    /// What may be paid within the minute before `at`, seconds.
    fn allowed(&self, budget: f64, at: Duration) -> f64 {
        budget * self.lasted(at).min(MINUTE).as_secs_f64() * self.cpus(at)
    }

    /// The look, as long as it is taken to be.
    fn lasted(&self, at: Duration) -> Duration {
        at.saturating_sub(self.begun.at).max(self.grace)
    }

    fn reserve(&self, allowed: f64) -> f64 {
        (RESERVE * allowed).max(CAUTION * self.worst)
    }

    /// 0 to 1, evenly: `SplitMix64`.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn ratio(paid: f64, cpu: f64, wall: Duration) -> f64 {
    let available = cpu.max(wall.as_secs_f64() * LEAST_CPU);
    if available > 0.0 { paid / available } else { 0.0 }
}
