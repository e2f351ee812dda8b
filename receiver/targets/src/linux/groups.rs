//! Cgroups by their names, in the trees that are mounted, and who is in them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::trees::{Trees, View};
use crate::container::{self, ContainerId};
use crate::groups::{Group, GroupError};

/// More cgroups than hosts with thousands of containers have.
const MAX_DIRECTORIES: usize = 1 << 16;
/// More processes than one container has.
const MAX_PIDS: usize = 1 << 16;
/// Names at most so many of those that an unclear id may mean.
const NAMED: usize = 8;

pub(crate) fn by_id(id: u64) -> Result<Group, GroupError> {
    let trees = Trees::look();
    let mut any = false;
    for view in [&trees.unified, &trees.memory_v1].into_iter().flatten() {
        any = true;
        let is_it = |directory: &PathBuf| inode(directory).is_some_and(|found| found == id);
        if let Some(directory) = below(&view.tree.mount_point).find(is_it) {
            return group(view, vec![directory]);
        }
    }
    let what = format!("cgroup with the id {id}");
    let instead = "`stat -c %i DIRECTORY` tells the id of a directory below /sys/fs/cgroup".to_owned();
    Err(if any { GroupError::Absent { what, instead } } else { GroupError::NoTrees })
}

pub(crate) fn by_path(path: &Path) -> Result<Group, GroupError> {
    let trees = Trees::look();
    let views: Vec<&View> = [&trees.unified, &trees.memory_v1].into_iter().flatten().collect();
    let absent = || {
        let instead = nearest(&views, path);
        GroupError::Absent { what: format!("cgroup {}", path.display()), instead }
    };
    let text = path.to_str().ok_or_else(absent)?.trim_end_matches('/');
    if text.split('/').any(|name| name == ".") {
        return Err(absent());
    }
    // the longest mount point first: v1's trees are mounted below the v2 tree, or beside it
    let mut mounted = views.clone();
    mounted.sort_by_key(|view| std::cmp::Reverse(view.tree.mount_point.as_os_str().len()));
    if let Some(view) = mounted.into_iter().find(|view| path.starts_with(&view.tree.mount_point))
        && !text.split('/').any(|name| name == "..")
    {
        return if path.is_dir() { group(view, vec![PathBuf::from(text)]) } else { Err(absent()) };
    }
    let rooted = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let found = |view: &&View| {
        let directory = view.directory(&view.below(&rooted)?);
        directory.is_dir().then_some(directory)
    };
    let first = views.iter().find(|view| found(view).is_some()).copied();
    match first {
        Some(view) => group(view, views.iter().filter_map(found).collect()),
        None if views.is_empty() => Err(GroupError::NoTrees),
        None => Err(absent()),
    }
}

pub(crate) fn by_container(prefix: &str) -> Result<Group, GroupError> {
    let trees = Trees::look();
    let views: Vec<&View> = [&trees.unified, &trees.memory_v1].into_iter().flatten().collect();
    let mut found: HashMap<ContainerId, Vec<(&View, PathBuf)>> = HashMap::new();
    for view in &views {
        for directory in below(&view.tree.mount_point) {
            let relative = directory.strip_prefix(&view.tree.mount_point).ok().and_then(Path::to_str);
            let Some(id) = relative.and_then(container::id_from_path) else { continue };
            let known = found.entry(id).or_default();
            // the walk comes to a container before it comes to what is in it
            if !known.iter().any(|(of, outer)| std::ptr::eq(*of, *view) && directory.starts_with(outer)) {
                known.push((view, directory));
            }
        }
    }
    if views.is_empty() {
        return Err(GroupError::NoTrees);
    }
    let id = the_one(prefix, found.keys())?;
    let places = &found[id];
    let view = places.first().map_or(views[0], |(view, _)| view);
    group(view, places.iter().map(|(_, directory)| directory.clone()).collect())
}

