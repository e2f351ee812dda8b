//! What is known of the processes and containers that findings are about. Learnt once, at the first finding, and kept
//! while the process lives: when it has exited, `/proc` has nothing left to tell.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use mlh_detect::{About, ContainerKey, Detector, Exhaustion, Finding, FindingKind, ProcessKey};
use mlh_targets::hierarchy::Unit;
use mlh_targets::host::HostClock;
use mlh_targets::process::ProcessReading;
use mlh_targets::{cgroup, container, executable};

use super::units::Units;
use crate::observe::key;
use crate::records::Subject;

/// Where to look for more than the pass itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// This host's `/proc`.
    Live,
    /// Nowhere: the processes of a trace are not this host's.
    Recorded,
}

#[derive(Debug)]
pub(super) struct Subjects {
    detail: Detail,
    known: HashMap<ProcessKey, Subject>,
    /// The processes that speak for the watched containers, as the last full pass saw them: a worker may be gone by the
    /// time its container is found to leak.
    leaders: HashMap<ContainerKey, ProcessReading>,
}

impl Subjects {
    pub(super) fn new(detail: Detail) -> Self {
        Self { detail, known: HashMap::new(), leaders: HashMap::new() }
    }

    /// The subject of a finding. `readings` are the newest, by process.
    pub(super) fn of(
        &mut self,
        finding: &Finding,
        readings: &HashMap<ProcessKey, &ProcessReading>,
        units: &Units,
        clock: &HostClock,
    ) -> Subject {
        let (process, container) = match finding.about {
            About::Process(key) => (Some(key), finding.container),
            About::Container(container) => {
                (self.leaders.get(&container).map(key).or(finding.leader), Some(container))
            }
        };
        let mut subject = process.map(|key| self.process(key, readings, clock)).unwrap_or_default();
        if let About::Container(key) = finding.about
            && subject.reading.executable.is_empty()
            && let Some(reading) = self.leaders.get(&key)
        {
            subject.reading.clone_from(reading);
            subject.created = Some(created(reading, clock));
        }
        if let Some(unit) = container.and_then(|key| units.unit(key)) {
            place(&mut subject, unit, matches!(finding.about, About::Container(_)));
        } else if subject.cgroup_path.is_none() {
            subject.cgroup_path = units.path_of(&subject.reading);
        }
        subject.limit_path =
            exhaustion(&finding.kind).and_then(|end| end.limit.cgroup_id).and_then(|id| units.path(id));
        subject
    }

    fn process(
        &mut self,
        key: ProcessKey,
        readings: &HashMap<ProcessKey, &ProcessReading>,
        clock: &HostClock,
    ) -> Subject {
        let changed = |known: &Subject, new: &ProcessReading| known.reading.image != new.image;
        let reading = readings.get(&key).copied();
        if let Some(reading) = reading
            && self.known.get(&key).is_none_or(|known| changed(known, reading))
        {
            self.known.insert(key, learn(self.detail, reading, clock));
        }
        let subject = self.known.entry(key).or_insert_with(|| {
            let reading =
                ProcessReading { pid: key.pid, start_ns: key.start_ns, ..ProcessReading::default() };
            Subject { reading, ..Subject::default() }
        });
        if let Some(reading) = reading {
            subject.reading.clone_from(reading);
        }
        subject.clone()
    }

    /// Remembers who speaks for the watched containers, after a full pass.
    pub(super) fn remember(&mut self, detector: &Detector, readings: &HashMap<ProcessKey, &ProcessReading>) {
        let leader = |watched: mlh_detect::WatchedContainer| {
            let reading = readings.get(&watched.leader?)?;
            Some((watched.key, (*reading).clone()))
        };
        self.leaders = detector.watched_containers().filter_map(leader).collect();
    }

    /// The name of the process that speaks for a container.
    pub(super) fn leader_name(&self, container: ContainerKey) -> Option<&str> {
        self.leaders.get(&container).map(|reading| reading.executable.as_str())
    }

    /// What is already known, without looking.
    pub(super) fn known(&self, key: &ProcessKey) -> Option<&Subject> {
        self.known.get(key)
    }

    /// Forgets all but those that are followed.
    pub(super) fn retain(&mut self, detector: &Detector) {
        self.known.retain(|key, _| detector.follows(&About::Process(*key)));
    }
}

/// The limit a finding speaks of.
fn exhaustion(kind: &FindingKind) -> Option<&Exhaustion> {
    match kind {
        FindingKind::Detected(verdict) => verdict.exhaustion.as_ref(),
        FindingKind::OomRisk(risk) => Some(&risk.exhaustion),
        FindingKind::OomKill(kill) => kill.told.as_ref().map(|(_, end)| end),
        FindingKind::Growth { .. } | FindingKind::Suspected(_) | FindingKind::Cleared { .. } => None,
    }
}

/// Where it runs, as the kernel tells it: that needs no leave to look into `/proc`.
fn place(subject: &mut Subject, unit: &Unit, whole: bool) {
    if let Some(id) = &unit.container_id {
        subject.container_id = Some(id.as_str().to_owned());
    }
    subject.pod_uid = unit.pod_uid.clone().or(subject.pod_uid.take());
    subject.node_name.clone_from(&unit.node_name);
    // of a container its own cgroup, of a process the innermost one
    if whole || subject.cgroup_path.is_none() {
        subject.cgroup_path = Some(unit.path.clone());
    }
    if whole {
        // one that stands in the v2 tree beside a v1 memory controller has no memory cgroup
        let beside_v1 = unit.key != unit.cgroup_id;
        let one_tree = subject.reading.cgroup_id == subject.reading.memory_cgroup_id;
        if beside_v1 || one_tree {
            subject.reading.cgroup_id = Some(unit.cgroup_id);
        }
        subject.reading.memory_cgroup_id = (!beside_v1).then_some(unit.cgroup_id);
    }
}

fn created(reading: &ProcessReading, clock: &HostClock) -> SystemTime {
    clock.to_epoch(Duration::from_nanos(reading.start_ns))
}

/// All that can be learnt of a process.
pub(crate) fn learn(detail: Detail, reading: &ProcessReading, clock: &HostClock) -> Subject {
    let created = Some(created(reading, clock));
    let mut subject = Subject { reading: reading.clone(), created, ..Subject::default() };
    // a pid that has been given to another process since, or a /proc of another pid namespace, would tell of a stranger
    if detail == Detail::Recorded || !reading.is_at_its_pid() {
        return subject;
    }
    if let Some(paths) = cgroup::of_pid(reading.pid) {
        subject.container_id = paths.all().find_map(container::id_from_path).map(|id| id.as_str().to_owned());
        subject.pod_uid = paths.all().find_map(container::pod_uid_from_path);
        subject.cgroup_path = paths.limiting().map(str::to_owned);
    }
    subject.executable_path = executable::path(reading.pid).map(|path| path.display().to_string());
    // a stripped build without the note is common; the record is whole without it
    subject.build_id = executable::build_id(reading.pid).ok().flatten().map(|id| id.to_string());
    subject
}
