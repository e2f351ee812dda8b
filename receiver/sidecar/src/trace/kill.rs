//! A kill for lack of memory.

use std::time::Duration;

use mlh_detect::ProcessKey;
use mlh_targets::process::ProcessReading;
use serde::{Deserialize, Serialize};

use super::line::{MAX_NAME, MAX_PATH, cut, named, nanos, whole};
use super::seconds;

/// The process that was killed. A trace need not say more than who it was: what the trace showed of it last holds for
/// the rest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OomKillLine {
    /// Since the trace began.
    #[serde(with = "seconds")]
    pub t: Duration,
    /// Thread group id; 0 where the recorder's pid namespace has none for it.
    pub pid: u32,
    /// From boot to its start.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub start: Option<Duration>,
    /// Its pid on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_pid: Option<u32>,
    /// The thread group leader's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The executable: its path, or its base name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Inode of its v2 cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Inode of the memory controller's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_cgroup_id: Option<u64>,
    /// Anonymous memory it held.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub anon: Option<u64>,
    /// File pages.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub file: Option<u64>,
    /// Shared memory.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub shmem: Option<u64>,
    /// Swapped out.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
}

impl OomKillLine {
    /// The victim as a line at `t`.
    #[must_use]
    pub fn new(t: Duration, victim: &ProcessReading) -> Self {
        Self {
            t,
            pid: victim.pid,
            start: Some(Duration::from_nanos(victim.start_ns)),
            host_pid: victim.host_pid,
            comm: named(&victim.comm),
            exe: named(&victim.executable),
            cgroup_id: victim.cgroup_id,
            memory_cgroup_id: victim.memory_cgroup_id,
            anon: Some(victim.anon),
            file: Some(victim.file),
            shmem: Some(victim.shmem),
            swap: Some(victim.swap),
        }
    }

    /// Who; its start is 0 where the trace does not say.
    #[must_use]
    pub fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, start_ns: nanos(self.start) }
    }

    /// The victim as it was then, `known` being what the trace showed of it before.
    pub(super) fn reading(self, known: Option<&ProcessReading>) -> ProcessReading {
        let key = self.key();
        let known = known.cloned().unwrap_or_else(|| ProcessReading {
            pid: key.pid,
            start_ns: key.start_ns,
            ..ProcessReading::default()
        });
        let text = |told: Option<String>, limit, known| told.map_or(known, |text| cut(text, limit));
        ProcessReading {
            host_pid: self.host_pid.or(known.host_pid),
            comm: text(self.comm, MAX_NAME, known.comm),
            executable: text(self.exe, MAX_PATH, known.executable),
            cgroup_id: self.cgroup_id.or(known.cgroup_id),
            memory_cgroup_id: self.memory_cgroup_id.or(known.memory_cgroup_id),
            anon: self.anon.unwrap_or(known.anon),
            file: self.file.unwrap_or(known.file),
            shmem: self.shmem.unwrap_or(known.shmem),
            swap: self.swap.unwrap_or(known.swap),
            ..known
        }
    }
}
