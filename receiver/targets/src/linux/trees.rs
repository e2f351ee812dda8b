//! How far into the cgroup trees one can look from here.
//!
//! In a private cgroup namespace the paths of `/proc/PID/cgroup` begin at this process's own cgroup, and so does what
//! is mounted at `/sys/fs/cgroup`. Where `/proc` shows the host's processes, the first of them has the whole tree
//! mounted, and with `CAP_SYS_PTRACE` it can be reached through `/proc/1/root`.

use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use procfs::ProcResult;
use procfs::process::{MountInfo, MountInfos, Process};

use crate::cgroup::{Steps, Tree};

/// How many directories the search for this process's own cgroup may open. Hosts with thousands of containers stay
/// below it.
const MAX_SEARCHED: usize = 1 << 14;

/// One tree, as far as it can be seen.
#[derive(Debug)]
pub(super) struct View {
    pub(super) tree: Tree,
    /// The names from the mount point down to the cgroup namespace, where that lies below and was found.
    pub(super) way: Vec<String>,
    /// Whether the topmost directory is the root of the whole tree.
    pub(super) whole: bool,
    /// Whether the memory controller is in this tree.
    pub(super) has_memory: bool,
}

/// Both trees.
#[derive(Debug, Default)]
pub(super) struct Trees {
    pub(super) unified: Option<View>,
    pub(super) memory_v1: Option<View>,
}

impl Trees {
    /// Looks around. Everything it finds stays true while this process lives, so that it need not look again: its
    /// cgroup namespace is its own, and a cgroup with a process in it cannot be moved.
    pub(super) fn look() -> Self {
        let own = mountinfo(Process::myself());
        let outer = mountinfo(Process::new(1));
        let of_version = |unified| {
            let own = mounts(&own, unified, Path::new("/"));
            View::best(own.chain(mounts(&outer, unified, Path::new("/proc/1/root"))), unified)
        };
        Self { unified: of_version(true), memory_v1: of_version(false) }
    }
}

impl View {
    /// Of these mounts, the one that shows most; the first of equals.
    fn best(mounts: impl Iterator<Item = Tree>, unified: bool) -> Option<Self> {
        // what is mounted below /proc/1/root, or over the mounts that are listed, is for others to say
        let trees: Vec<Tree> =
            mounts.filter(|tree| is_cgroup_file_system(&tree.mount_point, unified)).collect();
        let namespace = trees.iter().find(|tree| tree.root == "/").map(|tree| tree.mount_point.clone());
        let tree = trees.into_iter().reduce(|a, b| if reach(&b) > reach(&a) { b } else { a })?;
        let up = Steps::of(&tree.root)?.up;
        let way =
            namespace.filter(|_| up > 0).and_then(|namespace| way_down(&tree.mount_point, up, &namespace));
        // only cgroups below the root have events (v2); only the root has a release agent (v1)
        let (whole, has_memory) = if unified {
            (!tree.mount_point.join("cgroup.events").exists(), super::offers_memory(&tree.mount_point))
        } else {
            (tree.mount_point.join("release_agent").exists(), true)
        };
        Some(Self { tree, way: way.unwrap_or_default(), whole, has_memory })
    }

    /// The part of a path from `/proc/PID/cgroup` below the topmost directory; `None` where it lies outside.
    pub(super) fn below(&self, path: &str) -> Option<String> {
        self.tree.below(path, &self.way)
    }

    /// The directory of such a part.
    pub(super) fn directory(&self, below: &str) -> PathBuf {
        if below.is_empty() { self.tree.mount_point.clone() } else { self.tree.mount_point.join(below) }
    }
}

/// The more, the more a mount shows: one of a cgroup around the namespace more than one of the namespace, that more
/// than one of a single cgroup.
fn reach(tree: &Tree) -> Option<(bool, usize)> {
    Steps::of(&tree.root).map(|root| (root.down.is_empty(), root.up))
}

/// What a process has mounted; nothing where it may not be looked at.
fn mountinfo(process: ProcResult<Process>) -> Vec<MountInfo> {
    process.and_then(|process| process.mountinfo()).map(|MountInfos(list)| list).unwrap_or_default()
}

/// The mounts of the v2 tree, or of the memory controller's v1 tree, in a list of mounts of a process with this root
/// folder.
fn mounts<'a>(list: &'a [MountInfo], unified: bool, root: &'a Path) -> impl Iterator<Item = Tree> + 'a {
    let wanted = move |mount: &&MountInfo| match mount.fs_type.as_str() {
        "cgroup2" => unified,
        "cgroup" => !unified && mount.super_options.contains_key("memory"),
        _ => false,
    };
    list.iter().filter(wanted).map(move |mount| {
        let inside = mount.mount_point.strip_prefix("/").unwrap_or(&mount.mount_point);
        Tree { mount_point: root.join(inside), root: mount.root.clone() }
    })
}

fn is_cgroup_file_system(path: &Path, unified: bool) -> bool {
    let expected = if unified { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
    statfs(path).is_ok_and(|found| found.filesystem_type() == expected)
}

/// The names on the way from a directory to one that lies `depth` below it, by the inode of the latter.
fn way_down(top: &Path, depth: usize, wanted: &Path) -> Option<Vec<String>> {
    let wanted = std::fs::metadata(wanted).ok()?;
    let mut open = vec![(top.to_owned(), Vec::new())];
    for _ in 0..MAX_SEARCHED {
        let (directory, names) = open.pop()?;
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let names: Vec<String> = names.iter().cloned().chain([name]).collect();
            if names.len() < depth {
                open.push((entry.path(), names));
            } else if entry.ino() == wanted.ino()
                && entry.metadata().is_ok_and(|found| found.dev() == wanted.dev())
            {
                return Some(names);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &str) -> Tree {
        Tree { mount_point: "/cg".into(), root: root.to_owned() }
    }

    /// Guarantees: the mount that shows most is chosen: the host's before the namespace's, that before a single
    /// cgroup's.
    #[test]
    fn the_further_reach() {
        let order = ["no path", "/docker/x", "/", "/..", "/../.."];
        assert!(order.map(tree).is_sorted_by(|a, b| reach(a) < reach(b)));
    }

    /// Guarantees: a directory is found by its inode at exactly the depth given, and what is not there is not
    /// found, however the folders are named.
    #[test]
    fn the_way_to_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        for path in ["pods/other/deep", "pods/me/init", "system/ssh"] {
            std::fs::create_dir_all(top.join(path)).unwrap();
        }
        std::fs::write(top.join("pods/file"), "").unwrap();
        let way = |depth, wanted: &str| way_down(top, depth, &top.join(wanted));
        assert_eq!(way(2, "pods/me"), Some(vec!["pods".to_owned(), "me".to_owned()]));
        assert_eq!(way(1, "pods/me"), None);
        assert_eq!(way(3, "pods/me"), None);
        assert_eq!(way(2, "pods/file"), None);
        assert_eq!(way(2, "absent"), None);
        assert_eq!(way_down(&top.join("system"), 2, &top.join("pods/me")), None);
    }

    /// Guarantees: only what the kernel says is a cgroup file system is taken for one.
    #[test]
    fn other_file_systems_are_no_trees() {
        let folder = tempfile::tempdir().unwrap();
        let other = || Tree { mount_point: folder.path().to_owned(), root: "/".to_owned() };
        assert!(View::best(std::iter::once(other()), true).is_none());
        assert!(View::best(std::iter::once(other()), false).is_none());
    }
}
