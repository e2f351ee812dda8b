//! What the rungs of the ladder say of a case, the cheapest first: each testifies for itself, and may have seen nothing.

use std::time::Duration;

use crate::rules::{FRESH, FRESH_IN_USE, IN_USE_CONFIRMED};

/// The rungs, by what they cost whoever is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// Its memory over time, with what else a pass tells. Costs nothing.
    Trend,
    /// What can be read of it from outside: its runtime's own figures, its heap.
    Outside,
    /// Whether what it grows by is referenced again.
    Coldness,
    /// Who touches memory that stays: sampled page faults.
    GrowthStacks,
    /// Probes where an allocator leaves its cache.
    GateProbes,
    /// Probes on every allocation, in short bursts.
    FullProbes,
}

impl Rung {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 6] =
        [Self::Trend, Self::Outside, Self::Coldness, Self::GrowthStacks, Self::GateProbes, Self::FullProbes];

    /// As settings and records say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trend => "trend",
            Self::Outside => "outside",
            Self::Coldness => "coldness",
            Self::GrowthStacks => "growth_stacks",
            Self::GateProbes => "gate_probes",
            Self::FullProbes => "full_probes",
        }
    }
}

/// Memory that grows without anything being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spare {
    /// What survives collection does not grow: garbage, and room for more of it.
    Garbage,
    /// The allocator holds more, and what is in use of it does not grow.
    Retained,
    /// Private copies of pages that a parent shares.
    Copies,
    /// What it grows by is referenced again: a cache that fills, or a structure that is walked.
    InUse,
}

/// What a rung has seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    /// Memory is kept: what is in use grows.
    Kept {
        /// Bytes a second.
        velocity: f64,
        /// The 95 % interval of it.
        interval: (f64, f64),
        /// Of the growth in the same time, so much is explained by it: 0..=1.
        share: f64,
    },
    /// It grows, and nothing is kept.
    Spare(Spare),
    /// It cannot be told: why, in a few words.
    Unclear(&'static str),
}

/// What one rung says of one case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Testimony {
    /// Which.
    pub rung: Rung,
    /// What it rests on, e.g. `glibc_census`, `go_heap`, `jvm_counters`, `python_objects`, `references`, `growth_pages`, `survival`.
    pub source: &'static str,
    /// When it was given, on the clock of the sweeps.
    pub at: Duration,
    /// The time it was watched for, up to then.
    pub watched: Duration,
    /// What was seen.
    pub says: Says,
}

impl Testimony {
    /// Whether it still speaks of the present.
    pub(crate) fn is_fresh(&self, at: Duration) -> bool {
        let confirmed = self.says == Says::Spare(Spare::InUse) && self.watched >= IN_USE_CONFIRMED;
        let lasts = if confirmed { FRESH_IN_USE } else { FRESH };
        at.saturating_sub(self.at) < lasts
    }
}

/// What the rungs have said of one case: of each the newest that tells something.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Testimonies {
    by_rung: [Option<Testimony>; Rung::ALL.len()],
}

impl Testimonies {
    /// Takes one in, in place of what its rung said before. One that cannot tell does not displace what another source of
    /// its rung has told of late.
    pub fn take(&mut self, testimony: Testimony) {
        let slot = &mut self.by_rung[testimony.rung as usize];
        let outweighed = |held: &Testimony| {
            matches!(testimony.says, Says::Unclear(_))
                && !matches!(held.says, Says::Unclear(_))
                && held.source != testimony.source
                && held.is_fresh(testimony.at)
        };
        if !slot.as_ref().is_some_and(outweighed) {
            *slot = Some(testimony);
        }
    }

    /// What a rung has said.
    #[must_use]
    pub fn of(&self, rung: Rung) -> Option<&Testimony> {
        self.by_rung[rung as usize].as_ref()
    }

    /// All there are, the cheapest rung first.
    pub fn iter(&self) -> impl Iterator<Item = &Testimony> {
        self.by_rung.iter().flatten()
    }
}

impl Testimonies {
    /// Those that outlive a case, for as long as they are believed: what nobody keeps has not become a leak when it stops growing for a
    /// while.
    pub(crate) fn outlive(&self) -> Self {
        self.iter().filter(|held| matches!(held.says, Says::Spare(_))).copied().collect()
    }
}

impl FromIterator<Testimony> for Testimonies {
    fn from_iter<I: IntoIterator<Item = Testimony>>(testimonies: I) -> Self {
        let mut all = Self::default();
        testimonies.into_iter().for_each(|testimony| all.take(testimony));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testimony(rung: Rung, source: &'static str, at_s: u64, says: Says) -> Testimony {
        let watched = Duration::from_secs(60);
        Testimony { rung, source, at: Duration::from_secs(at_s), watched, says }
    }

    /// Guarantees: of each rung the newest testimony stands, the cheapest rung first; one that cannot tell displaces only
    /// what its own source has said, or what is old.
    #[test]
    fn newest_of_each_rung() {
        let spare = Says::Spare(Spare::Garbage);
        let mut all: Testimonies = [
            testimony(Rung::GrowthStacks, "growth_pages", 90, spare),
            testimony(Rung::Outside, "go_heap", 100, spare),
        ]
        .into_iter()
        .collect();
        assert_eq!(all.iter().map(|held| held.rung).collect::<Vec<_>>(), [Rung::Outside, Rung::GrowthStacks]);
        let unclear =
            |source, at| testimony(Rung::Outside, source, at, Says::Unclear("not laid out as known"));
        all.take(unclear("glibc_census", 110));
        assert_eq!(all.of(Rung::Outside).map(|held| held.says), Some(spare));
        all.take(unclear("glibc_census", 100 + FRESH.as_secs()));
        assert_eq!(all.of(Rung::Outside).map(|held| held.source), Some("glibc_census"));
        all.take(testimony(Rung::Outside, "go_heap", 500, spare));
        all.take(unclear("go_heap", 501));
        assert_eq!(all.of(Rung::Outside).map(|held| held.says), Some(Says::Unclear("not laid out as known")));
        assert_eq!(all.of(Rung::FullProbes), None);
    }
}
