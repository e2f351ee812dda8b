//! Allocation probes: where they go ([`point`]), what they tell ([`heard`]), and on Linux the [`probes`] themselves.
//!
//! In the kernel runs `c/alloc.bpf.c`. [`cookie`] says to a probe's program what is found there, [`wire`] mirrors its records and
//! tables, [`decode`] reads the records: these are portable.

pub mod point;

pub mod heard;

pub mod cookie;

pub mod wire;

pub mod decode;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod tables;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod program;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod links;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod placed;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod purse;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod frames;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod subject;

#[cfg(all(target_os = "linux", feature = "kernel"))]
mod calibrate;

#[cfg(all(target_os = "linux", feature = "kernel"))]
pub mod probes;
