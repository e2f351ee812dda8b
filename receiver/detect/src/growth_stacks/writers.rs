//! Who wrote last to memory that then rests: of each of a few addresses every write is known while it is watched.
//!
//! What comes and goes writes to a free place again and again; once the block of a leak lies there, nobody writes any more. So the last
//! writer of an address that then rests is who keeps what lies there, whoever touched its page first.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

/// An address rests once nobody has written to it for this long at least,
const SHORTEST: Duration = Duration::from_secs(6);
/// for so many times as long as passed between two writes on average,
const PAUSES: u32 = 16;
/// and for this long in any case. Who keeps what he touched first is not written over for as long.
const LONGEST: Duration = Duration::from_secs(16);
/// What has told nothing by then tells nothing.
const LIFE: Duration = Duration::from_secs(60);
/// Stacks that are told apart.
const MAX_KEYS: usize = 1024;
/// An address can be watched that is a multiple of this.
const ALIGNED: u64 = 8;

/// Which address of a new page is watched: in its second half, as a page's first bytes may be all that a block on the page before it has
/// there. `dice` is any number, best a random one.
#[must_use]
pub fn address_in(page: u64, page_size: u64, dice: u64) -> u64 {
    let half = page_size / 2;
    let begins = page - page % page_size.max(1) + half;
    let offset = dice % half.max(1);
    begins + (offset - offset % ALIGNED)
}

/// What an address tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says<K> {
    /// Nothing yet.
    Waits,
    /// It rests, and this was the last to write there.
    Rests(K),
    /// Nothing, and nothing will come of it: too much is written there, or too long has passed.
    Nothing,
}

/// An address that is watched.
#[derive(Debug, Clone)]
pub struct Watched<K> {
    began: Duration,
    /// Writes that each thread may tell, after which it is not watched any more.
    each: u32,
    writes: HashMap<u32, u32>,
    count: u32,
    /// Who wrote last, and when. `None`: somebody may have whom nobody saw.
    last: Option<(Duration, K)>,
    /// Until then somebody may have.
    missed: Duration,
}

impl<K: Copy> Watched<K> {
    /// Is watched from now on, just after somebody touched its page.
    #[must_use]
    pub fn new(now: Duration, touched_by: K, each: u32) -> Self {
        Self {
            began: now,
            each,
            writes: HashMap::new(),
            count: 0,
            last: Some((now, touched_by)),
            missed: now,
        }
    }

    /// A thread has written there: `by` whom. `None`: it is nobody to blame for what it wrote.
    pub fn written(&mut self, at: Duration, thread: u32, by: Option<K>) {
        let writes = self.writes.entry(thread).or_default();
        *writes = writes.saturating_add(1);
        self.count = self.count.saturating_add(1);
        if let Some(by) = by
            && at >= self.missed
        {
            self.last = Some((at, by));
        }
    }

    /// Somebody may have written there unseen, until now: whoever did before may not be the last.
    pub fn missed(&mut self, now: Duration) {
        (self.last, self.missed) = (None, now);
    }

    /// Writes that were told.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whose stacks are to be kept for it.
    #[must_use]
    pub fn last(&self) -> Option<K> {
        self.last.map(|(_, by)| by)
    }

    /// What it tells by now.
    #[must_use]
    pub fn says(&self, now: Duration) -> Says<K> {
        let is_hot = self.writes.values().any(|writes| *writes >= self.each);
        if is_hot || now.saturating_sub(self.began) >= LIFE {
            return Says::Nothing;
        }
        match self.last {
            Some((at, by)) if now.saturating_sub(at) >= self.rest(at) => Says::Rests(by),
            _ => Says::Waits,
        }
    }

    /// How long nobody may have written for it to rest, where the last one did then.
    fn rest(&self, last: Duration) -> Duration {
        match last.saturating_sub(self.began).checked_div(self.count) {
            Some(pause) => (pause * PAUSES).clamp(SHORTEST, LONGEST),
            None => LONGEST,
        }
    }
}

/// How many addresses rest of which each stack was the last writer. Bounded.
#[derive(Debug)]
pub struct Writers<K> {
    votes: HashMap<K, u64>,
}

