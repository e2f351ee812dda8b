//! What all our perf events need: the system call, and whose threads there are.

use std::ffi::c_ulong;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use libbpf_rs::libbpf_sys::{PERF_FLAG_FD_CLOEXEC, perf_event_attr};
use nix::libc;

/// Opens an event of a thread or cgroup, on one CPU or (-1) on all.
#[expect(unsafe_code, reason = "no library has this system call without reading samples itself")]
pub(crate) fn open_event(wanted: &perf_event_attr, whom: i32, cpu: i32, flags: u32) -> io::Result<OwnedFd> {
    let no_group: RawFd = -1;
    // SAFETY: the kernel reads the attributes, which are as long as they say, and nothing else of this process's memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(wanted),
            whom,
            cpu,
            no_group,
            c_ulong::from(flags | PERF_FLAG_FD_CLOEXEC),
        )
    };
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this call, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The threads of a process, by number in the reader's pid namespace.
pub(crate) fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        threads.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(threads)
}
