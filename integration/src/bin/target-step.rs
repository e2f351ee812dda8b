//! Grows once, by `--mib` MiB after `--after` seconds, and never again: a plug-in loaded, a table built. Prints
//! `seconds bytes` once a second.

#![forbid(unsafe_code)]

use mlh_integration::target::{argument, end_with_parent, every, touched};

fn main() {
    end_with_parent();
    let bytes = usize::try_from(argument("mib", 32) << 20).unwrap_or(0);
    let after = argument("after", 30);
    let mut held = Vec::new();
    every(1, |time| {
        if held.is_empty() && time.as_secs() >= after {
            held = touched(bytes, 0xEE);
        }
        println!("{} {}", time.as_secs(), held.len());
    })
}
