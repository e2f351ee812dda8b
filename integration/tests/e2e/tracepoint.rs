//! `rss_source: tracepoint`, as a user sees it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use mlh_integration::otlp::records;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar};

/// A sidecar that sweeps all processes twice at its start, and then not for an hour, with its file of records.
fn blind_for_an_hour(world: &World, source: &str) -> anyhow::Result<(Process, PathBuf)> {
    let (file, port) = (world.path(&format!("{source}.jsonl")), free_port()?);
    let exporter = format!("file: {{path: '{}', format: json}}", file.display());
    let ours = format!("collection_interval: 1s, rss_check_interval: 1h, rss_source: {source}");
    let config = sidecar::hunting(world, &exporter, port).replace("collection_interval: 1s", &ours);
    Ok((sidecar::start(world, source, &config, port)?, file))
}

/// Guarantees: with `rss_source: tracepoint` a program's growth by the threshold is told although no sweep is due, again each
/// time it has grown by as much; with `sweep` only a sweep tells, and here there is one more at most.
/// Needs: root, eBPF.
#[test]
fn growth_is_told_without_a_sweep() {
    scenario(|world| {
        need::ebpf()?;
        let (mut tracepoint, told) = blind_for_an_hour(world, "tracepoint")?;
        let (mut sweep, swept) = blind_for_an_hour(world, "sweep")?;
        let leak = world.target("target-leak", &["--rate", "1048576"])?;
        let of_it = |file: &Path| -> anyhow::Result<Vec<f64>> {
            let of_it = |event: &str, pid| event.ends_with(".rss.growth") && pid == Some(leak.pid().into());
            let all = records(file)?;
            let growth = all.iter().filter(|record| of_it(&record.event, record.pid()));
            growth.map(|record| record.number("rss_growth")).collect()
        };
        let growth = until("six records of growth", Duration::from_secs(90), || {
            tracepoint.lives()?;
            Ok(Some(of_it(&told)?).filter(|growth| growth.len() >= 6))
        })?;
        ensure!(growth.iter().all(|pages| (256.0..1024.0).contains(pages)), "{growth:?} pages");
        sweep.lives()?;
        let growth = of_it(&swept)?;
        ensure!(growth.len() <= 1, "told without a sweep: {growth:?}");
        Ok(())
    });
}
