//! Wakes a thread that waits for any of several things.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rung by anybody, heard by the one who waits. Rung while nobody waits, it is heard at once by the next one.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// Wakes whoever waits.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }

    /// Waits until it is rung; `timeout` at most, `None`: for however long it takes. True: it was rung.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            let Some(deadline) = deadline else {
                rung = self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            rung = self.heard.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Guarantees: a ring is heard by who waits, also one that came before, and once; without one the wait ends in time.
    #[test]
    fn rings_are_heard_once() {
        let bell = Arc::new(Bell::default());
        bell.ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(Some(Duration::from_millis(1))));
        let other = Arc::clone(&bell);
        let waiting = std::thread::spawn(move || other.wait(None));
        bell.ring();
        assert!(waiting.join().unwrap());
    }
}
