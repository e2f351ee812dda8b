//! The heap of a process: arenas, chunks, caches, mapped blocks and types.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (at, rest) = mlh_fuzz::number(bytes);
    let (hole, memory) = mlh_fuzz::number(rest);
    mlh_targets::outside::census::fuzz(memory, at, hole);
});
