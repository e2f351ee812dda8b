//! Files of a process that are found by name, in its own view of the file system and never outside of it: links that its
//! owner has laid lead nowhere else.
//!
//! To open is to act: a watchdog begins to count down, a pipe waits for its writer. What a name stands for is looked at
//! before it is opened.

use std::fs::{File, Metadata};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Opens a regular file below the root of `pid`.
pub(crate) fn in_root_of(pid: u32, path: &Path) -> Option<File> {
    let root = File::open(format!("/proc/{pid}/root")).ok()?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root.as_fd(), path, how).ok().map(File::from).and_then(|place| readable(&place))
}

/// Opens a regular file, wherever.
pub(crate) fn regular(path: &Path) -> Option<File> {
    let place = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path).ok()?;
    readable(&place)
}

/// The file of a place that has only been found. Nobody's lease on it is waited for.
fn readable(place: &File) -> Option<File> {
    place.metadata().ok().filter(Metadata::is_file)?;
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    /// Guarantees: files are opened, also through links, whose root is that of the process; pipes and devices are not,
    /// and are not waited for.
    #[test]
    fn regular_files_only() {
        let room = tempfile::tempdir().unwrap();
        let (file, link, pipe) =
            (room.path().join("file"), room.path().join("link"), room.path().join("pipe"));
        fs::write(&file, b"text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let pid = std::process::id();
        for path in [&file, &link] {
            for opened in [in_root_of(pid, path), regular(path)] {
                assert_eq!(std::io::read_to_string(opened.unwrap()).unwrap(), "text");
            }
        }
        for path in [pipe.as_path(), room.path(), Path::new("/dev/null"), Path::new("/proc/self/fd/0/no")] {
            assert!(in_root_of(pid, path).is_none() && regular(path).is_none(), "{}", path.display());
        }
        // A link of the kernel's leads out of every root.
        assert!(in_root_of(pid, Path::new("/proc/self/exe")).is_none());
        assert!(regular(Path::new("/proc/self/exe")).is_some());
    }
}
