//! The pass over `/proc`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use procfs::process::{Process, Stat, Status, all_processes};
use procfs::{FromRead, ProcError};

use super::{text, undeleted};
use crate::HostError;
use crate::cgroup::{CgroupPaths, Layout, Tree};
use crate::host::kernel_version;
use crate::process::ProcessReading;
use crate::slack::Counters;
use crate::sweep::{ProcView, Readings};

/// More processes than any host runs (`pid_max` is at most 4 Mi, threads included).
const MAX_PROCESSES: usize = 1 << 20;
/// `ESRCH`: what `/proc` answers for a process that has ended since its folder was opened.
const NO_SUCH_PROCESS: i32 = nix::errno::Errno::ESRCH as i32;

/// The pass over `/proc`, with what does not change between two passes.
#[derive(Debug)]
pub(crate) struct ProcSweep {
    view: ProcView,
    pids_are_host: bool,
    layout: Layout,
    counters: Counters,
    page_size: u64,
    tick_ns: u64,
    /// Inodes of cgroup directories, kept for one pass only: a path may be another cgroup by the next.
    inodes: HashMap<PathBuf, Option<u64>>,
}

/// Why a process could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// It ended meanwhile: not an error.
    Ended,
    Denied,
    Malformed,
    Io,
}

impl From<ProcError> for Unread {
    fn from(error: ProcError) -> Self {
        match error {
            ProcError::NotFound(_) => Self::Ended,
            ProcError::PermissionDenied(_) => Self::Denied,
            ProcError::Io(e, _) if e.raw_os_error() == Some(NO_SUCH_PROCESS) => Self::Ended,
            ProcError::Io(e, _) if e.kind() == ErrorKind::NotFound => Self::Ended,
            ProcError::Io(e, _) if e.kind() == ErrorKind::PermissionDenied => Self::Denied,
            ProcError::Io(..) => Self::Io,
            ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_) => Self::Malformed,
        }
    }
}

/// What was lost in a pass.
#[derive(Debug, Default)]
struct Errors {
    denied: u64,
    malformed: u64,
    io: u64,
    over_limit: u64,
}

impl Errors {
    fn count(&mut self, why: Unread) {
        match why {
            Unread::Ended => {}
            Unread::Denied => self.denied += 1,
            Unread::Malformed => self.malformed += 1,
            Unread::Io => self.io += 1,
        }
    }

    fn into_stages(self) -> Vec<(&'static str, u64)> {
        let all = [
            ("proc_denied", self.denied),
            ("proc_malformed", self.malformed),
            ("proc_io", self.io),
            ("proc_over_limit", self.over_limit),
        ];
        all.into_iter().filter(|&(_, count)| count > 0).collect()
    }
}

impl ProcSweep {
    pub(crate) fn open() -> Result<Self, HostError> {
        let unreadable = |e: ProcError| HostError::Unreadable { what: "/proc/self", reason: e.to_string() };
        let own = Process::myself().and_then(|me| me.status()).map_err(unreadable)?;
        // NSpid lists this process's pid from the namespace of /proc down to its own
        let view = match own.nspid.as_deref() {
            Some([_]) | None => ProcView::Own,
            Some(_) => ProcView::Outer,
        };
        let host = super::host_identity();
        let (major, minor) = host.kernel_release.as_deref().and_then(kernel_version).unwrap_or((0, 0));
        Ok(Self {
            view,
            pids_are_host: view == ProcView::Own && super::namespaces().pid_is_host == Some(true),
            // without the trees a cgroup has no id; everything else goes on
            layout: super::cgroup_layout().unwrap_or_default(),
            counters: Counters::of_kernel(major, minor, host.possible_cpus),
            page_size: host.page_size,
            tick_ns: super::tick_ns(),
            inodes: HashMap::new(),
        })
    }

    pub(crate) fn view(&self) -> ProcView {
        self.view
    }

    pub(crate) fn full(&mut self) -> Result<Readings, HostError> {
        let processes =
            all_processes().map_err(|e| HostError::Unreadable { what: "/proc", reason: e.to_string() })?;
        Ok(self.read_all(processes))
    }

