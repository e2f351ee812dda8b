//! Who is to blame in those that are or were looked at, for the verdict when it falls.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlh_detect::{About, ProcessKey};

use super::knowledge::{Knowledge, Lead, ranked};
use crate::investigate::report::{GrowthStack, Report};

/// Cases of which something is kept after the climb.
const MOST: usize = 256;

/// One for a receiver: those who look write it, the one that judges reads it.
#[derive(Debug, Default)]
pub(crate) struct KnownStacks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By the look that somebody ordered, by pid.
    looks: HashMap<u32, Arc<Knowledge>>,
    /// By climbs; each with a number that tells which came first.
    cases: HashMap<About, (u64, Arc<Knowledge>)>,
    count: u64,
}

impl KnownStacks {
    /// Replaces all that is known by an ordered look: of those that have allocated the stacks that hold the most, and else those that
    /// touched what grew.
    pub(crate) fn set(&self, report: &Report) {
        let mut by_pid: BTreeMap<u32, Vec<Lead>> = BTreeMap::new();
        for stack in report.stacks.iter().filter(|stack| !stack.gone && stack.live_bytes > 0) {
            by_pid.entry(stack.pid).or_default().push(Lead {
                pid: stack.pid,
                trace: stack.trace.clone(),
                bytes: stack.live_bytes,
                count: Some(stack.live_count),
                ..Lead::default()
            });
        }
        let known = |(pid, leads), source| {
            let not_seen = report.not_seen.clone();
            (pid, Arc::new(Knowledge { leads: ranked(leads), kinds: Vec::new(), source, not_seen }))
        };
        let probed = by_pid.into_iter().map(|held| known(held, "live_blocks"));
        let mut looks: HashMap<_, _> = of_growth(&report.growth)
            .into_iter()
            .map(|grown| known(grown, super::growth_stacks::SOURCE))
            .collect();
        looks.extend(probed);
        self.lock().looks = looks;
    }

    /// Nobody is looked at by order any more.
    pub(crate) fn clear(&self) {
        self.lock().looks.clear();
    }

    /// Notes what is known of a case. Where there is no room the oldest goes.
    pub(crate) fn note(&self, about: About, knowledge: Arc<Knowledge>) {
        let mut known = self.lock();
        known.count += 1;
        let number = known.count;
        known.cases.insert(about, (number, knowledge));
        if known.cases.len() > MOST {
            let oldest = known.cases.iter().min_by_key(|(_, (number, _))| *number).map(|(about, _)| *about);
            oldest.map(|about| known.cases.remove(&about));
        }
    }

    /// The case has come to its end.
    pub(crate) fn forget(&self, about: &About) {
        self.lock().cases.remove(about);
    }

    /// What is known of a case; `leader`: of a container the process that grew most. What an ordered look has seen comes first.
    pub(crate) fn of(&self, about: &About, leader: Option<ProcessKey>) -> Option<Arc<Knowledge>> {
        let known = self.lock();
        let process = match about {
            About::Process(key) => Some(*key),
            About::Container(_) => leader,
        };
        let ordered = process.and_then(|key| known.looks.get(&key.pid));
        let of_case = known.cases.get(about);
        let of_process = process.and_then(|key| known.cases.get(&About::Process(key)));
        let climbed = of_case.or(of_process).map(|(_, knowledge)| knowledge);
        ordered.or(climbed).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stacks that grow steadily, as leads, by pid.
fn of_growth(growth: &[GrowthStack]) -> BTreeMap<u32, Vec<Lead>> {
    let mut by_pid: BTreeMap<u32, Vec<Lead>> = BTreeMap::new();
    for lead in super::growth_stacks::steady(growth) {
        by_pid.entry(lead.pid).or_default().push(lead);
    }
    by_pid
}

#[cfg(test)]
mod tests {
    use mlh_detect::ContainerKey;

    use super::*;
    use crate::investigate::report::StackEvidence;

    fn knowledge(source: &'static str) -> Arc<Knowledge> {
        Arc::new(Knowledge { leads: vec![Lead::default()], source, ..Knowledge::default() })
    }

    fn process(pid: u32, start_ns: u64) -> ProcessKey {
        ProcessKey { pid, start_ns }
    }

    /// Guarantees: of a process is told what an ordered look sees of it, else what a climb has; of a container what was climbed for
    /// it, else what is known of the process that grew most; another process with the same pid is another; what is forgotten is gone,
    /// and of too many the oldest goes.
    #[test]
    fn what_is_known() {
        let known = KnownStacks::default();
        let (one, container) = (process(1, 1), About::Container(ContainerKey(9)));
        let source = |about: &About, leader| known.of(about, leader).map(|it| it.source);
        assert_eq!(source(&About::Process(one), None), None);
        known.note(About::Process(one), knowledge("process"));
        assert_eq!(source(&About::Process(one), None), Some("process"));
        assert_eq!(source(&About::Process(process(1, 2)), None), None);
        assert_eq!(source(&container, Some(one)), Some("process"));
        known.note(container, knowledge("container"));
        assert_eq!(source(&container, Some(one)), Some("container"));
        let stack = StackEvidence { pid: 1, live_bytes: 5, ..StackEvidence::default() };
        known.set(&Report { stacks: vec![stack], ..Report::default() });
        assert_eq!(source(&About::Process(one), None), Some("live_blocks"));
        known.clear();
        known.forget(&container);
        assert_eq!(source(&container, Some(one)), Some("process"));
        for pid in 2..=u32::try_from(MOST).unwrap() + 1 {
            known.note(About::Process(process(pid, 1)), knowledge("other"));
        }
        assert_eq!(source(&About::Process(one), None), None);
        assert_eq!(source(&About::Process(process(2, 1)), None), Some("other"));
    }
}
