//! A watchpoint of one thread, which tells a program of ours so many writes and no more.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use libbpf_rs::libbpf_sys::{
    BPF_PERF_EVENT, PERF_TYPE_BREAKPOINT, bpf_link_create, bpf_link_create_opts, perf_event_attr,
};
use nix::libc;

use crate::perf::open_event;

/// `HW_BREAKPOINT_W`, of the kernel's stable interface.
const ON_WRITE: u32 = 2;
/// Bytes, to a multiple of which the address is to be aligned.
const LENGTH: u64 = 8;

/// `PERF_EVENT_IOC_REFRESH`: lets an event happen so many times more, and then disables it.
const REFRESH: libc::Ioctl = 0x2402;

/// It goes when this is dropped, and with the process that holds it.
#[derive(Debug)]
pub(super) struct Breakpoint {
    // the program leaves before the event that counts its runs
    _link: OwnedFd,
    _event: OwnedFd,
}

impl Breakpoint {
    /// On this thread, by its number in the caller's pid namespace. The kernel takes it off after so many writes; after a few more,
    /// where they follow each other within some microseconds.
    pub(super) fn set(
        program: BorrowedFd<'_>,
        thread: u32,
        address: u64,
        writes: u32,
        cookie: u64,
    ) -> io::Result<Self> {
        let thread = i32::try_from(thread).map_err(io::Error::other)?;
        let writes = i32::try_from(writes).map_err(io::Error::other)?;
        let event = open_event(&attributes(address), thread, -1, 0)?;
        // libbpf's own way would enable it before it has its bound
        let link = attach(program, &event, cookie)?;
        enable(&event, writes)?;
        Ok(Self { _link: link, _event: event })
    }
}

fn attributes(address: u64) -> perf_event_attr {
    let mut wanted = perf_event_attr {
        type_: PERF_TYPE_BREAKPOINT,
        size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or_default(),
        bp_type: ON_WRITE,
        ..perf_event_attr::default()
    };
    // each: the last one is the one that counts
    wanted.__bindgen_anon_1.sample_period = 1;
    wanted.__bindgen_anon_3.bp_addr = address;
    wanted.__bindgen_anon_4.bp_len = LENGTH;
    wanted.set_disabled(1);
    // another program has something else there
    wanted.set_remove_on_exec(1);
    wanted
}

#[expect(unsafe_code, reason = "libbpf-rs attaches and enables in one")]
fn attach(program: BorrowedFd<'_>, event: &OwnedFd, cookie: u64) -> io::Result<OwnedFd> {
    let mut options = bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as _,
        ..bpf_link_create_opts::default()
    };
    options.__bindgen_anon_1.perf_event.bpf_cookie = cookie;
    // SAFETY: the options are as long as they say, and are read during the call alone.
    let link: RawFd = unsafe {
        bpf_link_create(program.as_raw_fd(), event.as_raw_fd(), BPF_PERF_EVENT, &raw const options)
    };
    if link < 0 {
        return Err(io::Error::from_raw_os_error(-link));
    }
    // SAFETY: the kernel has just made it for this call, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

#[expect(unsafe_code, reason = "an ioctl")]
fn enable(event: &OwnedFd, writes: libc::c_int) -> io::Result<()> {
    // SAFETY: the kernel takes the number by value.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), REFRESH, writes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
