//! Who is climbed for, and whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use super::super::case::Case;
use super::super::turns::{self, Change};
use super::{Climber, Ladder, MOST_CLIMBS};

impl Climber {
    /// Takes up the cases for which there is room, and has who waits for it take turns.
    pub(super) fn take_up(&mut self, now: Duration) {
        let Ladder { wanted, docket, cooldown, board, .. } = &mut self.ladder;
        docket.drop_unless(|case| {
            case.target().is_some() && cooldown.allows(case, wanted.escalation.cooldown, now)
        });
        let board = Arc::clone(board);
        // who is looked at by order waits until that is over
        let is_free = |case: &Case| !board.is_ordered(&[case.subject.reading.pid]);
        loop {
            self.join();
            if self.ladder.climbs.len() >= MOST_CLIMBS {
                break;
            }
            let Some(case) = self.ladder.docket.take(is_free) else { break };
            self.begin(&case, now);
        }
        self.take_turns(now);
    }

    /// Has climbs be for the cases that they cover as well.
    fn join(&mut self) {
        let Ladder { docket, climbs, .. } = &mut self.ladder;
        for running in climbs {
            while let Some(case) = docket.take(|case| running.climb.case.covers(case)) {
                running.climb.join(case);
            }
        }
    }

    fn take_turns(&mut self, now: Duration) {
        let Ladder { wanted, docket, climbs, .. } = &mut self.ladder;
        let seats = wanted.escalation.max_concurrent_targets as usize;
        let wanting = climbs.iter().enumerate().filter(|(_, running)| running.climb.wants_turn(wanted));
        let (places, entrants): (Vec<usize>, Vec<_>) =
            wanting.map(|(place, it)| (place, it.climb.entrant(now, docket, wanted))).unzip();
        let Change { over, next } = turns::change(&entrants, seats, now);
        let changes = !(over.is_empty() && next.is_empty());
        let at = |place: usize| places.get(place).copied().unwrap_or(usize::MAX);
        for place in over {
            if let Some(running) = climbs.get_mut(at(place)) {
                running.climb.end_turn(now);
            }
        }
        for place in next {
            if let Some(running) = climbs.get_mut(at(place)) {
                running.climb.take_turn(now, wanted, &docket.bell());
            }
        }
        if changes {
            mlh_bpf::memory::give_back();
        }
        self.change_modes(now);
    }
}
