//! Files whose addresses are named: ELF, symbols, debug information of any kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlh_stacks::unwind::{Captured, Unwinder};

fuzz_target!(|bytes: &[u8]| {
    let (offset, content) = mlh_fuzz::number(bytes);
    let (_file, modules) = mlh_fuzz::mapped(content);
    let mut unwinder = Unwinder::new(std::process::id(), 8);
    unwinder.refresh(&modules);
    let within = offset % (content.len() as u64).max(1);
    for ip in [mlh_fuzz::BASE + within, mlh_fuzz::BASE + 0x1000] {
        let trace = unwinder.trace(&Captured { ip, truncated: true, ..Captured::default() });
        assert!(!trace.frames.is_empty());
    }
});