impl<K> Default for Writers<K> {
    fn default() -> Self {
        Self { votes: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Writers<K> {
    /// One more rests.
    pub fn vote(&mut self, by: K) {
        if self.votes.len() < MAX_KEYS || self.votes.contains_key(&by) {
            let votes = self.votes.entry(by).or_default();
            *votes = votes.saturating_add(1);
        }
    }

    /// Of this stack.
    #[must_use]
    pub fn of(&self, key: &K) -> u64 {
        self.votes.get(key).copied().unwrap_or_default()
    }

    /// The stacks that are known.
    #[must_use]
    pub fn keys(&self) -> HashSet<K> {
        self.votes.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPER: u8 = 1;
    const OTHER: u8 = 2;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn watched() -> Watched<u8> {
        Watched::new(seconds(100.0), OTHER, 200)
    }

    /// Guarantees: an address to watch lies in the second half of its page and is aligned, whatever the dice and wherever in the page
    /// it was touched.
    #[test]
    fn addresses() {
        for dice in [0, 1, 7, 8, 2047, 2048, 12_345, u64::MAX] {
            for touched in [0x7000, 0x7123, 0x7fff] {
                let address = address_in(touched, 4096, dice);
                assert!((0x7800..0x8000).contains(&address) && address.is_multiple_of(8), "{address:x}");
            }
        }
        assert_ne!(address_in(0x7000, 4096, 0), address_in(0x7000, 4096, 64));
    }

    /// Guarantees: once what writes again and again has ceased for many times its pause, the last one is told; the shorter the pauses
    /// were the sooner, within bounds.
    #[test]
    fn who_wrote_last() {
        let mut often = watched();
        for write in 1..=100 {
            often.written(seconds(100.0 + 0.05 * f64::from(write)), 7, Some(OTHER));
        }
        often.written(seconds(105.05), 8, Some(KEEPER));
        assert_eq!(often.says(seconds(111.0)), Says::Waits);
        assert_eq!(often.says(seconds(111.1)), Says::Rests(KEEPER));
        let mut rarely = watched();
        rarely.written(seconds(103.0), 7, Some(OTHER));
        rarely.written(seconds(104.0), 7, Some(KEEPER));
        assert_eq!(rarely.says(seconds(119.9)), Says::Waits);
        assert_eq!(rarely.says(seconds(120.1)), Says::Rests(KEEPER));
        assert_eq!((rarely.count(), rarely.last()), (2, Some(KEEPER)));
    }

    /// Guarantees: where nobody writes, whoever touched the page first has what lies there, after the longest rest.
    #[test]
    fn nobody_writes() {
        assert_eq!(watched().says(seconds(115.9)), Says::Waits);
        assert_eq!(watched().says(seconds(116.1)), Says::Rests(OTHER));
    }

    /// Guarantees: where somebody may have written unseen nobody is told until the next write; too many writes of one thread, and too
    /// long a life, end it.
    #[test]
    fn what_tells_nothing() {
        let mut blind = watched();
        blind.written(seconds(101.0), 7, Some(OTHER));
        blind.missed(seconds(102.0));
        blind.written(seconds(101.9), 7, Some(OTHER));
        assert_eq!(blind.says(seconds(150.0)), Says::Waits);
        blind.written(seconds(140.0), 7, Some(KEEPER));
        assert_eq!(blind.says(seconds(157.0)), Says::Rests(KEEPER));
        assert_eq!(blind.says(seconds(160.0)), Says::Nothing);
        let mut hot = watched();
        (0..199).for_each(|_| hot.written(seconds(100.5), 7, Some(OTHER)));
        hot.written(seconds(100.5), 8, Some(OTHER));
        assert_eq!(hot.says(seconds(101.0)), Says::Waits);
        hot.written(seconds(100.6), 7, None);
        assert_eq!(hot.says(seconds(150.0)), Says::Nothing);
    }

    /// Guarantees: votes are counted by stack, and however many stacks there are, those that are kept are bounded.
    #[test]
    fn votes() {
        let mut writers = Writers::default();
        (0..2 * MAX_KEYS).for_each(|key| writers.vote(key));
        writers.vote(5);
        assert_eq!((writers.of(&5), writers.of(&6), writers.of(&(2 * MAX_KEYS - 1))), (2, 1, 0));
        assert_eq!(writers.keys().len(), MAX_KEYS);
    }
}
