//! What looking at allocations costs the target, and what the ring bears, against the goals: `make bench-allocations`, or
//! `make bench-allocations PARTS="pairs ring"` for some of it.
//!
//! Needs root, eBPF and gcc; what else a row needs, it says where it is left out. Costs are CPU time, and what is compared takes
//! turns, so that others may use the machine too: intervals are wider then. Prints one table. A goal that lies within its interval is
//! `unclear`; the exit code is 1 only if one is missed by the whole of it.

#![forbid(unsafe_code)]

mod subject;
mod look;
mod pairs;
mod governed;
mod followed;
mod peer;
mod programs;
mod ring;

use std::process::ExitCode;

use mlh_integration::bench::{self, Part};

const PARTS: [(&str, Part); 9] = [
    ("pairs", pairs::measure),
    ("ungated", pairs::ungated),
    ("governed", governed::measure),
    ("followed", followed::measure),
    ("peer", peer::measure),
    ("redis", programs::redis),
    ("python", programs::python),
    ("java", programs::java),
    ("ring", ring::measure),
];

fn main() -> anyhow::Result<ExitCode> {
    bench::measure(&PARTS)
}
