//! What becomes of blocks with their age, stack by stack: a leak's stay, a cache's go when others come, those of the start are
//! one generation, and a collected heap's go all at once.
//!
//! The blocks that a stack allocates in a slice of time are a cohort. From reading to reading of the table of live blocks it is
//! seen what is left of each: which part of what had reached an age was still there at twice that age. Younger blocks than a
//! slice are in none of it, so that no short-lived garbage is. What was watched in several bursts adds up; no cohort outlives
//! its burst.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::block::Block;
use super::survival::{Arrivals, Life, Survival};

/// Slices of a burst.
const SLICES: usize = 12;
/// The shortest. When there are too many two become one.
const SHORTEST: Duration = Duration::from_secs(1);
/// Stacks that are followed, with 600 bytes each; of those beyond nothing is known.
const MAX_STACKS: usize = 4096;

/// What a stack has in a slice.
#[derive(Debug, Clone, Copy, Default)]
struct Cohort {
    /// Bytes that are left.
    now: u64,
    /// Bytes that were left when its age was marked; `None`: the stack was not known then.
    mark: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Stack {
    cohorts: [Cohort; SLICES],
    /// Of all cohorts together, at the newest reading and at its highest.
    live: u64,
    peak: u64,
    life: Life,
}

/// A slice of the burst.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    /// At what age of its youngest block it was marked; 0: not yet.
    marked: Duration,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Cohorts<K> {
    began: Option<Duration>,
    width: Duration,
    slices: [Slice; SLICES],
    stacks: HashMap<K, Stack>,
    /// When the newest reading was.
    read: Duration,
    /// In bursts that are over.
    watched: Duration,
    longest: Duration,
    unfitted: u64,
}

impl<K: Copy + Eq + Hash> Default for Cohorts<K> {
    fn default() -> Self {
        Self {
            began: None,
            width: SHORTEST,
            slices: [Slice::default(); SLICES],
            stacks: HashMap::new(),
            read: Duration::ZERO,
            watched: Duration::ZERO,
            longest: Duration::ZERO,
            unfitted: 0,
        }
    }
}

impl<K: Copy + Eq + Hash> Cohorts<K> {
    /// A burst begins; the one before is over.
    pub fn begin(&mut self, at: Duration) {
        self.end();
        (self.began, self.read) = (Some(at), at);
    }

    fn end(&mut self) {
        let Some(began) = self.began.take() else { return };
        let length = self.read.saturating_sub(began);
        let (width, ended, arrived) = (self.width, self.ended(length), self.arrived(length));
        for stack in self.stacks.values_mut() {
            stack.life.arrivals.add(&arrivals(&stack.cohorts, arrived, width));
            stack.life.rests(&left(&stack.cohorts, ended));
            (stack.cohorts, stack.live, stack.peak) = ([Cohort::default(); SLICES], 0, 0);
        }
        self.watched = self.watched.saturating_add(length);
        self.longest = self.longest.max(length);
        (self.width, self.slices) = (SHORTEST, [Slice::default(); SLICES]);
    }

    /// Takes all live blocks as they are at a moment. Those from before the burst are left out.
    pub fn read(&mut self, at: Duration, blocks: impl IntoIterator<Item = (K, Block)>) {
        let Some(began) = self.began.filter(|_| at > self.read) else { return };
        self.read = at;
        while self.slice(began, at) >= SLICES {
            self.widen(at.saturating_sub(began));
        }
        for stack in self.stacks.values_mut() {
            stack.cohorts.iter_mut().for_each(|cohort| cohort.now = 0);
        }
        for (key, block) in blocks {
            if block.born < began || block.born > at {
                continue;
            }
            let slice = self.slice(began, block.born);
            let has_room = self.stacks.len() < MAX_STACKS;
            let stack = match self.stacks.get_mut(&key) {
                Some(stack) => stack,
                None if has_room => self.stacks.entry(key).or_default(),
                None => {
                    self.unfitted = self.unfitted.saturating_add(1);
                    continue;
                }
            };
            if let Some(cohort) = stack.cohorts.get_mut(slice) {
                cohort.now = cohort.now.saturating_add(block.weighted_bytes());
            }
        }
        self.observe(at.saturating_sub(began));
    }

    /// Forgets the stacks for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.stacks.retain(|key, _| keep(key));
    }

    /// What has become of what a stack allocated; `None` where nothing of it was ever seen.
    #[must_use]
    pub fn of(&self, key: &K) -> Option<Survival> {
        self.stacks.get(key).map(|stack| self.survival(stack))
    }

