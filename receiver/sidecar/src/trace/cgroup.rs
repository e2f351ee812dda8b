//! A cgroup.

use std::time::Duration;

use mlh_targets::cgroup_reading::{CgroupMemory, CgroupReading};
use serde::{Deserialize, Serialize};

use super::line::{MAX_NAME, MAX_PATH, cut, named, whole};
use super::seconds;

/// A cgroup and the memory of all in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CgroupLine {
    /// Since the trace began.
    #[serde(with = "seconds")]
    pub t: Duration,
    /// Its id: the inode of its directory.
    pub cgroup_id: u64,
    /// False in the tree of a v1 memory controller, which counts its inodes apart from the v2 tree's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<bool>,
    /// Its path from the root of the tree; its name alone, with no slash before it, where the recorder did not know
    /// the way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The id of the one around it; 0 where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// The UTS node name in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Anonymous and shared memory. Where it is absent, nothing counts for the cgroup.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub anon: Option<u64>,
    /// `memory.max`; 0: none.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `memory.high`; 0: none.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub high: Option<u64>,
    /// All that is charged; where it is absent, the sum of the anonymous and the file pages.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    /// File pages.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub file: Option<u64>,
    /// Swapped out.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
    /// How far the anonymous memory may be from the truth.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub slack: Option<u64>,
    /// `memory.swap.max`; absent: none.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub swap_max: Option<u64>,
    /// v1's limit on memory and swap together; absent: none.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub total_max: Option<u64>,
}

impl CgroupLine {
    /// A reading as a line at `t`. `path` is its path, or its name where the way to it is not known.
    #[must_use]
    pub fn new(t: Duration, reading: &CgroupReading, path: String) -> Self {
        let memory = reading.memory.as_ref();
        Self {
            t,
            cgroup_id: reading.id,
            unified: (!reading.unified).then_some(false),
            path: Some(path),
            parent: Some(reading.parent),
            node_name: named(&reading.node_name),
            anon: memory.map(|memory| memory.anon),
            limit: memory.map(|memory| memory.max.unwrap_or(0)),
            high: memory.map(|memory| memory.high.unwrap_or(0)),
            usage: memory.map(|memory| memory.usage),
            file: memory.map(|memory| memory.file),
            swap: memory.map(|memory| memory.swap),
            slack: memory.map(|memory| memory.slack).filter(|slack| *slack != 0),
            swap_max: memory.and_then(|memory| memory.swap_max),
            total_max: memory.and_then(|memory| memory.total_max),
        }
    }

    /// Cuts what is longer than a kernel would have it.
    pub(super) fn bounded(mut self) -> Self {
        self.path = self.path.map(|path| cut(path, MAX_PATH));
        self.node_name = self.node_name.map(|name| cut(name, MAX_NAME));
        self
    }

    /// Which cgroup of which tree.
    pub(super) fn key(&self) -> (u64, bool) {
        (self.cgroup_id, self.is_unified())
    }

    pub(super) fn is_unified(&self) -> bool {
        self.unified.unwrap_or(true)
    }

    /// Its name and the cgroup around it, as a [`CgroupReading`] has them. A cgroup whose parent the trace knows
    /// nothing of stands by itself: its whole path is its name, in which a container's id is found all the same.
    pub(super) fn place(&self, knows: impl Fn(u64) -> bool) -> (String, u64) {
        let parent = self.parent.unwrap_or(0);
        let path = self.path.as_deref().unwrap_or_default();
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        match path.strip_prefix('/') {
            Some(way) if parent == 0 || !knows(parent) => (way.to_owned(), 0),
            Some(way) => (name(way), parent),
            None => (name(path), parent),
        }
    }

    pub(super) fn memory(&self) -> Option<CgroupMemory> {
        let (anon, file) = (self.anon?, self.file.unwrap_or(0));
        Some(CgroupMemory {
            usage: self.usage.unwrap_or(anon.saturating_add(file)),
            anon,
            file,
            swap: self.swap.unwrap_or(0),
            slack: self.slack.unwrap_or(0),
            max: self.limit.filter(|limit| *limit != 0),
            high: self.high.filter(|high| *high != 0),
            swap_max: self.swap_max,
            total_max: self.total_max,
        })
    }
}