/// The one container that an id, or the beginning of one, means.
///
/// # Errors
/// None does, or several.
fn the_one<'a>(
    prefix: &str,
    ids: impl Iterator<Item = &'a ContainerId>,
) -> Result<&'a ContainerId, GroupError> {
    let mut all: Vec<&ContainerId> = ids.collect();
    all.sort_unstable();
    all.dedup();
    let is_meant = |id: &&ContainerId| !prefix.is_empty() && id.as_str().starts_with(prefix);
    let found: Vec<&ContainerId> = all.iter().copied().filter(is_meant).collect();
    // an id that is the beginning of another is meant when it is given in full
    if let Some(exact) = found.iter().find(|id| id.as_str() == prefix) {
        return Ok(exact);
    }
    match found.as_slice() {
        [] => Err(GroupError::Absent { what: format!("container {prefix}"), instead: alike(prefix, all) }),
        [one] => Ok(one),
        several => Err(GroupError::Ambiguous {
            prefix: prefix.to_owned(),
            count: several.len(),
            candidates: several.iter().take(NAMED).map(|id| short(id)).collect(),
        }),
    }
}

/// As container tools show it.
fn short(id: &ContainerId) -> String {
    id.as_str().chars().take(12).collect()
}

/// The containers that there are, those first whose ids begin most like that.
fn alike(prefix: &str, mut ids: Vec<&ContainerId>) -> String {
    let common =
        |id: &ContainerId| id.as_str().chars().zip(prefix.chars()).take_while(|(a, b)| a == b).count();
    ids.sort_by_key(|id| std::cmp::Reverse(common(id)));
    let names = ids.iter().map(|id| short(id));
    listed("the containers are", names).unwrap_or_else(|| "no other can be seen either".to_owned())
}

/// The cgroups in the innermost directory on the way to one that is not there.
fn nearest(views: &[&View], path: &Path) -> String {
    let below_mounts = |view: &&&View| {
        let top = &view.tree.mount_point;
        let relative = path.strip_prefix(top).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
        // upwards it would lead out of the tree
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        let around = relative.ancestors().skip(1).map(|around| (around.to_owned(), top.join(around)));
        around
            .filter(|(_, directory)| inside && directory.is_dir())
            .max_by_key(|(around, _)| around.components().count())
    };
    let Some((around, directory)) = views.iter().find_map(|view| below_mounts(&view)) else {
        return "its path is that of a directory below /sys/fs/cgroup".to_owned();
    };
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten().take(MAX_DIRECTORIES);
    let mut names: Vec<String> = entries
        .filter(|entry| is_directory(entry).unwrap_or(false))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    let place = format!("/{}", around.display());
    listed(&format!("in {place} there are"), names.into_iter())
        .unwrap_or_else(|| format!("in {place} there are none"))
}

/// The first of them. `None`: there are none.
fn listed(what: &str, mut names: impl Iterator<Item = String>) -> Option<String> {
    let first: Vec<String> = names.by_ref().take(NAMED).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    (!first.is_empty()).then(|| format!("{what} {}{more}", first.join(", ")))
}

/// The group with these directories; the first is in the tree of `view`.
fn group(view: &View, directories: Vec<PathBuf>) -> Result<Group, GroupError> {
    let gone =
        || GroupError::Absent { what: "such cgroup".to_owned(), instead: "it has just gone".to_owned() };
    let first = directories.first().ok_or_else(gone)?;
    let relative = first.strip_prefix(&view.tree.mount_point).map_err(|_| gone())?;
    let path = format!("/{}", relative.display());
    if relative.as_os_str().is_empty() {
        return Err(GroupError::Top(path));
    }
    Ok(Group {
        cgroup_id: inode(first).ok_or_else(gone)?,
        container_id: container::id_from_path(&path),
        path,
        directories,
    })
}

pub(crate) fn pids(directories: &[PathBuf]) -> Option<Vec<u32>> {
    let mut pids = BTreeSet::new();
    let mut any = false;
    for directory in directories.iter().filter(|directory| directory.is_dir()) {
        any = true;
        for directory in below(directory) {
            if pids.len() >= MAX_PIDS {
                break;
            }
            // a threaded cgroup lists no processes; the one around it does
            let text = super::read_text(&directory.join("cgroup.procs")).unwrap_or_default();
            // 0 is one that has no pid here
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
        }
    }
    any.then(|| pids.into_iter().take(MAX_PIDS).collect())
}

/// A directory and all below it, from the outside in.
fn below(top: &Path) -> impl Iterator<Item = PathBuf> {
    let mut waiting = VecDeque::from([top.to_owned()]);
    let mut seen = 0;
    std::iter::from_fn(move || {
        let directory = waiting.pop_front()?;
        if let Ok(entries) = fs::read_dir(&directory) {
            for entry in entries.flatten() {
                if seen < MAX_DIRECTORIES && is_directory(&entry).unwrap_or(false) {
                    seen += 1;
                    waiting.push_back(entry.path());
                }
            }
        }
        Some(directory)
    })
}

