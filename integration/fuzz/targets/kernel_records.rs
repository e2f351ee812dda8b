//! What the kernel's side writes: rows of a pass, and records of the rings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlh_bpf::pass::{Counters, collect};
use mlh_bpf::records::rows;

fuzz_target!(|bytes: &[u8]| {
    for row in rows(bytes) {
        assert!(row.is_ok() || row.is_err_and(|error| !error.to_string().is_empty()));
    }
    drop(collect(bytes, &Counters { page_size: 4096, online_cpus: 4 }));
    // one after the other, as they come by the rings
    let (mut told, mut touched) =
        (mlh_bpf::alloc::decode::Decoder::default(), mlh_bpf::faults::decode::Decoder::default());
    let mut written = mlh_bpf::watch::decode::Decoder::default();
    let mut rest = bytes;
    while let Some(header) = rest.first_chunk::<4>() {
        let size = usize::from(u16::from_le_bytes([header[2], header[3]])).max(4).min(rest.len());
        drop(told.read(&rest[..size]));
        drop(touched.read(&rest[..size]));
        drop(written.read(&rest[..size]));
        rest = &rest[size..];
    }
});
