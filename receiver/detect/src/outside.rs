//! What several readings of one source say together: whether what a process has in use grows as its memory does, and which kinds.
//!
//! A reading is what a runtime or an allocator says of itself at one moment. Where memory is collected, only what a collection
//! has left is in use: readings without a new collection between them say the same, and the lowest of them counts. The rest is
//! garbage as long as nobody has collected it. That is said as well of a heap that has never been collected, and of one with generations
//! while it grows by what is new in it (see `young`).

mod classes;
mod young;

#[cfg(test)]
mod tests;

use std::time::Duration;

use classes::Classes;
use young::Nursery;
pub use young::Young;

use crate::evidence::{Rung, Says, Spare, Testimony};
use crate::history::Point;
use crate::trend::trend;
use crate::work::Work;

/// Readings that are kept; when there are more, every second one is let go.
const MAX_READINGS: usize = 64;

/// What is older says nothing of what a process does now.
const HORIZON: Duration = Duration::from_secs(15 * 60);

/// Of so many readings the 95 % interval of a slope leaves the steepest and the flattest pair out.
const MIN_READINGS: usize = 5;

/// So long a process is watched before anything is said of it.
const MIN_WATCHED: Duration = Duration::from_secs(20);

/// Less is no growth that memory has, bytes.
const MIN_GROWN: f64 = 65_536.0;

/// What is in use must grow by this share of the memory to explain why it grows at all.
const EXPLAINS: f64 = 0.2;

/// What is spare must make up so much of the growth to be the reason for it.
const MAKES_UP: f64 = 0.5;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look<'a> {
    /// Bytes in use. See the module.
    pub in_use: Option<u64>,
    /// Bytes that are held of the system for it, in use or not.
    pub held: Option<u64>,
    /// Collections so far, where memory is collected.
    pub collections: Option<u64>,
    /// The generation that objects begin in, where there is one that tells.
    pub young: Option<Young>,
    /// What is in use by kind: name, bytes, and how many objects, the most bytes first.
    pub classes: &'a [(&'a str, u64, u64)],
    /// Bytes that the process is charged for at the same moment, as the sweeps count them.
    pub charged: u64,
}

/// A kind of memory that grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Growing {
    /// As the readings name it.
    pub name: String,
    /// How fast, by the median of all pairwise slopes.
    pub bytes_per_second: f64,
    /// Of the growth of the memory charged in the same time, with the room for garbage that it makes necessary: 0..=1.
    pub share: f64,
}

/// What was read at one moment, or left by one collection.
#[derive(Debug, Clone, Copy)]
struct Noted {
    at: Duration,
    in_use: Option<u64>,
    held: Option<u64>,
    charged: u64,
}

/// The readings of one source over time, in bounded memory.
#[derive(Debug, Clone)]
pub struct Series {
    source: &'static str,
    spare: Spare,
    began: Option<Duration>,
    /// When the newest reading was.
    read: Duration,
    /// As of the newest reading.
    collections: Option<u64>,
    /// What is in use is told as the newest collection left it, whatever has come since.
    as_collected: bool,
    /// Then the first reading, too, tells what a collection has left, though nobody knows when that was.
    opening: Option<Noted>,
    noted: Vec<Noted>,
    nursery: Option<Nursery>,
    /// Nothing has been collected since the process began, and all that it has grown by has room in what is held for the heap.
    uncollected: bool,
    classes: Classes,
}

impl Series {
    /// Of the source of this name. `spare` is what its memory is where it is held and not in use: [`Spare::Garbage`] where it is
    /// collected, [`Spare::Retained`] of an allocator, [`Spare::Copies`] where a reading tells pages that are charged
    /// (`held`) from all that are mapped (`in_use`).
    #[must_use]
    pub fn new(source: &'static str, spare: Spare) -> Self {
        Self {
            source,
            spare,
            began: None,
            read: Duration::ZERO,
            collections: None,
            as_collected: false,
            opening: None,
            noted: Vec::new(),
            nursery: None,
            uncollected: false,
            classes: Classes::default(),
        }
    }

    /// What is in use is told as the newest collection left it, as Go's runtime does, and not as it is at the moment of a reading.
    #[must_use]
    pub fn told_as_collected(self, as_collected: bool) -> Self {
        Self { as_collected, ..self }
    }

