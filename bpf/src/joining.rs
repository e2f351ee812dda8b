//! How what Python was running comes to its stack: it is told by itself, right before it, in the same ring. Portable.

use std::collections::VecDeque;
use std::time::Duration;

use crate::capture::PythonFrame;
use crate::python::{self, PythonStack};
use crate::wire::Header;
use zerocopy::FromBytes as _;

/// Stacks of Python that wait at once. Between one and its stack come those of other CPUs, a few at most; one whose stack did not fit
/// the ring waits until so many others have come.
const WAITING_MAX: usize = 512;

/// Stacks of Python whose process's stack has not come yet.
#[derive(Debug, Default)]
pub(crate) struct Joining {
    waiting: VecDeque<PythonStack>,
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// It is one of Python, and waits.
    Waits,
    /// It is one of Python that contradicts itself.
    Unreadable,
    /// It is another one.
    Other,
}

impl Joining {
    /// Reads a record by `read`, unless it is one of Python, which waits: then `None`. What cannot be read is `lost`.
    pub(crate) fn pass<T>(
        &mut self,
        bytes: &[u8],
        lost: T,
        read: impl FnOnce(&[u8], &mut Self) -> Option<T>,
    ) -> Option<T> {
        match self.keep(bytes) {
            Kept::Waits => None,
            Kept::Unreadable => Some(lost),
            Kept::Other => Some(read(bytes, self).unwrap_or(lost)),
        }
    }

    /// Keeps a record if it is one of Python.
    fn keep(&mut self, bytes: &[u8]) -> Kept {
        let Ok((header, _)) = Header::read_from_prefix(bytes) else { return Kept::Other };
        if header.kind != python::KIND {
            return Kept::Other;
        }
        let row = bytes.get(..usize::from(header.size));
        let Some(stack) = row.and_then(python::decode) else { return Kept::Unreadable };
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(stack);
        Kept::Waits
    }

    /// What Python was running in this process at this moment; empty: nothing is known of it.
    pub(crate) fn take(&mut self, pid: u32, at: Duration) -> Vec<PythonFrame> {
        // it is among the last, if there is one
        let found = self.waiting.iter().rposition(|stack| stack.pid == pid && stack.at == at);
        found.and_then(|index| self.waiting.remove(index)).map(|stack| stack.frames).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::python::{FrameRecord, PythonRecord};

    fn record(pid: u32, at_ns: u64, code: u64) -> Vec<u8> {
        let size = u16::try_from(size_of::<PythonRecord>() + size_of::<FrameRecord>()).unwrap();
        let head = PythonRecord {
            header: Header { kind: python::KIND, size },
            pid,
            at_ns,
            entries: 1,
            count: 1,
            truncated: 0,
        };
        [head.as_bytes(), FrameRecord { code, instruction: 8 }.as_bytes()].concat()
    }

    /// Guarantees: what Python was running goes to the stack of its process and moment, whichever came in between, and once.
    #[test]
    fn joins_by_process_and_moment() {
        let mut joining = Joining::default();
        for (pid, at_ns, code) in [(7, 100, 1), (8, 100, 2), (7, 101, 3)] {
            assert_eq!(joining.keep(&record(pid, at_ns, code)), Kept::Waits);
        }
        let frames = |code| vec![PythonFrame { code, instruction: 8, is_entry: true }];
        assert_eq!(joining.take(8, Duration::from_nanos(100)), frames(2));
        assert_eq!(joining.take(7, Duration::from_nanos(100)), frames(1));
        assert_eq!(joining.take(7, Duration::from_nanos(100)), []);
        assert_eq!(joining.take(7, Duration::from_nanos(102)), []);
        assert_eq!(joining.take(7, Duration::from_nanos(101)), frames(3));
    }

    /// Guarantees: those whose stack never comes are forgotten, the oldest first; others' records are left alone, and what is cut is
    /// told as such.
    #[test]
    fn is_bounded() {
        let mut joining = Joining::default();
        for at_ns in 0..2 * WAITING_MAX as u64 {
            joining.keep(&record(7, at_ns, at_ns + 1));
        }
        assert_eq!(joining.waiting.len(), WAITING_MAX);
        assert_eq!(joining.take(7, Duration::from_nanos(WAITING_MAX as u64 - 1)), []);
        assert_eq!(joining.take(7, Duration::from_nanos(WAITING_MAX as u64)).len(), 1);
        let whole = record(7, 1, 1);
        for length in 0..whole.len() {
            let kept = joining.keep(&whole[..length]);
            assert!(
                kept == Kept::Unreadable || (length < size_of::<Header>() && kept == Kept::Other),
                "{length}"
            );
        }
        let header = Header { kind: python::KIND + 1, size: 4 };
        assert_eq!(joining.keep(header.as_bytes()), Kept::Other);
        assert_eq!(joining.keep(&[]), Kept::Other);
    }
}
