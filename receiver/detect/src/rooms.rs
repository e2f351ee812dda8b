//! What is left below each limit, and how it shrinks. Not how fast one process or container grows says when a limit is reached,
//! but how fast all that is charged to it does: the kernel's own memory for them, and whatever else grows beneath the same
//! limit, is in it.

use std::collections::HashMap;
use std::time::Duration;

use crate::finding::{Exhaustion, Trend};
use crate::history::{History, Point};
use crate::outlook::{Outlook, by_trend, foresee};
use crate::rules::NOTICED;
use crate::sample::{Limit, Room};

/// The limits around one process or container, the host's among them.
pub(crate) type Around = [Option<Room>; Room::MOST + 1];

/// See the module.
#[derive(Debug)]
pub(crate) struct Rooms {
    max: usize,
    /// A limit that is moved is another one.
    all: HashMap<Limit, Series>,
}

#[derive(Debug)]
struct Series {
    /// The most that was left, bytes.
    most: u64,
    /// When it was last read.
    seen: Duration,
    /// The least that was left in each slot, made when it has shrunk at all: most never do.
    history: Option<Box<History>>,
    /// When that was made.
    begun: Duration,
}

impl Rooms {
    /// Follows so many limits at most. Of others a case's own growth must tell.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, all: HashMap::new() }
    }

    pub(crate) fn bound(&mut self, max: usize) {
        self.max = max;
    }

    /// Takes in what is left below a limit, where this pass has seen it.
    pub(crate) fn observe(&mut self, at: Duration, room: &Room) {
        let is_full = self.all.len() >= self.max && !self.all.contains_key(&room.limit);
        if !room.fresh || is_full {
            return;
        }
        let series = self.all.entry(room.limit).or_insert(Series {
            most: room.left,
            seen: at,
            history: None,
            begun: at,
        });
        series.seen = at;
        series.most = series.most.max(room.left);
        if series.history.is_none() && room.left.saturating_add(NOTICED) <= series.most {
            (series.history, series.begun) = (Some(Box::new(History::new(at))), at);
        }
        if let Some(history) = &mut series.history {
            history.record(at, room.left, crate::work::Work::default());
        }
    }

    /// Forgets the limits that a pass over everything, made at this moment, has not seen.
    pub(crate) fn forget_unseen(&mut self, at: Duration) {
        self.all.retain(|_, series| series.seen >= at);
    }

    /// Which limit is reached first, and when, by how each has been approached since a case began; `own` is the growth of the
    /// case. `None` where there is no limit.
    pub(crate) fn exhaustion(
        &self,
        at: Duration,
        around: &Around,
        since: &Point,
        own: &Trend,
    ) -> Option<Exhaustion> {
        around
            .iter()
            .flatten()
            .map(|room| {
                let Outlook { expected_s, earliest_s, latest_s } = self.outlook(at, room, since, own);
                Exhaustion { expected_s, earliest_s, latest_s, limit: room.limit }
            })
            .min_by(|a, b| a.expected_s.total_cmp(&b.expected_s))
    }

    fn outlook(&self, at: Duration, room: &Room, since: &Point, own: &Trend) -> Outlook {
        let series = self.all.get(&room.limit);
        let shrunk = series.and_then(|series| {
            let history = series.history.as_deref()?;
            foresee(&since_onset(history, series.begun, series.seen, since))
        });
        let age = series.map_or(Duration::ZERO, |series| at.saturating_sub(series.seen));
        shrunk.unwrap_or_else(|| by_trend(room.left, own)).after(age)
    }
}

/// The stretch from the onset on, on the finest level that shows about all of it; else as much of it as any does.
fn since_onset(history: &History, begun: Duration, seen: Duration, onset: &Point) -> Vec<Point> {
    let wanted = REACHES * (seen.as_secs_f64() - onset.at_s.max(begun.as_secs_f64()));
    let mut longest = (0.0, Vec::new());
    for level in (0..History::levels()).filter(|level| History::reach(*level) >= wanted) {
        let mut points = history.slots(level);
        points.retain(|point| point.at_s >= onset.at_s);
        let span = match points.as_slice() {
            [first, .., last] => last.at_s - first.at_s,
            _ => 0.0,
        };
        if span > longest.0 {
            longest = (span, points);
        }
        if longest.0 >= wanted {
            break;
        }
    }
    longest.1
}

/// A level that shows this share of the way back is as good as a coarser one that shows all of it.
const REACHES: f64 = 0.75;
