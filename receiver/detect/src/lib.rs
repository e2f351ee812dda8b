//! The judgement: samples of processes in, findings out.
//!
//! Pure. No I/O, no clock, no async: time comes in with each sweep, so a recorded trace and a live host go
//! through the same code.

#![forbid(unsafe_code)]

mod finding;
mod sample;

pub use finding::{Cleared, Finding, FindingKind, Stage, Trend, Verdict, Exhaustion};
pub use sample::{HostMemory, Memory, Pass, ProcessKey, Sample, Sweep};
