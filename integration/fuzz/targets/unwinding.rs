//! Copies of stacks, unwound by a sound file's tables and by those of a damaged one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlh_stacks::unwind::{Captured, Unwinder};

fuzz_target!(|bytes: &[u8]| {
    let (ip, rest) = mlh_fuzz::number(bytes);
    let (sp, rest) = mlh_fuzz::number(rest);
    let (length, rest) = mlh_fuzz::number(rest);
    let (stack, content) = rest.split_at(usize::try_from(length % 16_384).unwrap_or(0).min(rest.len()));
    let (_file, modules) = mlh_fuzz::mapped(content);
    let mut unwinder = Unwinder::new(std::process::id(), 64);
    unwinder.refresh(&modules);
    let ip = mlh_fuzz::BASE + ip % (content.len() as u64).max(1);
    for interrupted in [false, true] {
        let captured =
            Captured { ip, interrupted, sp, bp: sp.wrapping_add(16), stack, ..Captured::default() };
        let trace = unwinder.trace(&captured);
        assert!(!trace.frames.is_empty());
    }
});
