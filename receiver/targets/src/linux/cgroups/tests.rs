use std::fs;

use super::*;
use crate::cgroup::Tree;

const STAT: &str = "inactive_anon 1\nactive_anon 2\ninactive_file 40\nactive_file 80\nunevictable 4\n";
const STAT_V1: &str = "total_inactive_anon 1\ntotal_active_anon 2\ntotal_inactive_file 40\ntotal_active_file 80\n\
    total_unevictable 4\n";

/// Trees of ordinary folders and files, with the kernel's names.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    fn new(cgroups: &[&str]) -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        for cgroup in cgroups {
            fs::create_dir_all(fake.at(cgroup)).unwrap();
        }
        fake
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn id(&self, path: &str) -> u64 {
        fs::metadata(self.at(path)).unwrap().ino()
    }

    fn counted(&self, path: &str, usage: &str) {
        fs::write(self.at(path).join("memory.current"), usage).unwrap();
        fs::write(self.at(path).join("memory.max"), "2000\n").unwrap();
        fs::write(self.at(path).join("memory.stat"), STAT).unwrap();
    }

    fn view(&self, path: &str, root: &str, has_memory: bool) -> Option<View> {
        let tree = Tree { mount_point: self.at(path), root: root.to_owned() };
        Some(View { tree, way: Vec::new(), whole: true, has_memory })
    }
}

fn cgroups(unified: Option<View>, memory_v1: Option<View>) -> Cgroups {
    let trees = Trees { unified, memory_v1 };
    Cgroups { trees, slack: 9, counted: HashMap::new(), pass: Pass::default() }
}

fn v2(path: &str) -> CgroupPaths {
    CgroupPaths { unified: Some(path.to_owned()), memory: None }
}

fn hybrid(memory: &str, unified: &str) -> CgroupPaths {
    CgroupPaths { unified: Some(unified.to_owned()), memory: Some(memory.to_owned()) }
}

fn stages(losses: Losses) -> Vec<(&'static str, u64)> {
    losses.into_stages(["denied", "malformed", "io", "over_limit"]).collect()
}

/// Guarantees: on a v2 host a process is charged to the innermost cgroup around it that counts; that one and those
/// around it are told of once, however many processes are there, with their numbers, names and parents.
#[test]
fn version_2() {
    let fake = Fake::new(&["pods/pod/container/inner"]);
    fake.counted("pods", "3000\n");
    fake.counted("pods/pod/container", "1000\n");
    let mut cgroups = cgroups(fake.view("", "/", true), None);
    cgroups.begin_full();
    let placed = cgroups.place(v2("/pods/pod/container/inner"));
    assert_eq!(placed.cgroup_id, Some(fake.id("pods/pod/container/inner")));
    assert_eq!(placed.memory_cgroup_id, Some(fake.id("pods/pod/container")));
    assert_eq!(cgroups.place(v2("/pods/pod/container")).memory_cgroup_id, placed.memory_cgroup_id);
    assert_eq!(cgroups.place(v2("/")).memory_cgroup_id, Some(fake.id("")));
    let (readings, losses) = cgroups.end();
    let told = |path: &str, parent: u64, name: &str, usage: Option<u64>| CgroupReading {
        id: fake.id(path),
        parent,
        unified: true,
        name: name.to_owned(),
        memory: usage.map(|usage| CgroupMemory {
            usage,
            anon: 7,
            file: 120,
            slack: 9,
            max: Some(2000),
            ..CgroupMemory::default()
        }),
        node_name: String::new(),
    };
    let expected = [
        told("pods/pod/container", fake.id("pods/pod"), "container", Some(1000)),
        told("pods/pod", fake.id("pods"), "pod", None),
        told("pods", fake.id(""), "pods", Some(3000)),
        told("", 0, "", None),
    ];
    assert_eq!(readings, expected);
    assert_eq!(stages(losses), []);
}

