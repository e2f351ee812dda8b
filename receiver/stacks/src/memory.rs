//! The memory of another process, read from outside while it runs.

use crate::os;

/// Of one process. What is read may have changed, or be gone, in the same moment: whoever reads checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pid: u32,
}

impl Memory {
    /// Of a process by its pid, which may end.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Fills `to` with what is at `address`. False: it could not be read, or not all of it, and `to` may hold anything. Needs
    /// `CAP_SYS_PTRACE` or the same user; on systems other than Linux always false.
    #[must_use]
    pub fn read(&self, address: u64, to: &mut [u8]) -> bool {
        os::read_memory(self.pid, address, to)
    }

    /// Eight bytes.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }
}
