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
            Pass::Watched | Pass::Partial | Pass::Told => self.hierarchy.some(cgroups),
        }
        let processes: Vec<Sample> = readings
            .iter()
            .map(|reading| Sample { container: self.container_of(reading), ..sample(reading) })
            .collect();
        let swap_free = host.map_or(0, |host| host.swap_free);
        let containers = match pass {
            Pass::Full => self.all(&processes, swap_free),
            // a cgroup that is counted for has its id as its key
            Pass::Watched | Pass::Partial | Pass::Told => cgroups
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
        let mut samples: HashMap<ContainerKey, ContainerSample> = sums
            .into_iter()
            .map(|(key, (memory, slack))| {
                let summed = ContainerSample {
                    key,
                    memory,
                    slack,
                    rooms: [None; Room::MOST],
                    upper_bound: true,
                    watchable: false,
                };
                (key, self.exact(key, swap_free).unwrap_or(summed))
            })
            .collect();
        self.leave_out_nested(&mut samples);
        samples.into_values().collect()
    }

    /// A cgroup counts for all below it. What a container inside of another holds is told of the inner one alone: the
    /// outer one would leak whenever it does.
    fn leave_out_nested(&mut self, samples: &mut HashMap<ContainerKey, ContainerSample>) {
        let counted: Vec<(ContainerKey, Memory)> =
            samples.values().filter(|sample| !sample.upper_bound).map(|s| (s.key, s.memory)).collect();
        for (inner, memory) in counted {
            let around = self.hierarchy.parent(inner.0).and_then(|parent| self.hierarchy.unit_of(parent));
            let outer = around.and_then(|unit| samples.get_mut(&ContainerKey(unit.key)));
            if let Some(outer) = outer.filter(|outer| !outer.upper_bound) {
                outer.memory = difference(&outer.memory, &memory);
                outer.watchable = false;
            }
        }
    }

    /// What a container's own cgroup counts. `None` where it is no container, or nothing is counted.
    fn exact(&self, key: ContainerKey, swap_free: u64) -> Option<ContainerSample> {
        self.seen.get(&key)?;
        counted(&self.hierarchy, key, swap_free)
    }

    /// The container a process runs in: by its memory cgroup, or else by its v2 cgroup.
    pub(super) fn container_of(&mut self, reading: &ProcessReading) -> Option<ContainerKey> {
        let cgroup = self.hierarchy.key_of(reading.cgroup_id, reading.memory_cgroup_id)?;
        let unit = self.hierarchy.unit_of(cgroup)?;
        let key = ContainerKey(unit.key);
        // a container that was met while it was being set up has got its names since
        self.seen.insert(key, unit);
        Some(key)
    }

    /// Whether a pass has told of this memory cgroup.
    pub(super) fn knows(&self, memory_cgroup_id: u64) -> bool {
        self.hierarchy.key_of(None, Some(memory_cgroup_id)).is_some()
    }

    /// What a container is called.
    pub(super) fn unit(&self, key: ContainerKey) -> Option<&Arc<Unit>> {
        self.seen.get(&key)
    }

    /// The ids of the cgroups around a container whose limits are looked at.
    pub(super) fn limited_around(&self, key: ContainerKey) -> impl Iterator<Item = u64> {
        let ahead = self.hierarchy.limits_ahead(key.0, 0).into_iter().take(Room::MOST);
        ahead.map(|ahead| ahead.cgroup_id).filter(move |id| *id != key.0)
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

/// What the cgroup of a container counts for it. `None` where nothing is counted.
pub(crate) fn counted(hierarchy: &Hierarchy, key: ContainerKey, swap_free: u64) -> Option<ContainerSample> {
    let counted = hierarchy.memory(key.0)?;
    let mut rooms = hierarchy.limits_ahead(key.0, swap_free).into_iter().map(|ahead| Room {
        limit: Limit {
            kind: match ahead.kind {
                hierarchy::LimitKind::Max => LimitKind::Max,
                hierarchy::LimitKind::High => LimitKind::High,
            },
            bytes: ahead.limit,
            cgroup_id: Some(ahead.cgroup_id),
        },
        left: ahead.room,
        fresh: ahead.fresh,
    });
    Some(ContainerSample {
        key,
        // shared memory is among what the cgroup counts as anonymous
        memory: Memory { anon: counted.anon, swap: counted.swap, shmem: 0, file: counted.file },
        slack: counted.slack,
        rooms: std::array::from_fn(|_| rooms.next()),
        upper_bound: false,
        watchable: true,
    })
}

fn difference(a: &Memory, b: &Memory) -> Memory {
    Memory {
        anon: a.anon.saturating_sub(b.anon),
        swap: a.swap.saturating_sub(b.swap),
        shmem: a.shmem.saturating_sub(b.shmem),
        file: a.file.saturating_sub(b.file),
    }
}

pub(crate) fn sum(a: &Memory, b: &Memory) -> Memory {
    Memory {
        anon: a.anon.saturating_add(b.anon),
        swap: a.swap.saturating_add(b.swap),
        shmem: a.shmem.saturating_add(b.shmem),
        file: a.file.saturating_add(b.file),
    }
}

#[cfg(test)]
mod tests {
    use mlh_targets::cgroup_reading::CgroupMemory;

    use super::*;

    const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

    fn cgroup(id: u64, parent: u64, name: &str, anon: u64) -> CgroupReading {
        let memory = CgroupMemory { usage: anon, anon, ..CgroupMemory::default() };
        CgroupReading {
            id,
            parent,
            unified: true,
            name: name.to_owned(),
            memory: Some(memory),
            node_name: String::new(),
        }
    }

    fn reading(pid: u32, cgroup: u64, anon: u64) -> ProcessReading {
        ProcessReading {
            pid,
            anon,
            cgroup_id: Some(cgroup),
            memory_cgroup_id: Some(cgroup),
            ..ProcessReading::default()
        }
    }

    /// Guarantees: what a container in a service holds is told of the container alone, though the service's cgroup counts
    /// it as well; what is worked out from a full pass is not asked of a watched one.
    #[test]
    fn nested_containers_count_once() {
        let cgroups = [
            cgroup(1, 0, "", 100),
            cgroup(2, 1, "shop.service", 90),
            cgroup(3, 2, &format!("libpod-payload-{ID}"), 70),
        ];
        let readings = [reading(10, 2, 20), reading(11, 3, 70)];
        let mut units = Units::default();
        let Samples { processes, mut containers } = units.samples(Pass::Full, None, &readings, &cgroups);
        containers.sort_by_key(|sample| sample.key);
        let told: Vec<_> = containers.iter().map(|s| (s.key.0, s.memory.anon, s.watchable)).collect();
        assert_eq!(told, [(2, 20, false), (3, 70, true)]);
        assert_eq!(
            processes.iter().map(|s| s.container).collect::<Vec<_>>(),
            [Some(ContainerKey(2)), Some(ContainerKey(3))]
        );
        assert!(containers.iter().all(|sample| !sample.upper_bound));
    }

    /// Guarantees: where no memory controller counts, a container is the sum of its processes, and says so.
    #[test]
    fn sums_where_nothing_counts() {
        let mut container = cgroup(3, 1, &format!("docker-{ID}.scope"), 0);
        container.memory = None;
        let cgroups = [cgroup(1, 0, "", 0), container];
        let readings = [reading(10, 3, 20), reading(11, 3, 70)];
        let mut units = Units::default();
        let samples = units.samples(Pass::Full, None, &readings, &cgroups).containers;
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].memory.anon, samples[0].upper_bound, samples[0].watchable), (90, true, false));
        let name = units.unit(samples[0].key).and_then(|unit| unit.container_id.clone());
        assert_eq!(name.map(|id| id.to_string()).as_deref(), Some(ID));
    }
}
