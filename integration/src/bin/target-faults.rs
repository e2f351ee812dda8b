//! A storm of page faults: touches each page of `--mib` MiB of fresh memory, gives it back, and begins again, for
//! `--milliseconds`. Prints the nanoseconds that one fault took.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use mlh_integration::target::argument;

fn main() {
    let bytes = usize::try_from(argument("mib", 64) << 20).unwrap_or(0);
    let duration = Duration::from_millis(argument("milliseconds", 1500));
    let mut faults = 0u32;
    let mut touching = Duration::ZERO;
    let begin = Instant::now();
    while begin.elapsed() < duration {
        // zeroed memory of this size comes from the kernel, untouched
        let mut memory = vec![0u8; bytes];
        let start = Instant::now();
        for page in memory.chunks_mut(4096) {
            page[0] = 1;
            faults += 1;
        }
        touching += start.elapsed();
        std::hint::black_box(&memory);
    }
    println!("{:.2}", touching.as_nanos() as f64 / f64::from(faults.max(1)));
}
