//! How fast the records of the probes are taken from the ring and decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::Heard;
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_integration::gate::Gate;
use mlh_integration::pairs::Pairs;
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;
use mlh_integration::wait::until;
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Wish, find};

use crate::pairs::options;
use crate::table::Table;

const ROUNDS: usize = 9;

/// Records and bytes of stacks that were decoded, and when the last one was, nanoseconds after the beginning.
#[derive(Default)]
struct Taken {
    records: AtomicU64,
    last: AtomicU64,
}

/// A ring that is full is emptied; each record is decoded and dropped.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut pairs = Pairs::start(world, "pairs-ring")?;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(round(&mut pairs)?);
    }
    let rate = median(&rates);
    let what = format!("records decoded on one core, stacks among them, {ROUNDS} full rings");
    table.goal(what, ">= 500,000 /s", format!("{rate:.0} /s"), rate >= 500_000.0);
    Ok(())
}

/// Records a second.
fn round(pairs: &mut Pairs) -> anyhow::Result<f64> {
    let (gate, taken, begin) = (Arc::new(Gate::default()), Arc::new(Taken::default()), Instant::now());
    let sink = {
        let (gate, taken) = (Arc::clone(&gate), Arc::clone(&taken));
        move |heard: Heard| {
            gate.pass();
            drop(heard);
            taken.records.fetch_add(1, Ordering::Relaxed);
            let now = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            taken.last.store(now, Ordering::Relaxed);
        }
    };
    let mut probes = Probes::load(&AllocOptions { max_events_per_second: 0, ..options(true) }, sink)?;
    let filled = fill(pairs, &mut probes);
    let opened = begin.elapsed();
    gate.open();
    filled?;
    // the ring is empty once nothing has come for two of the reader's turns
    until("an empty ring", Duration::from_secs(60), || {
        let last = Duration::from_nanos(taken.last.load(Ordering::Relaxed));
        Ok((begin.elapsed() > last.max(opened) + Duration::from_millis(500)).then_some(()))
    })?;
    let took = Duration::from_nanos(taken.last.load(Ordering::Relaxed)).saturating_sub(opened);
    Ok(taken.records.load(Ordering::Relaxed) as f64 / took.as_secs_f64())
}

/// Until something does not fit.
fn fill(pairs: &mut Pairs, probes: &mut Probes) -> anyhow::Result<()> {
    let pid = pairs.pid();
    let points = find(pid, &Modules::read(pid)?, &Wish { min_allocation_size: 0 });
    let slot = probes.admit(pid)?;
    for image in &points.images {
        probes.attach(slot, &image.path, &image.points)?;
    }
    while probes.counters()?.ring_full == 0 {
        pairs.slice(64, 20)?;
    }
    probes.release(slot);
    Ok(())
}
