//! A pass over one process: the iterator attached to it alone. Walking past thousands of tasks to find the few that are watched
//! would cost more than the few.

use std::io;
use std::mem::size_of;
use std::ptr::NonNull;

use libbpf_rs::libbpf_sys::{bpf_iter_attach_opts, bpf_iter_link_info, bpf_program__attach_iter};
use libbpf_rs::{AsRawLibbpf as _, Link, ProgramMut};

/// Attaches the iterator to the process with this pid in the pid namespace of the caller. The pid need not exist: then a pass
/// shows nothing. libbpf-rs offers this for maps and cgroups only.
///
/// # Errors
/// Kernels before 6.1 refuse with EINVAL.
#[expect(unsafe_code, reason = "libbpf's own function is the only way")]
pub(crate) fn attach(program: &ProgramMut<'_>, pid: u32) -> io::Result<Link> {
    let mut info = bpf_iter_link_info::default();
    info.task.pid = pid;
    let options = bpf_iter_attach_opts {
        sz: size_of::<bpf_iter_attach_opts>() as _,
        link_info: &raw mut info,
        link_info_len: u32::try_from(size_of::<bpf_iter_link_info>()).unwrap_or_default(),
        ..Default::default()
    };
    // SAFETY: the program is a loaded one that libbpf-rs keeps alive for this borrow, and the options, with what they point to,
    // outlive the call, which copies them.
    let link = unsafe { bpf_program__attach_iter(program.as_libbpf_object().as_ptr(), &raw const options) };
    // libbpf returns NULL on an error and leaves its code in errno
    let link = NonNull::new(link).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a link that libbpf has just created, owned by nobody else.
    Ok(unsafe { Link::from_ptr(link) })
}
