//! The rows of `c/abi.h` in Rust, and how bytes become rows. Pure and portable; every byte is taken for hostile.

use std::mem::size_of;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kinds of `enum mlh_kind`.
pub mod kind {
    /// A process that has memory of its own.
    pub const PROCESS: u16 = 1;
    /// A further thread of a process.
    pub const THREAD: u16 = 2;
}

/// The bits of `enum mlh_flag`: how a row's counters were kept and read.
pub mod flag {
    /// Kept per CPU; each lags by up to a batch on each online CPU.
    pub const PERCPU: u32 = 1;
    /// The parts of all CPUs were added in.
    pub const EXACT: u32 = 2;
    /// Threads hold back parts, which stand in their rows.
    pub const CACHED: u32 = 4;
    /// All that are defined.
    pub const ALL: u32 = PERCPU | EXACT | CACHED;
}

/// `MLH_COMM_LEN`.
pub const COMM_LEN: usize = 16;
/// `MLH_EXECUTABLE_LEN`.
pub const EXECUTABLE_LEN: usize = 64;
/// `MLH_WATCHED_MAX`: how many processes can be watched at once.
pub const WATCHED_MAX: usize = 1024;
/// `MLH_CPUS_MAX`: on a host with more possible CPUs nothing is summed exactly.
pub const CPUS_MAX: u32 = 1024;

/// `struct mlh_header`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u16,
    /// Of the whole row, bytes.
    pub size: u16,
}

/// `struct mlh_pages`: counts of pages, below zero where a counter lags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pages {
    /// Anonymous.
    pub anon: i64,
    /// Of files.
    pub file: i64,
    /// Shared.
    pub shmem: i64,
    /// Swapped out.
    pub swap: i64,
}

/// `struct mlh_process`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessRecord {
    /// Kind and size.
    pub header: Header,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `CLOCK_BOOTTIME` of its start, nanoseconds.
    pub start_ns: u64,
    /// Thread group id in the initial pid namespace.
    pub host_pid: u32,
    /// Thread group id in the reader's pid namespace.
    pub pid: u32,
    /// Thread group id in the process's own pid namespace.
    pub own_pid: u32,
    /// The parent in the reader's pid namespace; 0: it is not there.
    pub parent: u32,
    /// What the process's counters say.
    pub base: Pages,
    /// What the task of this row holds back beside them.
    pub cached: Pages,
    /// Address space, pages.
    pub total_vm: u64,
    /// Page tables, bytes.
    pub page_tables: u64,
    /// CPU time of the task of this row, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of the threads that have ended, nanoseconds.
    pub ended_cpu_ns: u64,
    /// Inode of the cgroup v2 directory; 0: none.
    pub cgroup_id: u64,
    /// Inode of the memory controller's cgroup; 0: none.
    pub memory_cgroup_id: u64,
    /// Inode of the executable; 0: none.
    pub inode: u64,
    /// Goes up with each exec.
    pub exec_id: u64,
    /// Device of the executable's file system.
    pub device: u32,
    /// Threads alive.
    pub threads: u32,
    /// Name of the thread group leader, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Base name of the executable, NUL-terminated, cut where it is longer.
    pub executable: [u8; EXECUTABLE_LEN],
}

/// `struct mlh_thread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ThreadRecord {
    /// Kind and size.
    pub header: Header,
    /// Thread group id of its process in the initial pid namespace.
    pub host_pid: u32,
    /// Start of its process, nanoseconds.
    pub start_ns: u64,
    /// Its CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// The process's counters at this moment (zeros where they are per CPU, and of a thread that is ending).
    pub base: Pages,
    /// What the thread holds back beside them.
    pub cached: Pages,
}

/// One row's bytes, header included: as many as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a>(&'a [u8]);

/// A decoded row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// A process.
    Process(ProcessRecord),
    /// A further thread.
    Thread(ThreadRecord),
}

