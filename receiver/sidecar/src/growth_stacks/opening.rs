//! How a look's sampler is opened, at its beginning and whenever it goes on.

use std::path::PathBuf;

use mlh_bpf::faults::{DEFAULT_FREQUENCY, Options, Whom};
use mlh_targets::groups::Group;

use super::sampler::{self, Sampler, Sink};
use crate::investigate::plan::{Plan, Target};

/// Opens a sampler.
pub(super) type Open = Box<dyn FnMut(&Options, Sink) -> Result<Box<dyn Sampler>, String> + Send>;

/// See the module.
pub(super) struct Opening {
    open: Open,
    btf_path: Option<PathBuf>,
    target: Target,
}

impl Opening {
    pub(super) fn new(plan: &Plan, open: Open) -> Self {
        Self { open, btf_path: plan.filters.btf_path.clone(), target: plan.target.clone() }
    }

    /// Type information of the kernel, where somebody has said where it is.
    pub(super) fn btf_path(&self) -> Option<PathBuf> {
        self.btf_path.clone()
    }

    /// Of these processes; or of all in the target's cgroup, which is told then, where they are too many or one of them has just ended.
    pub(super) fn open(
        &mut self,
        pids: Vec<u32>,
        sink: impl Fn() -> Sink,
    ) -> Result<(Box<dyn Sampler>, bool), String> {
        let whom = Whom::Processes(pids);
        let mut options = Options { btf_path: self.btf_path.clone(), frequency: DEFAULT_FREQUENCY, whom };
        match ((self.open)(&options, sink()), cgroup(&self.target)) {
            (Ok(sampler), _) => Ok((sampler, false)),
            (Err(_), Some(directory)) => {
                options.whom = Whom::Cgroup(directory);
                Ok(((self.open)(&options, sink())?, true))
            }
            (Err(reason), None) => Err(reason),
        }
    }
}

/// As the kernel does it.
pub(super) fn by_kernel() -> Open {
    Box::new(sampler::open)
}

/// Where a group's processes are sampled together.
fn cgroup(target: &Target) -> Option<PathBuf> {
    let group = match target {
        Target::Pid(_) => return None,
        Target::CgroupId(id) => Group::by_id(*id),
        Target::Cgroup(path) => Group::by_path(path),
        Target::Container(id) => Group::by_container(id),
    };
    group.ok()?.unified_directory()
}
