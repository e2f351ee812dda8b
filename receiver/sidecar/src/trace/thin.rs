//! What a sweep at another interval would have seen of a trace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use mlh_detect::{Pass, ProcessKey};
use mlh_targets::cgroup_reading::CgroupReading;
use mlh_targets::process::ProcessReading;

use super::passes::TracePass;
use super::reader::TraceError;
use crate::observe::key;

/// Thins a trace. Each item is a pass and whether a sweep every `interval` would have been due then; the passes in
/// between are the finer spacing, of which only those under suspicion would have been seen.
///
/// A due pass is filled up with the newest reading of each process that the trace shows since the pass due before,
/// so processes sampled at odd times are seen once an interval. Errors pass through.
pub fn thin<I>(passes: I, interval: Duration) -> Thinned<I>
where
    I: Iterator<Item = Result<TracePass, TraceError>>,
{
    Thinned {
        passes,
        interval,
        due: Duration::ZERO,
        recent: HashMap::new(),
        cgroups: BTreeMap::new(),
        expected: HashSet::new(),
    }
}

/// See [`thin`].
#[derive(Debug)]
pub struct Thinned<I> {
    passes: I,
    interval: Duration,
    due: Duration,
    /// The newest reading of each living process since the last due pass.
    recent: HashMap<ProcessKey, ProcessReading>,
    /// The newest reading of each cgroup.
    cgroups: BTreeMap<(u64, bool), CgroupReading>,
    /// Who lived in the last due pass and has not ended since.
    expected: HashSet<ProcessKey>,
}

impl<I> Thinned<I> {
    fn is_due(&self, pass: &TracePass) -> bool {
        // a recorder's timer drifts by a little, and a sweep just before its time is still that sweep
        let early = self.interval / 50;
        match pass.coverage {
            Some(Pass::Full) => pass.t + early >= self.due,
            Some(Pass::Watched) => false,
            // some processes only: wait for the others, but not for ever
            Some(Pass::Partial | Pass::Told) | None if pass.readings.is_empty() || pass.t < self.due => false,
            Some(Pass::Partial | Pass::Told) | None => {
                let complete = self.expected.iter().all(|key| self.recent.contains_key(key));
                complete || pass.t >= self.due + self.interval / 2
            }
        }
    }

    fn note(&mut self, pass: &TracePass) {
        for reading in &pass.readings {
            self.recent.insert(key(reading), reading.clone());
        }
        if pass.coverage == Some(Pass::Full) {
            self.cgroups.clear();
        }
        let cgroups = pass.cgroups.iter().cloned();
        self.cgroups.extend(cgroups.map(|cgroup| ((cgroup.id, cgroup.unified), cgroup)));
        for ended in &pass.exits {
            self.recent.remove(ended);
            self.expected.remove(ended);
        }
    }

    /// Makes a pass the due one.
    fn complete(&mut self, pass: &mut TracePass) {
        if pass.coverage == Some(Pass::Full) {
            self.expected = pass.readings.iter().map(key).collect();
        } else {
            let complete = self.expected.iter().all(|key| self.recent.contains_key(key));
            pass.coverage = complete.then_some(Pass::Full);
            self.expected.extend(self.recent.keys());
            pass.readings = self.recent.values().cloned().collect();
            pass.readings.sort_unstable_by_key(|reading| (reading.pid, reading.start_ns));
            pass.cgroups = self.cgroups.values().cloned().collect();
        }
        for ended in &pass.exits {
            self.expected.remove(ended);
        }
        self.recent.clear();
        self.due = pass.t + self.interval;
    }
}

impl<I: Iterator<Item = Result<TracePass, TraceError>>> Iterator for Thinned<I> {
    type Item = Result<(TracePass, bool), TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut pass = match self.passes.next()? {
            Ok(pass) => pass,
            Err(error) => return Some(Err(error)),
        };
        self.note(&pass);
        let due = self.is_due(&pass);
        if due {
            self.complete(&mut pass);
        }
        Some(Ok((pass, due)))
    }
}