/// Why bytes are no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// Fewer bytes are left than a header has. Nothing can follow.
    #[error("{left} bytes are left, too few for a row's header")]
    ShortHeader {
        /// Bytes left.
        left: usize,
    },
    /// The header's size leads nowhere. Nothing can follow.
    #[error("a row of kind {kind} says that it has {size} bytes where {left} are left")]
    BadHeader {
        /// As the header says.
        kind: u16,
        /// As the header says.
        size: u16,
        /// Bytes left, header included.
        left: usize,
    },
    /// A kind that this version does not know.
    #[error("a row of unknown kind {kind}")]
    UnknownKind {
        /// As the header says.
        kind: u16,
    },
    /// A known kind in another size.
    #[error("a row of kind {kind} has {size} bytes instead of {expected}")]
    WrongSize {
        /// As the header says.
        kind: u16,
        /// As the header says.
        size: u16,
        /// The size of this kind.
        expected: usize,
    },
    /// A value that no kernel writes.
    #[error("a row of kind {kind} has an impossible {field}")]
    Impossible {
        /// As the header says.
        kind: u16,
        /// Which value.
        field: &'static str,
    },
}

/// More pages than an address space of 64 bits holds.
const PAGES_MAX: u64 = 1 << 52;

impl RawRecord<'_> {
    /// Decodes the row.
    ///
    /// # Errors
    /// Unknown kind, wrong size, impossible value. None of them affects the rows that follow.
    pub fn decode(self) -> Result<Row, WireError> {
        let (header, _) =
            Header::read_from_prefix(self.0).map_err(|_| WireError::ShortHeader { left: self.0.len() })?;
        match header.kind {
            kind::PROCESS => self.read::<ProcessRecord>(header)?.checked().map(Row::Process),
            kind::THREAD => self.read::<ThreadRecord>(header)?.checked().map(Row::Thread),
            kind => Err(WireError::UnknownKind { kind }),
        }
    }

    fn read<T: FromBytes>(self, header: Header) -> Result<T, WireError> {
        T::read_from_bytes(self.0).map_err(|_| WireError::WrongSize {
            kind: header.kind,
            size: header.size,
            expected: size_of::<T>(),
        })
    }
}

impl Pages {
    /// The memory that can leak: anonymous, shared and swapped.
    #[must_use]
    pub fn charged(&self) -> i64 {
        self.anon.saturating_add(self.shmem).saturating_add(self.swap)
    }

    fn is_possible(&self) -> bool {
        [self.anon, self.file, self.shmem, self.swap].iter().all(|pages| pages.unsigned_abs() <= PAGES_MAX)
    }
}

impl ProcessRecord {
    fn checked(self) -> Result<Self, WireError> {
        let impossible = |field| Err(WireError::Impossible { kind: kind::PROCESS, field });
        if self.host_pid == 0 || self.pid == 0 {
            return impossible("pid");
        }
        if self.flags & !flag::ALL != 0 {
            return impossible("flag");
        }
        let sizes_fit = self.total_vm <= PAGES_MAX && i64::try_from(self.page_tables).is_ok();
        if !sizes_fit || !self.base.is_possible() || !self.cached.is_possible() {
            return impossible("number of pages");
        }
        Ok(self)
    }
}

impl ThreadRecord {
    fn checked(self) -> Result<Self, WireError> {
        let impossible = |field| Err(WireError::Impossible { kind: kind::THREAD, field });
        if self.host_pid == 0 {
            return impossible("pid");
        }
        if !self.base.is_possible() || !self.cached.is_possible() {
            return impossible("number of pages");
        }
        Ok(self)
    }
}

/// The rows of a pass. An impossible row is an error and the next follows; after a broken header nothing can be found, so it
/// is the last.
pub fn rows(bytes: &[u8]) -> impl Iterator<Item = Result<Row, WireError>> {
    Records { rest: bytes }.map(|record| record.and_then(RawRecord::decode))
}

/// The undecoded rows of a pass; a broken header is the last.
#[must_use]
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// See [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        let left = bytes.len();
        let Ok((Header { kind, size }, _)) = Header::read_from_prefix(bytes) else {
            return Some(Err(WireError::ShortHeader { left }));
        };
        if usize::from(size) < size_of::<Header>() {
            return Some(Err(WireError::BadHeader { kind, size, left }));
        }
        match bytes.split_at_checked(size.into()) {
            Some((record, rest)) => {
                self.rest = rest;
                Some(Ok(RawRecord(record)))
            }
            None => Some(Err(WireError::BadHeader { kind, size, left })),
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(crate) mod tests;
