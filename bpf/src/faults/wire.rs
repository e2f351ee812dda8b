//! The record of `c/abi.h` that belongs to the fault sampler, in Rust. Portable.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::capture::CaptureRecord;
use crate::wire::Header;

/// The kinds of `enum mlh_kind` that the sampler's ring holds, beside those of Python.
pub mod kind {
    /// A page fault, with a copy of the stack.
    pub const TOUCH: u16 = 15;
    /// A page fault, with a stack that the kernel has walked.
    pub const TOUCH_CHAIN: u16 = 16;
}

/// `struct mlh_faults_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FaultsConfig {
    /// Of a thread, about one fault in each is told.
    pub interval_ns: u64,
    /// Of all threads together, at most one in each.
    pub all_interval_ns: u64,
}

/// `struct mlh_touch`; the stack follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TouchRecord {
    /// Kind and size.
    pub header: Header,
    /// In the reader's pid namespace; 0: it has none there.
    pub pid: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub at_ns: u64,
    /// What was touched.
    pub address: u64,
    /// Faults that it stands for.
    pub weight: u64,
    /// Registers.
    pub capture: CaptureRecord,
    /// In the reader's pid namespace; 0: it has none there.
    pub thread: u32,
    /// Faults that it was chosen from, by chance.
    pub one_of: u32,
}
