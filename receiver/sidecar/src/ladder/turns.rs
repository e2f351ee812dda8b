//! Whose turn it is. What is read from outside, and whether memory is referenced, is asked of all at once; the rungs above take turns, so
//! that nobody holds the others up.

use std::cmp::Reverse;
use std::time::Duration;

use mlh_detect::Stage;

/// Everybody has had a turn by then, as long as turns do not become too short.
const ROUND: Duration = Duration::from_secs(220);
/// No turn is shorter: less tells nothing.
pub(super) const LEAST: Duration = Duration::from_secs(10);
/// In so long whoever knows already who is to blame has told it anew,
const REMINDER: Duration = Duration::from_secs(5);
/// and it need not tell it again for so long.
const KNOWN: Duration = Duration::from_secs(120);

/// Where a verdict waits for who is to blame, so much may be needed to tell it: two that fall at once are both in time.
const DUE: Duration = Duration::from_secs(30);

/// How much somebody needs a turn, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It is seen without one that nothing is kept, or that it is in use.
    Spared,
    Open,
    /// A verdict waits for who is to blame.
    Due,
}

/// One who is climbed for, as far as turns go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entrant {
    /// Since when it has had its turn, where it has it.
    pub(super) began: Option<Duration>,
    /// When its last turn was over, where it had one.
    pub(super) rested: Option<Duration>,
    /// Its turn is no shorter.
    pub(super) least: Duration,
    /// It is known who is to blame: it has little more to learn.
    pub(super) settled: bool,
    pub(super) need: Need,
    pub(super) stage: Stage,
    /// Until a limit is reached, where one is ahead.
    pub(super) exhaustion: Option<Duration>,
    /// Bytes a second.
    pub(super) velocity: f64,
}

/// Who comes and who goes, by the place in what was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) over: Vec<usize>,
    pub(super) next: Vec<usize>,
}

/// Of all that want a turn: whose is over and who is next, where so many may have theirs at once. While nobody waits no turn ends, nor for
/// somebody who needs it less.
pub(super) fn change(entrants: &[Entrant], seats: usize, now: Duration) -> Change {
    let (mut seated, mut waiting): (Vec<_>, Vec<_>) =
        entrants.iter().enumerate().partition(|(_, entrant)| entrant.began.is_some());
    waiting.sort_by(|(_, one), (_, other)| other.need.cmp(&one.need).then_with(|| order(one, other)));
    let rivals = entrants.iter().filter(|entrant| entrant.need > Need::Spared).count();
    let length = ROUND.mul_f64(seats as f64 / rivals.max(1) as f64).max(LEAST);
    let foremost = waiting.first().map(|(_, entrant)| *entrant);
    seated.retain(|(_, entrant)| entrant.is_over(foremost, length, now));
    // who needs it least, then who has had it longest
    seated.sort_by_key(|(_, entrant)| (entrant.need, entrant.began));
    let taken = entrants.len() - waiting.len();
    let mut over = seated.into_iter().peekable();
    let mut change = Change::default();
    change.over.extend(over.by_ref().take(taken.saturating_sub(seats)).map(|(place, _)| place));
    let mut free = seats.saturating_sub(taken);
    for (place, next) in waiting {
        if free > 0 {
            free -= 1;
        } else if let Some((left, _)) = over.next_if(|(_, seated)| seated.need <= next.need) {
            change.over.push(left);
        } else {
            break;
        }
        change.next.push(place);
    }
    change
}

impl Entrant {
    /// It has had its turn for long enough, where this one is the foremost of those who wait.
    fn is_over(&self, foremost: Option<&Self>, length: Duration, now: Duration) -> bool {
        let is_awaited = foremost.is_some_and(|foremost| !foremost.settled);
        let needs = match (self.settled, foremost) {
            (true, _) if is_awaited => REMINDER,
            (true, _) => length.max(KNOWN),
            (false, Some(foremost)) if foremost.need > self.need => LEAST.max(self.least),
            (false, _) if self.need == Need::Due => length.max(DUE).max(self.least),
            (false, _) => length.max(self.least),
        };
        self.began.is_some_and(|began| now.saturating_sub(began) >= needs)
    }
}

