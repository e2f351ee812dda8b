//! Between the thread that empties the kernel's ring and the one that takes in what was there.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use mlh_bpf::alloc::heard::Heard;

/// Bytes that may wait, roughly. Copies of stacks are up to 16 KiB each, all others some hundred bytes.
const ROOM: usize = 8 << 20;
/// Of a record without what it points to.
const RECORD: usize = size_of::<Heard>();

/// See the module. One puts in, one takes out. While it is full the one who puts in waits: then the ring fills, and what does
/// not fit there the kernel counts.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Heard>,
    bytes: usize,
    /// At its fullest, since that was asked last.
    most: usize,
    /// Taken out, and not dealt with yet.
    in_hand: bool,
    /// Nothing more will be put in.
    closed: bool,
    /// Nothing more will be taken out.
    deserted: bool,
}

impl Inbox {
    /// Puts one in, once there is room.
    pub(super) fn put(&self, heard: Heard) {
        let size = RECORD + if let Heard::Stack(copy) = &heard { copy.capture.size() } else { 0 };
        let mut waiting = self.lock();
        while waiting.bytes >= ROOM && !waiting.deserted {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.deserted {
            return;
        }
        waiting.bytes += size;
        waiting.most = waiting.most.max(waiting.bytes);
        waiting.records.push_back(heard);
        let is_first = waiting.records.len() == 1;
        drop(waiting);
        // to wake somebody for each would cost more than all the rest
        if is_first {
            self.changed.notify_all();
        }
    }

    /// Takes out all that waits, once there is something. `None`: there never will be again.
    pub(super) fn take(&self) -> Option<VecDeque<Heard>> {
        let mut waiting = self.lock();
        waiting.in_hand = false;
        while waiting.records.is_empty() && !waiting.closed {
            self.changed.notify_all();
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = std::mem::take(&mut waiting.records);
        waiting.bytes = 0;
        waiting.in_hand = !taken.is_empty();
        drop(waiting);
        self.changed.notify_all();
        (!taken.is_empty()).then_some(taken)
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Nobody takes anything out any more.
    pub(super) fn desert(&self) {
        let mut waiting = self.lock();
        waiting.deserted = true;
        waiting.records.clear();
        drop(waiting);
        self.changed.notify_all();
    }

    /// How full it was at its fullest since this was asked last, 0..=1.
    pub(super) fn fullest(&self) -> f64 {
        let mut waiting = self.lock();
        let now = waiting.bytes;
        (std::mem::replace(&mut waiting.most, now) as f64 / ROOM as f64).min(1.0)
    }

    /// Waits until all has been taken out and dealt with.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn settle(&self) {
        let mut waiting = self.lock();
        while !waiting.records.is_empty() || waiting.in_hand {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Guarantees: all that is put in comes out, in its order, also when it is far more than there is room for; how full
    /// it was is told; the end of one side is the end of the other.
    #[test]
    fn in_order_and_bounded() {
        const RECORDS: u64 = 300_000;
        let inbox = Arc::new(Inbox::default());
        let putting = Arc::clone(&inbox);
        let putter = thread::spawn(move || {
            (0..RECORDS).for_each(|count| putting.put(Heard::Lost(count)));
            putting.close();
        });
        let mut next = 0;
        while let Some(taken) = inbox.take() {
            assert!(taken.len() * RECORD <= ROOM + RECORD);
            for heard in taken {
                assert_eq!(heard, Heard::Lost(next));
                next += 1;
            }
        }
        putter.join().unwrap();
        assert_eq!(next, RECORDS);
        assert!(inbox.fullest() > 0.0);
        assert!(inbox.fullest().abs() < f64::EPSILON, "nothing since");
        inbox.desert();
        inbox.put(Heard::Lost(1));
        assert_eq!(inbox.take(), None);
    }
}
