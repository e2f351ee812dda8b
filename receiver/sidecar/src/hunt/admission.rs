//! Who of a pass is judged: `include` and `exclude`, decided once for each process and remembered.

use std::collections::HashMap;

use mlh_detect::{About, ContainerKey, Finding, Pass, ProcessKey};
use mlh_targets::container::ContainerId;
use mlh_targets::executable;
use mlh_targets::process::ProcessReading;

use super::scope::{Candidate, Scope};
use super::subjects::Detail;
use super::units::{Samples, Units};
use crate::observe::key;

/// The scope and what has been decided by it.
#[derive(Debug)]
pub(super) struct Admission {
    scope: Scope,
    detail: Detail,
    /// Counts the full passes.
    pass: u64,
    processes: HashMap<ProcessKey, Decision>,
    /// Those that have had an admitted process, each with the last full pass that saw it. One whose admitted workers come
    /// and go stays the same container.
    containers: HashMap<ContainerKey, u64>,
}

#[derive(Debug)]
struct Decision {
    admitted: bool,
    /// What it rests on: the program and the cgroup.
    image: u64,
    cgroups: [Option<u64>; 2],
    /// The last full pass that saw the process.
    pass: u64,
}

impl Admission {
    pub(super) fn new(scope: Scope, detail: Detail) -> Self {
        Self { scope, detail, pass: 0, processes: HashMap::new(), containers: HashMap::new() }
    }

    /// Decides anew from now on, where the scope is another one.
    pub(super) fn set_scope(&mut self, scope: &Scope) {
        if self.scope != *scope {
            *self = Self::new(scope.clone(), self.detail);
        }
    }

    /// Leaves out of the samples who is not to be judged. What containers hold has been counted before, so that what is
    /// told of them stays true. A container is judged when a process in it is.
    pub(super) fn filter(
        &mut self,
        pass: Pass,
        readings: &[ProcessReading],
        samples: &mut Samples,
        units: &mut Units,
    ) {
        if self.scope.is_everybody() {
            return;
        }
        self.pass += u64::from(pass == Pass::Full);
        // samples stand in the order of their readings
        let mut admitted = readings.iter().map(|reading| self.admits(reading, units));
        samples.processes.retain(|_| admitted.next().unwrap_or(false));
        for container in samples.processes.iter().filter_map(|sample| sample.container) {
            self.containers.insert(container, self.pass);
        }
        samples.containers.retain(|sample| match self.containers.get_mut(&sample.key) {
            Some(seen) => {
                *seen = self.pass;
                true
            }
            None => false,
        });
    }

    /// Whether this process is judged.
    pub(super) fn admits(&mut self, reading: &ProcessReading, units: &mut Units) -> bool {
        if self.scope.is_everybody() {
            return true;
        }
        let (image, cgroups) = (reading.image, [reading.cgroup_id, reading.memory_cgroup_id]);
        if let Some(decision) = self.processes.get_mut(&key(reading))
            && (decision.image, decision.cgroups) == (image, cgroups)
        {
            decision.pass = self.pass;
            return decision.admitted;
        }
        let container = units.container_of(reading).and_then(|key| units.unit(key)).cloned();
        let path = units.path_of(reading);
        let executable = self.executable(reading);
        let admitted = self.scope.admits(&Candidate {
            executable: executable.as_deref(),
            command: &reading.comm,
            container: container
                .as_ref()
                .and_then(|unit| unit.container_id.as_ref())
                .map(ContainerId::as_str),
            cgroup: path.as_deref(),
        });
        // of a cgroup that no pass has told of yet more will be known at the next one
        if path.is_some() || cgroups == [None, None] {
            let decision = Decision { admitted, image, cgroups, pass: self.pass };
            self.processes.insert(key(reading), decision);
        }
        admitted
    }

    /// A pass tells the base name alone; the path is looked up where somebody asks for it.
    fn executable(&self, reading: &ProcessReading) -> Option<String> {
        let look = self.detail == Detail::Live && self.scope.asks_for_executables();
        let path = if look && reading.is_at_its_pid() { executable::path(reading.pid) } else { None };
        let path = path.map(|path| path.to_string_lossy().into_owned());
        path.or_else(|| (!reading.executable.is_empty()).then(|| reading.executable.clone()))
    }

    /// Whether a finding is told. Who was followed and is judged no more has not ended.
    pub(super) fn tells(&self, finding: &Finding) -> bool {
        self.scope.is_everybody()
            || match finding.about {
                About::Process(key) => self.processes.get(&key).is_none_or(|decision| decision.admitted),
                About::Container(key) => self.containers.contains_key(&key),
            }
    }

    /// Forgets those that the last full pass did not see.
    pub(super) fn forget_gone(&mut self) {
        let pass = self.pass;
        self.processes.retain(|_, decision| decision.pass == pass);
        self.containers.retain(|_, seen| *seen == pass);
    }
}

#[cfg(test)]
mod tests;
