//! What goes out: growth, suspicion, verdict, all-clear.

use std::time::Duration;

use crate::sample::{Memory, ProcessKey};

/// A measured slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Bytes per second.
    pub velocity: f64,
    /// The 95 % interval of the velocity, bytes per second.
    pub interval: (f64, f64),
    /// The time it was measured over.
    pub window: Duration,
    /// Bytes grown inside the window.
    pub grown: u64,
    /// Samples it rests on.
    pub samples: u32,
}

/// What was concluded, beyond the trend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The slope at the time of the verdict.
    pub trend: Trend,
    /// 0..=1: how sure.
    pub confidence: f64,
    /// Bytes grown since the onset.
    pub leaked: u64,
    /// When the growth began, on the clock of the sweeps.
    pub onset: Duration,
    /// Seconds until the host has no memory left at this velocity: the estimate and its interval. `None` where
    /// the host's memory is unknown.
    pub host_exhaustion_s: Option<Exhaustion>,
}

/// A prediction in seconds from the finding's own time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exhaustion {
    /// The estimate.
    pub expected_s: f64,
    /// Not before.
    pub earliest_s: f64,
    /// Not after; infinite where the interval of the velocity touches zero.
    pub latest_s: f64,
}

/// How far a process is under suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing known against it.
    Calm,
    /// The trend is sustained.
    Suspected,
    /// The verdict has been given.
    Leaking,
}

/// Why a suspicion or verdict was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// The growth stopped.
    Stopped,
    /// The memory was given back.
    GivenBack,
    /// The process runs another program now.
    Executed,
    /// The process ended.
    Exited,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FindingKind {
    /// Grew by the threshold or more since the last such finding.
    Growth {
        /// Bytes above the baseline.
        grown: u64,
        /// Since when the baseline stands.
        since: Duration,
    },
    /// The trend is sustained.
    Suspected(Trend),
    /// A leak.
    Detected(Verdict),
    /// Taken back.
    Cleared {
        /// Why.
        reason: Cleared,
        /// What it had been.
        was: Stage,
        /// Bytes grown from the onset to the peak.
        peak: u64,
    },
}

/// One finding about one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// When, on the clock of the sweeps.
    pub at: Duration,
    /// About whom.
    pub key: ProcessKey,
    /// What it held then.
    pub memory: Memory,
    /// What was found.
    pub kind: FindingKind,
}
