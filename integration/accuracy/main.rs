//! `make accuracy`: programs that leak and programs that only look like it, run for real beside one sidecar and scored.
//!
//! Needs root and eBPF, and a release build of the sidecar (or `MLH_BIN`). What runs is said by the environment: `SETS` (`programs`
//! and `corpus`), `CASES` (parts of their names), `RUNS` (of each case), `SEED`, `MINUTES` (of a calm run), `PARALLEL`, `OUT` (the
//! folder for the report), `SETTINGS` (of the receiver). docs/accuracy.md says what it means.

#![forbid(unsafe_code)]

use std::path::Path;

use mlh_integration::accuracy::said::{number, said, words};
use mlh_integration::accuracy::suite::{Patience, Plan, SIDE_BY_SIDE, run};
use mlh_integration::accuracy::{corpus, programs, report};
use mlh_integration::need;
use mlh_integration::scenario::World;

fn main() -> anyhow::Result<()> {
    need::ebpf()?;
    let (seed, runs) = (number("SEED", 1u64)?, number("RUNS", 2u64)?);
    let calm = number("MINUTES", 10.0)? * 60.0;
    let world = World::new()?;
    let (sets, names) = (words("SETS"), words("CASES"));
    let (mut cases, mut without) = (Vec::new(), Vec::new());
    for set in if sets.is_empty() { vec!["programs".to_owned()] } else { sets } {
        let (more, less) = match set.as_str() {
            "programs" => programs::cases(world.folder())?,
            "corpus" => corpus::cases(&names)?,
            other => anyhow::bail!("no set `{other}`; there are: programs corpus"),
        };
        cases.extend(more);
        without.extend(less);
    }
    cases.retain(|case| names.is_empty() || names.iter().any(|name| case.id.contains(name)));
    let seeds = (0..runs).map(|run| seed * 1000 + run);
    let mut planned: Vec<_> =
        seeds.flat_map(|seed| cases.iter().map(move |case| (case.clone(), seed))).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut planned);
    eprintln!("{} runs of {} cases; {} cannot be run here", planned.len(), cases.len(), without.len());

    let plan = Plan {
        runs: planned,
        parallel: number("PARALLEL", 24)?,
        patience: Patience { leak: 330.0, after_verdict: 60.0, calm, longest: calm.max(1200.0) },
        seed,
        apart: 8.0,
        settings: said("SETTINGS").unwrap_or_else(|| SIDE_BY_SIDE.to_owned()),
        traced: true,
    };
    let done = run(&world, &plan)?;
    let otherwise = Path::new(env!("CARGO_TARGET_TMPDIR")).join("accuracy");
    let (page, out) = report::write(&otherwise, world.folder(), &done, &without)?;
    println!("{page}\nThis page, the figures and the faults lie in {}.", out.display());
    Ok(())
}
