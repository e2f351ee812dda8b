//! `max_events_per_second`: a token bucket that holds one second's worth.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// Full at first.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second, at: Duration::ZERO }
    }

    /// From now on at another rate; what has been saved up stays, as far as there is room for it.
    pub(crate) fn set_rate(&mut self, per_second: u32) {
        self.per_second = f64::from(per_second);
        self.tokens = self.tokens.min(self.per_second);
    }

    /// How many of `wanted` events may pass at the time `at`, on any clock that does not go back.
    pub(crate) fn take(&mut self, at: Duration, wanted: usize) -> usize {
        self.fill(at);
        let granted = (self.tokens.max(0.0) as usize).min(wanted);
        self.tokens -= granted as f64;
        granted
    }

    /// These events pass in any case, at the cost of those that come in the next second.
    pub(crate) fn charge(&mut self, at: Duration, events: usize) {
        self.fill(at);
        self.tokens = (self.tokens - events as f64).max(-self.per_second);
    }

    fn fill(&mut self, at: Duration) {
        let elapsed = at.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(at);
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what passes in any case is paid for by what comes after it, and never for longer than a second.
    #[test]
    fn charges_are_paid_for() {
        let mut bucket = Bucket::new(10);
        bucket.charge(Duration::from_secs(5), 4);
        assert_eq!(bucket.take(Duration::from_secs(5), 25), 6);
        bucket.charge(Duration::from_secs(5), 1000);
        assert_eq!(bucket.take(Duration::from_millis(5900), 25), 0);
        assert_eq!(bucket.take(Duration::from_millis(6500), 25), 5);
    }

    /// Guarantees: never more than the rate allows in any second after the first, and all of it when it is asked
    /// for; a clock that goes back grants nothing extra.
    #[test]
    fn rate_holds() {
        let mut bucket = Bucket::new(10);
        assert_eq!(bucket.take(Duration::from_secs(5), 25), 10);
        assert_eq!(bucket.take(Duration::from_secs(5), 25), 0);
        assert_eq!(bucket.take(Duration::from_millis(5500), 25), 5);
        assert_eq!(bucket.take(Duration::from_secs(1), 25), 0);
        assert_eq!(bucket.take(Duration::from_secs(500), 25), 10);
    }

    /// Guarantees: a change of the rate gives nobody a second's worth anew, and holds from then on.
    #[test]
    fn rate_changes() {
        let mut bucket = Bucket::new(10);
        assert_eq!(bucket.take(Duration::from_secs(5), 7), 7);
        bucket.set_rate(100);
        assert_eq!(bucket.take(Duration::from_secs(5), 25), 3);
        assert_eq!(bucket.take(Duration::from_millis(5500), 100), 50);
        assert_eq!(bucket.take(Duration::from_secs(9), 0), 0);
        bucket.set_rate(4);
        assert_eq!(bucket.take(Duration::from_secs(9), 25), 4);
    }
}
