//! The sidecar's story.

#![forbid(unsafe_code)]

fn main() {}
