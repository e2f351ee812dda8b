//! What grows, and what is followed up.

use serde::{Deserialize, Serialize};

use super::{TraceMessage, seconds};
use crate::investigate::report::GrowthStack;
use crate::ladder::Climbing;

/// A stack that touched memory that is still there: those that grow steadily first, by how much.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // as in the report of `inspect`
pub struct GrowthMessage {
    pub pid: u32,
    pub share: f64,
    pub bytes: u64,
    pub error_bytes: u64,
    pub steady_bytes: u64,
    pub pattern: String,
    pub velocity_bytes_per_second: f64,
    #[serde(flatten)]
    pub trace: TraceMessage,
}

impl From<&GrowthStack> for GrowthMessage {
    fn from(growth: &GrowthStack) -> Self {
        let figures = &growth.figures;
        Self {
            pid: growth.pid,
            share: figures.share,
            bytes: figures.bytes,
            error_bytes: figures.error_bytes,
            steady_bytes: figures.steady_bytes,
            pattern: figures.pattern.name().to_owned(),
            velocity_bytes_per_second: figures.velocity,
            trace: TraceMessage::from(&growth.trace),
        }
    }
}

/// A suspicion that is followed up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClimbMessage {
    /// Against whom, in words.
    pub target: String,
    /// The rungs that are at work, the cheapest first: `outside`, `growth_stacks`, ...
    pub rungs: Vec<String>,
    /// `suspected`, or `detected` where the verdict had fallen before it was known who is to blame.
    pub why: String,
    /// For how long.
    pub lasted_s: f64,
    /// Who is to blame so far, each with a share, the most first.
    pub culprits: Vec<String>,
}

impl From<&Climbing> for ClimbMessage {
    fn from(climbing: &Climbing) -> Self {
        Self {
            target: climbing.target.clone(),
            rungs: climbing.rungs.iter().map(|rung| rung.name().to_owned()).collect(),
            why: climbing.why().to_owned(),
            lasted_s: seconds(climbing.lasted),
            culprits: climbing.culprits.clone(),
        }
    }
}
