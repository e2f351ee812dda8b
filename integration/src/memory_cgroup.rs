//! The memory controller's tree, whichever version of cgroups mounts it: read and written without our own crates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::need::Skip;
use crate::wait::until;

/// A cgroup in whose counters memory is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryCgroup {
    folder: PathBuf,
    /// Version 2.
    unified: bool,
}

impl MemoryCgroup {
    /// The top of the tree.
    ///
    /// # Errors
    /// A [`Skip`] where the kernel accounts no memory.
    pub fn root() -> anyhow::Result<Self> {
        for line in std::fs::read_to_string("/proc/self/mountinfo")?.lines() {
            let (before, after) = line.split_once(" - ").context("mountinfo")?;
            let folder = PathBuf::from(before.split(' ').nth(4).context("a mount point")?);
            let (kind, options) = after.split_once(' ').context("a file system")?;
            let unified = kind == "cgroup2";
            let accounts = if unified {
                let controllers = std::fs::read_to_string(folder.join("cgroup.controllers"))?;
                controllers.split_whitespace().any(|name| name == "memory")
            } else {
                kind == "cgroup" && options.split([' ', ',']).any(|option| option == "memory")
            };
            if accounts {
                return Ok(Self { folder, unified });
            }
        }
        Err(Skip::because("needs a kernel with the memory controller").into())
    }

    /// The one that a process is charged to.
    ///
    /// # Errors
    /// When the process is gone, or the kernel accounts no memory.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let root = Self::root()?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let path = lines
            .find(|(controllers, _)| match root.unified {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|name| name == "memory"),
            })
            .with_context(|| format!("no memory cgroup of {pid}: {text}"))?
            .1;
        Ok(Self { folder: root.folder.join(path.trim_start_matches('/')), ..root })
    }

    /// A new one inside.
    ///
    /// # Errors
    /// When it exists or may not be made.
    pub fn create(&self, name: &str) -> anyhow::Result<Self> {
        if self.unified {
            std::fs::write(self.folder.join("cgroup.subtree_control"), "+memory")?;
        }
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, unified: self.unified })
    }

    /// Removes it, once the last of its processes has gone.
    ///
    /// # Errors
    /// When that takes long, or there are others inside.
    pub fn remove(&self) -> anyhow::Result<()> {
        let what = format!("{} is empty", self.folder.display());
        until(&what, Duration::from_secs(10), || Ok(std::fs::remove_dir(&self.folder).ok()))
    }

    /// Moves a process here.
    ///
    /// # Errors
    /// When it is gone.
    pub fn take(&self, pid: u32) -> anyhow::Result<()> {
        let file = self.folder.join("cgroup.procs");
        std::fs::write(&file, pid.to_string()).with_context(|| format!("{pid} to {}", file.display()))
    }

    /// Sets how much it may hold, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn limit(&self, bytes: u64) -> anyhow::Result<()> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        Ok(std::fs::write(self.folder.join(file), bytes.to_string())?)
    }

    /// Its processes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let text = std::fs::read_to_string(self.folder.join("cgroup.procs"))?;
        text.lines().map(|line| line.parse().context("a pid")).collect()
    }

    /// What it holds of anonymous and shared memory, in bytes, as of some seconds ago.
    ///
    /// # Errors
    /// When it is gone.
    pub fn held(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(self.folder.join("memory.stat"))?;
        let keys = if self.unified { ["anon", "shmem"] } else { ["total_rss", "total_shmem"] };
        let mut sum = 0;
        for key in keys {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            sum += line.with_context(|| format!("no {key}: {text}"))?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Anonymous and shared memory that a process maps, in bytes, whoever else maps it.
///
/// # Errors
/// When it is gone.
pub fn mapped(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |key: &str| -> anyhow::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| key.to_owned())?;
        line.split_whitespace().next().context("a number")?.parse().context("a number")
    };
    Ok((kib("RssAnon:")? + kib("RssShmem:")?) << 10)
}
