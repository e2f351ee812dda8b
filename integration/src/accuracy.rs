//! How often the sidecar is right: programs that leak, and programs that only look like it, run for real and scored.
//!
//! A [`Case`](case::Case) is a program with what is known of it; a [`run`] is a case with a seed, in a cgroup of its own, by
//! whose id the sidecar's records find their way back to it. The [`suite`] keeps many runs going beside one sidecar, and the
//! [`report`] says what came of them.

pub mod case;
pub mod programs;
pub mod corpus;
pub mod story;
pub mod cgroup;
pub mod heard;
pub mod run;
pub mod suite;
pub mod said;
pub mod outcome;
pub mod tally;
pub mod report;
