//! What a sampled stack costs, by kind, where it is taken and where it is read, and what it takes to name one from a file of half a
//! gigabyte: `make bench-stacks`, or `make bench-stacks PARTS="kernel agent"` for some of it.
//!
//! Needs root, eBPF and gcc; what else a row needs, it says where it is left out. What is compared takes turns, so that others may
//! use the machine too: intervals are wider then. Prints one table. A goal that lies within its interval is `unclear`; the exit code
//! is 1 only if one is missed by the whole of it.

#![forbid(unsafe_code)]

mod depths;
mod captures;
mod kernel;
mod agent;
mod large;

use std::process::ExitCode;

use mlh_integration::bench::{self, Part};

const PARTS: [(&str, Part); 4] = [
    ("kernel", kernel::measure),
    ("python", kernel::python),
    ("agent", agent::measure),
    ("large", large::measure),
];

fn main() -> anyhow::Result<ExitCode> {
    bench::measure(&PARTS)
}