    pub(crate) fn only(&mut self, pids: &[u32]) -> Result<Readings, HostError> {
        let processes = pids.iter().filter_map(|&pid| i32::try_from(pid).ok()).map(Process::new);
        Ok(self.read_all(processes))
    }

    fn read_all(&mut self, processes: impl Iterator<Item = Result<Process, ProcError>>) -> Readings {
        self.inodes.clear();
        let (mut readings, mut errors) = (Vec::new(), Errors::default());
        for process in processes {
            if readings.len() >= MAX_PROCESSES {
                errors.over_limit += 1;
                continue;
            }
            match process.map_err(Unread::from).and_then(|process| self.read(&process)) {
                Ok(reading) => readings.extend(reading),
                Err(why) => errors.count(why),
            }
        }
        Readings { processes: readings, errors: errors.into_stages() }
    }

    /// One process; `Ok(None)` for what has no memory of its own: kernel threads and zombies.
    fn read(&mut self, process: &Process) -> Result<Option<ProcessReading>, Unread> {
        let status = Status::from_read(text(process, "status")?.as_bytes())?;
        let Some(virtual_kib) = status.vmsize else { return Ok(None) };
        let stat = Stat::from_read(text(process, "stat")?.as_bytes())?;
        let pid = u32::try_from(process.pid()).map_err(|_| Unread::Malformed)?;
        let anon = status.rssanon.ok_or(Unread::Malformed)?;
        let cgroups = text(process, "cgroup").map(|text| CgroupPaths::parse(&text)).unwrap_or_default();
        let threads = u32::try_from(status.threads).unwrap_or(u32::MAX);
        let ticks = |count: u64| count.saturating_mul(self.tick_ns);
        let start_ns = ticks(stat.starttime);
        let cpu_ns = ticks(stat.utime.saturating_add(stat.stime));
        let own_pid = status.nspid.as_deref().and_then(<[i32]>::last);
        Ok(Some(ProcessReading {
            pid,
            host_pid: self.pids_are_host.then_some(pid),
            own_pid: own_pid.and_then(|&pid| u32::try_from(pid).ok()),
            parent: u32::try_from(status.ppid).unwrap_or(0),
            start_ns,
            executable: executable_name(process).unwrap_or_else(|| stat.comm.clone()),
            comm: stat.comm,
            image: image(pid).unwrap_or(0),
            cgroup_id: self.inode(|layout| layout.unified.as_ref(), cgroups.unified.as_deref()),
            memory_cgroup_id: self.memory_cgroup(&cgroups),
            anon: bytes(Some(anon)),
            file: bytes(status.rssfile),
            shmem: bytes(status.rssshmem),
            swap: bytes(status.vmswap),
            slack: self.counters.slack(threads, self.page_size),
            virtual_size: bytes(Some(virtual_kib)),
            page_tables: status.vmpte.map(|kib| bytes(Some(kib))),
            threads,
            cpu_ns: Some(cpu_ns),
        }))
    }

    fn memory_cgroup(&mut self, paths: &CgroupPaths) -> Option<u64> {
        if self.layout.memory_v1.is_some() {
            self.inode(|layout| layout.memory_v1.as_ref(), paths.memory.as_deref())
        } else if self.layout.memory_v2 {
            self.inode(|layout| layout.unified.as_ref(), paths.unified.as_deref())
        } else {
            None
        }
    }

    /// The inode of a cgroup's directory, which is its id.
    fn inode(&mut self, tree: impl Fn(&Layout) -> Option<&Tree>, path: Option<&str>) -> Option<u64> {
        let directory = tree(&self.layout)?.directory(path?)?;
        *self
            .inodes
            .entry(directory)
            .or_insert_with_key(|directory| std::fs::metadata(directory).ok().map(|found| found.ino()))
    }
}

