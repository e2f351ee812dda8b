//! Executables in which probe points are looked for: headers, symbols, notes, code.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlh_targets::points::{Finder, Wish};

fuzz_target!(|bytes: &[u8]| {
    let (_file, modules) = mlh_fuzz::mapped(bytes);
    for min_allocation_size in [0, 10_240] {
        drop(Finder::new().find(std::process::id(), &modules, &Wish { min_allocation_size }));
    }
});
