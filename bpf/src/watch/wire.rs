//! The records of `c/abi.h` that belong to watches, in Rust. Portable.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::capture::CaptureRecord;
use crate::wire::Header;

/// The kinds of `enum mlh_kind` that the watcher's ring holds, beside those of Python.
pub mod kind {
    /// A write, with a copy of the stack.
    pub const WRITE: u16 = 17;
    /// A write, with a stack that the kernel has walked.
    pub const WRITE_CHAIN: u16 = 18;
    /// A thread begins.
    pub const BORN: u16 = 19;
}

/// `struct mlh_watch_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WatchConfig {
    /// Whose threads, in the reader's pid namespace.
    pub pid: u32,
    /// 0.
    pub reserved: u32,
}

/// `struct mlh_write`; the stack follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WriteRecord {
    /// Kind and size.
    pub header: Header,
    /// In the reader's pid namespace; 0: it has none there.
    pub pid: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub at_ns: u64,
    /// Which watch.
    pub watch: u64,
    /// Registers.
    pub capture: CaptureRecord,
    /// In the reader's pid namespace; 0: it has none there.
    pub thread: u32,
    /// 0.
    pub reserved: u32,
}

/// `struct mlh_born`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BornRecord {
    /// Kind and size.
    pub header: Header,
    /// In the reader's pid namespace; 0: it has none there.
    pub thread: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub at_ns: u64,
}
