//! Whether a heap with generations grows by what is new in it: until it is collected for the first time, its youngest objects touch new
//! memory, garbage or not, and what lives of them nobody knows.

use std::time::Duration;

/// After a collection it is believed for so long that what came before it was new: whatever goes on growing then is not.
const BELIEVED: Duration = Duration::from_secs(60);

/// Less is no growth that memory has, bytes.
const MIN_GROWN: u64 = 65_536;

/// What is new must make up so much of the growth to be the reason for it,
const MAKES_UP: f64 = 0.5;

/// and what is old may make up so much of it.
const OLD: f64 = 0.2;

/// The young generation of a heap at the moment of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Young {
    /// Bytes that objects take in it, garbage included.
    pub used: u64,
    /// Bytes that they may take.
    pub room: u64,
    /// Collections so far, of this generation or of all.
    pub collections: u64,
    /// Bytes that the older generations hold, as of the newest collection.
    pub old: u64,
}

/// What has come since the newest collection, or since the first reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nursery {
    collections: u64,
    charged: u64,
    old: u64,
    /// So much of the generation had been touched by then,
    touched: u64,
    /// and so much since.
    peak: u64,
    /// The growth before the collection was due to what was new.
    was_new: Option<Duration>,
    /// The growth since then is.
    is_new: bool,
}

impl Nursery {
    /// Of the first reading, with what the process is charged for at that moment. What has been collected before has been touched.
    pub(super) fn begin(young: Young, charged: u64) -> Self {
        let touched = if young.collections > 0 { young.room.max(young.used) } else { young.used };
        Self {
            collections: young.collections,
            charged,
            old: young.old,
            touched,
            peak: touched,
            was_new: None,
            is_new: false,
        }
    }

    /// Takes a later reading.
    pub(super) fn note(&mut self, at: Duration, young: Young, charged: u64) {
        if young.collections != self.collections {
            let was_new = self.is_new.then_some(at).or(self.was_new);
            let peak = self.peak.max(young.used);
            let (collections, old) = (young.collections, young.old);
            *self = Self { collections, charged, old, touched: peak, peak, was_new, is_new: false };
            return;
        }
        self.peak = self.peak.max(young.used);
        let grown = charged.saturating_sub(self.charged);
        let (new, old) = (self.peak - self.touched, young.old.saturating_sub(self.old));
        let part = |bytes: u64| bytes as f64 / grown.max(1) as f64;
        self.is_new = grown >= MIN_GROWN && part(new) >= MAKES_UP && part(old) < OLD;
    }

    /// Whether what the process has grown by is new, or was until of late.
    pub(super) fn is_new(&self, now: Duration) -> bool {
        self.is_new || self.was_new.is_some_and(|at| now.saturating_sub(at) < BELIEVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Readings every ten seconds of a young generation that has room for so many MiB and had been collected so often, in which 1 MiB
    /// comes in each; the seconds at which its growth is said to be new. `charged`: what the process is charged for besides, in MiB.
    fn new_at(room: u64, collected: u64, charged: impl Fn(u64) -> u64) -> Vec<u64> {
        let at = Duration::from_secs;
        let young = |step: u64| Young {
            used: step % room * MIB,
            room: room * MIB,
            collections: collected + step / room,
            old: 0,
        };
        // what has been used once stays charged
        let touched = |step: u64| if collected > 0 { room } else { step.min(room) };
        let all = |step: u64| (touched(step) + charged(step)) * MIB;
        let mut nursery = Nursery::begin(young(0), all(0));
        let noted = (1..=30).map(|step| {
            nursery.note(at(step * 10), young(step), all(step));
            nursery.is_new(at(step * 10)).then_some(step * 10)
        });
        noted.flatten().collect()
    }

    /// Guarantees: growth is new until the generation is collected for the first time, and for a minute longer; what else grows by as much
    /// is not, before or after.
    #[test]
    fn until_the_first_collection() {
        assert_eq!(new_at(8, 0, |_| 0), (1..14).map(|step| step * 10).collect::<Vec<_>>());
        assert_eq!(new_at(8, 0, |step| 2 * step), []);
        assert_eq!(new_at(8, 5, |_| 0), [], "it was touched before");
        assert_eq!(new_at(8, 5, |step| step), []);
        assert_eq!(new_at(100, 0, |_| 0).len(), 30);
    }

    /// Guarantees: what comes into an older generation without a collection is not new, and a generation that becomes larger touches memory
    /// anew.
    #[test]
    fn old_and_larger() {
        let at = Duration::from_secs;
        let young = Young { used: 0, room: 8 * MIB, collections: 3, old: 0 };
        let mut nursery = Nursery::begin(young, 50 * MIB);
        nursery.note(at(10), Young { old: 2 * MIB, used: 8 * MIB, ..young }, 52 * MIB);
        assert!(!nursery.is_new(at(10)));
        let larger = Young { room: 20 * MIB, collections: 4, ..young };
        nursery.note(at(20), larger, 52 * MIB);
        nursery.note(at(30), Young { used: 8 * MIB, ..larger }, 52 * MIB);
        assert!(!nursery.is_new(at(30)));
        nursery.note(at(40), Young { used: 16 * MIB, ..larger }, 60 * MIB);
        assert!(nursery.is_new(at(40)));
    }
}
