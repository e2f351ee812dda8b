//! Which cgroups there are. A trace of our own recorder tells of all of them in each full pass; another's may tell of
//! them once, or at other times than of the processes, so what it told holds until it should have been told again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mlh_targets::cgroup_reading::CgroupReading;

use super::cgroup::CgroupLine;
use super::presence::LAPSE;

/// More cgroups than a host has.
pub(super) const MAX_CGROUPS: usize = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    known: HashMap<(u64, bool), Known>,
    /// Those that lines of the present pass tell of.
    fresh: HashSet<(u64, bool)>,
}

#[derive(Debug)]
struct Known {
    /// The newest.
    line: CgroupLine,
    longest_gap: Duration,
}

impl Cgroups {
    /// Takes a line of the present pass. Of several about one cgroup the last holds. False: there are too many.
    pub(super) fn take(&mut self, line: CgroupLine) -> bool {
        let line = line.bounded();
        let key = line.key();
        if self.known.len() >= MAX_CGROUPS && !self.known.contains_key(&key) {
            return false;
        }
        self.fresh.insert(key);
        let gap = |known: &Known| known.longest_gap.max(line.t.saturating_sub(known.line.t));
        let longest_gap = self.known.get(&key).map_or(Duration::ZERO, gap);
        self.known.insert(key, Known { line, longest_gap });
        true
    }

    /// Ends the present pass: those it told of.
    pub(super) fn told(&mut self) -> Vec<CgroupReading> {
        let fresh = std::mem::take(&mut self.fresh);
        sorted(fresh.iter().filter_map(|key| Some(self.reading(&self.known.get(key)?.line))).collect())
    }

    /// All there are at `t`. The memory of one that has stayed away for too long is not known any more; for one that
    /// was told of once, `step` is how often it could have been told.
    pub(super) fn all(&self, t: Duration, step: Duration) -> Vec<CgroupReading> {
        let reading = |known: &Known| {
            let usual = if known.longest_gap.is_zero() { step } else { known.longest_gap };
            let mut reading = self.reading(&known.line);
            if t.saturating_sub(known.line.t) > usual * LAPSE {
                reading.memory = None;
            }
            reading
        };
        sorted(self.known.values().map(reading).collect())
    }

    /// A pass at `t` told of all: the others are gone.
    pub(super) fn close_full(&mut self, t: Duration) {
        self.known.retain(|_, known| known.line.t == t);
    }

    fn reading(&self, line: &CgroupLine) -> CgroupReading {
        let unified = line.is_unified();
        let (name, parent) = line.place(|id| self.known.contains_key(&(id, unified)));
        CgroupReading {
            id: line.cgroup_id,
            parent,
            unified,
            name,
            memory: line.memory(),
            node_name: line.node_name.clone().unwrap_or_default(),
        }
    }
}

/// The same trace gives the same readings in the same order.
fn sorted(mut readings: Vec<CgroupReading>) -> Vec<CgroupReading> {
    readings.sort_unstable_by_key(|reading| (reading.id, reading.unified));
    readings
}
