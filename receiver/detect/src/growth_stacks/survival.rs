//! Which sampled pages are still there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::blocks::Blocks;
use super::figures::{COHORTS, Figures, Parts, Pattern};
use super::page::{Answer, Page, PageSizes, Touch, is_among};
use crate::interval::half_width;

/// A page survives once it was there at every look since it was touched, and at so many. With four, of a 4 MiB sawtooth's
/// pages next to none were left, and all of the leak's beside it.
pub const LOOKS: u32 = 4;

/// Pages that are followed at once.
const MAX_PAGES: usize = 32 * 1024;
/// Stacks that are told apart.
const MAX_KEYS: usize = 8 * 1024;

/// A sampled page.
#[derive(Debug, Clone, Copy)]
struct Sample<K> {
    at: Duration,
    key: K,
    /// Faults that it stands for.
    weight: u64,
    /// Bytes of the fault, once it has been looked at.
    size: Option<u64>,
    /// Looks at which it was there.
    seen: u32,
}

/// What is known of a stack, whatever has become of its pages.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    samples: u64,
    touched: u64,
    /// Sum of the samples' variances.
    spread: f64,
}

/// All stacks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// What survives: an estimate.
    pub bytes: u64,
    /// All that was touched: an estimate.
    pub touched_bytes: u64,
    /// Sampled faults.
    pub samples: u64,
    /// Looks at the pages.
    pub looks: u64,
    /// One page in so many is followed: more than 1 where there were too many.
    pub followed_of: u64,
    /// Sampled faults of stacks for which there was no room: these are in `touched_bytes` and in no other figure.
    pub not_fitted: u64,
}

/// Follows the sampled pages of a look. Bounded: where there are too many pages, one in two, four, ... is followed and counts
/// for as many; where there are too many stacks, those of which no page is left are forgotten.
#[derive(Debug)]
pub struct PageSurvival<K> {
    began: Duration,
    sizes: PageSizes,
    salt: u64,
    max_pages: usize,
    pages: BTreeMap<Page, Sample<K>>,
    keys: HashMap<K, Known>,
    /// One page in two to this power is followed.
    level: u32,
    /// The newest looks, the oldest first.
    looks: VecDeque<Duration>,
    /// There is no room for stacks until a page is gone.
    full: bool,
    sums: Sums,
}

impl<K: Copy + Eq + Hash + Ord> PageSurvival<K> {
    /// Of a look that begins now. `salt` is any number, best a random one: by it pages are chosen where not all can be followed.
    #[must_use]
    pub fn new(began: Duration, sizes: PageSizes, salt: u64) -> Self {
        Self {
            began,
            sizes,
            salt,
            max_pages: MAX_PAGES,
            pages: BTreeMap::new(),
            keys: HashMap::new(),
            level: 0,
            looks: VecDeque::new(),
            full: false,
            sums: Sums { followed_of: 1, ..Sums::default() },
        }
    }

    /// Takes a sampled fault. Of a page the newest counts. False: there is no room for its stack.
    pub fn touch(&mut self, touch: &Touch<K>) -> bool {
        let Touch { at, key, weight, .. } = *touch;
        let address = touch.page.address - touch.page.address % self.sizes.base.max(1);
        let page = Page { address, ..touch.page };
        let bytes = weight.saturating_mul(self.sizes.base);
        self.sums.samples += 1;
        self.sums.touched_bytes = self.sums.touched_bytes.saturating_add(bytes);
        // who faults there has nothing there: what was is gone, whoever it was
        let older: Vec<Page> = self
            .area(page)
            .filter(|(other, sample)| **other == page || sample.size == Some(self.sizes.huge))
            .filter(|(_, sample)| sample.at <= at)
            .map(|(other, _)| *other)
            .collect();
        for page in older {
            self.pages.remove(&page);
        }
        if !self.keys.contains_key(&key) && !self.has_room() {
            self.sums.not_fitted += 1;
            return false;
        }
        let known = self.keys.entry(key).or_default();
        known.samples += 1;
        known.touched = known.touched.saturating_add(bytes);
        known.spread += variance(weight, self.sizes.base);
        if is_among(page, self.salt, self.level) && !self.pages.contains_key(&page) {
            let weight = weight.saturating_mul(self.sums.followed_of);
            self.pages.insert(page, Sample { at, key, weight, size: None, seen: 0 });
            if self.pages.len() > self.max_pages {
                self.thin();
            }
        }
        true
    }

    /// Who touched the nearest page above this one that is followed, no more than so many bytes away, and is not `key`.
    #[must_use]
    pub fn above(&self, page: Page, within: u64, key: &K) -> Option<K> {
        let last = Page { address: page.address.saturating_add(within), ..page };
        self.pages.range(page..=last).map(|(_, sample)| sample.key).find(|other| other != key)
    }

    /// The pages to ask about at a look, in order; and of each whether it is the first time, when it matters whether a huge page
    /// serves it.
    #[must_use]
    pub fn pages(&self) -> Vec<(Page, bool)> {
        self.pages.iter().map(|(page, sample)| (*page, sample.size.is_none())).collect()
    }

    /// Takes what was seen of a page.
    pub fn answer(&mut self, page: Page, answer: Answer) {
        if answer == Answer::Gone {
            self.pages.remove(&page);
            return;
        }
        // two faults cannot both have given the same huge page: such was made of small ones since
        let is_huge = answer == Answer::Huge && self.area(page).count() == 1;
        let Some(sample) = self.pages.get_mut(&page) else { return };
        sample.seen = sample.seen.saturating_add(1);
        if sample.size.is_some() {
            return;
        }
        sample.size = Some(if is_huge { self.sizes.huge } else { self.sizes.base });
        if is_huge {
            // it was counted as small
            let faults = sample.weight / self.sums.followed_of.max(1);
            let more = faults.saturating_mul(self.sizes.huge - self.sizes.base.min(self.sizes.huge));
            self.sums.touched_bytes = self.sums.touched_bytes.saturating_add(more);
            if let Some(known) = self.keys.get_mut(&sample.key) {
                known.touched = known.touched.saturating_add(more);
                known.spread += variance(faults, self.sizes.huge) - variance(faults, self.sizes.base);
            }
        }
    }

