//! Platforms whose processes cannot be watched: everything here says so.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::HostError;
use crate::cgroup::{CgroupPaths, Layout};
use crate::groups::{Group, GroupError};
use crate::host::{HostIdentity, MemoryTotals, Namespaces};
use crate::pagemap::{PageState, PagemapError};
use crate::points::Started;
use crate::process::Absence;
use crate::sweep::{ProcView, Readings};

pub(crate) fn cgroup_paths(_pid: u32) -> Option<CgroupPaths> {
    None
}

pub(crate) fn cgroup_layout() -> Result<Layout, HostError> {
    Err(HostError::Unsupported)
}

pub(crate) fn started(_pid: u32) -> Started {
    Started::new("", "", false)
}

pub(crate) fn threads(_pid: u32) -> Vec<u32> {
    Vec::new()
}

pub(crate) fn own_number(_pid: u32, _thread: u32) -> Option<u32> {
    None
}

pub(crate) fn absence(_pid: u32) -> Absence {
    Absence::Nobody
}

pub(crate) fn group_by_id(_id: u64) -> Result<Group, GroupError> {
    Err(GroupError::Unsupported)
}

pub(crate) fn group_by_path(_path: &Path) -> Result<Group, GroupError> {
    Err(GroupError::Unsupported)
}

pub(crate) fn group_by_container(_prefix: &str) -> Result<Group, GroupError> {
    Err(GroupError::Unsupported)
}

pub(crate) fn group_pids(_directories: &[PathBuf]) -> Option<Vec<u32>> {
    None
}

pub(crate) fn open_regular(_path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn path_of(_file: &File) -> PathBuf {
    PathBuf::new()
}

pub(crate) fn version(_file: &File) -> io::Result<(u64, u64, u64, i64, i64)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn host_identity() -> HostIdentity {
    HostIdentity {
        name: ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|key| std::env::var(key).ok()),
        id: None,
        boot_id: None,
        kernel_release: None,
        page_size: 4096,
        possible_cpus: std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
    }
}

pub(crate) fn memory() -> Result<MemoryTotals, HostError> {
    Err(HostError::Unsupported)
}

pub(crate) fn namespaces() -> Namespaces {
    Namespaces::default()
}

pub(crate) fn effective_capabilities() -> Option<u64> {
    None
}

pub(crate) fn now_boot() -> Result<Duration, HostError> {
    Err(HostError::Unsupported)
}

pub(crate) fn own_cpu_time() -> Duration {
    Duration::ZERO
}

pub(crate) fn thread_cpu_time() -> Duration {
    Duration::ZERO
}

pub(crate) fn executable_path(_pid: u32) -> Option<PathBuf> {
    None
}

pub(crate) fn smaps_rollup(_pid: u32) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn smaps(_pid: u32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn clear_referenced(_pid: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn memory_pressure(_pid: u32) -> Vec<String> {
    Vec::new()
}

pub(crate) fn start_ns(_pid: u32) -> Option<u64> {
    None
}

pub(crate) fn tick_ns() -> u64 {
    1
}

pub(crate) fn open_executable(_pid: u32) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, HostError::Unsupported))
}

/// Cannot be opened here.
#[derive(Debug)]
pub(crate) enum Pagemap {}

impl Pagemap {
    pub(crate) fn open(_pid: u32) -> Result<Self, PagemapError> {
        Err(PagemapError::Unsupported)
    }

    pub(crate) fn states(&self, _addresses: &[u64]) -> Result<Vec<PageState>, PagemapError> {
        match *self {}
    }

    pub(crate) fn resident(&self, _from: u64, _to: u64) -> Result<Vec<Range<u64>>, PagemapError> {
        match *self {}
    }

    pub(crate) fn is_huge(&mut self, _address: u64) -> bool {
        match *self {}
    }
}

pub(crate) fn huge_page_size() -> u64 {
    2 << 20
}

/// Cannot be built here.
#[derive(Debug)]
pub(crate) enum ProcSweep {}

impl ProcSweep {
    pub(crate) fn open() -> Result<Self, HostError> {
        Err(HostError::Unsupported)
    }

    pub(crate) fn view(&self) -> ProcView {
        match *self {}
    }

    pub(crate) fn full(&mut self) -> Result<Readings, HostError> {
        match *self {}
    }

    pub(crate) fn only(&mut self, _pids: &[u32], _cgroups: &[u64]) -> Result<Readings, HostError> {
        match *self {}
    }
}
