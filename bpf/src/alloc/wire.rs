//! The records and table entries of `c/abi.h` that belong to the allocation probes, in Rust. Portable.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::capture::CaptureRecord;
use crate::wire::Header;

/// The kinds of `enum mlh_kind` that the probes' ring holds.
pub mod kind {
    /// A copy of a stack.
    pub const STACK: u16 = 6;
    /// The address space changed.
    pub const MAPPING: u16 = 7;
    /// One allocation or deallocation.
    pub const BLOCK: u16 = 8;
    /// A process has a child.
    pub const FORKED: u16 = 9;
    /// A process runs another program.
    pub const EXECUTED: u16 = 10;
    /// A process has ended.
    pub const EXITED: u16 = 11;
    /// The dynamic linker has changed what is loaded.
    pub const LOADED_CODE: u16 = 12;
    /// As `STACK`, walked by the kernel.
    pub const CHAIN: u16 = 14;
}

/// `enum mlh_admit`: what is to be done with a process.
pub mod admit {
    /// Take it under observation.
    pub const TAKE: u32 = 0;
    /// Set its [`least`](super::TargetEntry::least).
    pub const LEAST: u32 = 1;
    /// Set its [`walks`](super::TargetEntry::walks).
    pub const WALKS: u32 = 2;
}

/// `MLH_TARGETS_MAX`: how many processes can be under observation at once.
pub const TARGETS_MAX: usize = 1024;
/// `MLH_STACK_MAX`: bytes of a stack that are copied at most.
pub const STACK_MAX: usize = 16_384;
/// `MLH_CHAIN_MAX`: callers that are walked at most.
pub const CHAIN_MAX: usize = 127;

/// `struct mlh_call_site`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallSiteKey {
    /// Return address; 0: the sum of those that did not fit.
    pub ip: u64,
    /// Address space.
    pub slot: u32,
    /// Bytes of stack in use there.
    pub depth: u32,
}

/// `struct mlh_stack`; the stack follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackRecord {
    /// Kind and size.
    pub header: Header,
    /// By number.
    pub operation: u8,
    /// 0.
    pub reserved: [u8; 3],
    /// `CLOCK_BOOTTIME`, nanoseconds; as everywhere.
    pub at_ns: u64,
    /// Whose.
    pub site: CallSiteKey,
    /// Registers.
    pub capture: CaptureRecord,
    /// In the reader's pid namespace; as everywhere.
    pub pid: u32,
    /// 0.
    pub reserved_too: u32,
}

/// `struct mlh_mapping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingRecord {
    /// Kind and size.
    pub header: Header,
    /// By number.
    pub operation: u8,
    /// Not 0: made while an allocation was served.
    pub serves: u8,
    /// 0.
    pub reserved: u16,
    /// When.
    pub at_ns: u64,
    /// By whom.
    pub site: CallSiteKey,
    /// `mremap`: the old one; `brk`: the new end.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// `mremap` alone.
    pub new_address: u64,
    /// `mremap` alone.
    pub new_length: u64,
    /// `PROT_*` or `MADV_*`.
    pub kind: u32,
    /// `MAP_*` or `MREMAP_*`.
    pub flags: u32,
    /// Resident memory, pages.
    pub rss_pages: u64,
    /// Whose.
    pub pid: u32,
    /// 0.
    pub reserved_too: u32,
}

/// `struct mlh_block`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockRecord {
    /// Kind and size.
    pub header: Header,
    /// By number.
    pub operation: u8,
    /// Not 0: given back.
    pub freed: u8,
    /// 0.
    pub reserved: u16,
    /// When.
    pub at_ns: u64,
    /// Who allocated it.
    pub site: CallSiteKey,
    /// Where it is.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Resident memory, pages.
    pub rss_pages: u64,
    /// For how many it stands.
    pub weight: u32,
    /// Whose.
    pub pid: u32,
}

