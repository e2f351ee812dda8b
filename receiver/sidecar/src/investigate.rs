//! The closer look: one process or container whose every allocation is seen, for minutes.
//!
//! Read in this order: [`plan`] says what is wanted, [`report`] what comes of it and [`told`] what is told meanwhile.
//! `quarry` finds the target, `members` follows its processes and has probes placed (`placing`) through the `tracer`, which
//! is the kernel's side. What the kernel tells comes through the `inbox` into the `ledger`, a `space` for each process, which two threads
//! fill (`listening`); operations are `pending` until their stacks have names, and stacks that share a
//! call site are told `apart`. `evidence` makes of
//! it and of the kernel's `tables` what each stack holds, and `survivors` what that says, and `not_seen` what is missing; it is watched in
//! `bursts`, as long as the budget allows; `look` holds all of it.
//! [`investigation`] is one look from its first probe to its last, [`desk`] is where the running sidecar takes orders.

pub mod plan;

pub mod report;
pub mod told;

mod quarry;
mod members;
mod placing;
mod tracer;

pub mod bell;
mod inbox;
mod listening;
mod ledger;
mod pending;
mod space;
mod allocator;
mod apart;

mod tables;
mod evidence;
mod not_seen;
mod bursts;
mod survivors;
mod look;

pub mod investigation;

pub mod desk;

pub(crate) use space::python_frame;
#[cfg(all(target_os = "linux", feature = "ebpf"))]
pub(crate) use tracer::allow_open_files;

#[cfg(test)]
#[cfg(target_os = "linux")]
pub(crate) mod testing;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
