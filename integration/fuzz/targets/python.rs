//! The memory of a Python interpreter: code objects, texts, tables of lines, and what it says of itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (first, rest) = mlh_fuzz::number(bytes);
    let (second, rest) = mlh_fuzz::number(rest);
    let (instruction, memory) = mlh_fuzz::number(rest);
    mlh_stacks::fuzz::python(memory, [first, second], instruction);
    mlh_targets::interpreters::python::read_debug_offsets(memory, first);
    drop(mlh_bpf::python::decode(memory));
});
