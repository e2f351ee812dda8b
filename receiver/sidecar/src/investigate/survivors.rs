//! What the survival of blocks says of a look's target.

use std::time::Duration;

use mlh_detect::alloc::{Cohorts, Pattern, Survival};
use mlh_detect::{Rung as Ladder, Says, Spare, Testimony};

use super::bursts::Moment;
use super::evidence::StackKey;
use super::plan::{Plan, Rung};

/// Shorter bursts show too little of what stays.
const LEAST_BURST: Duration = Duration::from_secs(20);
/// And of what does not.
const LEAST_DENIAL: Duration = Duration::from_secs(60);
/// Of the growth that is to be explained: what comes to stay is nothing below it.
const NOTHING: f64 = 0.1;
/// Of what was followed, heaps that are collected must have had this share.
const MOST: f64 = 0.5;

/// Which rung of the ladder a look is; `None`: none with probes.
pub(super) fn rung(plan: &Plan) -> Option<Ladder> {
    match plan.rung {
        Rung::GrowthStacks => None,
        Rung::Debug => Some(Ladder::FullProbes),
        Rung::Targeted if plan.filters.min_allocation_size == 0 => Some(Ladder::FullProbes),
        Rung::Targeted => Some(Ladder::GateProbes),
    }
}

/// What it says, where memory grows by `charged_growth` bytes a second. `evicted`: blocks that the table has forgotten.
pub(super) fn testimony(
    cohorts: &Cohorts<StackKey>,
    rung: Ladder,
    evicted: u64,
    now: Moment,
    charged_growth: f64,
) -> Testimony {
    let says = says(cohorts, rung, evicted, charged_growth);
    Testimony { rung, source: "survival", at: now.at, watched: now.watched, says }
}

fn says(cohorts: &Cohorts<StackKey>, rung: Ladder, evicted: u64, charged_growth: f64) -> Says {
    if cohorts.longest() < LEAST_BURST {
        return Says::Unclear("it was watched for too short a time to see what stays");
    }
    let of = |pattern: fn(Pattern) -> bool| {
        cohorts.all().map(|(_, seen)| seen).filter(move |seen| pattern(seen.pattern))
    };
    let (kept, spread) = sum(of(|pattern| pattern == Pattern::Kept));
    if kept > 0.0 {
        let share = if charged_growth > 0.0 { (kept / charged_growth).min(1.0) } else { 1.0 };
        return Says::Kept { velocity: kept, interval: ((kept - spread).max(0.0), kept + spread), share };
    }
    if evicted > 0 {
        return Says::Unclear("more blocks lived than the table of live blocks holds");
    }
    if cohorts.longest() < LEAST_DENIAL {
        return Says::Unclear("nothing was seen to stay, in a short time");
    }
    let (all, _) = sum(of(|_| true));
    let collected = followed(of(|pattern| pattern == Pattern::Sawtooth));
    if collected > 0.0 && collected >= MOST * followed(of(|_| true)) {
        return Says::Spare(Spare::Garbage);
    }
    // who sees all blocks sees that none stays; behind a gate there are others
    if rung == Ladder::FullProbes && cohorts.unfitted() == 0 && all < NOTHING * charged_growth {
        return Says::Spare(Spare::Retained);
    }
    Says::Unclear("of what was seen nothing stays")
}

fn followed(seen: impl Iterator<Item = Survival>) -> f64 {
    seen.fold(0.0, |sum, seen| sum + seen.followed as f64)
}

/// Bytes a second, and half the width of the interval.
fn sum(seen: impl Iterator<Item = Survival>) -> (f64, f64) {
    let (velocity, variance) = seen.fold((0.0, 0.0), |(velocity, variance), seen| {
        let half = (seen.interval.1 - seen.interval.0) / 2.0;
        (velocity + seen.velocity, variance + half * half)
    });
    (velocity, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use mlh_bpf::alloc::heard::{CallSite, Slot};
    use mlh_detect::alloc::Block;

    use super::*;

    /// Of a burst in which one stack allocates 1 KiB a second which goes at that second; `None`: never.
    fn watched(seconds: u64, until: impl Fn(u64) -> Option<u64>) -> Cohorts<StackKey> {
        let mut cohorts = Cohorts::default();
        let key = StackKey::unknown(CallSite { slot: Slot(1), ip: 1, depth: 1 });
        cohorts.begin(Duration::ZERO);
        for now in 1..=seconds {
            let live = (0..now).filter(|born| until(*born).is_none_or(|until| until > now));
            let blocks = live.map(|born| {
                let born = Duration::from_millis(born * 1000 + 500);
                (key, Block { address: 1, size: 1024, weight: 1, born })
            });
            cohorts.read(Duration::from_secs(now), blocks);
        }
        cohorts
    }

    fn said(seconds: u64, until: impl Fn(u64) -> Option<u64>, rung: Ladder, evicted: u64) -> Says {
        let now = Moment { at: Duration::from_secs(900), watched: Duration::from_secs(seconds) };
        let testimony = testimony(&watched(seconds, until), rung, evicted, now, 2048.0);
        assert_eq!((testimony.rung, testimony.at, testimony.watched), (rung, now.at, now.watched));
        testimony.says
    }

    /// Guarantees: what stays is said with its velocity and its share of the growth, whatever was evicted; in a short time nothing is
    /// said; that nothing stays is said only by who saw all, for long enough, and forgot none.
    #[test]
    fn what_is_said() {
        use Ladder::{FullProbes, GateProbes};
        let never = |_| None;
        for evicted in [0, 7] {
            let Says::Kept { velocity, interval, share } = said(30, never, GateProbes, evicted) else {
                panic!()
            };
            assert!((velocity - 1024.0).abs() < 1.0 && (share - 0.5).abs() < 0.01, "{velocity} {share}");
            assert!(interval.0 > 1000.0 && interval.1 < 1050.0, "{interval:?}");
        }
        assert!(matches!(said(19, never, GateProbes, 0), Says::Unclear(_)));
        let cache = |born| Some(born + 3);
        assert_eq!(said(90, cache, FullProbes, 0), Says::Spare(Spare::Retained));
        for (seconds, rung, evicted) in [(59, FullProbes, 0), (90, GateProbes, 0), (90, FullProbes, 1)] {
            assert!(matches!(said(seconds, cache, rung, evicted), Says::Unclear(_)));
        }
        let collected = |born: u64| Some((born / 40 + 1) * 40);
        assert_eq!(said(99, collected, GateProbes, 0), Says::Spare(Spare::Garbage));
    }
}
