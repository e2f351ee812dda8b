//! A bounded cache with churn: fills to `--mib` MiB within `--fill` seconds, and from then on replaces its oldest
//! entry by one of another size, for ever at the same size. Prints `seconds bytes` once a second.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use mlh_integration::target::{argument, end_with_parent, every, touched};

fn main() {
    end_with_parent();
    let limit = argument("mib", 24) << 20;
    let fill = argument("fill", 15).max(1);
    let mut cache: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut held, mut round, mut told) = (0u64, 0u64, 0);
    every(20, |time| {
        let step = limit / (fill * 20);
        let mut added = 0;
        while added < step {
            // sizes from 1 to 16 KiB in an order that repeats late
            round = round.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = ((round >> 60) + 1) << 10;
            cache.push_back(touched(usize::try_from(size).unwrap_or(1024), 0xCC));
            held += size;
            added += size;
            while held > limit {
                held -= cache.pop_front().map_or(held, |oldest| oldest.len() as u64);
            }
        }
        if time.as_secs() >= told {
            println!("{} {held}", time.as_secs());
            told = time.as_secs() + 1;
        }
    })
}
