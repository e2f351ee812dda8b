//! Event ids: `memory-<kind number>-<unix ms>`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::semconv::Kind;

/// Hands out event ids that do not repeat as long as the sidecar runs, to all who hold a clone. Holds two numbers a kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventIds(Arc<Mutex<BTreeMap<Kind, Newest>>>);

#[derive(Debug, Default)]
struct Newest {
    millis: u64,
    collisions: u64,
}

impl EventIds {
    /// The id of an event. All findings of a sweep share one moment, and a clock set back repeats old ones: an
    /// event that is not newer than every one before it gets a number appended, which is never used again.
    pub(super) fn next(&self, kind: Kind, millis: u64) -> String {
        let plain = format!("memory-{}-{millis}", kind.number());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(newest) = all.get_mut(&kind) else {
            all.insert(kind, Newest { millis, collisions: 0 });
            return plain;
        };
        if millis > newest.millis {
            newest.millis = millis;
            return plain;
        }
        newest.collisions += 1;
        format!("{plain}-{}", newest.collisions)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Guarantees: the plain form where an event is alone, a number appended where two collide, whoever tells them; kinds apart.
    #[test]
    fn a_number_is_appended_on_collision() {
        let ids = EventIds::default();
        let others = ids.clone();
        assert_eq!(others.next(Kind::LeakDetected, 1_699_123_456_789), "memory-6-1699123456789");
        assert_eq!(ids.next(Kind::LeakDetected, 1_699_123_456_789), "memory-6-1699123456789-1");
        assert_eq!(ids.next(Kind::RssGrowth, 1_699_123_456_789), "memory-4-1699123456789");
        assert_eq!(ids.next(Kind::LeakDetected, 1_699_123_456_790), "memory-6-1699123456790");
    }

    /// Guarantees: no id repeats when the clock jumps to and fro, and what is remembered does not grow.
    #[test]
    fn ids_are_unique_under_a_clock_that_jumps() {
        let ids = EventIds::default();
        let mut seen = BTreeSet::new();
        for millis in [100, 100, 50, 50, 101, 100, 100, 50, 101, 102, 0, 102] {
            assert!(seen.insert(ids.next(Kind::RssGrowth, millis)), "a repeated id at {millis}");
        }
        assert_eq!(ids.0.lock().unwrap().len(), 1);
    }
}
