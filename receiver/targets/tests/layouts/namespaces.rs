//! What a process in a container sees of the container beside it.
//!
//! The test starts itself again inside of one: in a cgroup of its own, in namespaces of its own, with mounts as a
//! container runtime makes them.

use std::path::Path;
use std::process::Command;

use mlh_targets::cgroup_reading::is_made_up;

use super::host::{Host, In, Seen, paths};
use super::{ID, OUTER};

/// The one beside, for the test inside: its pid, the id of its memory cgroup, and that cgroup's path on the host.
const NEIGHBOUR: &str = "MLH_TEST_NEIGHBOUR";

/// Who starts inside of the container: the test of that name, in a program with these mounts and capabilities.
fn inside(host: &mut Host, test: &str, mounts: &str, wrapper: &str) {
    let (own, other) = (format!("pod/crio-{OUTER}.scope"), format!("pod/crio-{ID}.scope"));
    host.make(&own);
    let pid = host.run(&other, In::All);
    let neighbour = format!("{pid} {} {}", host.id(&other), host.path(&other));
    let entrances = host.entrances(&own, In::All);
    let enter: String = entrances.iter().map(|file| format!("echo $$ > {}; ", file.display())).collect();
    let script = format!(
        "set -e; {enter} exec unshare --cgroup --mount sh -e -c '{mounts} exec {wrapper} \"$@\"' sh \"$@\""
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap()).env(NEIGHBOUR, neighbour);
    passes(&mut command, test);
}

/// Runs a test of this file in a program of its own, which the command starts.
fn passes(command: &mut Command, test: &str) {
    let test = format!("namespaces::{test}");
    let output = command.args(["--exact", "--ignored", "--nocapture", &test]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

fn neighbour() -> (u32, u64, String) {
    let text = std::env::var(NEIGHBOUR).unwrap();
    let mut parts = text.splitn(3, ' ');
    let mut next = || parts.next().unwrap();
    (next().parse().unwrap(), next().parse().unwrap(), next().to_owned())
}

/// Shell commands that mount the trees anew where they are, so that only this namespace's part shows.
fn only_own_mounts(host: &Host) -> String {
    let mut script = "umount --recursive --lazy /sys/fs/cgroup; ".to_owned();
    let paths: Vec<&Path> = host.mounts().collect();
    if paths.iter().all(|path| *path != Path::new("/sys/fs/cgroup")) {
        script += "mount -t tmpfs cgroups /sys/fs/cgroup; ";
    }
    script + &mounted_at(host, &paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

/// Shell commands that mount the trees there.
fn mounted_at(host: &Host, places: &[String]) -> String {
    let kinds = ["cgroup2 ", "cgroup -o memory "].into_iter();
    let kinds = kinds.skip(usize::from(host.unified_id("").is_none()));
    places
        .iter()
        .zip(kinds)
        .map(|(at, kind)| format!("mkdir -p {at}; mount -t {kind} cgroup {at}; "))
        .collect()
}

/// Guarantees: with the host's trees mounted into the container, the neighbour is found there.
///
/// Needs: root, cgroup trees that can be written to, `unshare`.
#[test]
fn with_the_hosts_mounts() {
    let Some(mut host) = Host::new("mounts") else { return };
    let folder = tempfile::tempdir().unwrap();
    let places: Vec<_> =
        (0..host.mounts().count()).map(|n| format!("{}/{n}", folder.path().display())).collect();
    // mounted on a file system that is gone with the namespace
    let mounts = format!("mount -t tmpfs own {}; {}", folder.path().display(), mounted_at(&host, &places));
    inside(&mut host, "sees_the_neighbour", &mounts, "");
}

/// Guarantees: with no more than its own part mounted, a process that may look at the host's first one finds the
/// neighbour through that.
///
/// Needs: root with `CAP_SYS_PTRACE`, cgroup trees that can be written to, `unshare`.
#[test]
fn through_the_first_process() {
    let Some(_) = Host::new("first") else { return };
    as_the_first("first_through");
}

/// Guarantees: without the capability for that, the neighbour is told by its name.
///
/// Needs: root, cgroup trees that can be written to, `unshare`, `setpriv`.
#[test]
fn by_name_alone() {
    let Some(_) = Host::new("name") else { return };
    as_the_first("first_by_name");
}

/// Starts a test as the first process of a pid namespace: the true first one may be guarded.
fn as_the_first(test: &str) {
    let unshare = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"];
    passes(Command::new("unshare").args(unshare).arg(std::env::current_exe().unwrap()), test);
}

/// The first process's part of [`through_the_first_process`], with what that guarantees.
#[test]
#[ignore = "runs as the first process, which another test makes it"]
fn first_through() {
    let mut host = Host::new("first-process").unwrap();
    let mounts = only_own_mounts(&host);
    inside(&mut host, "sees_the_neighbour", &mounts, "");
}

/// The first process's part of [`by_name_alone`], with what that guarantees.
#[test]
#[ignore = "runs as the first process, which another test makes it"]
fn first_by_name() {
    let mut host = Host::new("first-name").unwrap();
    let mounts = only_own_mounts(&host);
    inside(&mut host, "sees_the_neighbours_name", &mounts, "setpriv --bounding-set=-sys_ptrace");
}

/// Guarantees: seen from inside of a container, the neighbour has the id, path and memory that it has on the host,
/// and the container itself its own id.
#[test]
#[ignore = "runs inside of a container that the tests above make"]
fn sees_the_neighbour() {
    let (pid, id, path) = neighbour();
    assert!(paths(pid).limiting().unwrap().starts_with("/../crio-"), "{:?}", paths(pid));
    let mut seen = Seen::now();
    assert_eq!(seen.process(pid).memory_cgroup_id, Some(id));
    let unit = seen.unit(pid).unwrap();
    assert_eq!((unit.cgroup_id, &unit.path), (id, &path));
    assert_eq!(unit.container_id.as_ref().unwrap().as_str(), ID);
    seen.counts(unit.key, 1);
    let own = seen.unit(std::process::id()).unwrap();
    assert_eq!(own.container_id.as_ref().unwrap().as_str(), OUTER);
    assert!(seen.hierarchy.memory(own.key).is_some());
}

/// Guarantees: seen from inside of a container without any way to the host's trees, the neighbour has its container
/// id, a path that says it is outside, and no memory or inode that would be a guess; the container itself has its
/// memory and no name.
#[test]
#[ignore = "runs inside of a container that the tests above make"]
fn sees_the_neighbours_name() {
    let (pid, ..) = neighbour();
    let mut seen = Seen::now();
    let reading = seen.process(pid);
    assert_eq!(reading.cgroup_id, None);
    assert!(reading.memory_cgroup_id.is_some_and(is_made_up));
    let unit = seen.unit(pid).unwrap();
    assert_eq!(unit.path, format!("/../crio-{ID}.scope"));
    assert_eq!(unit.container_id.as_ref().unwrap().as_str(), ID);
    assert!(seen.hierarchy.memory(unit.key).is_none());
    let own = std::process::id();
    let own_key = seen.key(own);
    assert!(!is_made_up(own_key) && seen.hierarchy.memory(own_key).is_some());
    assert_eq!(seen.unit(own), None);
}
