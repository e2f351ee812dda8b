//! What goes out: growth, suspicion, verdict, all-clear, and the end of memory before and after it came.

use std::time::Duration;

use crate::evidence::Testimonies;
use crate::pattern::Pattern;
use crate::sample::{About, ContainerKey, Limit, Memory, ProcessKey};

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
    /// When the first of the limits around is reached. `None` where no limit is known.
    pub exhaustion: Option<Exhaustion>,
    /// In which way it has grown since the onset.
    pub pattern: Pattern,
    /// What it rests on: the trend, and what the other rungs have said by then.
    pub evidence: Testimonies,
}

/// A prediction in seconds from the finding's own time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exhaustion {
    /// The estimate: from how what is left below the limit has shrunk since the onset, whoever took it.
    pub expected_s: f64,
    /// Not before; with the next the interval that holds nine of ten ends.
    pub earliest_s: f64,
    /// Not after; infinite where what is left shrinks too unevenly to say, or has hardly been seen shrinking.
    pub latest_s: f64,
    /// The limit.
    pub limit: Limit,
}

/// A limit that will be reached soon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Risk {
    /// The slope of the case. When the limit is reached follows from all that is charged to it.
    pub trend: Trend,
    /// How far the case has come.
    pub stage: Stage,
    /// When.
    pub exhaustion: Exhaustion,
}

/// What was known of one whom the kernel killed for lack of memory: of the process itself, or else of its container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kill {
    /// How far the case had come.
    pub stage: Stage,
    /// The newest slope of the case.
    pub trend: Option<Trend>,
    /// Bytes grown since the onset of the case.
    pub grown: u64,
    /// The newest risk that was told, and when.
    pub told: Option<(Duration, Exhaustion)>,
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
// a finding lives for one pass: its copies cost less than a verdict's own place on the heap
#[expect(clippy::large_enum_variant)]
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
        /// Bytes, from the onset to the most that was held at several looks in a row.
        peak: u64,
    },
    /// A limit is near.
    OomRisk(Risk),
    /// The kernel killed the process.
    OomKill(Kill),
}

/// One finding about one process or container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// When, on the clock of the sweeps.
    pub at: Duration,
    /// About whom.
    pub about: About,
    /// What it held then.
    pub memory: Memory,
    /// Of a container: the process in it that grew most.
    pub leader: Option<ProcessKey>,
    /// Of a process: the container it runs in.
    pub container: Option<ContainerKey>,
    /// The memory is only a sum of processes, see [`crate::ContainerSample::upper_bound`].
    pub upper_bound: bool,
    /// What was found.
    pub kind: FindingKind,
}
