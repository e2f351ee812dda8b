//! Threads of a process, and what it calls them itself.

use procfs::FromRead;
use procfs::process::{Process, Status};

use super::read_text;

/// Nobody starts so many.
const MAX_THREADS: usize = 1 << 16;

/// As this process numbers them.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    let tasks = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok()?.tasks().ok());
    let tasks = tasks.into_iter().flatten().take(MAX_THREADS);
    tasks.filter_map(|task| u32::try_from(task.ok()?.tid).ok()).collect()
}

/// What the process itself calls one of them: its number in the innermost pid namespace.
pub(crate) fn own_number(pid: u32, thread: u32) -> Option<u32> {
    let text = read_text(format!("/proc/{pid}/task/{thread}/status").as_ref()).ok()?;
    let status = Status::from_read(text.as_bytes()).ok()?;
    u32::try_from(status.nspid.and_then(|numbers| numbers.last().copied()).unwrap_or(status.pid)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a process in this namespace has the threads that it says it has, by the numbers that it says; what is none of its
    /// threads has no number.
    #[test]
    fn own_threads() {
        let pid = std::process::id();
        let own = nix::unistd::gettid().as_raw().cast_unsigned();
        assert!(threads(pid).contains(&own));
        assert!(own_number(pid, own).is_some());
        assert_eq!(own_number(pid, 1), None);
        assert_eq!(own_number(u32::MAX, own), None);
        assert!(threads(u32::MAX).is_empty());
    }
}
