//! What the end-to-end tests and benchmarks share. Unix only: what they try is Linux.
//!
//! A test is a [`scenario`](scenario::scenario): it gets a [`World`](scenario::World) with a folder of its own,
//! starts processes in it that die with it, and says with an error what went wrong or why it cannot run here.

#![forbid(unsafe_code)]

pub mod backends;
pub mod bench;
pub mod container;
pub mod memory_cgroup;
pub mod need;
pub mod oom;
pub mod otlp;
pub mod profiles;
pub mod process;
pub mod scenario;
pub mod sidecar;
pub mod statistics;
pub mod table;
pub mod target;
pub mod compile;
pub mod truth;
pub mod inspection;
pub mod strace;
pub mod hunter;
pub mod orders;
pub mod pairs;
pub mod gate;
pub mod code;
pub mod memleak;
pub mod wait;
pub mod web;
pub mod browser;
pub mod accuracy;
