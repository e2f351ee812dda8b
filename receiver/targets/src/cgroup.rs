//! Where a process sits in the cgroup trees, and where those trees are mounted.

use std::path::PathBuf;

use crate::os;

/// A process's place, as `/proc/PID/cgroup` gives it: relative to the reader's cgroup namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupPaths {
    /// In the v2 (unified) tree.
    pub unified: Option<String>,
    /// In the v1 tree of the memory controller.
    pub memory: Option<String>,
}

impl CgroupPaths {
    /// Reads the text of `/proc/PID/cgroup`. Lines that make no sense are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut paths = Self::default();
        for line in text.lines() {
            // the path may hold colons itself (`...slice:cri-containerd:<id>`)
            let mut parts = line.splitn(3, ':');
            let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            // a removed cgroup that still holds a process
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            if hierarchy == "0" && controllers.is_empty() {
                paths.unified = Some(path.to_owned());
            } else if controllers.split(',').any(|c| c == "memory") {
                paths.memory = Some(path.to_owned());
            }
        }
        paths
    }

    /// The path that the memory limits apply to: v1 where the controller sits there, else v2.
    #[must_use]
    pub fn limiting(&self) -> Option<&str> {
        self.memory.as_deref().or(self.unified.as_deref())
    }

    /// The paths, the one most likely to name a container first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.memory.as_deref().into_iter().chain(self.unified.as_deref())
    }
}

/// Where the process sits now. `None` when it is gone or may not be looked at.
#[must_use]
pub fn of_pid(pid: u32) -> Option<CgroupPaths> {
    os::cgroup_paths(pid)
}

/// One cgroup tree as it is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where.
    pub mount_point: PathBuf,
    /// Which directory of the tree is mounted there; `/` is all of it.
    pub root: String,
}

impl Tree {
    /// The directory of a path from `/proc/PID/cgroup`; `None` where the path is outside of what is mounted.
    #[must_use]
    pub fn directory(&self, path: &str) -> Option<PathBuf> {
        let inside = if self.root == "/" { path } else { path.strip_prefix(&self.root)? };
        let inside = match inside.strip_prefix('/') {
            Some(inside) => inside,
            None if inside.is_empty() => "",
            None => return None,
        };
        // `/../x` is a cgroup above the reader's namespace
        let outside = inside.split('/').any(|segment| segment == "..");
        (!outside).then(|| self.mount_point.join(inside))
    }
}

/// The trees mounted on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The v2 tree.
    pub unified: Option<Tree>,
    /// The v1 tree of the memory controller.
    pub memory_v1: Option<Tree>,
    /// Whether any v1 tree is mounted.
    pub any_v1: bool,
    /// Whether the v2 tree offers the memory controller.
    pub memory_v2: bool,
}

/// Which versions are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// None that can be seen from here.
    Absent,
    /// v1 alone.
    V1,
    /// v1 with a v2 tree beside it.
    Hybrid,
    /// v2 alone.
    V2,
}

impl Layout {
    /// The layout of this host.
    ///
    /// # Errors
    /// Off Linux, and where the mounts cannot be read.
    pub fn read() -> Result<Self, crate::HostError> {
        os::cgroup_layout()
    }

    /// Which versions are in use.
    #[must_use]
    pub fn version(&self) -> Version {
        match (self.any_v1, self.unified.is_some()) {
            (false, false) => Version::Absent,
            (true, false) => Version::V1,
            (true, true) => Version::Hybrid,
            (false, true) => Version::V2,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Guarantees: v1, v2 and hybrid files give the right path for each tree; colons inside a path stay; a removed
    /// cgroup loses its mark; nonsense is passed over.
    #[test]
    fn paths_of_every_layout() {
        let v2 = CgroupPaths::parse("0::/system.slice/ssh.service\n");
        assert_eq!(v2.unified.as_deref(), Some("/system.slice/ssh.service"));
        assert_eq!(v2.limiting(), v2.unified.as_deref());

        let hybrid =
            CgroupPaths::parse("9:name=systemd:/\n4:cpu,memory:/a/b:cri:c\n2:cpuacct:/x\n0::/ (deleted)\n");
        assert_eq!(hybrid.memory.as_deref(), Some("/a/b:cri:c"));
        assert_eq!(hybrid.unified.as_deref(), Some("/"));
        assert_eq!(hybrid.limiting(), Some("/a/b:cri:c"));
        assert_eq!(hybrid.all().collect::<Vec<_>>(), ["/a/b:cri:c", "/"]);

        let v1 = CgroupPaths::parse("4:memory:/docker/x\n3:memory_recursiveprot:/y\n");
        assert_eq!((v1.memory.as_deref(), v1.unified), (Some("/docker/x"), None));
        assert_eq!(CgroupPaths::parse("garbage\n::\n\n7\n"), CgroupPaths::default());
    }

    /// Guarantees: a path is looked up below the mount's own root, and one outside of it is never guessed.
    #[test]
    fn directories_below_a_mount() {
        let whole = Tree { mount_point: "/sys/fs/cgroup".into(), root: "/".into() };
        assert_eq!(whole.directory("/a/b").as_deref(), Some(Path::new("/sys/fs/cgroup/a/b")));
        assert_eq!(whole.directory("/").as_deref(), Some(Path::new("/sys/fs/cgroup/")));
        assert_eq!(whole.directory("/../sibling"), None);

        let part = Tree { mount_point: "/cg".into(), root: "/docker/x".into() };
        assert_eq!(part.directory("/docker/x/y").as_deref(), Some(Path::new("/cg/y")));
        assert_eq!(part.directory("/docker/x").as_deref(), Some(Path::new("/cg/")));
        assert_eq!(part.directory("/docker/xyz"), None);
        assert_eq!(part.directory("/elsewhere"), None);
    }

    /// Guarantees: the version follows from the trees that are mounted.
    #[test]
    fn versions() {
        let tree = || Some(Tree { mount_point: "/sys/fs/cgroup".into(), root: "/".into() });
        let version = |any_v1, unified| Layout { any_v1, unified, ..Layout::default() }.version();
        assert_eq!(version(false, None), Version::Absent);
        assert_eq!(version(true, None), Version::V1);
        assert_eq!(version(true, tree()), Version::Hybrid);
        assert_eq!(version(false, tree()), Version::V2);
    }
}
