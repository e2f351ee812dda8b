//! The hunt: passes over the host in, log records and metrics out. This is the `memory_leak_hunter` receiver.
//!
//! Read in this order: [`settings`] is what a user may set, [`scope`] who is looked at at all, [`judge`] turns one pass into
//! records (the same for a live host and for a trace), `scout` is the thread that makes the passes, `pursuit` the one that
//! looks at a target, [`replay`] the one that takes passes from a file, `feed` hands records to the pipeline, [`receiver`]
//! starts and stops them all and leaves its `estate` to the receiver of the next configuration.

pub mod settings;
pub mod scope;

pub(crate) mod bucket;
pub(crate) mod units;
mod admission;
pub(crate) mod subjects;
mod held;
mod unplaced;
pub mod judge;

pub(crate) mod schedule;
mod scout;
mod pursuit;
mod estate;

pub mod replay;

mod feed;
pub mod receiver;

pub use estate::Estates;
