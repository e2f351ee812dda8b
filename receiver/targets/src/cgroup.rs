//! Where a process sits in the cgroup trees, and where those trees are mounted.

use std::path::PathBuf;

use crate::os;

/// A process's place, as `/proc/PID/cgroup` gives it: relative to the reader's cgroup namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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
    /// Which directory of the tree is mounted there, relative to the reader's cgroup namespace: `/` is the root of
    /// the namespace, `/../..` a cgroup around it.
    pub root: String,
}

impl Tree {
    /// The part below the mount point of a path from `/proc/PID/cgroup`, `""` being the mount point itself. `way`
    /// are the names on the way from a root above the namespace down to that of the namespace, where they are known.
    /// `None` where the path is outside of what is mounted, or the way to it is not known.
    #[must_use]
    pub fn below(&self, path: &str, way: &[String]) -> Option<String> {
        let (root, path) = (Steps::of(&self.root)?, Steps::of(path)?);
        if path.up == root.up {
            let below = path.down.strip_prefix(root.down)?;
            return match below.strip_prefix('/') {
                Some(below) => Some(below.to_owned()),
                None => (below.is_empty() || root.down.is_empty()).then(|| below.to_owned()),
            };
        }
        if !root.down.is_empty() || way.len() != root.up {
            return None;
        }
        let way = way.get(..root.up.checked_sub(path.up)?)?.iter().map(String::as_str);
        Some(way.chain((!path.down.is_empty()).then_some(path.down)).collect::<Vec<_>>().join("/"))
    }
}

/// A path as the kernel shows it to a reader in a cgroup namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps<'a> {
    /// How many cgroups up from the root of the namespace,
    pub(crate) up: usize,
    /// and the names down from there, without a slash before them.
    pub(crate) down: &'a str,
}

impl<'a> Steps<'a> {
    /// `None` for what is no such path.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let (mut up, mut down) = (0, path.strip_prefix('/')?);
        while let Some(rest) = down.strip_prefix("..").filter(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            (up, down) = (up + 1, rest.strip_prefix('/').unwrap_or(rest));
        }
        let plain = down.is_empty() || down.split('/').all(|name| !matches!(name, "" | "." | ".."));
        plain.then_some(Self { up, down })
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

    fn tree(root: &str) -> Tree {
        Tree { mount_point: "/cg".into(), root: root.to_owned() }
    }

    /// Guarantees: a path is looked up below the mount's own root, and one outside of it is never guessed.
    #[test]
    fn directories_below_a_mount() {
        let below = |root: &str, path: &str| tree(root).below(path, &[]);
        assert_eq!(below("/", "/a/b").as_deref(), Some("a/b"));
        assert_eq!(below("/", "/").as_deref(), Some(""));
        assert_eq!(below("/", "/..a").as_deref(), Some("..a"));
        assert_eq!(below("/docker/x", "/docker/x/y").as_deref(), Some("y"));
        assert_eq!(below("/docker/x", "/docker/x").as_deref(), Some(""));
        for (root, path) in [
            ("/", "/../sibling"),
            ("/", "a"),
            ("/", "/a/../../b"),
            ("/", "/a//b"),
            ("/docker/x", "/docker/xyz"),
            ("/docker/x", "/elsewhere"),
            ("/docker/x", "/"),
            ("relative", "/a"),
        ] {
            assert_eq!(below(root, path), None, "{path} below {root}");
        }
    }

    /// Guarantees: with a mount that shows cgroups around the reader's namespace, a path that goes as far up needs
    /// no more, one that goes less far up needs the names on the way down to the namespace, and one that goes
    /// further up is outside.
    #[test]
    fn directories_around_the_namespace() {
        let way = ["pods".to_owned(), "me".to_owned()];
        let host = tree("/../..");
        assert_eq!(host.below("/../../pods/other", &[]).as_deref(), Some("pods/other"));
        assert_eq!(host.below("/../..", &[]).as_deref(), Some(""));
        assert_eq!(host.below("/../other/x", &way).as_deref(), Some("pods/other/x"));
        assert_eq!(host.below("/", &way).as_deref(), Some("pods/me"));
        assert_eq!(host.below("/init", &way).as_deref(), Some("pods/me/init"));
        for way in [&[][..], &way[..1]] {
            assert_eq!(host.below("/../other", way), None);
        }
        assert_eq!(host.below("/../../../up", &way), None);
        assert_eq!(tree("/../../pods").below("/../other", &way), None);
        assert_eq!(tree("/../../pods").below("/../../pods/a", &[]).as_deref(), Some("a"));
    }

    /// Guarantees: the version follows from the trees that are mounted.
    #[test]
    fn versions() {
        let tree = || Some(tree("/"));
        let version = |any_v1, unified| Layout { any_v1, unified, ..Layout::default() }.version();
        assert_eq!(version(false, None), Version::Absent);
        assert_eq!(version(true, None), Version::V1);
        assert_eq!(version(true, tree()), Version::Hybrid);
        assert_eq!(version(false, tree()), Version::V2);
    }
}
