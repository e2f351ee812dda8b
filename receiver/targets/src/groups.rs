//! The processes of a cgroup or container: found by id, by path, or by the id its runtime gave it.

use std::path::{Path, PathBuf};

use crate::container::ContainerId;
use crate::os;

/// Names at most so many of those that an unclear id may mean.
const NAMED: usize = 8;

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
    #[error("there is no {0} that can be seen from here")]
    Absent(String),
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

    /// The pids of its processes in the reader's pid namespace, in order; at most 65,536. `None` once the group is gone.
    #[must_use]
    pub fn pids(&self) -> Option<Vec<u32>> {
        os::group_pids(&self.directories)
    }
}

/// The one container that an id, or the beginning of one, means.
///
/// # Errors
/// None does, or several.
pub(crate) fn the_one<'a>(
    prefix: &str,
    ids: impl Iterator<Item = &'a ContainerId>,
) -> Result<&'a ContainerId, GroupError> {
    let mut found: Vec<&ContainerId> =
        ids.filter(|id| !prefix.is_empty() && id.as_str().starts_with(prefix)).collect();
    found.sort_unstable();
    found.dedup();
    // an id that is the beginning of another is meant when it is given in full
    if let Some(exact) = found.iter().find(|id| id.as_str() == prefix) {
        return Ok(exact);
    }
    match found.as_slice() {
        [] => Err(GroupError::Absent(format!("container {prefix}"))),
        [one] => Ok(one),
        several => Err(GroupError::Ambiguous {
            prefix: prefix.to_owned(),
            count: several.len(),
            candidates: several.iter().take(NAMED).map(|id| id.as_str().chars().take(12).collect()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::id_from_path;

    fn id(beginning: &str) -> ContainerId {
        id_from_path(&format!("/docker/{beginning:0<64}")).unwrap()
    }

    /// Guarantees: a container is found by the unambiguous beginning of its id; one that fits several names them; one
    /// that fits none, or is empty, finds nothing; the same container seen twice is one.
    #[test]
    fn beginnings_of_ids() {
        let ids = [id("4f1e"), id("4f2a"), id("aa"), id("aa")];
        let one = |prefix| the_one(prefix, ids.iter());
        assert_eq!(one("4f1"), Ok(&ids[0]));
        assert_eq!(one("aa"), Ok(&ids[2]));
        assert_eq!(one(ids[1].as_str()), Ok(&ids[1]));
        let unclear = one("4f").unwrap_err().to_string();
        assert!(unclear.contains("4f1e00000000") && unclear.contains("4f2a00000000"), "{unclear}");
        for absent in ["b", "", "4F1"] {
            assert_eq!(one(absent), Err(GroupError::Absent(format!("container {absent}"))));
        }
    }
}
