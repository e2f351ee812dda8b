//! Files of a process that are found by name, in its own view of the file system and never outside of it: links that its
//! owner has laid lead nowhere else.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Opens a regular file below the root of `pid`. Never waits, as opening a pipe would.
pub(crate) fn in_root_of(pid: u32, path: &Path) -> Option<File> {
    let root = File::open(format!("/proc/{pid}/root")).ok()?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root.as_fd(), path, how).ok().map(File::from).filter(is_regular)
}

/// Opens a regular file, wherever.
pub(crate) fn regular(path: &Path) -> Option<File> {
    let flags = (OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    File::options().read(true).custom_flags(flags).open(path).ok().filter(is_regular)
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|it| it.is_file())
}
