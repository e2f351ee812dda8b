//! What the cgroups of a host look like: which of them is the container around a process, and how far it is to the
//! nearest memory limit. Kept from pass to pass; pure, and the same for every way of looking.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cgroup_reading::{CgroupMemory, CgroupReading, made_up_id};
use crate::container::{self, ContainerId};

/// Deeper than any host nests cgroups, and the end of a walk that goes round in a circle.
const MAX_DEPTH: usize = 128;
/// The kernel's id of the root of any tree.
const ROOT: u64 = 1;
/// Set in the key of a v2 cgroup where the memory controller sits on v1: the two trees share ids.
const BESIDE_V1: u64 = 1 << 63;

/// The cgroups of a host. A *key* names one of them: it is the cgroup's id, but for v2 cgroups beside a v1 memory
/// controller, whose keys have the top bit set.
#[derive(Debug, Default)]
pub struct Hierarchy {
    nodes: HashMap<u64, Node>,
    /// Whether the memory controller sits on v1.
    v1: bool,
    units: HashMap<u64, Option<Arc<Unit>>>,
    /// Passes taken in so far.
    passes: u64,
}

#[derive(Debug)]
struct Node {
    parent: u64,
    name: String,
    memory: Option<CgroupMemory>,
    node_name: String,
    /// The pass that told of it last.
    pass: u64,
}

/// The cgroup that records speak of as the container of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its key: the id of the cgroup, see [`Hierarchy`].
    pub key: u64,
    /// Its id: the inode of its directory, or one made up ([`crate::cgroup_reading::is_made_up`]).
    pub cgroup_id: u64,
    /// From the root of the tree; the directory's name alone where the cgroups around it are not known.
    pub path: String,
    /// What the runtime calls the container.
    pub container_id: Option<ContainerId>,
    /// The Kubernetes pod it belongs to.
    pub pod_uid: Option<String>,
    /// The UTS node name in it, usually the pod's name.
    pub node_name: Option<String>,
    /// Why it is one.
    pub kind: UnitKind,
}

/// Why a cgroup is a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitKind {
    /// Its name holds a container's id.
    Container,
    /// It is a systemd service.
    Service,
    /// It has a memory limit of its own.
    Limited,
}

/// A memory limit that growth will meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitAhead {
    /// Of which sort.
    pub kind: LimitKind,
    /// The cgroup that has it: the one asked for, or one around it.
    pub cgroup_id: u64,
    /// Where it stands, in bytes.
    pub limit: u64,
    /// How much more can be had before it is met, in bytes.
    pub room: u64,
    /// Whether the newest pass has told of the cgroup. Else the room is as an earlier one saw it.
    pub fresh: bool,
}

/// Sorts of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Beyond it the kernel kills.
    Max,
    /// Beyond it the kernel slows down.
    High,
}

impl Hierarchy {
    /// Takes in a full pass: what is not in it is gone. Of readings with the same id the last holds.
    pub fn full(&mut self, readings: &[CgroupReading]) {
        self.nodes.clear();
        self.units.clear();
        self.v1 = readings.iter().any(|reading| !reading.unified);
        self.insert(readings);
    }

    /// Takes in a watched pass: these are as told now, the others as they were.
    pub fn some(&mut self, readings: &[CgroupReading]) {
        let known = self.nodes.len();
        self.insert(readings);
        // a new cgroup may be the unit of others; a limit that changed shows at the next full pass
        if self.nodes.len() != known {
            self.units.clear();
        }
    }

    fn insert(&mut self, readings: &[CgroupReading]) {
        self.passes = self.passes.wrapping_add(1);
        for CgroupReading { id, parent, unified, name, memory, node_name } in readings {
            // 0 stands for "none" and is nobody's
            if *id == 0 {
                continue;
            }
            let parent = if *parent == 0 { 0 } else { self.key(*parent, *unified) };
            let (name, memory, node_name) = (name.clone(), *memory, node_name.clone());
            let node = Node { parent, name, memory, node_name, pass: self.passes };
            self.nodes.insert(self.key(*id, *unified), node);
        }
    }

    fn key(&self, id: u64, unified: bool) -> u64 {
        if unified && self.v1 { id | BESIDE_V1 } else { id }
    }

    /// The key of the cgroup that tells most of a process's place: the one its memory is charged to; where that is
    /// the root, or not known, its v2 cgroup. The ids are those of a reading of the process.
    #[must_use]
    pub fn key_of(&self, cgroup_id: Option<u64>, memory_cgroup_id: Option<u64>) -> Option<u64> {
        let known = |key: &u64| self.nodes.contains_key(key);
        let charged = memory_cgroup_id.filter(known);
        let unified = cgroup_id.map(|id| self.key(id, true)).filter(known);
        charged.filter(|&id| id != ROOT && id != made_up_id("/")).or(unified).or(charged)
    }

