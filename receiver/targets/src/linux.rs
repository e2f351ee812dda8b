//! Linux: `/proc` and `/sys`, through the `procfs` crate where it has a parser.

mod cgroup_memory;
mod cgroups;
mod groups;
mod host;
mod pagemap;
mod started;
mod sweep;
mod threads;
mod trees;
mod unread;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use procfs::FromRead;
use procfs::process::{Process, Stat};

use crate::HostError;
use crate::cgroup::{CgroupPaths, Layout, Tree};

pub(crate) use groups::{
    by_container as group_by_container, by_id as group_by_id, by_path as group_by_path, pids as group_pids,
};
pub(crate) use host::{
    effective_capabilities, host_identity, memory, namespaces, now_boot, own_cpu_time, thread_cpu_time,
};
pub(crate) use pagemap::{Pagemap, huge_page_size};
pub(crate) use started::{absence, started};
pub(crate) use sweep::ProcSweep;
pub(crate) use threads::{own_number, threads};

/// Far beyond any file that is read here, a bound all the same.
const MAX_TEXT: u64 = 1 << 20;
/// The kernel's mark on the path of a file that has been removed.
const DELETED: &str = " (deleted)";

pub(crate) fn cgroup_paths(pid: u32) -> Option<CgroupPaths> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    text(&process, "cgroup").ok().map(|text| CgroupPaths::parse(&text))
}

pub(crate) fn cgroup_layout() -> Result<Layout, HostError> {
    let unreadable =
        |e: procfs::ProcError| HostError::Unreadable { what: "/proc/self/mountinfo", reason: e.to_string() };
    let mounts = Process::myself().and_then(|me| me.mountinfo()).map_err(unreadable)?;
    let mut layout = layout_of(mounts.iter().map(|mount| {
        let tree = Tree { mount_point: mount.mount_point.clone(), root: mount.root.clone() };
        (mount.fs_type.as_str(), mount.super_options.contains_key("memory"), tree)
    }));
    layout.memory_v2 = layout.unified.as_ref().is_some_and(|tree| offers_memory(&tree.mount_point));
    Ok(layout)
}

/// Whether the memory controller is in the v2 tree that is mounted there.
fn offers_memory(mount_point: &Path) -> bool {
    let controllers = read_text(&mount_point.join("cgroup.controllers"));
    controllers.is_ok_and(|names| names.split_whitespace().any(|name| name == "memory"))
}

/// From mounts: the type of the file system, whether it names the memory controller, what is mounted where.
fn layout_of<'a>(mounts: impl Iterator<Item = (&'a str, bool, Tree)>) -> Layout {
    let mut layout = Layout::default();
    for (fs_type, memory, tree) in mounts {
        match fs_type {
            "cgroup2" => layout.unified = layout.unified.or(Some(tree)),
            "cgroup" => {
                layout.any_v1 = true;
                layout.memory_v1 = layout.memory_v1.or_else(|| memory.then_some(tree));
            }
            _ => {}
        }
    }
    layout
}

pub(crate) fn executable_path(pid: u32) -> Option<PathBuf> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    process.exe().ok().map(|path| undeleted(&path))
}

pub(crate) fn open_executable(pid: u32) -> io::Result<File> {
    open_regular(Path::new(&format!("/proc/{pid}/exe")))
}

pub(crate) fn start_ns(pid: u32) -> Option<u64> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = Stat::from_read(text(&process, "stat").ok()?.as_bytes()).ok()?;
    Some(stat.starttime.saturating_mul(tick_ns()))
}

/// The unit of times in `/proc`, in nanoseconds.
pub(crate) fn tick_ns() -> u64 {
    1_000_000_000 / procfs::ticks_per_second().max(1)
}

/// Opens a regular file for reading and nothing else. To open is to act, a watchdog begins to count down and a pipe waits
/// for its writer: what the path leads to is looked at before.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let place = open(path, OFlag::O_PATH)?;
    open(&path_of(&place), OFlag::O_NONBLOCK)
}

/// A path that leads to an open file, for this process alone.
pub(crate) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Which file, in which state: device, inode, length, and when it or what is known of it was last changed.
pub(crate) fn version(file: &File) -> io::Result<(u64, u64, u64, i64, i64)> {
    let it = file.metadata()?;
    Ok((it.dev(), it.ino(), it.len(), it.ctime(), it.ctime_nsec()))
}

fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn undeleted(path: &Path) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(DELETED)) {
        Some(stripped) => PathBuf::from(stripped),
        None => path.to_owned(),
    }
}

/// Its mappings summed up, as the kernel writes them.
pub(crate) fn smaps_rollup(pid: u32) -> io::Result<String> {
    read_text(Path::new(&format!("/proc/{pid}/smaps_rollup")))
}