fn is_directory(entry: &fs::DirEntry) -> io::Result<bool> {
    Ok(entry.file_type()?.is_dir())
}

fn inode(directory: &Path) -> Option<u64> {
    fs::metadata(directory).ok().map(|found| found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Tree;
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
            let reason = one(absent).unwrap_err().to_string();
            assert!(reason.starts_with(&format!("there is no container {absent} ")), "{reason}");
        }
        let near = one("4f3").unwrap_err().to_string();
        assert!(near.ends_with("the containers are 4f1e00000000, 4f2a00000000, aa0000000000"), "{near}");
        let none = the_one("4f", std::iter::empty()).unwrap_err().to_string();
        assert!(none.ends_with("no other can be seen either"), "{none}");
        let many: Vec<ContainerId> = (10..20).map(|number| id(&number.to_string())).collect();
        assert!(the_one("4f", many.iter()).unwrap_err().to_string().ends_with("170000000000, ..."));
    }

    fn view(top: &Path) -> View {
        let tree = Tree { mount_point: top.to_owned(), root: "/".to_owned() };
        View { tree, way: Vec::new(), whole: true, has_memory: true }
    }

    /// Guarantees: of a cgroup that is not there it is said what there is in its place, as far in as its path leads; a path that leads
    /// out of the tree shows nothing.
    #[test]
    fn what_is_there_instead() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kubepods/pod1/inner")).unwrap();
        fs::create_dir_all(folder.path().join("kubepods/pod2")).unwrap();
        let view = view(folder.path());
        let said = |path: &str| nearest(&[&view], Path::new(path));
        assert_eq!(said("/kubepods/pod3/a"), "in /kubepods there are pod1, pod2");
        assert_eq!(said("system.slice"), "in / there are kubepods");
        assert_eq!(said("/kubepods/pod2/a"), "in /kubepods/pod2 there are none");
        assert!(said("/../x").contains("/sys/fs/cgroup"), "{}", said("/../x"));
        let absolute = folder.path().join("kubepods/pod3");
        assert_eq!(said(&absolute.to_string_lossy()), "in /kubepods there are pod1, pod2");
    }

    /// Guarantees: the pids of a group are those of its directory and of all below it, in whatever tree, each once and
    /// without those that have none here; a group whose directories are gone has none.
    #[test]
    fn who_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["v2/pod", "v1/pod"].map(|path| folder.path().join(path));
        for (directory, text) in [(&one, "12\n0\n7\n"), (&one.join("a/b"), "99\n"), (&other, "7\n8\n")] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("cgroup.procs"), text).unwrap();
        }
        assert_eq!(pids(&[one.clone(), other]), Some(vec![7, 8, 12, 99]));
        assert_eq!(pids(&[one.join("a")]), Some(vec![99]));
        fs::remove_dir_all(&one).unwrap();
        assert_eq!(pids(&[one]), None);
    }

    /// Guarantees: a group knows its path and its container; the top of a tree is none.
    #[test]
    fn what_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let id = "4f1e".repeat(16);
        let directory = folder.path().join(format!("libpod-{id}"));
        fs::create_dir(&directory).unwrap();
        let found = group(&view(folder.path()), vec![directory.clone()]).unwrap();
        assert_eq!(found.path, format!("/libpod-{id}"));
        assert_eq!(found.container_id.map(|id| id.to_string()), Some(id));
        assert_eq!(Some(found.cgroup_id), inode(&directory));
        let top = group(&view(folder.path()), vec![folder.path().to_owned()]);
        assert_eq!(top, Err(GroupError::Top("/".to_owned())));
    }

    /// Guarantees: on this host what is not there is not found, and where this process is in a cgroup below the top,
    /// that is found by path and by id, with this process in it.
    #[test]
    fn on_this_host() {
        assert!(by_id(u64::MAX).is_err() && by_container("no such id").is_err());
        assert!(by_path(Path::new("/no/such/cgroup")).is_err());
        let paths = crate::cgroup::of_pid(std::process::id()).unwrap();
        for path in paths.all().filter(|path| *path != "/") {
            let Ok(found) = by_path(Path::new(path)) else { continue };
            assert!(found.pids().unwrap().contains(&std::process::id()), "{path}");
            let again = by_id(found.cgroup_id).unwrap();
            assert_eq!(again.cgroup_id, found.cgroup_id);
        }
    }
}
