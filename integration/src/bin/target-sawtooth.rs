//! What a garbage collector's heap looks like: grows by `--mib` MiB over `--period` seconds, gives all of it back,
//! and begins again. Prints `seconds bytes` once a second.

#![forbid(unsafe_code)]

use mlh_integration::target::{argument, end_with_parent, every, touched};

fn main() {
    end_with_parent();
    let height = argument("mib", 16) << 20;
    let period = argument("period", 20).max(1);
    let mut heap = Vec::new();
    let mut told = 0;
    // blocks of 256 KiB are mapped by themselves, so that freeing one gives its pages back at once
    const BLOCK: u64 = 256 << 10;
    every(10, |time| {
        let phase = u64::try_from(time.as_millis()).unwrap_or(0) % (period * 1000);
        let due = phase * height / (period * 1000) / BLOCK;
        if due < heap.len() as u64 {
            heap.clear();
        }
        while (heap.len() as u64) < due {
            heap.push(touched(usize::try_from(BLOCK).unwrap_or(1), 0xDD));
        }
        if time.as_secs() >= told {
            println!("{} {}", time.as_secs(), heap.len() as u64 * BLOCK);
            told = time.as_secs() + 1;
        }
    })
}
