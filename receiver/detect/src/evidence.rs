//! What the rungs of the ladder say of a case, the cheapest first: each testifies for itself, and may have seen nothing.

use std::time::Duration;

/// The rungs, by what they cost whoever is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// Its memory over time, with what else a pass tells. Costs nothing.
    Trend,
    /// What can be read of it from outside: its runtime's own figures, its heap.
    Outside,
    /// Who touches memory that stays: sampled page faults.
    GrowthStacks,
    /// Probes where an allocator leaves its cache.
    GateProbes,
    /// Probes on every allocation, in short bursts.
    FullProbes,
}

impl Rung {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 5] =
        [Self::Trend, Self::Outside, Self::GrowthStacks, Self::GateProbes, Self::FullProbes];

    /// As settings and records say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trend => "trend",
            Self::Outside => "outside",
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
    /// What it rests on, e.g. `glibc_census`, `go_heap`, `jvm_counters`, `python_objects`, `growth_pages`, `survival`.
    pub source: &'static str,
    /// When it was given, on the clock of the sweeps.
    pub at: Duration,
    /// The time it was watched for, up to then.
    pub watched: Duration,
    /// What was seen.
    pub says: Says,
}
