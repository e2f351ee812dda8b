//! What processes tell of their own memory: the counters of a JVM, the build of a Go program, sums of the kernel's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mlh_targets::outside::fuzz(bytes));