    /// Takes a reading. `at` is on the clock of the sweeps and does not run back.
    pub fn note(&mut self, at: Duration, look: &Look<'_>) {
        let first = self.began.is_none();
        self.began.get_or_insert(at);
        self.read = at;
        match (&mut self.nursery, look.young) {
            (Some(nursery), Some(young)) => nursery.note(at, young, look.charged),
            (nursery, young) => *nursery = young.map(|young| Nursery::begin(young, look.charged)),
        }
        let before = std::mem::replace(&mut self.collections, look.collections);
        self.uncollected = look.collections == Some(0)
            && self.opening.is_some_and(|opening| {
                let grown = look.charged.saturating_sub(opening.charged) as f64;
                // stacks, which nobody collects
                let kept = look.in_use.zip(opening.in_use).map(|(now, then)| now.saturating_sub(then) as f64);
                let has_room = look.held >= Some(look.charged);
                // who has turned the collector off may leak as well
                let is_young = at.saturating_sub(opening.at) <= HORIZON;
                is_young && has_room && grown >= MIN_GROWN && kept.is_some_and(|kept| kept < EXPLAINS * grown)
            });
        let noted = Noted { at, in_use: look.in_use, held: look.held, charged: look.charged };
        if look.collections.is_some() {
            if first {
                self.opening = Some(noted).filter(|_| self.as_collected);
                return;
            }
            if before == look.collections {
                if let Some(last) = self.noted.last_mut() {
                    last.in_use = last.in_use.min(look.in_use).or(last.in_use);
                }
                self.classes.lower(look.classes);
                return;
            }
        }
        self.noted.retain(|noted| at.saturating_sub(noted.at) <= HORIZON);
        if self.noted.len() >= MAX_READINGS {
            thin(&mut self.noted);
        }
        self.noted.push(noted);
        self.classes.note(at, look.classes, HORIZON);
    }

    /// What it says by now; `None` as long as too little has been seen. It is as old as the reading that last told something new:
    /// without a collection nothing renews it.
    #[must_use]
    pub fn testimony(&self, now: Duration) -> Option<Testimony> {
        let began = self.began.filter(|began| now.saturating_sub(*began) >= MIN_WATCHED)?;
        if self.uncollected || self.nursery.is_some_and(|nursery| nursery.is_new(now)) {
            let (says, at) = (Says::Spare(self.spare), self.read);
            let watched = at.saturating_sub(began);
            return Some(Testimony { rung: Rung::Outside, source: self.source, at, watched, says });
        }
        let at = self.noted.last().map_or(now, |newest| newest.at);
        let says = if self.noted.len() >= MIN_READINGS {
            self.says()
        } else {
            let few = match self.collections {
                Some(_) => "too few collections so far",
                None => "too few readings so far",
            };
            if self.was_collected() { Says::Spare(self.spare) } else { Says::Unclear(few) }
        };
        let watched = at.saturating_sub(began).min(HORIZON);
        Some(Testimony { rung: Rung::Outside, source: self.source, at, watched, says })
    }

    fn says(&self) -> Says {
        let charged = self.slope(|noted| Some(noted.charged));
        let in_use = self.slope(|noted| noted.in_use);
        let held = self.slope(|noted| noted.held);
        let Some(in_use) = in_use else { return Says::Unclear("what is in use was not told") };
        let grows = charged.filter(|charged| charged.interval.0 > 0.0);
        let due = self.due_to(in_use, held);
        let share = charged.map_or(1.0, |charged| due / charged.velocity.max(due));
        let grown = in_use.velocity * self.span().as_secs_f64();
        let keeps = in_use.interval.0 > 0.0 && grown >= MIN_GROWN;
        if keeps && share >= EXPLAINS && self.spare != Spare::Copies {
            return Says::Kept { velocity: in_use.velocity, interval: in_use.interval, share };
        }
        let Some(grows) = grows else { return Says::Unclear("its memory does not grow meanwhile") };
        if in_use.interval.1 >= EXPLAINS * grows.velocity {
            return Says::Unclear(match self.spare {
                Spare::Copies => "pages of its own grow; whether they are kept, others must say",
                Spare::Garbage | Spare::Retained | Spare::InUse => "what is in use goes up and down",
            });
        }
        if keeps && self.spare == Spare::Retained {
            // each block that is kept may hold the free memory around it fast, which serves nobody else
            return Says::Unclear("what is in use grows as well, though by less than what is held for it");
        }
        match held {
            Some(held) if held.velocity >= MAKES_UP * grows.velocity => Says::Spare(self.spare),
            _ => Says::Unclear("what grows lies outside of what this source sees"),
        }
    }

