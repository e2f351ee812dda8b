//! From the start of the program to its first sweep.

use std::process::Command;
use std::time::{Duration, Instant};

use mlh_integration::scenario::{World, free_port};
use mlh_integration::sidecar;
use mlh_integration::statistics::median;

use mlh_integration::table::Table;

pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for run in 0..10 {
        let mut command = Command::new(sidecar::executable()?);
        sidecar::built_in(&mut command, free_port()?)?;
        let begin = Instant::now();
        let mut hunter = world.spawn(&format!("start-{run}"), &mut command)?;
        // said when the probes are loaded, and followed at once by the sweep itself: about a millisecond
        while !hunter.stderr().contains("processes are swept") {
            hunter.lives()?;
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(60), "no first sweep: {}", hunter.stderr());
            std::thread::sleep(Duration::from_millis(1));
        }
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    let time = median(&times);
    table.goal("start to first sweep", "<= 300 ms", format!("{time:.0} ms"), time <= 300.0);
    Ok(())
}