/// `struct mlh_turn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TurnRecord {
    /// Kind and size.
    pub header: Header,
    /// Address space.
    pub slot: u32,
    /// When.
    pub at_ns: u64,
    /// The new address space, of an exec.
    pub next: u32,
    /// The process; of a fork the child.
    pub pid: u32,
}

/// `struct mlh_block_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockKey {
    /// Where it is.
    pub address: u64,
    /// In which address space.
    pub slot: u32,
    /// 0.
    pub reserved: u32,
}

/// `struct mlh_live`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LiveEntry {
    /// Bytes.
    pub size: u64,
    /// Since when.
    pub born_ns: u64,
    /// Return address of its call site.
    pub ip: u64,
    /// Depth of its call site.
    pub depth: u32,
    /// For how many it stands.
    pub weight: u32,
    /// By number.
    pub operation: u32,
    /// 0.
    pub reserved: u32,
}

/// `struct mlh_sums`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SumsEntry {
    /// Blocks allocated.
    pub allocated: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Squares of their sizes.
    pub allocated_squares: u64,
    /// Blocks freed.
    pub freed: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Squares of their sizes.
    pub freed_squares: u64,
}

/// `struct mlh_totals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TotalsEntry {
    /// Blocks that stand for themselves.
    pub exact: SumsEntry,
    /// Sampled blocks.
    pub sampled: SumsEntry,
    /// Of the last allocation.
    pub last_ns: u64,
    /// Decide when its stack is copied.
    pub hits: u64,
    /// Not 0: a stack of it was copied.
    pub copied: u64,
}

/// `struct mlh_alloc_counters`, of one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)] // as in AllocCounters
pub struct CountersEntry {
    pub emulated_hits: u64,
    pub stepped_hits: u64,
    pub returns: u64,
    pub handler_ns: u64,
    pub tracked: u64,
    pub untracked: u64,
    pub too_small: u64,
    pub sampled_out: u64,
    pub failed: u64,
    pub unknown_frees: u64,
    pub table_full: u64,
    pub call_sites_full: u64,
    pub abandoned: u64,
    pub rate_limited: u64,
    pub largest: u64,
    pub owed_ns: u64,
}

/// `struct mlh_hit_costs`: nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HitCostsEntry {
    /// On an emulated instruction.
    pub emulated_ns: u64,
    /// On another one.
    pub stepped_ns: u64,
    /// Of a return.
    pub returned_ns: u64,
}

/// `struct mlh_target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TargetEntry {
    /// The address space that it has now.
    pub slot: u32,
    /// In the reader's pid namespace.
    pub pid: u32,
    /// Bytes, below which its probes do not see all; 0: they see what is asked for.
    pub least: u32,
    /// Not 0: its frame pointers are followed, and no stacks copied.
    pub walks: u32,
}

/// `struct mlh_wrapper_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WrapperKey {
    /// A return address.
    pub returns_to: u64,
    /// In which address space.
    pub slot: u32,
    /// 0.
    pub reserved: u32,
}

/// `struct mlh_alloc_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AllocConfig {
    /// Smaller allocations are not tracked.
    pub min_size: u64,
    /// From here on all are.
    pub large_size: u64,
    /// Between two records of blocks; 0: no limit.
    pub interval_ns: u64,
    /// One in so many of those between.
    pub sampling_rate: u32,
    /// Not 0: all are tracked.
    pub debug: u32,
    /// Not 0: each tracked block is told.
    pub emit: u32,
    /// 0.
    pub reserved: u32,
}

/// `struct mlh_admission`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Admission {
    /// In the reader's pid namespace.
    pub pid: u32,
    /// What it is to be known by.
    pub slot: u32,
    /// The answer: thread group id in the initial pid namespace; 0: no such process.
    pub host_pid: u32,
    /// One of [`admit`].
    pub what: u32,
    /// As that says.
    pub value: u32,
    /// 0.
    pub reserved: u32,
}
