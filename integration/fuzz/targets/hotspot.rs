//! The memory of a JVM: what it says of where it keeps things, its heaps of code, compiled and interpreted methods.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (code, rest) = mlh_fuzz::number(bytes);
    let (frame, memory) = mlh_fuzz::number(rest);
    mlh_stacks::fuzz::hotspot(memory, code, frame);
});