    /// The same of all.
    pub fn all(&self) -> impl Iterator<Item = (K, Survival)> {
        self.stacks.iter().map(|(key, stack)| (*key, self.survival(stack)))
    }

    /// For how long it was watched, all bursts together, up to the newest reading.
    #[must_use]
    pub fn watched(&self) -> Duration {
        self.watched.saturating_add(self.length())
    }

    /// The longest burst.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest.max(self.length())
    }

    /// Blocks that were left out for want of room, each as often as it was read.
    #[must_use]
    pub fn unfitted(&self) -> u64 {
        self.unfitted
    }

    fn length(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| self.read.saturating_sub(began))
    }

    fn slice(&self, began: Duration, at: Duration) -> usize {
        usize::try_from(at.saturating_sub(began).as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX)
    }

    /// Slices that had ended a quarter of the burst ago: what is left of them has come to stay, if anything has.
    fn arrived(&self, length: Duration) -> usize {
        let old = (length - length / 4).as_nanos() / self.width.as_nanos();
        usize::try_from(old).unwrap_or(SLICES).min(SLICES)
    }

    /// Age of the youngest block of a slice; `None`: it has not ended.
    fn age(&self, slice: usize, length: Duration) -> Option<Duration> {
        let ended = self.width.saturating_mul(u32::try_from(slice).ok()?.saturating_add(1));
        length.checked_sub(ended)
    }

    /// Slices that have ended.
    fn ended(&self, length: Duration) -> usize {
        (0..SLICES).take_while(|slice| self.age(*slice, length).is_some()).count()
    }

    fn observe(&mut self, length: Duration) {
        let mut due = [None; SLICES];
        for (index, due) in due.iter_mut().enumerate() {
            let Some(age) = self.age(index, length) else { continue };
            let marked = self.slices.get(index).map_or(Duration::ZERO, |slice| slice.marked);
            if age >= self.width && (marked.is_zero() || age >= marked.saturating_mul(2)) {
                *due = Some(marked);
                if let Some(slice) = self.slices.get_mut(index) {
                    slice.marked = age;
                }
            }
        }
        for stack in self.stacks.values_mut() {
            for (cohort, due) in stack.cohorts.iter_mut().zip(&due) {
                let Some(marked) = due else { continue };
                if let Some(entered) = cohort.mark.replace(cohort.now) {
                    stack.life.reached(*marked, entered, cohort.now);
                }
            }
            stack.live = stack.cohorts.iter().fold(0, |sum: u64, cohort| sum.saturating_add(cohort.now));
            stack.peak = stack.peak.max(stack.live);
            if stack.live < stack.peak / 2 {
                stack.life.fell();
                stack.peak = stack.live;
            }
        }
        self.stacks.retain(|_, stack| stack.live > 0 || stack.life.is_known());
    }

    /// Two slices become one. What had been marked begins anew: the two may have been at different ages.
    fn widen(&mut self, length: Duration) {
        self.width = self.width.saturating_mul(2);
        let mut slices = [Slice::default(); SLICES];
        for (index, slice) in slices.iter_mut().enumerate().take(SLICES / 2) {
            let old = self.age(index, length).filter(|age| *age >= self.width);
            slice.marked = old.unwrap_or_default();
        }
        self.slices = slices;
        for stack in self.stacks.values_mut() {
            let mut merged = [Cohort::default(); SLICES];
            for (into, two) in merged.iter_mut().zip(stack.cohorts.chunks(2)) {
                into.now = two.iter().fold(0, |sum: u64, cohort| sum.saturating_add(cohort.now));
            }
            for (into, slice) in merged.iter_mut().zip(&slices) {
                into.mark = (!slice.marked.is_zero()).then_some(into.now);
            }
            stack.cohorts = merged;
        }
    }

    fn survival(&self, stack: &Stack) -> Survival {
        let length = self.length();
        let mut life = stack.life;
        life.arrivals.add(&arrivals(&stack.cohorts, self.arrived(length), self.width));
        life.survival(&left(&stack.cohorts, self.ended(length)), self.watched())
    }
}

/// What is left of each slice that has ended.
fn left(cohorts: &[Cohort; SLICES], ended: usize) -> Vec<u64> {
    cohorts.iter().take(ended).map(|cohort| cohort.now).collect()
}

/// The first slice is none of them: a program sets itself up in it, as likely as not.
fn arrivals(cohorts: &[Cohort; SLICES], arrived: usize, width: Duration) -> Arrivals {
    let seconds = width.as_secs_f64();
    cohorts.iter().take(arrived).skip(1).fold(Arrivals::default(), |mut sum, cohort| {
        sum.enter(seconds, cohort.now as f64 / seconds);
        sum
    })
}
