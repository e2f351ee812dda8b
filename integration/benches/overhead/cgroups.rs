//! What cgroups add to a pass: 500 processes in a memory cgroup each, beside the same processes all in one.

use std::time::Instant;

use mlh_bpf::pass::collect;
use mlh_bpf::sweep::{SweepOptions, Sweeper};
use mlh_integration::memory_cgroup::MemoryCgroup;
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;

use crate::herd;
use mlh_integration::table::Table;

const COUNT: u32 = 500;
const ROUNDS: usize = 8;
const PASSES: usize = 15;

/// Cgroups of our own, removed at the end.
struct Cgroups {
    top: MemoryCgroup,
    each: Vec<MemoryCgroup>,
}

impl Cgroups {
    fn create() -> anyhow::Result<Self> {
        let top = MemoryCgroup::root()?.create(&format!("mlh-bench-{}", std::process::id()))?;
        let mut cgroups = Self { top, each: Vec::new() };
        for number in 0..=COUNT {
            cgroups.each.push(cgroups.top.create(&format!("{number}"))?);
        }
        Ok(cgroups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for cgroup in self.each.iter().chain([&self.top]) {
            if let Err(error) = cgroup.remove() {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Milliseconds.
struct Cost {
    read: f64,
    decoded: f64,
    cgroups: usize,
}

fn passes(sweeper: &mut Sweeper) -> anyhow::Result<Cost> {
    let counters = sweeper.counters();
    let (mut rows, mut cgroups) = (Vec::new(), 0);
    let (mut read, mut decoded) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        let begin = Instant::now();
        sweeper.full(&mut rows)?;
        read.push(begin.elapsed().as_secs_f64() * 1000.0);
        cgroups = collect(&rows, &counters).cgroups.len();
        decoded.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(Cost { read: median(&read), decoded: median(&decoded), cgroups })
}

pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let cgroups = Cgroups::create()?;
    let mut sweeper = Sweeper::open(&SweepOptions::default())?;
    let mut herd = herd::start(world, COUNT)?;
    let members = herd::members(&herd)?;
    let (mut spread, mut gathered) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (pid, cgroup) in members.iter().zip(&cgroups.each[1..]) {
            cgroup.take(*pid)?;
        }
        spread.push(passes(&mut sweeper)?);
        for pid in &members {
            cgroups.each[0].take(*pid)?;
        }
        gathered.push(passes(&mut sweeper)?);
    }
    herd.lives()?;
    let more = spread[0].cgroups - gathered[0].cgroups;
    anyhow::ensure!(more + 1 == COUNT as usize, "{more} more cgroups were seen");
    let of = |costs: &[Cost], part: fn(&Cost) -> f64| median(&costs.iter().map(part).collect::<Vec<_>>());
    let (read, one) = (of(&spread, |cost| cost.read), of(&gathered, |cost| cost.read));
    let each = (read - one) * 1000.0 / f64::from(COUNT);
    let what = format!("BPF pass, {COUNT} processes in as many cgroups: what a cgroup adds");
    table.goal(what, "<= 1 us", format!("{each:.2} us"), each <= 1.0);
    let (decoded, one_decoded) = (of(&spread, |cost| cost.decoded), of(&gathered, |cost| cost.decoded));
    table.beside("  the whole pass, and decoded", format!("{read:.3} ms, {decoded:.3} ms"));
    table.beside("  the same processes in one cgroup", format!("{one:.3} ms, {one_decoded:.3} ms"));
    Ok(())
}
