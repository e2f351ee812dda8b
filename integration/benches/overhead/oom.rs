//! How well the end of memory is foretold: ten leaks side by side, each in a container that ends it, and for each the
//! first warning beside the truth.

use std::time::{Duration, SystemTime};

use mlh_integration::container::{Container, Rootfs};
use mlh_integration::oom::{Doomed, Foretold, death, first_risk};
use mlh_integration::otlp::records;
use mlh_integration::scenario::{World, built, free_port};
use mlh_integration::sidecar;
use mlh_integration::statistics::median;
use mlh_integration::wait::until;

use mlh_integration::table::Table;

/// KiB a second and MiB: they die from 90 to 400 s after their start.
const RUNS: [(u64, u64); 10] = [
    (256, 32),
    (256, 80),
    (384, 128),
    (512, 48),
    (512, 112),
    (768, 256),
    (1024, 128),
    (1536, 256),
    (2048, 512),
    (4096, 512),
];

fn all_dead(doomed: &[(Doomed, Container)], file: &std::path::Path) -> anyhow::Result<Vec<SystemTime>> {
    let mut deaths = vec![None; doomed.len()];
    until("the last kill", Duration::from_secs(900), || {
        for ((_, container), death_of) in doomed.iter().zip(&mut deaths) {
            *death_of = death_of.or_else(|| death(container));
        }
        Ok(deaths.iter().all(Option::is_some).then_some(()))
    })?;
    let kills = |container: &Container| -> anyhow::Result<bool> {
        let of_it = |record: &mlh_integration::otlp::Record| {
            record.event == "memory_leak_hunter.oom.kill" && record.container() == Some(&container.id)
        };
        Ok(records(file)?.iter().any(of_it))
    };
    for (doomed, container) in doomed {
        until(&format!("the record of the kill of {doomed:?}"), Duration::from_secs(30), || {
            Ok(kills(container)?.then_some(()))
        })?;
    }
    Ok(deaths.into_iter().flatten().collect())
}

pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let rootfs = Rootfs::new(world, &[built("target-leak")?])?;
    let (file, port) = (world.path("records.jsonl"), free_port()?);
    let exporter = format!("file: {{path: '{}', format: json}}", file.display());
    let mut hunter = sidecar::start(world, "sidecar", &sidecar::hunting(world, &exporter, port), port)?;
    let mut doomed = Vec::new();
    for (rate, limit) in RUNS {
        let run = Doomed { rate, limit };
        doomed.push((run, run.start(world, &rootfs)?));
    }
    let deaths = all_dead(&doomed, &file)?;
    hunter.lives()?;
    let records = records(&file)?;
    let (mut inside, mut widths) = (0, Vec::new());
    for ((run, container), death) in doomed.iter().zip(deaths) {
        let what = format!("  {} KiB/s to {} MiB", run.rate, run.limit);
        let Some(risk) = first_risk(&records, container) else {
            table.beside(what, "killed without a warning");
            widths.push(f64::INFINITY);
            continue;
        };
        let foretold = Foretold::of(risk)?;
        let (holds, width, left) = (foretold.holds(death), foretold.half_width(death), foretold.left(death));
        inside += usize::from(holds);
        widths.push(width);
        let Foretold { earliest, expected, latest, .. } = foretold;
        let word = if holds { "inside" } else { "OUTSIDE" };
        let width = width * 100.0;
        table.beside(
            what,
            format!("{expected:.0} s ({earliest:.0} to {latest:.0}), was {left:.0}: {word}, +-{width:.0} %"),
        );
    }
    let of = format!("{inside} of {}", RUNS.len());
    table.goal(
        "OOM kills inside the first warning's interval",
        ">= 8 of 10",
        of,
        inside * 10 >= RUNS.len() * 8,
    );
    let width = median(&widths) * 100.0;
    let result = format!("{width:.0} % of the time left");
    table.goal("  half the interval's width, median", "<= 25 %", result, width <= 25.0);
    Ok(())
}