    /// All pages of a look have been asked about, at this time.
    pub fn looked(&mut self, at: Duration) {
        self.sums.looks += 1;
        self.full = false;
        self.looks.push_back(at);
        if self.looks.len() > LOOKS as usize {
            self.looks.pop_front();
        }
    }

    /// An address space is gone, with all that is in it.
    pub fn forget(&mut self, space: u32) {
        self.pages.retain(|page, _| page.space != space);
    }

    /// The stacks of pages that are followed.
    #[must_use]
    pub fn held(&self) -> HashSet<K> {
        self.pages.values().map(|sample| sample.key).collect()
    }

    /// By stack; those that grow steadily first, by how much. Stacks of which nothing survives are not among them.
    #[must_use]
    pub fn figures(&self, now: Duration) -> Vec<(K, Figures)> {
        // what was touched before the look that is as many looks back as it takes has been at all of them
        let settled = if self.looks.len() < LOOKS as usize { None } else { self.looks.front().copied() };
        let parts = Parts::new(self.began, now, settled.unwrap_or(self.began));
        let mut found: BTreeMap<K, Survived> = BTreeMap::new();
        for sample in self.pages.values().filter(|sample| sample.seen >= LOOKS) {
            let size = sample.size.unwrap_or(self.sizes.base);
            let bytes = sample.weight.saturating_mul(size);
            let survived = found.entry(sample.key).or_default();
            survived.count += 1;
            survived.bytes = survived.bytes.saturating_add(bytes);
            survived.spread += variance(sample.weight, size);
            let cohort = &mut survived.cohorts[parts.of(sample.at)];
            *cohort = cohort.saturating_add(bytes);
        }
        let all = found.values().fold(0_u64, |sum, survived| sum.saturating_add(survived.bytes));
        let figures = found.into_iter().map(|(key, survived)| {
            let known = self.keys.get(&key).copied().unwrap_or_default();
            let (pattern, steady_bytes) = parts.pattern(&survived.cohorts, survived.count);
            // where not all pages are followed, each that is stands for more than when it was sampled
            let mean =
                (known.spread / known.samples.max(1) as f64).max(survived.spread / survived.count as f64);
            let figures = Figures {
                bytes: survived.bytes,
                error_bytes: half_width(survived.spread, mean),
                share: survived.bytes as f64 / all.max(1) as f64,
                touched_bytes: known.touched.max(survived.bytes),
                samples: known.samples,
                survivors: survived.count,
                velocity: parts.velocity(&survived.cohorts),
                cohorts: survived.cohorts.to_vec(),
                pattern,
                steady_bytes,
                made: Blocks::default(),
                made_bytes: 0,
                blocks: Blocks::default(),
                votes: 0,
            };
            (key, figures)
        });
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by_key(|(key, it)| {
            (it.pattern != Pattern::Steady, Reverse(it.steady_bytes), Reverse(it.bytes), *key)
        });
        figures
    }

    /// All stacks together.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let survive = self.pages.values().filter(|sample| sample.seen >= LOOKS);
        let bytes = survive.fold(0_u64, |sum, sample| {
            sum.saturating_add(sample.weight.saturating_mul(sample.size.unwrap_or(self.sizes.base)))
        });
        Sums { bytes, ..self.sums }
    }

    /// The pages that are followed in the area that one huge page would serve.
    fn area(&self, page: Page) -> impl Iterator<Item = (&Page, &Sample<K>)> {
        let huge = self.sizes.huge.max(1);
        let first = Page { address: page.address - page.address % huge, ..page };
        let last = Page { address: first.address.saturating_add(huge - 1), ..page };
        self.pages.range(first..=last)
    }

    /// Half of the pages are let go, and each that stays counts twice.
    fn thin(&mut self) {
        self.level += 1;
        self.sums.followed_of = self.sums.followed_of.saturating_mul(2);
        let (salt, level) = (self.salt, self.level);
        self.pages.retain(|page, _| is_among(*page, salt, level));
        for sample in self.pages.values_mut() {
            sample.weight = sample.weight.saturating_mul(2);
        }
    }

    fn has_room(&mut self) -> bool {
        if self.keys.len() < MAX_KEYS {
            return true;
        }
        if self.full {
            return false;
        }
        let held = self.held();
        self.keys.retain(|key, _| held.contains(key));
        self.full = self.keys.len() >= MAX_KEYS;
        !self.full
    }

    /// With room for fewer pages.
    #[cfg(test)]
    pub(super) fn with_room(mut self, pages: usize) -> Self {
        self.max_pages = pages;
        self
    }
}

/// What survives of a stack.
#[derive(Debug, Clone, Copy, Default)]
struct Survived {
    count: u64,
    bytes: u64,
    spread: f64,
    cohorts: [u64; COHORTS],
}

/// Of a fault of `size` bytes that stands for `weight` such: it was seen with probability 1/w and counts w times, and
/// w(w - 1)s² estimates the variance of that without bias.
fn variance(weight: u64, size: u64) -> f64 {
    let weight = weight as f64;
    weight * (weight - 1.0).max(0.0) * (size as f64).powi(2)
}
