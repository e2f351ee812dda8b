//! Programs that know exactly what they allocate, and what the sidecar says of them: in debug mode the same to the byte.
//! And that looking does them no harm.
//!
//! The programs lie in `targets/`; each test compiles what it needs. What a machine has no compiler for is skipped with
//! the reason.

#![forbid(unsafe_code)]

mod allocators;
mod cplusplus;
mod estimates;
mod filters;
mod governor;
mod growth;
mod harm;
mod processes;
mod runtimes;
mod ring;
mod rust;
mod workflow;
