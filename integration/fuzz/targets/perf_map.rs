//! Perf maps, as runtimes write them, or somebody else.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (address, text) = mlh_fuzz::number(bytes);
    mlh_stacks::fuzz::perf_map(text, address);
});
