//! The kernel's software event of minor page faults, as a file descriptor that a program can be attached to.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{
    PERF_COUNT_SW_PAGE_FAULTS_MIN, PERF_FLAG_PID_CGROUP, PERF_SAMPLE_ADDR, PERF_TYPE_SOFTWARE,
    perf_event_attr,
};
use libbpf_rs::{Link, ProgramMut};
use nix::libc;

use crate::error::SweepError;
use crate::object::io_error;
use crate::perf::open_event;

const DOING: &str = "sampling page faults";

/// Whose faults an event counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of<'a> {
    /// This thread's, by its number in the caller's pid namespace, and those of threads and processes that it starts from now on.
    Thread(u32),
    /// Those of a cgroup's processes, by its directory, on one CPU.
    Cgroup(BorrowedFd<'a>, u32),
}

/// Opens the event and has the program run at each fault. Dropping the link takes both away, also from whoever has inherited them.
/// `None`: the thread has ended.
///
/// # Errors
/// The kernel refuses: the error says what to do.
pub(crate) fn attach(program: &ProgramMut<'_>, of: Of<'_>) -> Result<Option<Link>, SweepError> {
    let event = match open(of) {
        Ok(event) => event,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(error) => return Err(refused(&error)),
    };
    let link = program.attach_perf_event(event.as_raw_fd());
    let link = link.map_err(|error| io_error(DOING, &error))?;
    // the link closes it
    let _ = event.into_raw_fd();
    Ok(Some(link))
}

fn refused(error: &io::Error) -> SweepError {
    let hint = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => ": grant CAP_PERFMON; a seccomp profile may forbid it as well",
        Some(libc::EMFILE | libc::ENFILE) => ": raise the limit of open files (ulimit -n)",
        _ => "",
    };
    io_error(DOING, &format!("{error}{hint}"))
}

fn open(of: Of<'_>) -> io::Result<OwnedFd> {
    let mut wanted = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or_default(),
        config: PERF_COUNT_SW_PAGE_FAULTS_MIN.into(),
        sample_type: PERF_SAMPLE_ADDR.into(),
        ..perf_event_attr::default()
    };
    // of each: of every nth, a program whose work repeats after a multiple of n would always be met at the same places
    wanted.__bindgen_anon_1.sample_period = 1;
    match of {
        Of::Thread(thread) => {
            wanted.set_inherit(1);
            open_event(&wanted, i32::try_from(thread).map_err(io::Error::other)?, -1, 0)
        }
        Of::Cgroup(directory, cpu) => {
            let cpu = i32::try_from(cpu).map_err(io::Error::other)?;
            open_event(&wanted, directory.as_raw_fd(), cpu, PERF_FLAG_PID_CGROUP)
        }
    }
}
