//! The judgement: samples of processes and containers in, findings out.
//!
//! Pure. No I/O, no clock, no async: time comes in with each sweep, so a recorded trace and a live host go
//! through the same code. Read in this order: [`Sweep`] comes in, the detector keeps a track for each process and container,
//! a track keeps a history and looks for grounds in it, a [`Finding`] goes out. What the rungs of the ladder testify comes in
//! by [`Detector::hear`] and bears on the case. [`alloc`] judges what a close look at one target sees,
//! [`growth_stacks`] which stacks touched the memory that stays, [`outside`] what a process's runtime or allocator says of itself,
//! [`coldness`] whether what it grows by is referenced again.
//! [`leaks`] puts together what several findings say of one leak.

#![forbid(unsafe_code)]

mod sample;
mod detector;
mod followed;
mod watch;
mod track;
mod case;
mod siblings;
mod grounds;
mod teeth;
mod history;
mod work;
mod pattern;
mod trend;
mod outlook;
mod rooms;
mod rules;
mod evidence;
mod bearing;
mod finding;

mod interval;

pub mod alloc;

pub mod growth_stacks;

pub mod outside;
pub mod coldness;
pub mod leaks;

pub use detector::{Detector, Ongoing, WatchedContainer};
pub use evidence::{Rung, Says, Spare, Testimonies, Testimony};
pub use finding::{Cleared, Exhaustion, Finding, FindingKind, Kill, Risk, Stage, Trend, Verdict};
pub use pattern::Pattern;
pub use rules::Rules;
pub use sample::{
    About, ContainerKey, ContainerSample, HostMemory, Limit, LimitKind, Memory, OomVictim, Pass, ProcessKey,
    Room, Sample, Sweep,
};
