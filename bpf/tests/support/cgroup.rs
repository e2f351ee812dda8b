//! Memory cgroups that a test makes and removes, in v1's hierarchy or in v2's, whichever this host has the controller in.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::skip;

/// A memory cgroup of the test's own; removed when this is dropped, which has to be after the processes in it have ended.
pub(crate) struct MemoryCgroup {
    path: PathBuf,
    unified: bool,
}

impl MemoryCgroup {
    /// Below the root of the hierarchy; where that cannot be, the test is skipped.
    pub(crate) fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
        let root = if unified.is_ok() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        if unified.as_ref().is_ok_and(|controllers| controllers.contains("memory")) {
            let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        }
        let name = format!("mlh-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        Self::make(Path::new(root).join(name), unified.is_ok())
            .map_err(|error| skip(&format!("no memory cgroup can be made: {error}")))
            .ok()
    }

    /// One below this one, into which no process may be put from then on.
    pub(crate) fn below(&self, name: &str) -> Self {
        if self.unified {
            fs::write(self.path.join("cgroup.subtree_control"), "+memory").expect("the controller goes down");
        }
        Self::make(self.path.join(name), self.unified).expect("a cgroup below one's own")
    }

    fn make(path: PathBuf, unified: bool) -> std::io::Result<Self> {
        fs::create_dir(&path)?;
        let made = Self { path, unified };
        fs::metadata(made.file("memory.usage_in_bytes", "memory.current"))?;
        Ok(made)
    }

    fn file(&self, v1: &str, v2: &str) -> PathBuf {
        self.path.join(if self.unified { v2 } else { v1 })
    }

    fn number(&self, v1: &str, v2: &str) -> u64 {
        let text = fs::read_to_string(self.file(v1, v2)).expect("a file of the controller");
        text.trim().parse().expect("a number")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_unified(&self) -> bool {
        self.unified
    }

    pub(crate) fn id(&self) -> u64 {
        fs::metadata(&self.path).expect("it is there").ino()
    }

    pub(crate) fn name(&self) -> String {
        self.path.file_name().expect("a name").to_string_lossy().into_owned()
    }

    pub(crate) fn add(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("it lives and may be moved");
    }

    pub(crate) fn set_max(&self, bytes: u64) {
        fs::write(self.file("memory.limit_in_bytes", "memory.max"), bytes.to_string()).expect("a limit");
    }

    /// On memory and swap together where v1 accounts for swap, and so that nothing is swapped out in v2.
    pub(crate) fn forbid_swap(&self, max: u64) {
        let max = if self.unified { 0 } else { max };
        let _ = fs::write(self.file("memory.memsw.limit_in_bytes", "memory.swap.max"), max.to_string());
    }

    /// Only v2 has such a limit.
    pub(crate) fn set_high(&self, bytes: u64) {
        fs::write(self.path.join("memory.high"), bytes.to_string()).expect("a limit");
    }

    pub(crate) fn usage(&self) -> u64 {
        self.number("memory.usage_in_bytes", "memory.current")
    }

    /// Sums of these lists in memory.stat, those below included.
    pub(crate) fn lists(&self, names: &[&str]) -> u64 {
        let stat = fs::read_to_string(self.path.join("memory.stat")).expect("statistics");
        let prefix = if self.unified { "" } else { "total_" };
        let of = |name: &str| {
            let wanted = format!("{prefix}{name} ");
            let value = stat.lines().find_map(|line| line.strip_prefix(&wanted)).expect("the list");
            value.parse::<u64>().expect("a number")
        };
        names.iter().map(|name| of(name)).sum()
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A cgroup in a v2 hierarchy that has no memory controller, removed as the other.
pub(crate) struct PlainCgroup(PathBuf);

impl PlainCgroup {
    /// Where there is no such hierarchy, the test is skipped; that is no failure, as hosts have one or the other.
    pub(crate) fn new() -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/unified");
        let path = root.join(format!("mlh-test-{}", std::process::id()));
        match fs::metadata(root.join("cgroup.procs")).and_then(|_| fs::create_dir(&path)) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                eprintln!("SKIPPED: no v2 hierarchy beside v1: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn id(&self) -> u64 {
        fs::metadata(&self.0).expect("it is there").ino()
    }

    pub(crate) fn name(&self) -> String {
        self.0.file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// Into this one, and into the root of v1's memory controller.
    pub(crate) fn add(&self, pid: u32) {
        fs::write("/sys/fs/cgroup/memory/cgroup.procs", pid.to_string()).expect("it lives and may be moved");
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("it lives and may be moved");
    }
}

impl Drop for PlainCgroup {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    // the last exit may still be on its way out of it
    for _ in 0..200 {
        if fs::remove_dir(path).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    eprintln!("{} stays", path.display());
}
