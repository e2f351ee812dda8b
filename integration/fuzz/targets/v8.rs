//! The memory of a process with V8 in it: functions, scripts, texts, code, tables of positions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (inside, rest) = mlh_fuzz::number(bytes);
    let (frame, memory) = mlh_fuzz::number(rest);
    mlh_stacks::fuzz::v8(memory, inside, frame);
});
