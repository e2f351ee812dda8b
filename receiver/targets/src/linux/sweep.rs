//! The pass over `/proc`.

use std::os::unix::fs::MetadataExt;

use procfs::process::{Process, Stat, Status, all_processes};
use procfs::{FromRead, ProcError};

use super::cgroups::Cgroups;
use super::unread::{Losses, Unread};
use super::{text, undeleted};
use crate::HostError;
use crate::cgroup::CgroupPaths;
use crate::host::kernel_version;
use crate::process::ProcessReading;
use crate::slack::{self, Counters};
use crate::sweep::{ProcView, Readings};

/// More processes than any host runs (`pid_max` is at most 4 Mi, threads included).
const MAX_PROCESSES: usize = 1 << 20;
/// Where a process may get lost, as [`Losses::into_stages`] wants it,
const PROCESS_STAGES: [&str; 4] = ["proc_denied", "proc_malformed", "proc_io", "proc_over_limit"];
/// and a cgroup.
const CGROUP_STAGES: [&str; 4] = ["cgroup_denied", "cgroup_malformed", "cgroup_io", "cgroup_over_limit"];

/// The pass over `/proc`, with what does not change between two passes.
#[derive(Debug)]
pub(crate) struct ProcSweep {
    view: ProcView,
    pids_are_host: bool,
    /// Without the trees a cgroup has no id; everything else goes on.
    cgroups: Cgroups,
    counters: Counters,
    page_size: u64,
    tick_ns: u64,
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
            cgroups: Cgroups::open(slack::of_cgroup(major, minor, host.possible_cpus, host.page_size)),
            counters: Counters::of_kernel(major, minor, host.possible_cpus),
            page_size: host.page_size,
            tick_ns: super::tick_ns(),
        })
    }

    pub(crate) fn view(&self) -> ProcView {
        self.view
    }

    pub(crate) fn full(&mut self) -> Result<Readings, HostError> {
        let processes =
            all_processes().map_err(|e| HostError::Unreadable { what: "/proc", reason: e.to_string() })?;
        self.cgroups.begin_full();
        Ok(self.read_all(processes))
    }

    pub(crate) fn only(&mut self, pids: &[u32], cgroups: &[u64]) -> Result<Readings, HostError> {
        self.cgroups.begin_watched(cgroups);
        let processes = pids.iter().filter_map(|&pid| i32::try_from(pid).ok()).map(Process::new);
        Ok(self.read_all(processes))
    }

    fn read_all(&mut self, processes: impl Iterator<Item = Result<Process, ProcError>>) -> Readings {
        let (mut readings, mut losses) = (Vec::new(), Losses::default());
        for process in processes {
            if readings.len() >= MAX_PROCESSES {
                losses.over_limit();
                continue;
            }
            match process.map_err(Unread::from).and_then(|process| self.read(&process)) {
                Ok(reading) => readings.extend(reading),
                Err(why) => losses.count(why),
            }
        }
        let (cgroups, cgroup_losses) = self.cgroups.end();
        let errors = losses.into_stages(PROCESS_STAGES).chain(cgroup_losses.into_stages(CGROUP_STAGES));
        Readings { processes: readings, cgroups, errors: errors.collect() }
    }

    /// One process; `Ok(None)` for what has no memory of its own: kernel threads and zombies.
    fn read(&mut self, process: &Process) -> Result<Option<ProcessReading>, Unread> {
        let status = Status::from_read(text(process, "status")?.as_bytes())?;
        let Some(virtual_kib) = status.vmsize else { return Ok(None) };
        let stat = Stat::from_read(text(process, "stat")?.as_bytes())?;
        let pid = u32::try_from(process.pid()).map_err(|_| Unread::Malformed)?;
        let anon = status.rssanon.ok_or(Unread::Malformed)?;
        let cgroups = text(process, "cgroup").map(|text| CgroupPaths::parse(&text)).unwrap_or_default();
        let placed = self.cgroups.place(cgroups);
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
            cgroup_id: placed.cgroup_id,
            memory_cgroup_id: placed.memory_cgroup_id,
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
        let before = own(&sweep.only(&[std::process::id()], &[]).unwrap());
        let mut block = vec![0_u8; usize::try_from(SIZE).unwrap()];
        for page in block.chunks_mut(4096) {
            page[0] = 1;
        }
        let after = own(&sweep.only(&[std::process::id()], &[]).unwrap());
        std::hint::black_box(&block);
        let grown = after.anon - before.anon;
        // the other tests of this process allocate and free too, huge pages among it
        let (freed, allocated) = (64 << 20, 256 << 20);
        assert!(grown + after.slack + freed >= SIZE, "{grown}");
        assert!(grown <= SIZE + after.slack + allocated, "{grown}");
    }

    /// Guarantees: only the processes asked for are read; one that is gone, and a pid that cannot be, are absent
    /// and no error.
    #[test]
    fn a_watched_pass() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        let mut sweep = ProcSweep::open().unwrap();
        let readings = sweep.only(&[std::process::id(), child.id(), u32::MAX], &[]).unwrap();
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
        // by another process: what a thread here starts meanwhile would hold it open for writing
        let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&path).status().unwrap();
        assert!(copied.success());
        let mut child = std::process::Command::new(&path).arg("60").spawn().unwrap();
        let readings = ProcSweep::open().unwrap().only(&[child.id()], &[]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(readings.errors, []);
        let reading = &readings.processes[0];
        assert_eq!(reading.comm, "a) R\n(\u{fffd}:b");
        assert_eq!(reading.executable, "a) R\n(\u{fffd}:b");
        assert!(reading.start_ns > 0);
    }

    /// Guarantees: the cgroup that this process's memory is charged to is among those of a full pass, and in a
    /// watched pass it is the only one when it is asked for, and none is when none is.
    #[test]
    fn own_cgroup() {
        let pid = std::process::id();
        let mut sweep = ProcSweep::open().unwrap();
        let readings = sweep.full().unwrap();
        let id = own(&readings).memory_cgroup_id.unwrap();
        let told: Vec<u64> = readings.cgroups.iter().map(|cgroup| cgroup.id).collect();
        assert!(told.contains(&id), "{id} {told:?}");
        let counted = readings.cgroups.iter().find(|cgroup| cgroup.id == id && cgroup.memory.is_some());
        let Some(counted) = counted else {
            eprintln!("SKIPPED: this process is charged to no cgroup with counters");
            return;
        };
        let watched = sweep.only(&[pid], &[id]).unwrap();
        assert_eq!(own(&watched).memory_cgroup_id, Some(id));
        let [again] = watched.cgroups.as_slice() else { panic!("{:?}", watched.cgroups) };
        assert_eq!((again.id, again.parent, &again.name), (id, counted.parent, &counted.name));
        assert!(again.memory.unwrap().usage > 0);
        assert_eq!(sweep.only(&[pid], &[]).unwrap().cgroups, []);
    }
}