/// Guarantees: where the v2 tree has no memory controller, processes are placed by their v2 cgroups, told of without
/// memory; where it has one that is switched on for nobody around, they are charged to the root.
#[test]
fn nothing_counts() {
    let fake = Fake::new(&["system/ssh"]);
    for (has_memory, memory_cgroup_id) in [(false, None), (true, Some(fake.id("")))] {
        let mut cgroups = cgroups(fake.view("", "/", has_memory), None);
        cgroups.begin_full();
        let placed = cgroups.place(v2("/system/ssh"));
        assert_eq!(placed, Placed { cgroup_id: Some(fake.id("system/ssh")), memory_cgroup_id });
        let (readings, _) = cgroups.end();
        assert_eq!(readings.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["ssh", "system", ""]);
        assert!(readings.iter().all(|reading| reading.memory.is_none()));
    }
}

/// Guarantees: inside of a private namespace, where the topmost cgroup is not the root, a process that nothing
/// counts for is not said to be charged to it.
#[test]
fn the_topmost_is_not_the_root() {
    let fake = Fake::new(&["mine"]);
    let view = fake.view("mine", "/", true).map(|view| View { whole: false, ..view });
    let mut cgroups = cgroups(view, None);
    cgroups.begin_full();
    let placed = cgroups.place(v2("/"));
    assert_eq!(placed, Placed { cgroup_id: Some(fake.id("mine")), memory_cgroup_id: None });
}

