//! How bytes become the records of [`wire`](crate::wire). Pure and portable; every byte is taken for hostile.

use std::mem::size_of;

use thiserror::Error;
use zerocopy::FromBytes;

use crate::wire::{
    CgroupRecord, EventRecord, Header, Pages, ProcessRecord, ThreadRecord, cgroup_flag, flag, kind,
};

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
    /// A cgroup.
    Cgroup(CgroupRecord),
    /// An OOM kill.
    OomKill(EventRecord),
    /// A growth by the threshold.
    Crossing(EventRecord),
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
    /// An event among the rows of a pass, or a row among events.
    #[error("a row of another kind than belongs here")]
    Misplaced,
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
            kind::CGROUP => self.read::<CgroupRecord>(header)?.checked().map(Row::Cgroup),
            kind::OOM_KILL => self.read::<EventRecord>(header)?.checked().map(Row::OomKill),
            kind::CROSSING => self.read::<EventRecord>(header)?.checked().map(Row::Crossing),
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
        if self.pid == 0 {
            return impossible("pid");
        }
        self.checked_of_anybody()
    }

    /// As [`checked`](Self::checked), of a process that the reader's pid namespace need not show.
    fn checked_of_anybody(self) -> Result<Self, WireError> {
        let impossible = |field| Err(WireError::Impossible { kind: kind::PROCESS, field });
        if self.host_pid == 0 {
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

impl CgroupRecord {
    fn checked(self) -> Result<Self, WireError> {
        let impossible = |field| Err(WireError::Impossible { kind: kind::CGROUP, field });
        if self.id == 0 || self.id == self.parent {
            return impossible("id");
        }
        if self.flags & !cgroup_flag::ALL != 0 {
            return impossible("flag");
        }
        let possible = |pages: &i64| pages.unsigned_abs() <= PAGES_MAX;
        if self.usage > PAGES_MAX || self.swap > PAGES_MAX || !self.lru.iter().all(possible) {
            return impossible("number of pages");
        }
        Ok(self)
    }
}

impl EventRecord {
    fn checked(self) -> Result<Self, WireError> {
        self.process.checked_of_anybody().map(|process| Self { process, ..self })
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
#[path = "records_tests.rs"]
pub(crate) mod tests;
