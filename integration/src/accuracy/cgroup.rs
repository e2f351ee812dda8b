//! Cgroups that tell who belongs together: one for all runs, by whose path the sidecar knows whom to judge, and in it one for each
//! run, by whose id records name it. They are of version 2 and have no controllers: no memory is counted for them, so they are no
//! containers. Where version 1 counts memory, its path is the one that the sidecar goes by, so all runs are in one of its too.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::memory_cgroup::MemoryCgroup;
use crate::need::Skip;
use crate::wait::until;

/// The one for all runs.
pub struct Around {
    folder: PathBuf,
    memory: Option<MemoryCgroup>,
}

/// That of a run.
pub struct Cgroup {
    folder: PathBuf,
    doors: Vec<PathBuf>,
}

impl Around {
    /// A new one.
    ///
    /// # Errors
    /// A [`Skip`] where there are no cgroups of version 2; that it exists or may not be made.
    pub fn create(name: &str) -> anyhow::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let mut unified = mounts.lines().filter_map(|line| line.split_once(" - "));
        let unified = unified.find(|(_, kind)| kind.starts_with("cgroup2 "));
        let (mount, _) = unified.ok_or_else(|| Skip::because("needs cgroups of version 2"))?;
        let root = PathBuf::from(mount.split(' ').nth(4).context("a mount point")?);
        let memory = MemoryCgroup::root()?;
        let memory = (memory.folder() != root).then(|| memory.create(name)).transpose()?;
        let folder = root.join(name);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, memory })
    }

    /// A new one inside.
    ///
    /// # Errors
    /// That it exists or may not be made.
    pub fn inside(&self, name: &str) -> anyhow::Result<Cgroup> {
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let folders = self.memory.iter().map(MemoryCgroup::folder).chain([folder.as_path()]);
        let doors = folders.map(|folder| folder.join("cgroup.procs")).collect();
        Ok(Cgroup { folder, doors })
    }

    /// Removes it, once the last inside has gone.
    ///
    /// # Errors
    /// When there are others inside.
    pub fn remove(&self) -> anyhow::Result<()> {
        self.memory.as_ref().map(MemoryCgroup::remove).transpose()?;
        remove(&self.folder)
    }
}

impl Cgroup {
    /// Its id, as records name it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn id(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(&self.folder)?.ino())
    }

    /// The files to which a process writes its pid to come in.
    #[must_use]
    pub fn doors(&self) -> &[PathBuf] {
        &self.doors
    }

    /// Its processes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processes(&self) -> anyhow::Result<Vec<i32>> {
        let text = std::fs::read_to_string(self.folder.join("cgroup.procs"))?;
        text.lines().map(|line| line.parse().context("a pid")).collect()
    }

    /// Removes it, once the last of its processes has gone.
    ///
    /// # Errors
    /// When that takes long.
    pub fn remove(&self) -> anyhow::Result<()> {
        remove(&self.folder)
    }
}

fn remove(folder: &std::path::Path) -> anyhow::Result<()> {
    let what = format!("{} is empty", folder.display());
    until(&what, Duration::from_secs(10), || Ok(std::fs::remove_dir(folder).ok()))
}
