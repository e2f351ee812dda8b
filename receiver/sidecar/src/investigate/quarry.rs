//! Whom a target names, now.

use mlh_targets::groups::Group;

use super::investigation::OpenError;
use super::plan::Target;
use crate::hunt::scope::{Candidate, Scope};
use crate::records::Subject;

/// A target that has been found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Quarry {
    /// One process.
    Process(u32),
    /// All in a cgroup, also those that join later.
    Group(Group),
}

impl Quarry {
    /// Finds it.
    ///
    /// # Errors
    /// There is none, or several.
    pub(super) fn find(target: &Target) -> Result<Self, OpenError> {
        let group = match target {
            Target::Pid(pid) if *pid == std::process::id() => {
                let reason = "this is the sidecar itself, and probes in it would tell of themselves";
                return Err(OpenError::NoTarget(format!("pid {pid}: {reason}")));
            }
            Target::Pid(pid) => return Ok(Self::Process(*pid)),
            Target::CgroupId(id) => Group::by_id(*id),
            Target::Cgroup(path) => Group::by_path(path),
            Target::Container(id) => Group::by_container(id),
        };
        group.map(Self::Group).map_err(|error| OpenError::NoTarget(error.to_string()))
    }

    /// The pids that belong to it now, but for the sidecar's own. `None`: it is gone. A process that was named is
    /// never gone by this: whether it is still the same its start time tells.
    pub(super) fn pids(&self) -> Option<Vec<u32>> {
        match self {
            Self::Process(pid) => Some(vec![*pid]),
            Self::Group(group) => {
                let own = std::process::id();
                group.pids().map(|pids| pids.into_iter().filter(|pid| *pid != own).collect())
            }
        }
    }

    /// Children of its processes belong to it as well.
    pub(super) fn follows(&self) -> bool {
        matches!(self, Self::Group(_))
    }

    /// The whole of a group as records are about it, from one of its processes.
    pub(super) fn subject(&self, of: &Subject) -> Subject {
        let Self::Group(group) = self else { return of.clone() };
        let mut subject = of.clone();
        subject.cgroup_path = Some(group.path.clone());
        subject.reading.cgroup_id = Some(group.cgroup_id);
        subject.container_id = group.container_id.as_ref().map(ToString::to_string);
        subject
    }
}

/// Whether `include` and `exclude` let a process be looked at.
pub(super) fn is_admitted(scope: &Scope, subject: &Subject) -> bool {
    let executable = subject.executable_path.as_deref().or(Some(subject.reading.executable.as_str()));
    scope.is_everybody()
        || scope.admits(&Candidate {
            executable: executable.filter(|name| !name.is_empty()),
            command: &subject.reading.comm,
            container: subject.container_id.as_deref(),
            cgroup: subject.cgroup_path.as_deref(),
        })
}
