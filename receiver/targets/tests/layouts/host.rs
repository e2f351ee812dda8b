//! Real cgroups with real processes in them.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use mlh_targets::cgroup::{CgroupPaths, Layout, of_pid};
use mlh_targets::hierarchy::{Hierarchy, Unit};
use mlh_targets::process::ProcessReading;
use mlh_targets::sweep::ProcSweep;

/// What a process is told to hold, bytes.
pub(crate) const HELD: u64 = 8 << 20;
/// The most that it may come to hold with its program and the shell's copies of that.
pub(crate) const AT_MOST: u64 = 8 * HELD;

/// Which trees a process is put into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum In {
    /// All, as container runtimes do.
    All,
    /// The v2 tree, and the root of the memory controller's v1 tree: what systemd does on hybrid hosts with what has
    /// no memory accounting.
    Unified,
}

/// The trees of this host with a folder of the test's own in the root of each, so that what is around the test
/// itself, be it a container or a limit, has no part in it.
pub(crate) struct Host {
    layout: Layout,
    folder: String,
    made: Vec<PathBuf>,
    shells: Vec<Shell>,
}

/// A process that holds memory.
struct Shell {
    child: Child,
    input: ChildStdin,
}

/// What a full pass found.
pub(crate) struct Seen {
    pub(crate) processes: Vec<ProcessReading>,
    pub(crate) hierarchy: Hierarchy,
}

impl Host {
    /// `None`, with the reason on standard error, where cgroups cannot be made.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let folder = format!("mlh-{name}-{}", std::process::id());
        let layout = Layout::read().unwrap();
        let mut host = Self { layout, folder, made: Vec::new(), shells: Vec::new() };
        match host.try_make("") {
            Ok(()) => Some(host),
            Err(reason) => {
                eprintln!("SKIPPED: cgroups cannot be made here: {reason}");
                None
            }
        }
    }

    /// Whether the memory controller sits on v1 beside a v2 tree.
    pub(crate) fn is_hybrid(&self) -> bool {
        self.layout.unified.is_some() && self.layout.memory_v1.is_some()
    }

    /// The mount points of the trees.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = &Path> {
        let trees = [&self.layout.unified, &self.layout.memory_v1];
        trees.into_iter().flatten().map(|tree| tree.mount_point.as_path())
    }

    fn memory_mount(&self) -> &Path {
        let tree = self.layout.memory_v1.as_ref().or(self.layout.unified.as_ref());
        &tree.unwrap().mount_point
    }

    /// A cgroup's path in either tree.
    pub(crate) fn path(&self, cgroup: &str) -> String {
        format!("/{}/{cgroup}", self.folder)
    }

    /// Its directory in the memory controller's tree.
    fn directory(&self, cgroup: &str) -> PathBuf {
        self.memory_mount().join(&self.folder).join(cgroup)
    }

    /// Its id there.
    pub(crate) fn id(&self, cgroup: &str) -> u64 {
        fs::metadata(self.directory(cgroup)).unwrap().ino()
    }

    /// Its id in the v2 tree.
    pub(crate) fn unified_id(&self, cgroup: &str) -> Option<u64> {
        let mount = &self.layout.unified.as_ref()?.mount_point;
        Some(fs::metadata(mount.join(&self.folder).join(cgroup)).unwrap().ino())
    }

    /// The files that take a process into a cgroup, one in each tree.
    pub(crate) fn entrances(&self, cgroup: &str, place: In) -> Vec<PathBuf> {
        let of = |mount: &Path| match place {
            In::Unified if Some(mount) != self.unified() => mount.join("cgroup.procs"),
            In::All | In::Unified => mount.join(&self.folder).join(cgroup).join("cgroup.procs"),
        };
        self.mounts().map(of).collect()
    }

    fn unified(&self) -> Option<&Path> {
        self.layout.unified.as_ref().map(|tree| tree.mount_point.as_path())
    }

    /// Makes a cgroup and those around it, with their memory counted.
    pub(crate) fn make(&mut self, cgroup: &str) {
        self.try_make(cgroup).unwrap();
    }

    fn try_make(&mut self, cgroup: &str) -> io::Result<()> {
        let mounts: Vec<PathBuf> = self.mounts().map(Path::to_owned).collect();
        for mount in mounts {
            let mut directory = mount.clone();
            for name in [self.folder.as_str()].into_iter().chain(cgroup.split('/').filter(|n| !n.is_empty()))
            {
                if Some(mount.as_path()) == self.unified() && self.layout.memory_v2 {
                    fs::write(directory.join("cgroup.subtree_control"), "+memory")?;
                }
                directory.push(name);
                match fs::create_dir(&directory) {
                    Ok(()) => self.made.push(directory.clone()),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Limits the memory of a cgroup, in bytes.
    pub(crate) fn limit(&self, cgroup: &str, bytes: u64) {
        let v1 = self.layout.memory_v1.is_some();
        let file = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(self.directory(cgroup).join(file), bytes.to_string()).unwrap();
    }

    /// A process in a cgroup, which is made, that holds [`HELD`] bytes there.
    pub(crate) fn run(&mut self, cgroup: &str, place: In) -> u32 {
        self.make(cgroup);
        let script = format!(
            "read go; held=$(head -c {HELD} /dev/zero | tr '\\0' x); echo holding; read end; echo ${{#held}}"
        );
        let mut child = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (pid, mut input) = (child.id(), child.stdin.take().unwrap());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for entrance in self.entrances(cgroup, place) {
            fs::write(entrance, pid.to_string()).unwrap();
        }
        input.write_all(b"go\n").unwrap();
        self.shells.push(Shell { child, input });
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "holding\n");
        pid
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for Shell { mut child, input } in self.shells.drain(..) {
            drop(input);
            child.kill().ok();
            child.wait().ok();
        }
        for directory in self.made.drain(..).rev() {
            if let Err(error) = fs::remove_dir(&directory) {
                eprintln!("{} stays: {error}", directory.display());
            }
        }
    }
}

impl Seen {
    pub(crate) fn now() -> Self {
        let readings = ProcSweep::open().unwrap().full().unwrap();
        let lost = readings.errors.iter().filter(|(stage, _)| stage.starts_with("cgroup_"));
        assert_eq!(lost.count(), 0, "{:?}", readings.errors);
        let mut hierarchy = Hierarchy::default();
        hierarchy.full(&readings.cgroups);
        Self { processes: readings.processes, hierarchy }
    }

    pub(crate) fn process(&self, pid: u32) -> &ProcessReading {
        self.processes.iter().find(|reading| reading.pid == pid).unwrap()
    }

    /// The key of the cgroup a process is in.
    pub(crate) fn key(&self, pid: u32) -> u64 {
        let reading = self.process(pid);
        self.hierarchy.key_of(reading.cgroup_id, reading.memory_cgroup_id).unwrap()
    }

    pub(crate) fn unit(&mut self, pid: u32) -> Option<Arc<Unit>> {
        let key = self.key(pid);
        self.hierarchy.unit_of(key)
    }

    /// Whether a cgroup counts what `processes` processes of this test hold in it.
    pub(crate) fn counts(&self, key: u64, processes: u64) {
        let memory = self.hierarchy.memory(key).unwrap();
        assert!(memory.anon + memory.slack >= processes * HELD, "{memory:?}");
        assert!(memory.anon <= processes * AT_MOST && memory.usage >= processes * HELD, "{memory:?}");
    }
}

/// What the kernel says of a process.
pub(crate) fn paths(pid: u32) -> CgroupPaths {
    of_pid(pid).unwrap()
}
