//! A storm of page faults: touches each page of `--mib` MiB of fresh memory, gives it back, and begins again, for
//! `--milliseconds`. Prints the nanoseconds of CPU time that one fault took, in the middle one of the rounds: while
//! others have the CPU, nothing is counted. Nor is the first second, as a processor and a host that come from idling
//! are slower for a while.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use mlh_integration::statistics::median;
use mlh_integration::target::argument;
use nix::time::ClockId;

fn main() -> nix::Result<()> {
    let bytes = usize::try_from(argument("mib", 64) << 20).unwrap_or(0);
    let end = Duration::from_secs(1) + Duration::from_millis(argument("milliseconds", 1500));
    let mut rounds = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < end {
        // zeroed memory of this size comes from the kernel, untouched
        let mut memory = vec![0u8; bytes];
        let start = cpu_time()?;
        memory.chunks_mut(4096).for_each(|page| page[0] = 1);
        let used = cpu_time()?.saturating_sub(start);
        if begin.elapsed() > Duration::from_secs(1) {
            rounds.push(used.as_nanos() as f64 / (bytes.max(4096) / 4096) as f64);
        }
    }
    println!("{:.2}", median(&rounds));
    Ok(())
}

/// Of this process, in the kernel too.
fn cpu_time() -> nix::Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}
