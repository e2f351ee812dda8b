//! Which pages of a process are there: `/proc/PID/pagemap`, and whether huge pages serve them.

use std::ops::Range;

use crate::os;

/// The page map of a process's address space, kept open: after an exec, or once the process has ended, it is
/// [`PagemapError::Ended`], whoever has the pid then.
///
/// Needs to be the process's user, or `CAP_SYS_PTRACE`. That a huge page serves an address is told by the frames' numbers
/// where the kernel shows them (`CAP_SYS_ADMIN`): 2 MiB that lie in order in aligned memory. Where it does not,
/// an address counts for huge where the 2 MiB around it are there as a whole, and half or more of the mapping's memory is in
/// huge pages as `smaps` says, for which the kernel walks all of its memory: that is asked once in five seconds at most.
#[derive(Debug)]
pub struct Pagemap(os::Pagemap);

/// What of a page is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Nothing: never touched, or given back.
    Absent,
    /// A page of the process's own, also where it is swapped out.
    Anonymous,
    /// A page of a file, or of shared memory.
    FileOrShared,
}

/// Why a page map could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagemapError {
    /// The process has ended, or runs another program.
    #[error("the process has ended, or runs another program")]
    Ended,
    /// The kernel does not allow it, or there was another error.
    #[error("/proc/{pid}/pagemap: {reason}")]
    Unreadable {
        /// Whose.
        pid: u32,
        /// What the kernel said.
        reason: String,
    },
    /// Another platform.
    #[error("page maps need Linux")]
    Unsupported,
}

impl Pagemap {
    /// Opens it.
    ///
    /// # Errors
    /// See [`PagemapError`].
    pub fn open(pid: u32) -> Result<Self, PagemapError> {
        os::Pagemap::open(pid).map(Self)
    }

    /// What of each page is there, by the addresses in it, which are to be in order: a read for each page that lies apart from others,
    /// some microseconds.
    ///
    /// # Errors
    /// See [`PagemapError`].
    pub fn states(&self, addresses: &[u64]) -> Result<Vec<PageState>, PagemapError> {
        self.0.states(addresses)
    }

    /// The stretches between two addresses that are in memory, by address and in whole pages: whoever reads these brings nothing in,
    /// neither from swap nor as new pages. One read; what lies beyond 8,192 pages is left out.
    ///
    /// # Errors
    /// See [`PagemapError`].
    pub fn resident(&self, from: u64, to: u64) -> Result<Vec<Range<u64>>, PagemapError> {
        self.0.resident(from, to)
    }

    /// A huge page serves this address, as far as can be told. False where nothing can.
    pub fn is_huge(&mut self, address: u64) -> bool {
        self.0.is_huge(address)
    }
}

/// Bytes of the huge pages that serve a fault, as a rule 2 MiB.
#[must_use]
pub fn huge_page_size() -> u64 {
    os::huge_page_size()
}
