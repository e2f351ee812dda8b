//! The process that is read, by who it is: a pid may come to be another's.

use std::time::Duration;

use mlh_stacks::memory::Memory;

use super::{OutsideError, Reading};
use crate::os;

/// A process that runs one program.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    pub(super) memory: Memory,
    /// When it was started, and which file it runs.
    identity: Option<(u64, u64, u64)>,
}

impl Target {
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, memory: Memory::of(pid), identity: identity(pid) }
    }

    /// Reads by `read`, and notes what that cost this thread. What could not be read of a process that is gone is so because it
    /// is gone, and what could be is another's.
    pub(super) fn reading(
        &self,
        read: impl FnOnce() -> Result<Reading, OutsideError>,
    ) -> Result<Reading, OutsideError> {
        let began: Duration = os::thread_cpu_time();
        let reading = read();
        if !self.is_there() {
            return Err(OutsideError::Gone);
        }
        reading.map(|reading| Reading { cost: os::thread_cpu_time().saturating_sub(began), ..reading })
    }

    /// It still runs the same program.
    pub(super) fn is_there(&self) -> bool {
        self.identity.is_some() && identity(self.pid) == self.identity
    }

    /// Why its memory cannot be read, where not even the first word of something that it maps can.
    pub(super) fn unreadable(&self) -> OutsideError {
        OutsideError::Refused(format!(
            "the memory of process {} cannot be read: run as its user, or with CAP_SYS_PTRACE",
            self.pid
        ))
    }
}

fn identity(pid: u32) -> Option<(u64, u64, u64)> {
    let (device, inode, ..) = os::version(&os::open_executable(pid).ok()?).ok()?;
    Some((os::start_ns(pid)?, device, inode))
}
