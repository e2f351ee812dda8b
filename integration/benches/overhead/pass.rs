//! One pass over all processes: the BPF iterator beside /proc.

use std::time::Instant;

use anyhow::Context as _;
use mlh_bpf::pass::collect;
use mlh_bpf::sweep::{SweepOptions, Sweeper};
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;
use mlh_targets::sweep::ProcSweep;

use crate::herd;
use mlh_integration::table::Table;

pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut sweeper = Sweeper::open(&SweepOptions::default())?;
    let counters = sweeper.counters();
    let mut proc_sweep = ProcSweep::open()?;
    for count in [1000, 4000] {
        let mut herd = herd::start(world, count)?;
        let mut rows = Vec::new();
        let (mut kernel, mut whole, mut proc) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..30 {
            let begin = Instant::now();
            sweeper.full(&mut rows)?;
            let read = begin.elapsed();
            let seen = collect(&rows, &counters).processes.len() as f64;
            kernel.push(read.as_nanos() as f64 / seen / 1000.0);
            whole.push(begin.elapsed().as_nanos() as f64 / seen / 1000.0);
        }
        for _ in 0..5 {
            let begin = Instant::now();
            let seen = proc_sweep.full()?.processes.len() as f64;
            proc.push(begin.elapsed().as_nanos() as f64 / seen / 1000.0);
        }
        herd.lives().context("the herd died while it was counted")?;
        let (kernel, whole, proc) = (median(&kernel), median(&whole), median(&proc));
        let result = format!("{kernel:.2} us a process");
        table.goal(format!("BPF pass, {count} idle processes"), "<= 1 us a process", result, kernel <= 1.0);
        table.beside("  the same, decoded", format!("{whole:.2} us a process"));
        table.beside("  through /proc", format!("{proc:.1} us a process, {:.0} times as much", proc / whole));
    }
    Ok(())
}
