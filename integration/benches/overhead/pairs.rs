//! What a pair of malloc and free costs a process that is looked at, against one that is not: in interleaved slices of
//! the same process, probes in, probes out.

use std::sync::Arc;

use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_integration::gate::Gate;
use mlh_integration::pairs::Pairs;
use mlh_integration::scenario::World;
use mlh_integration::statistics::{median, paired_ratio};
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Points, Wish, find};

use crate::storm::shown;
use crate::table::Table;

const PAIRS: usize = 15;
const SLICE_MS: u32 = 150;

/// What a look sees.
pub(crate) fn options(debug: bool) -> AllocOptions {
    AllocOptions {
        btf_path: None,
        debug,
        min_allocation_size: if debug { 0 } else { 10_240 },
        large_allocation_size: 1 << 20,
        // each is entered into the ledger, and so paid for
        sampling_rate: 1,
        max_tracked_allocations: 10_000,
        emit: debug,
        max_events_per_second: 1000,
    }
}

/// Probes that can be placed in a process, and taken out.
struct Look {
    probes: Probes,
    points: Points,
    pid: u32,
}

impl Look {
    /// What the kernel tells is let through the gate.
    fn prepare(pid: u32, options: &AllocOptions, gate: Arc<Gate>) -> anyhow::Result<Self> {
        let probes = Probes::load(options, move |_| gate.pass())?;
        let wish = Wish { min_allocation_size: options.min_allocation_size };
        Ok(Self { probes, points: find(pid, &Modules::read(pid)?, &wish), pid })
    }

    /// Nanoseconds of a pair with the probes in place.
    fn during(&mut self, pairs: &mut Pairs, size: u32) -> anyhow::Result<f64> {
        let slot = self.probes.admit(self.pid)?;
        self.probes.wrappers(slot, &self.points.wrappers)?;
        for image in &self.points.images {
            self.probes.attach(slot, &image.path, &image.points)?;
        }
        // what is done once is done before anything is measured
        pairs.slice(size, SLICE_MS)?;
        let cost = pairs.slice(size, SLICE_MS)?.cost;
        self.probes.release(slot);
        self.probes.forget(slot);
        Ok(cost)
    }

    /// With and without the probes, in turns.
    fn measure(&mut self, pairs: &mut Pairs, size: u32) -> anyhow::Result<Vec<(f64, f64)>> {
        let without = |pairs: &mut Pairs| Ok::<_, anyhow::Error>(pairs.slice(size, SLICE_MS)?.cost);
        without(pairs)?;
        let mut results = Vec::new();
        for round in 0..PAIRS {
            // which comes first alternates: a machine that warms up must not look like a cost
            results.push(if round % 2 == 0 {
                let with = self.during(pairs, size)?;
                (with, without(pairs)?)
            } else {
                let without = without(pairs)?;
                (self.during(pairs, size)?, without)
            });
        }
        Ok(results)
    }
}

fn middle(results: &[(f64, f64)], part: fn(&(f64, f64)) -> f64) -> f64 {
    median(&results.iter().map(part).collect::<Vec<_>>())
}

fn open() -> Arc<Gate> {
    let gate = Gate::default();
    gate.open();
    Arc::new(gate)
}

/// Targeted mode with its default threshold, and debug mode.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for size in [64, 2048, 16_384] {
        targeted(world, table, size)?;
    }
    debug(world, table)
}

fn targeted(world: &World, table: &mut Table, size: u32) -> anyhow::Result<()> {
    let mut pairs = Pairs::start(world, &format!("pairs-{size}"))?;
    let results = Look::prepare(pairs.pid(), &options(false), open())?.measure(&mut pairs, size)?;
    let (with, without) = (middle(&results, |pair| pair.0), middle(&results, |pair| pair.1));
    let ratio = paired_ratio(&results);
    let what = format!("malloc and free of {size} B, targeted mode from 10 KiB, {PAIRS} pairs");
    if size < 1024 {
        // an interval too wide to tell has shown nothing
        table.goal(what, "1.00 times, to 5 %", shown(&ratio), ratio.low <= 1.0 && ratio.high <= 1.05);
    } else {
        table.goal(what, "<= 2,500 ns", format!("{with:.0} ns"), with <= 2500.0);
    }
    table.beside("  with probes, and without", format!("{with:.1} ns, {without:.1} ns"));
    Ok(())
}

fn debug(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut pairs = Pairs::start(world, "pairs-debug")?;
    let results = Look::prepare(pairs.pid(), &options(true), open())?.measure(&mut pairs, 64)?;
    let with = middle(&results, |pair| pair.0);
    let what = format!("malloc and free of 64 B, debug mode with stacks, {PAIRS} pairs");
    table.goal(what, "<= 5,000 ns", format!("{with:.0} ns"), with <= 5000.0);

    // nobody reads the ring: it fills, and no stack is copied
    let gate = Arc::new(Gate::default());
    let mut look = Look::prepare(pairs.pid(), &options(true), Arc::clone(&gate))?;
    let results = look.measure(&mut pairs, 64);
    gate.open();
    let results = results?;
    let (with, without) = (middle(&results, |pair| pair.0), middle(&results, |pair| pair.1));
    table.goal("  without stacks", "<= 3,000 ns", format!("{with:.0} ns"), with <= 3000.0);
    table.beside("  without probes", format!("{without:.1} ns"));
    Ok(())
}
