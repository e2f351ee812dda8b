//! Whether a look costs its target more than it may.

use std::time::Duration;

/// What the target is taken to use at least: one CPU. One that idles would lose its probes over a few hits otherwise; a leak
/// in a quiet service is what is looked for. Of a CPU a budget of 0.1 % is a millisecond a second: less than the kernel's own
/// timer takes, and nobody can tell.
const LEAST_CPU: f64 = 1.0;
/// For so long the budget must be exceeded without a break. Shorter, the start of a thread pool would be enough. It is a
/// second, less what a timer may be early.
const PATIENCE: Duration = Duration::from_millis(950);

/// What one hit costs the target beside the time in the probes' programs, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HitCosts {
    /// On an instruction that the kernel emulates.
    pub emulated: u64,
    /// On one that it single-steps.
    pub stepped: u64,
    /// Of a return that is caught.
    pub returned: u64,
}

/// What has been spent since the look began. None of it may go down, also when processes join the target and end; where
/// one does, judging begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Hits on emulated instructions.
    pub emulated_hits: u64,
    /// Hits on single-stepped ones.
    pub stepped_hits: u64,
    /// Returns caught.
    pub returns: u64,
    /// Time in the probes' programs.
    pub handler: Duration,
    /// CPU time of the target, all processes and threads. What the probes take is within it.
    pub target_cpu: Duration,
}

/// Shares are of the target's CPU time, or of one CPU where it uses less: 0.001 is 0.1 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Go on.
    Within {
        /// Since the last time.
        share: f64,
    },
    /// Take the probes out.
    Over {
        /// For as long as it was over.
        share: f64,
        /// What was allowed.
        budget: f64,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Brake {
    budget: Option<f64>,
    costs: HitCosts,
    last: Option<(Duration, Spent)>,
    /// Since when the budget has been exceeded without a break, and what had been spent then.
    over: Option<(Duration, Spent)>,
}

impl Brake {
    /// `budget`: share of the target's CPU time; `None`: no limit.
    #[must_use]
    pub fn new(budget: Option<f64>, costs: HitCosts) -> Self {
        Self { budget, costs, last: None, over: None }
    }

    /// What has been spent until now; once a second, or more often.
    pub fn judge(&mut self, at: Duration, spent: Spent) -> Verdict {
        let last = self.last.replace((at, spent));
        let Some(last) = last.filter(|last| last.0 < at && !went_down(&last.1, &spent)) else {
            self.over = None;
            return Verdict::Within { share: 0.0 };
        };
        let share = self.share(last, (at, spent));
        let Some(budget) = self.budget.filter(|budget| share > *budget) else {
            self.over = None;
            return Verdict::Within { share };
        };
        let since = *self.over.get_or_insert(last);
        if at.saturating_sub(since.0) < PATIENCE {
            return Verdict::Within { share };
        }
        Verdict::Over { share: self.share(since, (at, spent)), budget }
    }

    /// What the hits and the programs have cost the target.
    #[must_use]
    pub fn cost(&self, spent: &Spent) -> Duration {
        let hits = [
            (spent.emulated_hits, self.costs.emulated),
            (spent.stepped_hits, self.costs.stepped),
            (spent.returns, self.costs.returned),
        ];
        let nanos =
            hits.into_iter().fold(0_u64, |sum, (hits, each)| sum.saturating_add(hits.saturating_mul(each)));
        spent.handler.saturating_add(Duration::from_nanos(nanos))
    }

    /// The share over all of the time, `lasted`, as the budget counts it.
    #[must_use]
    pub fn overall(&self, spent: &Spent, lasted: Duration) -> f64 {
        self.share((Duration::ZERO, Spent::default()), (lasted, *spent))
    }

    fn share(&self, from: (Duration, Spent), to: (Duration, Spent)) -> f64 {
        let wall = to.0.saturating_sub(from.0).as_secs_f64();
        let cpu = to.1.target_cpu.saturating_sub(from.1.target_cpu).as_secs_f64();
        let cost = self.cost(&to.1).saturating_sub(self.cost(&from.1)).as_secs_f64();
        let available = cpu.max(wall * LEAST_CPU);
        if available > 0.0 { cost / available } else { 0.0 }
    }
}

fn went_down(from: &Spent, to: &Spent) -> bool {
    to.emulated_hits < from.emulated_hits
        || to.stepped_hits < from.stepped_hits
        || to.returns < from.returns
        || to.handler < from.handler
        || to.target_cpu < from.target_cpu
}
