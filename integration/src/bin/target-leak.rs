//! Leaks at a steady rate: `--rate` bytes a second in blocks of `--block` bytes, all of them written, none of them
//! freed. Prints `seconds bytes` once a second.

#![forbid(unsafe_code)]

use mlh_integration::target::{argument, end_with_parent, every, touched};

fn main() {
    end_with_parent();
    let rate = argument("rate", 34_953); // 2 MiB a minute
    let block = argument("block", 1024).max(1);
    let (mut leaked, mut told) = (0, 0);
    every(10, |time| {
        let due = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(rate) / 1000;
        while leaked + block <= due {
            std::mem::forget(touched(usize::try_from(block).unwrap_or(1), 0xAA));
            leaked += block;
        }
        if time.as_secs() >= told {
            println!("{} {leaked}", time.as_secs());
            told = time.as_secs() + 1;
        }
    })
}
