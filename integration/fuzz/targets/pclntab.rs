//! Go's table of functions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (address, table) = mlh_fuzz::number(bytes);
    mlh_stacks::fuzz::pclntab(table, address);
});
