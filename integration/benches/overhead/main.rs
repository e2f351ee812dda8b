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

use anyhow::Context as _;
use mlh_integration::scenario::World;
use mlh_integration::table::{self, Table};

type Part = fn(&World, &mut Table) -> anyhow::Result<()>;

const PARTS: [(&str, Part); 7] = [
    ("pass", pass::measure),
    ("cgroups", cgroups::measure),
    ("start", start::measure),
    ("storm", storm::measure),
    ("crossings", storm::crossings),
    ("oom", oom::measure),
    ("idle", idle::measure),
];

fn main() -> anyhow::Result<()> {
    // cargo passes --bench
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let parts: Vec<_> = PARTS.iter().map(|(part, _)| *part).collect();
        anyhow::bail!("no part `{unknown}`; there are: {}", parts.join(" "));
    }
    mlh_integration::need::ebpf()?;
    let mut table = Table::default();
    for (name, part) in PARTS {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            eprintln!("measuring: {name}");
            part(&World::new()?, &mut table).with_context(|| name.to_owned())?;
        }
    }
    print!("{table}");
    Ok(())
}
