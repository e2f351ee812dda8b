//! The judgement: samples of processes in, findings out.
//!
//! Pure. No I/O, no clock, no async: time comes in with each sweep, so a recorded trace and a live host go
//! through the same code. Read in this order: [`Sweep`] comes in, the detector keeps a track a process, a track
//! keeps a history and asks its trend, a [`Finding`] goes out.

#![forbid(unsafe_code)]

mod sample;
mod detector;
mod watch;
mod track;
mod teeth;
mod history;
mod trend;
mod rules;
mod finding;

pub use detector::{Detector, Ongoing};
pub use finding::{Cleared, Exhaustion, Finding, FindingKind, Stage, Trend, Verdict};
pub use rules::Rules;
pub use sample::{HostMemory, Memory, Pass, ProcessKey, Sample, Sweep};
