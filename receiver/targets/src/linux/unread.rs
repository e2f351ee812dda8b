//! Why something could not be read, and how often.

use std::io::{self, ErrorKind};

use procfs::ProcError;

/// `ESRCH`: what `/proc` answers for a process that has ended since its folder was opened.
pub(super) const NO_SUCH_PROCESS: i32 = nix::errno::Errno::ESRCH as i32;
/// `ENODEV`: the same of a cgroup that has been removed.
pub(super) const NO_SUCH_CGROUP: i32 = nix::errno::Errno::ENODEV as i32;

/// Why a process or a cgroup could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It ended meanwhile: not an error.
    Ended,
    Denied,
    Malformed,
    Io,
}

impl From<ProcError> for Unread {
    fn from(error: ProcError) -> Self {
        match error {
            ProcError::NotFound(_) => Self::Ended,
            ProcError::PermissionDenied(_) => Self::Denied,
            ProcError::Io(e, _) => e.into(),
            ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_) => Self::Malformed,
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(NO_SUCH_PROCESS | NO_SUCH_CGROUP), _) | (_, ErrorKind::NotFound) => Self::Ended,
            (_, ErrorKind::PermissionDenied) => Self::Denied,
            _ => Self::Io,
        }
    }
}

/// What was lost in a pass.
#[derive(Debug, Default)]
pub(super) struct Losses {
    denied: u64,
    malformed: u64,
    io: u64,
    over_limit: u64,
}

impl Losses {
    pub(super) fn count(&mut self, why: Unread) {
        match why {
            Unread::Ended => {}
            Unread::Denied => self.denied += 1,
            Unread::Malformed => self.malformed += 1,
            Unread::Io => self.io += 1,
        }
    }

    /// There were more than are read in a pass.
    pub(super) fn over_limit(&mut self) {
        self.over_limit += 1;
    }

    /// By stage, those that there were. `names` are those of denied, malformed, I/O and over the limit.
    pub(super) fn into_stages(self, names: [&'static str; 4]) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = [self.denied, self.malformed, self.io, self.over_limit];
        names.into_iter().zip(counts).filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: each way in which reading fails is counted under its own stage, and what ended meanwhile under
    /// none.
    #[test]
    fn reasons() {
        let io = |errno: i32| ProcError::Io(io::Error::from_raw_os_error(errno), None);
        let mut losses = Losses::default();
        for error in [
            ProcError::NotFound(None),
            io(NO_SUCH_PROCESS),
            io(NO_SUCH_CGROUP),
            io(nix::errno::Errno::ENOENT as i32),
            ProcError::PermissionDenied(None),
            io(nix::errno::Errno::EACCES as i32),
            ProcError::Incomplete(None),
            ProcError::Other(String::new()),
            io(nix::errno::Errno::EIO as i32),
        ] {
            losses.count(error.into());
        }
        losses.over_limit();
        let stages: Vec<_> = losses.into_stages(["d", "m", "i", "o"]).collect();
        assert_eq!(stages, [("d", 2), ("m", 2), ("i", 1), ("o", 1)]);
        assert_eq!(Losses::default().into_stages(["d", "m", "i", "o"]).count(), 0);
    }
}
