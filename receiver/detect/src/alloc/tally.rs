//! What call sites do over time, from snapshots of their totals.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::totals::{Estimate, SiteTotals};

/// Rates are of this long at most, where snapshots come often enough.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two moments that rates can begin at.
const SPACING: Duration = Duration::from_secs(5);
/// Moments that are kept: the window.
const MOMENTS: usize = 12;
/// Call sites that are followed one by one, with 400 bytes each. The sum of all others is kept as well.
const MAX_SITES: usize = 32_768;

/// What one call site does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence {
    /// What it holds.
    pub estimate: Estimate,
    /// Bytes a second allocated over the last minute; less where the look is younger, more where snapshots were rare.
    pub allocation_rate: f64,
    /// The same, freed.
    pub free_rate: f64,
    /// When it last allocated.
    pub last: Duration,
}

#[derive(Debug, Clone, Default)]
struct Site {
    totals: SiteTotals,
    /// Bytes allocated and freed by each moment, at the moment's number modulo [`MOMENTS`]. 0 before it was first seen.
    past: [(u64, u64); MOMENTS],
}

/// All call sites. A site that a snapshot does not show keeps what it had.
#[derive(Debug, Clone)]
pub struct Tally<S> {
    rate: u32,
    sites: HashMap<S, Site>,
    /// Sum of those in the last snapshot that found no room.
    others: SiteTotals,
    unfitted: usize,
    max_sites: usize,
    /// The moments that are kept, oldest first.
    moments: VecDeque<Duration>,
    /// Number of the newest of them.
    newest: usize,
    at: Duration,
}

impl<S: Copy + Eq + Hash> Tally<S> {
    /// Begins at a moment at which no site had done anything. One in `rate` blocks is sampled of those that are not exact.
    #[must_use]
    pub fn new(at: Duration, rate: u32) -> Self {
        Self {
            rate,
            sites: HashMap::new(),
            others: SiteTotals::default(),
            unfitted: 0,
            max_sites: MAX_SITES,
            moments: VecDeque::from([at]),
            newest: 0,
            at,
        }
    }

    /// With room for so many sites.
    #[must_use]
    pub fn with_max_sites(self, max_sites: usize) -> Self {
        Self { max_sites, ..self }
    }

    /// Takes what the sites have done up to now.
    pub fn snapshot(&mut self, at: Duration, totals: impl IntoIterator<Item = (S, SiteTotals)>) {
        self.at = self.at.max(at);
        self.others = SiteTotals::default();
        self.unfitted = 0;
        for (key, totals) in totals {
            if let Some(site) = self.sites.get_mut(&key) {
                site.totals = totals;
            } else if self.sites.len() < self.max_sites {
                self.sites.insert(key, Site { totals, ..Site::default() });
            } else {
                self.others.add(&totals);
                self.unfitted += 1;
            }
        }
        if self.moments.back().is_none_or(|newest| self.at.saturating_sub(*newest) >= SPACING) {
            self.keep();
        }
    }

    fn keep(&mut self) {
        self.newest = self.newest.wrapping_add(1);
        self.moments.push_back(self.at);
        while self.moments.len() > MOMENTS {
            self.moments.pop_front();
        }
        for site in self.sites.values_mut() {
            let estimate = site.totals.estimate(self.rate);
            site.past[self.newest % MOMENTS] = (estimate.allocated_bytes, estimate.freed_bytes);
        }
    }

    /// What each site does.
    pub fn evidence(&self) -> impl Iterator<Item = (S, Evidence)> {
        let base = self.base();
        self.sites.iter().map(move |(key, site)| (*key, self.of(site, base)))
    }

    /// What one site does.
    #[must_use]
    pub fn site(&self, key: &S) -> Option<Evidence> {
        self.sites.get(key).map(|site| self.of(site, self.base()))
    }

    /// The sum of all sites, those without room included.
    #[must_use]
    pub fn total(&self) -> Estimate {
        let mut total = self.others;
        for site in self.sites.values() {
            total.add(&site.totals);
        }
        total.estimate(self.rate)
    }

    /// Sites of the last snapshot that found no room; they are in no evidence but the total.
    #[must_use]
    pub fn unfitted(&self) -> usize {
        self.unfitted
    }

    /// Forgets the sites for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&S) -> bool) {
        self.sites.retain(|key, _| keep(key));
    }

    /// Where rates begin: the oldest moment within the window, else the newest before now. Its place in the past, and how
    /// many seconds ago it was.
    fn base(&self) -> Option<(usize, f64)> {
        let past = || self.moments.iter().enumerate().filter(|(_, moment)| **moment < self.at);
        let (index, moment) = past()
            .find(|(_, moment)| self.at.saturating_sub(**moment) <= WINDOW)
            .or_else(|| past().next_back())?;
        let behind = self.moments.len() - 1 - index;
        let slot = self.newest.wrapping_sub(behind) % MOMENTS;
        Some((slot, self.at.saturating_sub(*moment).as_secs_f64()))
    }

    fn of(&self, site: &Site, base: Option<(usize, f64)>) -> Evidence {
        let estimate = site.totals.estimate(self.rate);
        let rates = base.map(|(slot, seconds)| {
            let (allocated, freed) = site.past[slot];
            let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
            (rate(estimate.allocated_bytes, allocated), rate(estimate.freed_bytes, freed))
        });
        let (allocation_rate, free_rate) = rates.unwrap_or_default();
        Evidence { estimate, allocation_rate, free_rate, last: site.totals.last }
    }
}
