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

use anyhow::Context as _;
use mlh_integration::need::{self, Skip};
use mlh_integration::scenario::World;
use mlh_integration::table::Table;

type Part = fn(&World, &mut Table) -> anyhow::Result<()>;

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
    // cargo passes --bench
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        anyhow::bail!("no part `{unknown}`; there are: {}", PARTS.map(|(part, _)| part).join(" "));
    }
    need::ebpf()?;
    let mut table = Table::default();
    for (name, part) in PARTS {
        if !named.is_empty() && named.iter().all(|wanted| wanted != name) {
            continue;
        }
        eprintln!("measuring: {name}");
        if let Err(error) = part(&World::new()?, &mut table) {
            let skip = error.downcast::<Skip>().with_context(|| name.to_owned())?;
            table.beside(name, format!("skipped: {skip}"));
        }
    }
    print!("{table}");
    Ok(if table.is_missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