/// Who had no turn yet comes first: of these a verdict before a suspicion, then the nearest end, then the fastest. All others by who
/// has waited longest, or was known longest ago.
fn order(one: &Entrant, other: &Entrant) -> std::cmp::Ordering {
    let urgency = |entrant: &Entrant| (Reverse(entrant.stage), entrant.exhaustion.unwrap_or(Duration::MAX));
    let due = |entrant: &Entrant| {
        entrant.rested.map(|rested| if entrant.settled { rested + KNOWN } else { rested })
    };
    due(one)
        .cmp(&due(other))
        .then_with(|| urgency(one).cmp(&urgency(other)))
        .then_with(|| other.velocity.total_cmp(&one.velocity))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrant(velocity: f64) -> Entrant {
        Entrant {
            began: None,
            rested: None,
            least: LEAST,
            settled: false,
            need: Need::Open,
            stage: Stage::Suspected,
            exhaustion: None,
            velocity,
        }
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// So long they take turns, a second a step; each with the turns that were begun, and for how long they have been theirs.
    fn turns(entrants: &mut [Entrant], seats: usize, seconds: u64) -> Vec<(Vec<u64>, u64)> {
        let mut had = vec![(Vec::new(), 0); entrants.len()];
        for second in 0..seconds {
            let Change { over, next } = change(entrants, seats, at(second));
            for place in over {
                (entrants[place].began, entrants[place].rested) = (None, Some(at(second)));
            }
            for place in next {
                entrants[place].began = Some(at(second));
                had[place].0.push(second);
            }
            let busy = entrants.iter().filter(|entrant| entrant.began.is_some()).count();
            assert_eq!(busy, seats.min(entrants.len()), "no seat is empty while somebody waits");
            for (entrant, (_, time)) in entrants.iter().zip(&mut had) {
                *time += u64::from(entrant.began.is_some());
            }
        }
        had
    }

    /// Guarantees: of twenty suspects, one at a time as is the default, each has had its whole turn within four minutes, and after an
    /// hour all have had as much; more at a time come sooner and have more.
    #[test]
    fn twenty_suspects() {
        let seats = crate::hunt::settings::Escalation::default().max_concurrent_targets as usize;
        let twenty = || (0..20_u32).map(|place| entrant(f64::from(place))).collect::<Vec<_>>();
        for (starts, time) in turns(&mut twenty(), seats, 240) {
            assert!(!starts.is_empty() && time >= LEAST.as_secs(), "{starts:?} {time}");
        }
        let hour = turns(&mut twenty(), seats, 3600);
        let times = || hour.iter().map(|(_, time)| *time);
        assert!(times().max().unwrap() - times().min().unwrap() <= 11, "{hour:?}");
        for (starts, time) in turns(&mut twenty(), 4, 240) {
            assert!(starts[0] <= 180 && time >= 40, "{starts:?} {time}");
        }
    }

    /// Guarantees: whoever is alone goes on; who comes later does not wait for the whole time of the one before, a turn with probes
    /// lasts as long as these need, and who has told whom to blame makes room at once and is back in its turn.
    #[test]
    fn who_makes_room() {
        assert_eq!(turns(&mut [entrant(1.0)], 1, 900), [(vec![0], 900)]);
        let two = turns(&mut [entrant(2.0), entrant(1.0)], 1, 331);
        assert_eq!(two.iter().map(|(starts, _)| starts.clone()).collect::<Vec<_>>(), [[0, 220], [110, 330]]);
        let mut many: Vec<_> = (0..30).map(|_| entrant(1.0)).collect();
        many[0] = Entrant { least: at(60), velocity: 9.0, ..entrant(9.0) };
        let had = turns(&mut many, 1, 100);
        assert_eq!((had[0].1, had[1].0[0]), (60, 60));
        let settled = |velocity| Entrant { settled: true, ..entrant(velocity) };
        let had = turns(&mut [settled(2.0), entrant(1.0)], 1, 120);
        assert_eq!((had[0].0.clone(), had[1].0.clone()), (vec![0, 115], vec![5]));
        let had = turns(&mut [settled(3.0), entrant(2.0), entrant(1.0)], 1, 300);
        assert_eq!(
            (had[0].0.clone(), had[1].0.clone(), had[2].0.clone()),
            (vec![0, 227], vec![5, 153], vec![79, 232])
        );
        let had = turns(&mut [settled(2.0), settled(1.0)], 1, 300);
        assert_eq!((had[0].0.clone(), had[1].0.clone()), (vec![0, 240], vec![120]), "nobody is in a hurry");
    }

    /// Guarantees: who is spared has a turn only while nobody else waits, and takes no time from the others; where a verdict waits, it has
    /// the next turn, and another one its own within the minute for which verdicts wait.
    #[test]
    fn who_needs_it_most() {
        let of = |need, velocity| Entrant { need, ..entrant(velocity) };
        let spared = || of(Need::Spared, 99.0);
        assert_eq!(turns(&mut [spared()], 1, 400), [(vec![0], 400)]);
        let mut many = vec![spared(), spared(), entrant(2.0), entrant(1.0)];
        let had = turns(&mut many, 1, 331);
        assert_eq!(
            had.iter().map(|(starts, _)| &starts[..]).collect::<Vec<_>>(),
            [&[][..], &[], &[0, 220], &[110, 330]]
        );
        let mut change_of_mind = [Entrant { began: Some(at(0)), ..spared() }, entrant(1.0)];
        assert_eq!(turns(&mut change_of_mind, 1, 60)[1].0, [LEAST.as_secs()]);
        let mut verdicts = vec![of(Need::Due, 2.0), of(Need::Due, 1.0)];
        verdicts.extend((0..9).map(|_| Entrant { rested: Some(at(0)), ..entrant(9.0) }));
        verdicts.push(Entrant { began: Some(at(0)), ..entrant(9.0) });
        let had = turns(&mut verdicts, 1, 60);
        let first = LEAST.as_secs();
        assert_eq!((&had[0].0[..], &had[1].0[..]), (&[first][..], &[first + DUE.as_secs()][..]));
        assert!(had[2..11].iter().all(|(starts, _)| starts.is_empty()), "{had:?}");
    }

    /// Guarantees: the strongest suspicion comes first, then the nearest end, then the fastest; who had a turn comes after all who had
    /// none.
    #[test]
    fn the_most_urgent_first() {
        let all = [
            Entrant { rested: Some(at(1)), ..entrant(99.0) },
            entrant(5.0),
            entrant(7.0),
            Entrant { exhaustion: Some(at(600)), ..entrant(1.0) },
            Entrant { exhaustion: Some(at(60)), ..entrant(1.0) },
            Entrant { stage: Stage::Leaking, ..entrant(1.0) },
        ];
        let next = |seats| change(&all, seats, at(9)).next;
        assert_eq!(next(6), [5, 4, 3, 2, 1, 0]);
        assert_eq!((next(1), next(0)), (vec![5], vec![]));
        let fewer =
            [Entrant { began: Some(at(0)), ..entrant(1.0) }, Entrant { began: Some(at(1)), ..entrant(1.0) }];
        assert_eq!(change(&fewer, 1, at(400)), Change { over: vec![0], next: vec![] });
    }
}
