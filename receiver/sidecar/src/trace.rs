//! Recorded sweeps: JSON lines, so that a verdict can be reached again on another machine.
//!
//! A trace is ordered by `t`, seconds since it began; memory is in bytes; unknown kinds and members are ignored and
//! absent ones mean unknown. Beyond the kinds that every trace has (`host`, `cgroup`, `process`, `oom_kill`, `exit`)
//! our own recorder writes a `pass` line before the cgroups and processes of each sweep, which says whether the sweep was
//! full and how much memory the host had left.
//!
//! Read in this order: what a line holds, how lines are read, how they become passes, thinning, writing.

mod seconds;

mod cgroup;
mod kill;
mod line;

mod reader;

mod passes;
mod presence;
mod cgroups;

mod thin;

mod anonymize;
mod writer;

#[cfg(test)]
mod tests;

pub use cgroup::CgroupLine;
pub use kill::OomKillLine;
pub use line::{Coverage, DeathLine, HostLine, Line, PassLine, ProcessLine};
pub use passes::{Passes, TraceHost, TracePass};
pub use reader::{LineReader, TraceError};
pub use thin::{Thinned, thin};
pub use writer::TraceWriter;
