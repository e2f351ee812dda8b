//! What the sidecar costs and how well it foretells, against its goals: `make bench`, or
//! `make bench PARTS="pass storm"` for some of it.
//!
//! Needs root, eBPF, a release build of the sidecar, and a machine with nothing else to do; the part `oom` needs podman
//! and runc. Prints one table.

#![forbid(unsafe_code)]

mod cgroups;
mod herd;
mod idle;
mod oom;
mod pass;
mod start;
mod storm;

use std::process::ExitCode;

use mlh_integration::bench::{self, Part};

const PARTS: [(&str, Part); 7] = [
    ("pass", pass::measure),
    ("cgroups", cgroups::measure),
    ("start", start::measure),
    ("storm", storm::measure),
    ("crossings", storm::crossings),
    ("oom", oom::measure),
    ("idle", idle::measure),
];

fn main() -> anyhow::Result<ExitCode> {
    bench::measure(&PARTS)
}
