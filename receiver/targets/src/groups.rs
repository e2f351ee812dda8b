//! The processes of a cgroup or container: found by id, by path, or by the id its runtime gave it.

use std::path::{Path, PathBuf};

use crate::container::ContainerId;
use crate::os;

/// A cgroup and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// From the topmost cgroup that can be seen, beginning with `/`.
    pub path: String,
    /// Inode of its directory: in the v2 tree, or in that of v1's memory controller where it is in no other.
    pub cgroup_id: u64,
    /// The container it is, or lies in.
    pub container_id: Option<ContainerId>,
    /// Its directories, one in each tree it is in.
    pub(crate) directories: Vec<PathBuf>,
}

/// Why there is no such group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Nothing goes by this name.
    #[error("there is no {what} that can be seen from here; {instead}")]
    Absent {
        /// What was asked for.
        what: String,
        /// What there is, or how to learn it.
        instead: String,
    },
    /// Several containers do.
    #[error("{prefix} may be any of {count} containers: {}{}", candidates.join(", "), if *count > candidates.len() { ", ..." } else { "" })]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        count: usize,
        /// The first of them.
        candidates: Vec<String>,
    },
    /// The top of a tree.
    #[error("{0} is the top of the tree: every process is in it; name one below")]
    Top(String),
    /// No cgroups can be seen.
    #[error("no cgroup file system can be seen from here")]
    NoTrees,
    /// Another platform.
    #[error("cgroups need Linux")]
    Unsupported,
}

impl Group {
    /// By the inode of its directory.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn by_id(id: u64) -> Result<Self, GroupError> {
        os::group_by_id(id)
    }

    /// By its path: that of its directory, or as `/proc/PID/cgroup` names it.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn by_path(path: &Path) -> Result<Self, GroupError> {
        os::group_by_path(path)
    }

    /// By the id of the container, or the beginning of it.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn by_container(prefix: &str) -> Result<Self, GroupError> {
        os::group_by_container(prefix)
    }

    /// Its directory in the v2 tree, where it is in that.
    #[must_use]
    pub fn unified_directory(&self) -> Option<PathBuf> {
        self.directories.iter().find(|directory| directory.join("cgroup.controllers").exists()).cloned()
    }

    /// The pids of its processes in the reader's pid namespace, in order; at most 65,536. `None` once the group is gone.
    #[must_use]
    pub fn pids(&self) -> Option<Vec<u32>> {
        os::group_pids(&self.directories)
    }
}
