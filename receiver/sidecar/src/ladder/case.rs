//! What there is to climb for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mlh_detect::{About, ContainerKey, ProcessKey, Stage};

use crate::investigate::plan::Target;
use crate::records::Subject;

/// An open suspicion, or a verdict that nobody could be blamed for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    /// Against whom.
    pub(crate) about: About,
    /// Of a process: the container it runs in.
    pub(crate) container: Option<ContainerKey>,
    /// Of a container: the process in it that grew most.
    pub(crate) leader: Option<ProcessKey>,
    /// As records are about it.
    pub(crate) subject: Arc<Subject>,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// Bytes a second.
    pub(crate) velocity: f64,
    /// Until a limit is reached, where one is ahead.
    pub(crate) exhaustion: Option<Duration>,
}

impl Case {
    /// It is about all that a container holds.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.about, About::Container(_))
    }

    /// Whom to look at. `None`: it has no pid here, is this very program, or a container that goes by no name.
    pub(crate) fn target(&self) -> Option<Target> {
        if self.is_whole() {
            let id = self.subject.container_id.clone().map(Target::Container);
            return id.or_else(|| Some(Target::Cgroup(PathBuf::from(self.subject.cgroup_path.as_ref()?))));
        }
        Some(self.subject.reading.pid).filter(|pid| *pid != 0 && *pid != std::process::id()).map(Target::Pid)
    }

    /// Whether a look at this one is a look at `other` as well, or at the part of it that grew most.
    pub(crate) fn covers(&self, other: &Case) -> bool {
        match (self.about, other.about) {
            (About::Container(key), About::Process(_)) => other.container == Some(key),
            (About::Process(key), About::Container(_)) => other.leader == Some(key),
            (one, other) => one == other,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mlh_targets::process::ProcessReading;

    use super::*;

    const CONTAINER: ContainerKey = ContainerKey(9);

    fn process(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_ns: 1 }
    }

    pub(in crate::ladder) fn of_process(pid: u32) -> Case {
        let reading = ProcessReading { pid, start_ns: 1, ..ProcessReading::default() };
        Case {
            about: About::Process(process(pid)),
            container: Some(CONTAINER),
            leader: None,
            subject: Arc::new(Subject { reading, ..Subject::default() }),
            stage: Stage::Suspected,
            velocity: 1e5,
            exhaustion: None,
        }
    }

    fn of_container(leader: u32, id: Option<&str>, path: Option<&str>) -> Case {
        let (container_id, cgroup_path) = (id.map(str::to_owned), path.map(str::to_owned));
        let subject = Subject { container_id, cgroup_path, ..Subject::default() };
        Case {
            about: About::Container(CONTAINER),
            container: Some(CONTAINER),
            leader: Some(process(leader)),
            subject: Arc::new(subject),
            ..of_process(leader)
        }
    }

    /// Guarantees: a process is looked at by its pid, a container by its id or else by its cgroup; the sidecar itself, whoever has no
    /// pid here, and what goes by no name are not looked at.
    #[test]
    fn targets() {
        assert_eq!(of_process(7).target(), Some(Target::Pid(7)));
        assert_eq!((of_process(0).target(), of_process(std::process::id()).target()), (None, None));
        let named = of_container(7, Some("4f1e"), Some("/a"));
        assert_eq!(named.target(), Some(Target::Container("4f1e".to_owned())));
        assert_eq!(of_container(7, None, Some("/a")).target(), Some(Target::Cgroup("/a".into())));
        assert_eq!(of_container(7, None, None).target(), None);
    }

    /// Guarantees: who looks at a container looks at the processes in it, and who looks at the process that grew most of one looks at
    /// what matters of it; other processes are others.
    #[test]
    fn covering() {
        let (container, process) = (of_container(7, None, None), of_process(7));
        assert!(container.covers(&process) && process.covers(&container) && process.covers(&process));
        assert!(container.covers(&of_process(8)) && !of_process(8).covers(&container));
        assert!(!process.covers(&of_process(8)));
    }
}
