//! When the target is watched: in bursts, as long as what they cost allows, and without a break where it costs little.

use std::time::Duration;

/// A time up to which something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since boot. In a pause the end of the burst before: of what came after nothing is known.
    pub(super) at: Duration,
    /// For how long it had been watched by then.
    pub(super) watched: Duration,
}

/// See the module. Times are since boot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bursts {
    state: State,
    /// In the bursts that are over.
    watched: Duration,
    /// Bursts that have begun.
    count: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Watching { since: Duration },
    Paused { since: Duration, until: Duration },
}

impl Bursts {
    /// The first one begins.
    pub(super) fn begin(at: Duration) -> Self {
        Self { state: State::Watching { since: at }, watched: Duration::ZERO, count: 1 }
    }

    /// It ends, and another one is due then.
    pub(super) fn pause(&mut self, at: Duration, until: Duration) {
        match self.state {
            State::Watching { since } => {
                self.watched += at.saturating_sub(since);
                self.state = State::Paused { since: at.max(since), until };
            }
            State::Paused { since, .. } => self.state = State::Paused { since, until },
        }
    }

    /// Another one begins.
    pub(super) fn resume(&mut self, at: Duration) {
        self.state = State::Watching { since: at };
        self.count += 1;
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused { .. })
    }

    /// When a pause is over.
    pub(super) fn due(&self) -> Option<Duration> {
        if let State::Paused { until, .. } = self.state { Some(until) } else { None }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Up to when what is known at `now` holds.
    pub(super) fn moment(&self, now: Duration) -> Moment {
        match self.state {
            State::Watching { since } => {
                Moment { at: now, watched: self.watched + now.saturating_sub(since) }
            }
            State::Paused { since, .. } => Moment { at: since.min(now), watched: self.watched },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the time that was watched is that of the bursts, and in a pause nothing is known beyond the end of the last one.
    #[test]
    fn bursts_and_pauses() {
        let at = Duration::from_secs;
        let mut bursts = Bursts::begin(at(10));
        assert_eq!(bursts.moment(at(14)), Moment { at: at(14), watched: at(4) });
        bursts.pause(at(15), at(40));
        assert_eq!((bursts.is_paused(), bursts.due()), (true, Some(at(40))));
        bursts.pause(at(41), at(50));
        assert_eq!(bursts.moment(at(45)), Moment { at: at(15), watched: at(5) });
        assert_eq!((bursts.due(), bursts.count()), (Some(at(50)), 1));
        bursts.resume(at(50));
        assert_eq!(bursts.moment(at(57)), Moment { at: at(57), watched: at(12) });
        assert_eq!((bursts.is_paused(), bursts.due(), bursts.count()), (false, None, 2));
    }
}
