//! Those who are followed, processes or containers: a track each, and who of them is looked at more closely.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::evidence::Testimony;
use crate::finding::{FindingKind, Stage};
use crate::sample::{ContainerKey, Pass, Sweep};
use crate::track::{Measure, Surroundings, Track, cadence};
use crate::watch::Watch;

/// One of them in one pass.
pub(crate) struct Subject<K> {
    pub(crate) key: K,
    /// When it began, on the clock of the sweeps.
    pub(crate) born: Duration,
    pub(crate) measure: Measure,
    /// Of a process: the container it runs in.
    pub(crate) container: Option<ContainerKey>,
    /// Not only an upper bound.
    pub(crate) exact: bool,
    /// A watched pass can see it.
    pub(crate) watchable: bool,
    /// Growth that makes a record, bytes.
    pub(crate) threshold: u64,
}

#[derive(Debug)]
struct One {
    track: Track,
    watch: Watch,
    container: Option<ContainerKey>,
    watchable: bool,
}

impl One {
    fn is_watched(&self) -> bool {
        self.watchable && (self.watch.looks() || self.track.stage() > Stage::Calm)
    }

    fn cadence(&self, at: Duration) -> Duration {
        let since = self.track.open_case().map_or(at, |(_, since)| since);
        cadence(self.track.stage(), self.track.told().is_some(), at.saturating_sub(since))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Followed<K> {
    max: usize,
    max_watched: usize,
    all: HashMap<K, One>,
    watched: Vec<K>,
    unfollowed: u64,
}

impl<K: Copy + Eq + Hash + Ord> Followed<K> {
    pub(crate) fn new(max: usize, max_watched: usize) -> Self {
        Self { max, max_watched, all: HashMap::new(), watched: Vec::new(), unfollowed: 0 }
    }

    pub(crate) fn bound(&mut self, max: usize, max_watched: usize) {
        (self.max, self.max_watched) = (max, max_watched);
    }

    /// Takes what a pass saw of one and says what follows from it. Newcomers join when everybody is looked at.
    pub(crate) fn observe(
        &mut self,
        sweep: &Sweep<'_>,
        subject: &Subject<K>,
        around: &Surroundings<'_>,
    ) -> Vec<FindingKind> {
        let (at, full, measure) = (sweep.at, sweep.pass != Pass::Watched, &subject.measure);
        let charged = measure.memory.charged();
        let Some(one) = self.all.get_mut(&subject.key) else {
            if full {
                self.join(at, subject);
            }
            return Vec::new();
        };
        (one.container, one.watchable) = (subject.container, subject.watchable);
        if sweep.pass == Pass::Told {
            if one.track.stage() == Stage::Calm {
                one.watch.told(at, charged, measure.slack);
            }
            if one.watch.looks() {
                one.track.follow(at);
            }
            return one.track.told_growth(at, measure, subject.threshold).into_iter().collect();
        }
        let mut findings = one.track.observe(at, measure, subject.exact, around);
        if full {
            findings.extend(one.track.growth(at, measure, subject.threshold));
        }
        if one.track.stage() > Stage::Calm {
            one.watch.vindicate();
        } else {
            one.watch.observe(at, charged, measure.slack, full);
            if one.watch.looks() {
                one.track.follow(at);
            } else {
                one.track.leave();
            }
        }
        findings
    }

    fn join(&mut self, at: Duration, subject: &Subject<K>) {
        if self.all.len() >= self.max {
            self.unfollowed += 1;
            return;
        }
        let (born, measure) = (subject.born, &subject.measure);
        let watch = Watch::new(at, at.saturating_sub(born), measure.memory.charged(), measure.slack);
        let mut track = Track::new(at, born, measure, subject.exact);
        if watch.looks() {
            track.follow(at);
        }
        let Subject { container, watchable, .. } = *subject;
        self.all.insert(subject.key, One { track, watch, container, watchable });
    }

    /// Takes out those who are said to have ended, or whom this pass should have seen.
    pub(crate) fn take_gone(
        &mut self,
        sweep: &Sweep<'_>,
        ended: &[K],
    ) -> Vec<(K, Option<ContainerKey>, Track)> {
        let gone = |one: &One| one.track.seen() < sweep.at;
        let missing: Vec<K> = match sweep.pass {
            Pass::Full => self.all.iter().filter(|(_, one)| gone(one)).map(|(key, _)| *key).collect(),
            Pass::Watched => {
                let missing = |key: &&K| self.all.get(key).is_some_and(gone);
                self.watched.iter().filter(missing).copied().collect()
            }
            Pass::Partial | Pass::Told => Vec::new(),
        };
        missing
            .iter()
            .chain(ended)
            .filter_map(|key| self.all.remove(key).map(|one| (*key, one.container, one.track)))
            .collect()
    }

    /// Newcomers join at full sweeps only; the gravest and fastest-growing stay when there are too many.
    pub(crate) fn choose_watched(&mut self, pass: Pass) {
        let wanted = |key: &K| self.all.get(key).is_some_and(One::is_watched);
        match pass {
            // may come a thousand times a second: whoever begins to be looked at joins, and nobody is compared
            Pass::Told => {}
            Pass::Watched => self.watched.retain(wanted),
            Pass::Full | Pass::Partial => {
                let mut all: Vec<_> = self.all.iter().filter(|(_, one)| one.is_watched()).collect();
                all.sort_by_key(|(key, one)| (Reverse((one.track.stage(), one.track.grown())), **key));
                self.watched = all.into_iter().take(self.max_watched).map(|(key, _)| *key).collect();
            }
        }
    }

    /// Has one that a pass between two sweeps spoke of watched from now on, if there is reason and room.
    pub(crate) fn watch_as_well(&mut self, key: K) {
        let wanted = self.all.get(&key).is_some_and(One::is_watched);
        if wanted && self.watched.len() < self.max_watched && !self.watched.contains(&key) {
            self.watched.push(key);
        }
    }

    pub(crate) fn watched(&self) -> &[K] {
        &self.watched
    }

    pub(crate) fn watch_again_in(&self, at: Duration) -> Option<Duration> {
        self.watched.iter().filter_map(|key| self.all.get(key)).map(|one| one.cadence(at)).min()
    }

    /// Those with an open case.
    pub(crate) fn cases(&self) -> impl Iterator<Item = (K, Option<ContainerKey>, &Track)> {
        let all = self.all.iter().map(|(key, one)| (*key, one.container, &one.track));
        all.filter(|(_, _, track)| track.stage() > Stage::Calm)
    }

    pub(crate) fn track(&self, key: &K) -> Option<&Track> {
        self.all.get(key).map(|one| &one.track)
    }

    /// What a rung says of one; of one that is not followed any more nobody needs it.
    pub(crate) fn hear(&mut self, key: &K, testimony: Testimony) {
        if let Some(one) = self.all.get_mut(key) {
            one.track.hear(testimony);
        }
    }

    pub(crate) fn follows(&self, key: &K) -> bool {
        self.all.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn unfollowed(&self) -> u64 {
        self.unfollowed
    }
}
