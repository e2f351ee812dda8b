//! The doorway: sweeps in, findings out, and who is to be swept more often.

use std::collections::HashMap;
use std::time::Duration;

use crate::finding::{Cleared, Finding, Stage, Trend};
use crate::rules::Rules;
use crate::sample::{Pass, ProcessKey, Sample, Sweep};
use crate::track::{Track, cadence};
use crate::watch::Watch;

/// An open suspicion or verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ongoing {
    /// Which process.
    pub key: ProcessKey,
    /// How far.
    pub stage: Stage,
    /// The newest slope.
    pub trend: Trend,
}

#[derive(Debug)]
struct Followed {
    track: Track,
    watch: Watch,
}

impl Followed {
    fn is_watched(&self) -> bool {
        self.watch.looks() || self.track.stage() > Stage::Calm
    }

    fn cadence(&self, at: Duration) -> Duration {
        let since = self.track.open_case().map_or(at, |(_, since)| since);
        cadence(self.track.stage(), at.saturating_sub(since))
    }
}

/// Follows every process of a host. The memory it needs for one is bounded and does not depend on time.
#[derive(Debug)]
pub struct Detector {
    rules: Rules,
    processes: HashMap<ProcessKey, Followed>,
    watched: Vec<ProcessKey>,
    at: Duration,
    unfollowed: u64,
}

impl Detector {
    /// A detector that has seen nothing yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, processes: HashMap::new(), watched: Vec::new(), at: Duration::ZERO, unfollowed: 0 }
    }

    /// Takes one pass over the host and says what follows from it. A pass older than the one before is ignored.
    pub fn sweep(&mut self, sweep: &Sweep<'_>) -> Vec<Finding> {
        if sweep.at < self.at {
            return Vec::new();
        }
        self.at = sweep.at;
        let mut findings = Vec::new();
        for sample in sweep.samples {
            self.observe(sweep, sample, &mut findings);
        }
        self.bury(sweep, &mut findings);
        self.choose_watched(sweep.pass);
        findings
    }

    fn observe(&mut self, sweep: &Sweep<'_>, sample: &Sample, findings: &mut Vec<Finding>) {
        let (at, full, charged) = (sweep.at, sweep.pass != Pass::Watched, sample.memory.charged());
        let Some(followed) = self.processes.get_mut(&sample.key) else {
            if !full {
                return;
            }
            if self.processes.len() >= self.rules.max_processes {
                self.unfollowed += 1;
                return;
            }
            let born = Duration::from_nanos(sample.key.start_ns);
            let watch = Watch::new(at, at.saturating_sub(born), charged, sample.slack);
            let mut track = Track::new(at, born, sample);
            if watch.looks() {
                track.follow(at);
            }
            self.processes.insert(sample.key, Followed { track, watch });
            return;
        };
        let finding = |kind| Finding { at, key: sample.key, memory: sample.memory, kind };
        findings.extend(followed.track.observe(at, sample, sweep.host).into_iter().map(finding));
        if full {
            findings.extend(followed.track.growth(at, sample, self.rules.growth_threshold).map(finding));
        }
        if followed.track.stage() > Stage::Calm {
            followed.watch.vindicate();
        } else {
            followed.watch.observe(at, charged, sample.slack, full);
            if followed.watch.looks() {
                followed.track.follow(at);
            } else {
                followed.track.leave();
            }
        }
    }

    /// Ends the tracks of those who have exited: they are said to have, or this pass should have seen them.
    fn bury(&mut self, sweep: &Sweep<'_>, findings: &mut Vec<Finding>) {
        let gone = |followed: &Followed| followed.track.seen() < sweep.at;
        let missing: Vec<ProcessKey> = match sweep.pass {
            Pass::Full => self.processes.iter().filter(|(_, f)| gone(f)).map(|(key, _)| *key).collect(),
            Pass::Watched => {
                let missing = |key: &&ProcessKey| self.processes.get(key).is_some_and(gone);
                self.watched.iter().filter(missing).copied().collect()
            }
            Pass::Partial => Vec::new(),
        };
        for key in missing.iter().chain(sweep.exits) {
            let Some(mut followed) = self.processes.remove(key) else { continue };
            if let Some(kind) = followed.track.close(Cleared::Exited) {
                findings.push(Finding { at: sweep.at, key: *key, memory: followed.track.memory(), kind });
            }
        }
    }

    /// Newcomers join at full sweeps only; the gravest and fastest-growing stay when there are too many.
    fn choose_watched(&mut self, pass: Pass) {
        let wanted = |key: &ProcessKey| self.processes.get(key).is_some_and(Followed::is_watched);
        match pass {
            Pass::Watched => self.watched.retain(wanted),
            Pass::Full | Pass::Partial => {
                let mut all: Vec<_> =
                    self.processes.iter().filter(|(_, followed)| followed.is_watched()).collect();
                all.sort_by_key(|(key, followed)| {
                    let grown = followed.track.grown();
                    (std::cmp::Reverse((followed.track.stage(), grown)), **key)
                });
                self.watched = all.into_iter().take(self.rules.max_watched).map(|(key, _)| *key).collect();
            }
        }
    }

    /// The processes the next [`Pass::Watched`] must hold; ordered by urgency after a full sweep. A process that
    /// is missing from that pass is taken to have exited.
    #[must_use]
    pub fn watched(&self) -> &[ProcessKey] {
        &self.watched
    }

    /// How long after the last pass the watched ones should be looked at again; `None` when there are none.
    #[must_use]
    pub fn watch_again_in(&self) -> Option<Duration> {
        self.watched.iter().filter_map(|key| self.processes.get(key)).map(|f| f.cadence(self.at)).min()
    }

    /// All open suspicions and verdicts, in no order.
    pub fn ongoing(&self) -> impl Iterator<Item = Ongoing> {
        self.processes.iter().filter_map(|(key, followed)| {
            let (trend, _) = followed.track.open_case()?;
            Some(Ongoing { key: *key, stage: followed.track.stage(), trend })
        })
    }

    /// Whether this process is followed: it was alive in the last pass that could tell.
    #[must_use]
    pub fn follows(&self, key: &ProcessKey) -> bool {
        self.processes.contains_key(key)
    }

    /// How many processes are followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.processes.len()
    }

    /// How often a process was passed over because [`Rules::max_processes`] were followed already. A loss.
    #[must_use]
    pub fn unfollowed(&self) -> u64 {
        self.unfollowed
    }
}
