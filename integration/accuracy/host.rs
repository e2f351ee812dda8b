//! `make accuracy-host`: a host as it is in the field. Twenty services work beside each other for an hour, five of them leak, each in
//! another way, and the sidecar with its default settings is to find these and nothing else.
//!
//! Needs root and eBPF, a release build of the sidecar (or `MLH_BIN`), and what the cases of the corpus need; where that is missing
//! the run is told as smaller. `MINUTES` (60), `SEED`, `OUT` (the folder for report and faults), `SETTINGS`.

#![forbid(unsafe_code)]

use std::path::Path;

use mlh_integration::accuracy::outcome::Kind;
use mlh_integration::accuracy::said::{number, said};
use mlh_integration::accuracy::suite::{Done, Patience, Plan, run};
use mlh_integration::accuracy::tally::{Share, Tally};
use mlh_integration::accuracy::{corpus, programs, report};
use mlh_integration::need;
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;
use mlh_integration::table::Table;

/// Of the corpus: those that leak,
const LEAKS: [&str; 5] = [
    "pg-prepared",
    "node-express-session",
    "go-gorilla-sessions",
    "jvm-zstd-dict-byref",
    "py-selectolax-css",
];
/// those that do not,
const CALM: [&str; 11] = [
    "nl-redis-lru",
    "nl-nginx-static",
    "nl-node-ws-deflate",
    "nl-go-bbolt-mmap",
    "nl-jvm-metaspace",
    "nl-py-batch",
    "nl-c-arenas",
    "pg-prepared-control",
    "node-express-session-control",
    "go-gorilla-sessions-control",
    "py-selectolax-css-control",
];
/// and of our programs.
const OURS: [&str; 4] = ["calm-c-batch", "calm-rust-lru", "calm-python-day-and-night", "calm-java-teeth"];

/// What the sidecar has by then it is to have at the end, within a tenth: what it reads first, it keeps.
const SETTLED: f64 = 1.0 / 3.0;

fn main() -> anyhow::Result<()> {
    need::ebpf()?;
    let (seed, lasts) = (number("SEED", 1u64)?, number("MINUTES", 60.0)? * 60.0);
    let world = World::new()?;
    let names: Vec<String> = LEAKS.iter().chain(&CALM).map(|name| (*name).to_owned()).collect();
    let (mut cases, mut without) = corpus::cases(&names)?;
    let (more, less) = programs::cases(world.folder())?;
    cases.extend(more);
    without.extend(less);
    let wanted: Vec<&str> = LEAKS.into_iter().chain(CALM).chain(OURS).collect();
    cases.retain(|case| wanted.contains(&case.id.as_str()));
    let mut planned: Vec<_> = cases.into_iter().map(|case| (case, seed)).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut planned);
    eprintln!("{} services of {} for {:.0} minutes", planned.len(), wanted.len(), lasts / 60.0);

    let plan = Plan {
        runs: planned,
        parallel: wanted.len(),
        patience: Patience { leak: lasts, after_verdict: lasts, calm: lasts, longest: lasts },
        seed,
        apart: 3.0,
        settings: said("SETTINGS").unwrap_or_default(),
        traced: false,
    };
    let done = run(&world, &plan)?;
    let otherwise = Path::new(env!("CARGO_TARGET_TMPDIR")).join("accuracy-host");
    let (_, out) = report::write(&otherwise, world.folder(), &done, &without)?;
    print!("{}", judged(&done, wanted.len()));
    println!("Who was found when, and the faults, lie in {}.", out.display());
    Ok(())
}

fn judged(done: &Done, wanted: usize) -> Table {
    let outcomes: Vec<_> = done.outcomes.iter().collect();
    let tally = Tally::of(&outcomes);
    let mut table = Table::default();
    let run = outcomes.iter().filter(|outcome| outcome.kind() != Kind::Short).count();
    table.goal("services that ran to the end", &format!("{wanted}"), run.to_string(), run == wanted);
    let all = |share: Share| share.hits == share.of;
    table.goal("leaks found", "all", tally.recall.to_string(), all(tally.recall));
    let false_alarms = tally.false_positives;
    table.goal("others called leaks", "none", false_alarms.to_string(), false_alarms.hits == 0);
    let first = tally.culprit_first;
    table.goal("found leaks whose first culprit is right", "all", first.to_string(), all(first));
    table.goal("found leaks that were told once", "all", tally.told_once.to_string(), all(tally.told_once));
    table.beside("verdict after 1 MiB", tally.to_verdict_of_all.to_string());
    let paid = outcomes.iter().filter_map(|outcome| outcome.paid()).fold(0.0, f64::max);
    let result = format!("{:.4} %", paid * 100.0);
    table.goal("the dearest look, of its target's CPU time", "<= 0.1 %", result, paid <= 0.001);
    let (early, late) = done.resident.split_at((done.resident.len() as f64 * SETTLED) as usize);
    let middle = late.len() / 2;
    let (from, to) = (median(&late[..middle]) / 1e6, median(&late[middle..]) / 1e6);
    let flat = !early.is_empty() && to <= from * 1.1;
    let result = format!("{from:.1} MB in the second third, {to:.1} MB in the last");
    table.goal("the sidecar's resident memory", "flat: at most a tenth more", result, flat);
    table
}