    /// The path from the root of the tree, in the form of `/proc/PID/cgroup`. `None` where a cgroup on the way is
    /// not known.
    #[must_use]
    pub fn path(&self, key: u64) -> Option<String> {
        let chain: Vec<_> = self.around(key).collect();
        let (_, top) = chain.last()?;
        if top.parent != 0 {
            return None;
        }
        let names = chain.iter().rev().map(|(_, node)| node.name.as_str()).filter(|name| !name.is_empty());
        let path: String = names.flat_map(|name| ["/", name]).collect();
        Some(if path.is_empty() { "/".to_owned() } else { path })
    }

    /// The key of the cgroup around a cgroup. `None` for the topmost one.
    #[must_use]
    pub fn parent(&self, key: u64) -> Option<u64> {
        self.nodes.get(&key).map(|node| node.parent).filter(|parent| *parent != 0)
    }

    /// The unit that a cgroup belongs to: the innermost cgroup around it (itself included) that is named after a
    /// container, else the innermost service, else the innermost with a memory limit of its own. `None` where there
    /// is no such: what runs there is judged by itself.
    pub fn unit_of(&mut self, key: u64) -> Option<Arc<Unit>> {
        if let Some(known) = self.units.get(&key) {
            return known.clone();
        }
        let unit = self.find_unit(key).map(Arc::new);
        // keys come from the kernel's own readings, yet one that no reading told of must not pile up here
        if self.nodes.contains_key(&key) {
            self.units.insert(key, unit.clone());
        }
        unit
    }

    fn find_unit(&self, key: u64) -> Option<Unit> {
        let container = |node: &Node| container::id_from_path(&node.name);
        let first = |is: &dyn Fn(&Node) -> bool| self.around(key).find(|(_, node)| is(node));
        let ((key, node), kind) = first(&|node| container(node).is_some())
            .map(|found| (found, UnitKind::Container))
            .or_else(|| first(&is_service).map(|found| (found, UnitKind::Service)))
            .or_else(|| first(&is_limited).map(|found| (found, UnitKind::Limited)))?;
        let path = self.path(key).unwrap_or_else(|| node.name.clone());
        Some(Unit {
            key,
            cgroup_id: key & !BESIDE_V1,
            container_id: container(node),
            pod_uid: container::pod_uid_from_path(&path),
            node_name: (!node.node_name.is_empty()).then(|| node.node_name.clone()),
            kind,
            path,
        })
    }

    /// What a cgroup holds. `None` where it is not known or nothing counts for it.
    #[must_use]
    pub fn memory(&self, key: u64) -> Option<&CgroupMemory> {
        self.nodes.get(&key)?.memory.as_ref()
    }

    /// All limits on a cgroup and on those around it, the one with the least room first and of equals the inner, for it
    /// says more. `swap_free` is what the host could still swap out, in bytes. None where nothing limits it but the host.
    #[must_use]
    pub fn limits_ahead(&self, key: u64, swap_free: u64) -> Vec<LimitAhead> {
        let chain: Vec<_> = self.around(key).collect();
        let (mut ahead, mut swappable) = (Vec::new(), swap_free);
        for (cgroup_id, node) in chain.iter().rev() {
            let Some(memory) = node.memory else { continue };
            let fresh = node.pass == self.passes;
            // every cgroup around bounds the swap of those inside
            let swap_left = memory.swap_max.map_or(u64::MAX, |max| max.saturating_sub(memory.swap));
            swappable = swappable.min(swap_left);
            for (kind, limit, room) in limits(&memory, swappable) {
                ahead.push(LimitAhead { kind, cgroup_id: *cgroup_id, limit, room, fresh });
            }
        }
        ahead.reverse();
        ahead.sort_by_key(|ahead| ahead.room);
        ahead
    }

    /// The cgroup and those around it, from the inside out, as far as they are known.
    fn around(&self, key: u64) -> impl Iterator<Item = (u64, &Node)> {
        let find = |key: u64| self.nodes.get(&key).map(|node| (key, node));
        std::iter::successors(find(key), move |(_, node)| find(node.parent)).take(MAX_DEPTH)
    }
}

/// The limits of one cgroup that are still ahead, each with its room.
fn limits(memory: &CgroupMemory, swappable: u64) -> impl Iterator<Item = (LimitKind, u64, u64)> {
    let kept = memory.usage.saturating_sub(memory.file);
    let max = memory.max.map(|max| (LimitKind::Max, max, max.saturating_sub(kept).saturating_add(swappable)));
    let total = memory
        .total_max
        .map(|total| (LimitKind::Max, total, total.saturating_sub(kept).saturating_sub(memory.swap)));
    // above this limit a process is slowed down while the kernel swaps for it: swap gives no room
    let high = memory.high.filter(|&high| kept < high).map(|high| (LimitKind::High, high, high - kept));
    [high, total, max].into_iter().flatten()
}

/// A user's service manager holds all that the user runs: that is a session, not a service.
fn is_service(node: &Node) -> bool {
    // where the cgroups around are not known the name is a path
    let name = node.name.rsplit('/').next().unwrap_or_default();
    name.ends_with(".service") && !name.starts_with("user@")
}

/// The root cannot have a limit; the topmost cgroup that can be seen from inside of a container can.
fn is_limited(node: &Node) -> bool {
    node.memory.is_some_and(|memory| memory.max.is_some() || memory.high.is_some())
}

#[cfg(test)]
mod tests;
