//! A bounded cache with churn: fills to `--mib` MiB within `--fill` seconds, and from then on replaces entries at
//! random by ones of another size, for ever at the same size. Prints `seconds bytes` once a second.

#![forbid(unsafe_code)]

use mlh_integration::target::{argument, end_with_parent, every, scramble, touched};

fn main() {
    end_with_parent();
    let limit = argument("mib", 24) << 20;
    let fill = argument("fill", 15).max(1);
    let mut cache: Vec<Vec<u8>> = Vec::new();
    let (mut held, mut random, mut told) = (0u64, 0u64, 0);
    every(20, |time| {
        let step = limit / (fill * 20);
        let mut added = 0;
        while added < step {
            // sizes from 1 to 16 KiB
            let size = (scramble(&mut random) % 16 + 1) << 10;
            cache.push(touched(usize::try_from(size).unwrap_or(1024), 0xCC));
            held += size;
            added += size;
            while held > limit {
                let one = scramble(&mut random) % cache.len() as u64;
                held -= cache.swap_remove(usize::try_from(one).unwrap_or(0)).len() as u64;
            }
        }
        if time.as_secs() >= told {
            println!("{} {held}", time.as_secs());
            told = time.as_secs() + 1;
        }
    })
}
