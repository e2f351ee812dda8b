//! Orders at the control socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memory_leak_hunter::control::Ask;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ask) = serde_json::from_slice::<Ask>(bytes) {
        drop(ask.order(0));
    }
});