fn bytes(kib: Option<u64>) -> u64 {
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The base name of the executable, where it may be read.
fn executable_name(process: &Process) -> Option<String> {
    let path = undeleted(&process.exe().ok()?);
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Identifies the executable image, where it may be looked at.
fn image(pid: u32) -> Option<u64> {
    let found = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((found.ino() ^ found.dev().rotate_left(32)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(readings: &Readings) -> ProcessReading {
        readings.processes.iter().find(|p| p.pid == std::process::id()).cloned().unwrap()
    }

    /// Guarantees: a full pass holds this process as the kernel knows it, kernel threads and zombies are absent,
    /// and no pid comes twice.
    #[test]
    fn a_full_pass() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        // the zombie stays until it is waited for
        while !std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        let mut sweep = ProcSweep::open().unwrap();
        let readings = sweep.full().unwrap();
        let me = own(&readings);
        let expected = Process::myself().unwrap();
        let (stat, status) = (expected.stat().unwrap(), expected.status().unwrap());
        assert_eq!(me.start_ns, stat.starttime * 1_000_000_000 / procfs::ticks_per_second());
        assert_eq!(me.parent, u32::try_from(status.ppid).unwrap());
        assert_eq!(me.comm, stat.comm);
        let name = std::env::current_exe().unwrap();
        assert_eq!(me.executable, name.file_name().unwrap().to_string_lossy());
        assert!(me.anon > 0 && me.virtual_size > me.anon && me.threads >= 1 && me.image != 0);
        assert!(me.page_tables.is_some() && me.cpu_ns.is_some());
        assert!(readings.processes.iter().all(|p| p.pid != child.id() && p.comm != "kthreadd"));
        let mut pids: Vec<u32> = readings.processes.iter().map(|p| p.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), readings.processes.len());
        child.wait().unwrap();
    }

    /// Guarantees: memory that this process touches shows as anonymous memory, to within the stated slack.
    #[test]
    fn touched_memory_shows() {
        const SIZE: u64 = 128 << 20;
        let mut sweep = ProcSweep::open().unwrap();
        let before = own(&sweep.only(&[std::process::id()]).unwrap());
        let mut block = vec![0_u8; usize::try_from(SIZE).unwrap()];
        for page in block.chunks_mut(4096) {
            page[0] = 1;
        }
        let after = own(&sweep.only(&[std::process::id()]).unwrap());
        std::hint::black_box(&block);
        let grown = after.anon - before.anon;
        // the other tests of this process allocate too
        let other = 64 << 20;
        assert!(grown + after.slack + other >= SIZE, "{grown}");
        assert!(grown <= SIZE + after.slack + other, "{grown}");
    }

    /// Guarantees: only the processes asked for are read; one that is gone, and a pid that cannot be, are absent
    /// and no error.
    #[test]
    fn a_watched_pass() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        let mut sweep = ProcSweep::open().unwrap();
        let readings = sweep.only(&[std::process::id(), child.id(), u32::MAX]).unwrap();
        assert_eq!(readings.processes.len(), 1);
        assert_eq!(readings.errors, []);
    }

    /// Guarantees: a process that names itself with bytes that are not UTF-8, brackets and a line feed is read
    /// like any other: nobody hides by their name.
    #[test]
    fn hostile_names() {
        let folder = tempfile::tempdir().unwrap();
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"a) R\n(\xff:b");
        let path = folder.path().join(name);
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut child = std::process::Command::new(&path).arg("60").spawn().unwrap();
        let readings = ProcSweep::open().unwrap().only(&[child.id()]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(readings.errors, []);
        let reading = &readings.processes[0];
        assert_eq!(reading.comm, "a) R\n(\u{fffd}:b");
        assert_eq!(reading.executable, "a) R\n(\u{fffd}:b");
        assert!(reading.start_ns > 0);
    }

    /// Guarantees: each way in which reading fails is counted under its own stage, and an ended process under none.
    #[test]
    fn reasons() {
        let io = |errno: i32| ProcError::Io(std::io::Error::from_raw_os_error(errno), None);
        let mut errors = Errors::default();
        for error in [
            ProcError::NotFound(None),
            io(NO_SUCH_PROCESS),
            ProcError::PermissionDenied(None),
            ProcError::Incomplete(None),
            ProcError::Other(String::new()),
            io(5),
        ] {
            errors.count(error.into());
        }
        assert_eq!(errors.into_stages(), [("proc_denied", 1), ("proc_malformed", 2), ("proc_io", 1)]);
    }
}