/// Guarantees: with the memory controller on v1 a process is charged to its v1 cgroup; one in the root of that tree
/// is placed by its v2 cgroup, which is told of without memory.
#[test]
fn version_1_and_hybrid() {
    let fake = Fake::new(&["v1/docker/x", "v2/docker/x", "v2/system/ssh"]);
    for path in ["v1", "v1/docker", "v1/docker/x"] {
        fs::write(fake.at(path).join("memory.usage_in_bytes"), "1000\n").unwrap();
        fs::write(fake.at(path).join("memory.stat"), STAT_V1).unwrap();
    }
    let mut cgroups = cgroups(fake.view("v2", "/", false), fake.view("v1", "/", true));
    cgroups.begin_full();
    let in_docker = cgroups.place(hybrid("/docker/x", "/docker/x"));
    let in_ssh = cgroups.place(hybrid("/", "/system/ssh"));
    assert_eq!(in_docker.memory_cgroup_id, Some(fake.id("v1/docker/x")));
    assert_eq!(in_docker.cgroup_id, Some(fake.id("v2/docker/x")));
    assert_eq!(in_ssh.memory_cgroup_id, Some(fake.id("v1")));
    assert_eq!(in_ssh.cgroup_id, Some(fake.id("v2/system/ssh")));
    let (readings, losses) = cgroups.end();
    let names = |unified: bool| {
        let of_tree = readings.iter().filter(move |reading| reading.unified == unified);
        of_tree.map(|reading| (reading.name.as_str(), reading.memory.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(names(false), [("x", true), ("docker", true), ("", true)]);
    assert_eq!(names(true), [("ssh", false), ("system", false), ("", false)]);
    assert_eq!(stages(losses), []);
}

/// Guarantees: a watched pass reads the cgroups asked for and no other, and places processes as a full one does; a
/// removed cgroup is absent, also when another has its path by then, and an id never told of is nobody.
#[test]
fn watched_passes() {
    let fake = Fake::new(&["a", "b", "kept"]);
    for path in ["a", "b", "kept"] {
        fake.counted(path, "1000\n");
    }
    let mut cgroups = cgroups(fake.view("", "/", true), None);
    cgroups.begin_full();
    let ids = ["/a", "/b", "/kept"].map(|path| cgroups.place(v2(path)).memory_cgroup_id.unwrap());
    cgroups.end();

    fake.counted("a", "1500\n");
    fs::rename(fake.at("b"), fake.at("elsewhere")).unwrap();
    fs::create_dir(fake.at("b")).unwrap();
    fake.counted("b", "1\n");
    cgroups.begin_watched(&[ids[0], ids[1], u64::MAX]);
    assert_eq!(cgroups.place(v2("/kept")).memory_cgroup_id, Some(ids[2]));
    let (readings, losses) = cgroups.end();
    assert_eq!(readings.len(), 1);
    assert_eq!((readings[0].id, readings[0].parent), (ids[0], fake.id("")));
    assert_eq!(readings[0].memory.unwrap().usage, 1500);
    assert_eq!(stages(losses), []);
}

/// Guarantees: a path that leads out of the namespace is told of by its names, with the same ids in every pass and
/// no inode claimed; a way that is known is gone instead.
#[test]
fn out_of_the_namespace() {
    let fake = Fake::new(&["pods/me", "pods/other"]);
    fake.counted("pods/other", "1000\n");
    let mut inside = cgroups(fake.view("pods/me", "/", true), None);
    inside.begin_full();
    let placed = inside.place(v2("/../other"));
    let (readings, _) = inside.end();
    let (top, leaf) = (made_up_id("/.."), made_up_id("/../other"));
    assert_eq!(placed, Placed { cgroup_id: None, memory_cgroup_id: Some(leaf) });
    let told: Vec<_> = readings.iter().map(|r| (r.id, r.parent, r.name.as_str(), r.memory)).collect();
    assert_eq!(told, [(top, 0, "..", None), (leaf, top, "other", None)]);
    inside.begin_watched(&[leaf]);
    assert_eq!(inside.place(v2("/../other")), placed);
    assert_eq!(inside.end().0, []);

    let way = vec!["pods".to_owned(), "me".to_owned()];
    let view = fake.view("", "/../..", true).map(|view| View { way, ..view });
    let mut around = cgroups(view, None);
    around.begin_full();
    assert_eq!(around.place(v2("/../other")).memory_cgroup_id, Some(fake.id("pods/other")));
    assert_eq!(around.place(v2("/")).cgroup_id, Some(fake.id("pods/me")));
}

/// Guarantees: with no tree mounted, processes are still placed by the names in their paths.
#[test]
fn no_trees_at_all() {
    let mut cgroups = cgroups(None, None);
    cgroups.begin_full();
    let placed = cgroups.place(hybrid("/docker/x", "/"));
    assert_eq!(placed, Placed { cgroup_id: None, memory_cgroup_id: Some(made_up_id("/docker/x")) });
    assert_eq!(cgroups.place(CgroupPaths::default()), Placed::default());
    assert_eq!(cgroups.place(v2("no path")), Placed::default());
    let (readings, _) = cgroups.end();
    assert_eq!(readings.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["", "docker", "x"]);
}

/// Guarantees: files that are no such files are told as lost, each by its reason, and never waited for; the cgroup
/// is told of all the same, and one that has been removed meanwhile is no loss.
#[test]
fn hostile_files() {
    let fake = Fake::new(&["text", "fifo"]);
    fake.counted("text", "many\n");
    let fifo = fake.at("fifo").join("memory.current");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut cgroups = cgroups(fake.view("", "/", true), None);
    cgroups.begin_full();
    for path in ["/text", "/fifo", "/removed"] {
        cgroups.place(v2(path));
    }
    let (readings, losses) = cgroups.end();
    assert_eq!(readings.iter().filter(|reading| !reading.name.is_empty()).count(), 2);
    assert!(readings.iter().all(|reading| reading.memory.is_none()));
    assert_eq!(stages(losses), [("malformed", 1), ("io", 1)]);
}

/// Guarantees: no number of cgroups fills the memory: what goes beyond the bound is counted.
#[test]
fn the_bound() {
    let mut cgroups = cgroups(None, None);
    cgroups.begin_full();
    for number in 0..MAX_CGROUPS + 5 {
        assert!(cgroups.place(v2(&format!("/../{number}"))).memory_cgroup_id.is_some());
    }
    let (readings, losses) = cgroups.end();
    assert_eq!(readings.len(), MAX_CGROUPS);
    // one was the topmost
    assert_eq!(stages(losses), [("over_limit", 6)]);
}
