//! `process_vm_readv`.

use std::io::IoSliceMut;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// See [`Memory::read`](crate::memory::Memory::read).
pub(crate) fn read_memory(pid: u32, address: u64, to: &mut [u8]) -> bool {
    let (Ok(pid), Ok(base), len) = (i32::try_from(pid), usize::try_from(address), to.len()) else {
        return false;
    };
    process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(to)], &[RemoteIoVec { base, len }]) == Ok(len)
}
