//! The containers of the host as the detector takes them: who runs in which, what each holds, and what it may still grow
//! by.

use std::collections::HashMap;
use std::sync::Arc;

use mlh_detect::{
    About, ContainerKey, ContainerSample, Detector, HostMemory, Limit, LimitKind, Memory, Pass, Room, Sample,
};
use mlh_targets::cgroup_reading::CgroupReading;
use mlh_targets::hierarchy::{self, Hierarchy, Unit};
use mlh_targets::process::ProcessReading;

use crate::observe::sample;

/// What is known of cgroups from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Units {
    hierarchy: Hierarchy,
    /// Those that have been seen, also when their cgroup has gone: the end of a container is told of it by name.
    seen: HashMap<ContainerKey, Arc<Unit>>,
}

/// What one pass saw, container by container.
pub(super) struct Samples {
    pub(super) processes: Vec<Sample>,
    pub(super) containers: Vec<ContainerSample>,
}

impl Units {
    /// Takes a pass.
    pub(super) fn samples(
        &mut self,
        pass: Pass,
        host: Option<HostMemory>,
        readings: &[ProcessReading],
        cgroups: &[CgroupReading],
    ) -> Samples {
        match pass {
            Pass::Full => self.hierarchy.full(cgroups),
            Pass::Watched | Pass::Partial => self.hierarchy.some(cgroups),
        }
        let processes: Vec<Sample> = readings
            .iter()
            .map(|reading| Sample { container: self.container_of(reading), ..sample(reading) })
            .collect();
        let swap_free = host.map_or(0, |host| host.swap_free);
        let containers = match pass {
            Pass::Full => self.all(&processes, swap_free),
            // a cgroup that is counted for has its id as its key
            Pass::Watched | Pass::Partial => cgroups
                .iter()
                .filter(|cgroup| cgroup.memory.is_some())
                .filter_map(|cgroup| self.exact(ContainerKey(cgroup.id), swap_free))
                .collect(),
        };
        Samples { processes, containers }
    }

    /// Every container that has a process. Where no cgroup counts for one, its processes are summed up.
    fn all(&mut self, processes: &[Sample], swap_free: u64) -> Vec<ContainerSample> {
        let mut sums: HashMap<ContainerKey, (Memory, u64)> = HashMap::new();
        for process in processes {
            if let Some(key) = process.container {
                let (memory, slack) = sums.entry(key).or_default();
                *memory = sum(memory, &process.memory);
                *slack = slack.saturating_add(process.slack);
            }
        }
        sums.into_iter()
            .map(|(key, (memory, slack))| {
                let counted = self.exact(key, swap_free);
                counted.unwrap_or(ContainerSample { key, memory, slack, room: None, upper_bound: true })
            })
            .collect()
    }

    /// What a container's own cgroup counts. `None` where it is no container, or nothing is counted.
    fn exact(&self, key: ContainerKey, swap_free: u64) -> Option<ContainerSample> {
        self.seen.get(&key)?;
        let counted = self.hierarchy.memory(key.0)?;
        let room = self.hierarchy.nearest_limit(key.0, swap_free).map(|ahead| Room {
            limit: Limit {
                kind: match ahead.kind {
                    hierarchy::LimitKind::Max => LimitKind::Max,
                    hierarchy::LimitKind::High => LimitKind::High,
                },
                bytes: ahead.limit,
                cgroup_id: Some(ahead.cgroup_id),
            },
            left: ahead.room,
        });
        Some(ContainerSample {
            key,
            // shared memory is among what the cgroup counts as anonymous
            memory: Memory { anon: counted.anon, swap: counted.swap, shmem: 0, file: counted.file },
            slack: counted.slack,
            room,
            upper_bound: false,
        })
    }

    /// The container a process runs in: by its memory cgroup, or else by its v2 cgroup.
    pub(super) fn container_of(&mut self, reading: &ProcessReading) -> Option<ContainerKey> {
        let cgroup = self.hierarchy.key_of(reading.cgroup_id, reading.memory_cgroup_id)?;
        let unit = self.hierarchy.unit_of(cgroup)?;
        let key = ContainerKey(unit.key);
        self.seen.entry(key).or_insert(unit);
        Some(key)
    }

    /// What a container is called.
    pub(super) fn unit(&self, key: ContainerKey) -> Option<&Arc<Unit>> {
        self.seen.get(&key)
    }

    /// The path of a cgroup that has a limit.
    pub(super) fn path(&self, cgroup_id: u64) -> Option<String> {
        self.hierarchy.path(cgroup_id)
    }

    /// The path of the cgroup that a process is in.
    pub(super) fn path_of(&self, reading: &ProcessReading) -> Option<String> {
        self.path(self.hierarchy.key_of(reading.cgroup_id, reading.memory_cgroup_id)?)
    }

    /// Forgets those that nobody follows any more.
    pub(super) fn retain(&mut self, detector: &Detector) {
        self.seen.retain(|key, _| detector.follows(&About::Container(*key)));
    }
}

fn sum(a: &Memory, b: &Memory) -> Memory {
    Memory {
        anon: a.anon.saturating_add(b.anon),
        swap: a.swap.saturating_add(b.swap),
        shmem: a.shmem.saturating_add(b.shmem),
        file: a.file.saturating_add(b.file),
    }
}
