//! What a process maps, and how to open it.

use std::ops::Range;
use std::path::PathBuf;

use crate::os;

/// A file mapped into a process, all of its parts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// As the process's own `/proc/PID/maps` names it, without the mark of deletion; `[vdso]` for the kernel's own.
    pub path: PathBuf,
    /// The file has been removed, or replaced, since.
    pub deleted: bool,
    /// Device (major, minor) and inode: who it is, whatever its name.
    pub file: FileId,
    /// Its parts, by address.
    pub parts: Vec<Part>,
}

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId {
    /// Major number of the device.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Inode.
    pub inode: u64,
}

/// One mapping of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// What of the file is at its beginning.
    pub offset: u64,
    /// Code may run there.
    pub executable: bool,
    /// It can be written to.
    pub writable: bool,
}

/// A mapping with no file behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// `[heap]`, `[stack]`, `[anon:..]`, or nothing.
    pub name: String,
    /// Code may run there: made at run time.
    pub executable: bool,
}

/// The address space of a process as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modules {
    /// Files, by the address of their first part.
    pub modules: Vec<Module>,
    /// The rest, by address.
    pub anonymous: Vec<Anonymous>,
}

/// Why the modules of a process could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the address space of process {pid}: {reason}")]
pub struct ModulesError {
    /// Of whom.
    pub pid: u32,
    /// What the kernel said.
    pub reason: String,
}

impl Modules {
    /// Reads `/proc/PID/maps`. Nothing in it makes this panic; more than 64 MiB of it are refused.
    ///
    /// # Errors
    /// The process has ended, or may not be looked into; on systems other than Linux always.
    pub fn read(pid: u32) -> Result<Self, ModulesError> {
        os::modules(pid)
    }

    /// What lies at an address, if a file is mapped there.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<(&Module, &Part)> {
        self.modules.iter().find_map(|module| module.part_at(address).map(|part| (module, part)))
    }

    /// All that is mapped, by address, in bytes: files and the rest, but for the `[vsyscall]` page, which is the kernel's.
    #[must_use]
    pub fn regions(&self) -> Vec<Range<u64>> {
        let files = self.modules.iter().flat_map(|module| &module.parts).map(|part| part.start..part.end);
        let rest = self.anonymous.iter().filter(|region| region.name != "[vsyscall]");
        let mut regions: Vec<_> = files.chain(rest.map(|region| region.start..region.end)).collect();
        regions.sort_unstable_by_key(|region| region.start);
        regions
    }

    /// Where the heap that grows by `brk` ends, rounded up to pages. `None` as long as it is empty.
    #[must_use]
    pub fn heap_end(&self) -> Option<u64> {
        self.anonymous.iter().filter(|region| region.name == "[heap]").map(|region| region.end).max()
    }
}

impl Module {
    /// A path by which this process can open the very file that `pid` maps, in whatever mount namespace, also a deleted one:
    /// below `/proc/PID/root`, or `/proc/PID/map_files` (which needs `CAP_CHECKPOINT_RESTORE` or more). Valid as long as
    /// the process lives and keeps the file mapped. `None` for what is no regular file.
    #[must_use]
    pub fn reachable_path(&self, pid: u32) -> Option<PathBuf> {
        os::reachable_path(self, pid)
    }

    /// The part that an address lies in.
    #[must_use]
    pub fn part_at(&self, address: u64) -> Option<&Part> {
        self.parts.iter().find(|part| (part.start..part.end).contains(&address))
    }

    /// Where in the process the file's code at an offset can be run: once as a rule, more often where `dlmopen` has
    /// loaded the file anew.
    pub fn code_addresses(&self, offset: u64) -> impl Iterator<Item = u64> + '_ {
        self.parts.iter().filter(|part| part.executable).filter_map(move |part| part.address_of(offset))
    }

    /// Code of it may run.
    #[must_use]
    pub fn has_code(&self) -> bool {
        self.parts.iter().any(|part| part.executable)
    }
}

impl Part {
    /// What of the file is at an address of the process. `None` outside.
    #[must_use]
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        (self.start..self.end)
            .contains(&address)
            .then(|| self.offset.checked_add(address - self.start))
            .flatten()
    }

    /// Where in the process the file's byte at an offset is. `None` outside.
    #[must_use]
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let address = self.start.checked_add(offset.checked_sub(self.offset)?)?;
        (address < self.end).then_some(address)
    }
}
