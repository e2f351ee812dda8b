//! How a process was started, and why a pid may be nobody's.

use std::path::PathBuf;

use procfs::FromRead;
use procfs::process::{Process, Stat, StatFlags, Status};

use super::text;
use crate::points::Started;
use crate::process::Absence;

pub(crate) fn started(pid: u32) -> Started {
    let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
    let Some(process) = process else { return Started::default() };
    let read = |file| text(&process, file).unwrap_or_default();
    Started::new(&read("cmdline"), &read("environ"), has_map(&process, pid).unwrap_or(false))
}

/// Whether the file is there that a runtime writes names to, named by the pid that the process itself knows.
fn has_map(process: &Process, pid: u32) -> Option<bool> {
    let status = Status::from_read(text(process, "status").ok()?.as_bytes()).ok()?;
    let own = status.nspid.as_deref().and_then(<[i32]>::last).copied().unwrap_or(status.pid);
    let path = PathBuf::from(format!("/proc/{pid}/root/tmp/perf-{own}.map"));
    Some(path.symlink_metadata().is_ok_and(|found| found.is_file()))
}

pub(crate) fn absence(pid: u32) -> Absence {
    let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
    let stat = process.and_then(|process| Stat::from_read(text(&process, "stat").ok()?.as_bytes()).ok());
    let Some(stat) = stat else { return Absence::Nobody };
    let is_of_kernel = stat.flags().is_ok_and(|flags| flags.contains(StatFlags::PF_KTHREAD));
    if is_of_kernel {
        Absence::Kernel(stat.comm)
    } else {
        Absence::Ended { name: stat.comm, parent: u32::try_from(stat.ppid).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Guarantees: a pid that nobody has is told from one that has ended and waits for its parent, who is named.
    #[test]
    fn who_is_absent() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        while text(&Process::new(pid.cast_signed()).unwrap(), "status").unwrap().contains("VmSize") {
            std::thread::yield_now();
        }
        assert_eq!(absence(pid), Absence::Ended { name: "true".to_owned(), parent: std::process::id() });
        child.wait().unwrap();
        assert_eq!(absence(pid), Absence::Nobody);
        assert_eq!(absence(u32::MAX), Absence::Nobody);
    }
}
