//! A storm of page faults: touches each page of `--mib` MiB of fresh memory, gives it back, and begins again, for
//! `--milliseconds`. Prints the nanoseconds that one fault took, in the middle one of the rounds. The first second is
//! not counted: a processor and a host that come from idling are slower for a while.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use mlh_integration::statistics::median;
use mlh_integration::target::argument;

fn main() {
    let bytes = usize::try_from(argument("mib", 64) << 20).unwrap_or(0);
    let end = Duration::from_secs(1) + Duration::from_millis(argument("milliseconds", 1500));
    let mut rounds = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < end {
        // zeroed memory of this size comes from the kernel, untouched
        let mut memory = vec![0u8; bytes];
        let start = Instant::now();
        memory.chunks_mut(4096).for_each(|page| page[0] = 1);
        if begin.elapsed() > Duration::from_secs(1) {
            rounds.push(start.elapsed().as_nanos() as f64 / (bytes.max(4096) / 4096) as f64);
        }
    }
    println!("{:.2}", median(&rounds));
}
