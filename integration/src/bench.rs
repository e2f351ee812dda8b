//! The frame of a benchmark in parts: which ones are wanted, and one table in the end.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::need::{self, Skip};
use crate::scenario::World;
use crate::table::Table;

/// Measures something, and adds its rows to the table.
pub type Part = fn(&World, &mut Table) -> anyhow::Result<()>;

/// Measures the parts that the arguments name, all where they name none, and prints the table. What this machine lacks for a part stands in
/// its place. The exit code tells whether a goal was missed.
///
/// # Errors
/// A part that does not exist, a host without eBPF, or a part that fails.
pub fn measure(parts: &[(&str, Part)]) -> anyhow::Result<ExitCode> {
    // cargo passes --bench
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| parts.iter().all(|(part, _)| part != name)) {
        let known: Vec<_> = parts.iter().map(|(part, _)| *part).collect();
        anyhow::bail!("no part `{unknown}`; there are: {}", known.join(" "));
    }
    need::ebpf()?;
    let mut table = Table::default();
    for (name, part) in parts {
        if !named.is_empty() && named.iter().all(|wanted| wanted != name) {
            continue;
        }
        eprintln!("measuring: {name}");
        if let Err(error) = part(&World::new()?, &mut table) {
            let skip = error.downcast::<Skip>().with_context(|| (*name).to_owned())?;
            table.beside(*name, format!("skipped: {skip}"));
        }
    }
    print!("{table}");
    Ok(if table.is_missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
