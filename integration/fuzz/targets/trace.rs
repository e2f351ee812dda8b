//! Traces, as `replay` reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memory_leak_hunter::trace::LineReader;

fuzz_target!(|bytes: &[u8]| {
    for line in LineReader::new(bytes) {
        drop(line);
    }
});
