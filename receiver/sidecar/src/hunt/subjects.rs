//! What is known of the processes that findings are about. Learnt once, at the first finding, and kept while the
//! process lives: when it has exited, `/proc` has nothing left to tell.

use std::collections::HashMap;

use mlh_detect::ProcessKey;
use mlh_targets::host::HostClock;
use mlh_targets::process::ProcessReading;
use mlh_targets::{cgroup, container, executable};

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
}

impl Subjects {
    pub(super) fn new(detail: Detail) -> Self {
        Self { detail, known: HashMap::new() }
    }

    /// The subject of a finding. `reading` is the newest, where the pass holds one.
    pub(super) fn of(
        &mut self,
        key: ProcessKey,
        reading: Option<&ProcessReading>,
        clock: &HostClock,
    ) -> &Subject {
        let changed = |known: &Subject, new: &ProcessReading| known.reading.image != new.image;
        if let Some(reading) = reading
            && self.known.get(&key).is_none_or(|known| changed(known, reading))
        {
            self.known.insert(key, learn(self.detail, reading, clock));
        }
        let subject = self.known.entry(key).or_default();
        if let Some(reading) = reading {
            subject.reading.clone_from(reading);
        }
        subject
    }

    /// What is already known, without looking.
    pub(super) fn known(&self, key: &ProcessKey) -> Option<&Subject> {
        self.known.get(key)
    }

    /// Forgets all but those that `keep` wants.
    pub(super) fn retain(&mut self, keep: impl Fn(&ProcessKey) -> bool) {
        self.known.retain(|key, _| keep(key));
    }
}

fn learn(detail: Detail, reading: &ProcessReading, clock: &HostClock) -> Subject {
    let created = Some(clock.to_epoch(std::time::Duration::from_nanos(reading.start_ns)));
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