/// Its mappings one by one, as the kernel writes them.
pub(crate) fn smaps(pid: u32) -> io::Result<File> {
    open(Path::new(&format!("/proc/{pid}/smaps")), OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
}

/// Has the kernel forget which of its anonymous pages it has referenced.
pub(crate) fn clear_referenced(pid: u32) -> io::Result<()> {
    const ANONYMOUS: &[u8] = b"2";
    let mut file = OpenOptions::new().write(true).open(format!("/proc/{pid}/clear_refs"))?;
    io::Write::write_all(&mut file, ANONYMOUS)
}

/// What the kernel tells of waiting for memory, on the host and in the cgroup of a process, where it does.
pub(crate) fn memory_pressure(pid: u32) -> Vec<String> {
    let host = read_text(Path::new("/proc/pressure/memory")).ok();
    let of_cgroup = || {
        let path = cgroup_paths(pid)?.unified?;
        let below = cgroup_layout().ok()?.unified?;
        let directory = below.mount_point.join(below.below(&path, &[])?);
        read_text(&directory.join("memory.pressure")).ok()
    };
    host.into_iter().chain(of_cgroup()).collect()
}

/// A file of the process as text.
fn text(process: &Process, file: &str) -> procfs::ProcResult<String> {
    Ok(bounded_text(process.open_relative(file)?)?)
}

/// A file of the kernel's as text.
fn read_text(path: &Path) -> io::Result<String> {
    bounded_text(open(path, OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?)
}

/// Names are any bytes that their owner liked, so what is not UTF-8 is replaced.
fn bounded_text(file: impl io::Read) -> io::Result<String> {
    // such a file is a kilobyte or two: one read instead of a growing buffer's ten
    let mut bytes = Vec::with_capacity(8192);
    io::Read::read_to_end(&mut io::Read::take(file, MAX_TEXT), &mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessReading;

    /// Guarantees: this very process has a path, and where the linker wrote a build id it is found; a pid that
    /// cannot be gives nothing.
    #[test]
    fn own_executable() {
        let me = std::process::id();
        let path = executable_path(me).unwrap();
        assert_eq!(path, std::env::current_exe().unwrap());
        let id = crate::executable::build_id(me).unwrap();
        let image = std::fs::read(&path).unwrap();
        let expected = object::read::File::parse(&*image).ok();
        let expected = expected.and_then(|f| object::Object::build_id(&f).ok().flatten().map(<[u8]>::to_vec));
        let hex = expected.map(|id| id.iter().map(|b| format!("{b:02x}")).collect::<String>());
        assert_eq!(id.map(|id| id.to_string()), hex);
        assert!(executable_path(u32::MAX).is_none());
        assert!(crate::executable::build_id(u32::MAX).is_err());
    }

    /// Guarantees: a FIFO, a directory and a device are refused at once instead of being waited for.
    #[test]
    fn only_regular_files() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/null")] {
            assert_eq!(
                open_regular(path).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                path.display()
            );
        }
    }

    /// Guarantees: the mark of a removed executable does not become part of its name.
    #[test]
    fn removed_executables() {
        assert_eq!(undeleted(Path::new("/usr/bin/api (deleted)")), Path::new("/usr/bin/api"));
        assert_eq!(undeleted(Path::new("/usr/bin/api")), Path::new("/usr/bin/api"));
    }

    /// Guarantees: the first v2 tree and the memory controller's v1 tree are taken, other mounts are not.
    #[test]
    fn layouts() {
        let tree = |at: &str| Tree { mount_point: at.into(), root: "/".into() };
        let mounts = [
            ("proc", false, "/proc"),
            ("cgroup", false, "/cpu"),
            ("cgroup", true, "/memory"),
            ("cgroup2", false, "/unified"),
            ("cgroup2", false, "/other"),
        ];
        let layout = layout_of(mounts.into_iter().map(|(fs, memory, at)| (fs, memory, tree(at))));
        assert_eq!(layout.memory_v1, Some(tree("/memory")));
        assert_eq!(layout.unified, Some(tree("/unified")));
        assert!(layout.any_v1);
        assert_eq!(layout_of([("tmpfs", true, tree("/x"))].into_iter()), Layout::default());
    }

    /// Guarantees: a reading is known to be of the process now at its pid, by the kernel's fine start time as well
    /// as by `/proc`'s coarse one, and one with another start time or of an ended process is not.
    #[test]
    fn still_the_same_process() {
        let pid = std::process::id();
        let start_ns = start_ns(pid).unwrap();
        let at = |pid, start_ns| ProcessReading { pid, start_ns, ..ProcessReading::default() };
        assert!(at(pid, start_ns).is_at_its_pid());
        assert!(at(pid, start_ns + tick_ns() - 1).is_at_its_pid());
        assert!(!at(pid, start_ns + tick_ns()).is_at_its_pid());
        assert!(!at(pid, start_ns - 1).is_at_its_pid());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!at(child.id(), start_ns).is_at_its_pid());
    }

    /// Guarantees: this process's cgroup is found, in trees that are really mounted.
    #[test]
    fn own_cgroup() {
        let paths = cgroup_paths(std::process::id()).unwrap();
        let layout = cgroup_layout().unwrap();
        assert_eq!(paths.memory.is_some(), layout.memory_v1.is_some());
        for (tree, path) in [(&layout.memory_v1, &paths.memory), (&layout.unified, &paths.unified)] {
            if let (Some(tree), Some(path)) = (tree, path) {
                assert!(tree.mount_point.join(tree.below(path, &[]).unwrap()).is_dir());
            }
        }
    }
}
