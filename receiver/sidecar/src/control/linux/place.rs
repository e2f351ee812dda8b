//! Where the socket is put, so that nobody else can put one there, or take away ours.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

/// Nobody but the owner may look in.
const DIRECTORY: u32 = 0o700;
/// Nobody but the owner may connect.
const SOCKET: u32 = 0o600;
/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// In such a directory only the owner of a file may remove it.
const STICKY: u32 = 0o1000;

/// A socket that is in its place, and goes with this value.
pub(super) struct Placed {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

/// Puts a socket at `path`. One that nobody answers at any more is replaced.
///
/// # Errors
/// What is in the way, and what to do.
pub(super) fn place(path: &Path) -> Result<(UnixListener, Placed), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make(folder)?;
    // of two that start at once one finds the other's socket in place
    let opened = File::open(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let _lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => format!("{}: another program is at work there; try again", folder.display()),
        _ => format!("{}: {error}", folder.display()),
    })?;
    clear(path)?;
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = fs::symlink_metadata(path).map(|found| (found.dev(), found.ino())).map_err(failed)?;
    let placed = Placed { path: path.to_owned(), file };
    // whoever connects before this is asked who he is all the same
    fs::set_permissions(path, Permissions::from_mode(SOCKET)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, placed))
}

/// The folder, made if it is not there, and safe from other users.
fn make(folder: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(DIRECTORY).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(format!(
                "{} cannot be made: {error}; make it, with mode 0700 and owned by user {}",
                folder.display(),
                geteuid()
            ));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let fault = if found.is_symlink() {
        "is a symbolic link: name the folder itself"
    } else if !found.is_dir() {
        "is no folder"
    } else if !is_trusted(&found) {
        "belongs to another user, who could put a socket of his own there"
    } else if found.mode() & WRITABLE_BY_OTHERS != 0 && found.mode() & STICKY == 0 {
        "may be written by others, who could put a socket of their own there: take that away (chmod go-w)"
    } else {
        return Ok(());
    };
    Err(format!("{} {fault}", folder.display()))
}

/// Makes room at `path`, where that harms nobody.
fn clear(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if !found.file_type().is_socket() {
        return Err(format!("{shown} is there and is no socket: remove it, or choose another place"));
    }
    if !is_trusted(&found) {
        return Err(format!("{shown} belongs to another user (uid {}): choose another place", found.uid()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!(
            "{shown} is answered by another program, a sidecar most likely: stop that one, or choose another place"
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| format!("{shown} is left over and cannot be removed: {error}")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

fn is_trusted(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == geteuid().as_raw()
}

impl Drop for Placed {
    fn drop(&mut self) {
        // another's that has taken its place stays
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "the control socket is left over");
        }
    }
}