    /// Whether the last collection but one and the last have left the same, while memory grew: one of them tells little of what is kept,
    /// but two tell that nothing is.
    fn was_collected(&self) -> bool {
        let (([.., before, last], _) | ([last], Some(before))) = (self.noted.as_slice(), &self.opening)
        else {
            return false;
        };
        let grown = |of: fn(&Noted) -> Option<u64>| Some(of(last)? as f64 - of(before)? as f64);
        let charged = grown(|noted| Some(noted.charged)).filter(|charged| *charged >= MIN_GROWN);
        let (Some(charged), Some(in_use), Some(held)) =
            (charged, grown(|noted| noted.in_use), grown(|noted| noted.held))
        else {
            return false;
        };
        let apart = last.at.saturating_sub(before.at) >= MIN_WATCHED;
        self.collections.is_some() && apart && in_use < EXPLAINS * charged && held >= MAKES_UP * charged
    }

    /// From the first reading to the last.
    fn span(&self) -> Duration {
        match self.noted.as_slice() {
            [first, .., last] => last.at.saturating_sub(first.at),
            _ => Duration::ZERO,
        }
    }

    /// How fast memory grows because of what is in use. A collected heap keeps room for garbage in proportion to what lives: that
    /// grows as well, and for no other reason.
    fn due_to(&self, in_use: Slope, held: Option<Slope>) -> f64 {
        let with_room = || {
            let newest = self.noted.last().filter(|_| self.spare == Spare::Garbage)?;
            let proportion = newest.held? as f64 / newest.in_use.filter(|in_use| *in_use > 0)? as f64;
            Some((in_use.velocity * proportion).min(held?.velocity))
        };
        with_room().unwrap_or(0.0).max(in_use.velocity)
    }

    /// The kinds that grow, those that grow fastest first.
    #[must_use]
    pub fn growing(&self) -> Vec<Growing> {
        let charged = self.slope(|noted| Some(noted.charged)).map_or(0.0, |charged| charged.velocity);
        // room for garbage is due to each in proportion
        let in_use = self.slope(|noted| noted.in_use).filter(|in_use| in_use.velocity > 0.0);
        let due = in_use
            .map_or(1.0, |in_use| self.due_to(in_use, self.slope(|noted| noted.held)) / in_use.velocity);
        let share = |velocity: f64| if charged > 0.0 { (due * velocity / charged).min(1.0) } else { 1.0 };
        let mut growing: Vec<Growing> = self
            .classes
            .each()
            .filter(|(_, points)| points.len() >= MIN_READINGS)
            .map(|(name, points)| (name, slope(points)))
            // what is known by few samples grows by steps: that it never falls must do
            .filter(|(_, slope)| slope.velocity > 0.0 && slope.interval.0 >= 0.0)
            .map(|(name, slope)| Growing {
                name: name.to_owned(),
                bytes_per_second: slope.velocity,
                share: share(slope.velocity),
            })
            .collect();
        growing.sort_by(|a, b| b.bytes_per_second.total_cmp(&a.bytes_per_second));
        growing
    }

    /// `None`: too few readings tell it.
    fn slope(&self, of: impl Fn(&Noted) -> Option<u64>) -> Option<Slope> {
        let point = |noted: &Noted| {
            of(noted).map(|bytes| Point {
                at_s: noted.at.as_secs_f64(),
                bytes: bytes as f64,
                work: Work::default(),
            })
        };
        let points: Vec<Point> = self.noted.iter().filter_map(point).collect();
        (points.len() >= MIN_READINGS).then(|| slope(&points))
    }
}

/// Bytes a second, and the 95 % interval.
#[derive(Debug, Clone, Copy)]
struct Slope {
    velocity: f64,
    interval: (f64, f64),
}

fn slope(points: &[Point]) -> Slope {
    let trend = trend(points, Duration::ZERO);
    Slope { velocity: trend.velocity, interval: trend.interval }
}

/// Lets every second one go; the newest stays.
fn thin<T>(kept: &mut Vec<T>) {
    let odd = kept.len() % 2;
    let mut index = 0;
    kept.retain(|_| {
        index += 1;
        index % 2 == odd
    });
}
