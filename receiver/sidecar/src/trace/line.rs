//! What one line of a trace holds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use mlh_detect::{Pass, ProcessKey};
use mlh_targets::process::ProcessReading;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::cgroup::CgroupLine;
use super::kill::OomKillLine;
use super::seconds;

/// The schema that this version writes, and the newest it reads.
pub(super) const SCHEMA: u32 = 1;
/// A name of the kernel has 15 bytes and a path 4,096: longer ones are cut.
pub(super) const MAX_NAME: usize = 64;
pub(super) const MAX_PATH: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The host, once at the beginning.
    Host(HostLine),
    /// The beginning of one sweep of our own recorder.
    Pass(PassLine),
    /// A cgroup.
    Cgroup(Box<CgroupLine>),
    /// A process.
    Process(Box<ProcessLine>),
    /// A process was killed for lack of memory.
    OomKill(Box<OomKillLine>),
    /// A process ended.
    Exit(DeathLine),
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Line {
    /// When, since the trace began; `None` for an unknown kind.
    #[must_use]
    pub fn t(&self) -> Option<Duration> {
        match self {
            Self::Host(line) => Some(line.t),
            Self::Pass(line) => Some(line.t),
            Self::Cgroup(line) => Some(line.t),
            Self::Process(line) => Some(line.t),
            Self::OomKill(line) => Some(line.t),
            Self::Exit(line) => Some(line.t),
            Self::Unknown => None,
        }
    }
}

/// The host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HostLine {
    /// Version of the format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// Since the trace began.
    #[serde(with = "seconds")]
    pub t: Duration,
    /// Unix time at `t` = 0.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Duration>,
    /// Time since boot at `t` = 0: where it is known, `start` counts from `uptime` before the trace began.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub uptime: Option<Duration>,
    /// The kernel's id of the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Bytes in a page.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u64>,
    /// The host's memory.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub mem_total: Option<u64>,
}

/// The beginning of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassLine {
    /// Since the trace began.
    #[serde(with = "seconds")]
    pub t: Duration,
    /// How much of the host it saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Memory that could still be handed out, free swap included.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub mem_available: Option<u64>,
    /// The free swap in it.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub swap_free: Option<u64>,
}

/// How much of the host a sweep saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// Every process.
    Full,
    /// Those under suspicion.
    Watched,
}

impl Coverage {
    /// `None` for a pass of which nothing can be said.
    pub(super) fn of(pass: Pass) -> Option<Self> {
        match pass {
            Pass::Full => Some(Self::Full),
            Pass::Watched => Some(Self::Watched),
            Pass::Partial | Pass::Told => None,
        }
    }
}

impl From<Coverage> for Pass {
    fn from(coverage: Coverage) -> Self {
        match coverage {
            Coverage::Full => Self::Full,
            Coverage::Watched => Self::Watched,
        }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProcessLine {
    /// Since the trace began.
    #[serde(with = "seconds")]
    pub t: Duration,
    /// Thread group id.
    pub pid: u32,
    /// From boot to its start.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub start: Option<Duration>,
    /// The thread group leader's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The executable: its path, or its base name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Identifies the executable image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<u64>,
    /// Inode of its v2 cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Inode of the memory controller's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_cgroup_id: Option<u64>,
    /// Anonymous memory. The one measure that every process line must have.
    #[serde(deserialize_with = "whole_number")]
    pub anon: u64,
    /// File pages.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub file: Option<u64>,
    /// Shared memory.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub shmem: Option<u64>,
    /// Swapped out.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
    /// How far anon + shmem + swap may be from the truth.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub slack: Option<u64>,
    /// Address space.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
    /// Parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Its pid on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_pid: Option<u32>,
    /// Its pid in its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_pid: Option<u32>,
    /// Page tables.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub page_tables: Option<u64>,
    /// Threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// CPU time.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<Duration>,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeathLine {
    /// Since the trace began.
    #[serde(with = "seconds")]
    pub t: Duration,
    /// Thread group id.
    pub pid: u32,
    /// From boot to its start.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub start: Option<Duration>,
}

impl DeathLine {
    /// Which process; its start is 0 where the trace does not say.
    #[must_use]
    pub fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, start_ns: nanos(self.start) }
    }
}

impl ProcessLine {
    /// A reading as a line at `t`.
    #[must_use]
    pub fn new(t: Duration, reading: &ProcessReading) -> Self {
        Self {
            t,
            pid: reading.pid,
            start: Some(Duration::from_nanos(reading.start_ns)),
            comm: named(&reading.comm),
            exe: named(&reading.executable),
            image: (reading.image != 0).then_some(reading.image),
            cgroup_id: reading.cgroup_id,
            memory_cgroup_id: reading.memory_cgroup_id,
            anon: reading.anon,
            file: Some(reading.file),
            shmem: Some(reading.shmem),
            swap: Some(reading.swap),
            slack: (reading.slack != 0).then_some(reading.slack),
            virtual_size: Some(reading.virtual_size),
            ppid: Some(reading.parent),
            host_pid: reading.host_pid,
            own_pid: reading.own_pid,
            page_tables: reading.page_tables,
            threads: Some(reading.threads),
            cpu_s: reading.cpu_ns.map(Duration::from_nanos),
        }
    }
}

impl From<ProcessLine> for ProcessReading {
    fn from(line: ProcessLine) -> Self {
        let comm = cut(line.comm.unwrap_or_default(), MAX_NAME);
        let exe = cut(line.exe.unwrap_or_default(), MAX_PATH);
        Self {
            pid: line.pid,
            host_pid: line.host_pid,
            own_pid: line.own_pid,
            parent: line.ppid.unwrap_or(0),
            start_ns: nanos(line.start),
            image: line.image.unwrap_or_else(|| image_of(&exe)),
            executable: if exe.is_empty() { comm.clone() } else { exe },
            comm,
            cgroup_id: line.cgroup_id,
            memory_cgroup_id: line.memory_cgroup_id,
            anon: line.anon,
            file: line.file.unwrap_or(0),
            shmem: line.shmem.unwrap_or(0),
            swap: line.swap.unwrap_or(0),
            slack: line.slack.unwrap_or(0),
            virtual_size: line.virtual_size.unwrap_or(0),
            page_tables: line.page_tables,
            threads: line.threads.unwrap_or(0),
            cpu_ns: line.cpu_s.map(|cpu| nanos(Some(cpu))),
        }
    }
}

/// Nanoseconds of a time that was checked when it was read.
pub(super) fn nanos(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Without an image id another path still tells an exec.
fn image_of(exe: &str) -> u64 {
    if exe.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    exe.hash(&mut hasher);
    hasher.finish().max(1)
}

pub(super) fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn cut(mut text: String, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Counts of bytes may come as 41943040 or, from languages with one kind of number, as 41943040.0 or 4.194304e7.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    match number.as_f64() {
        // doubles are exact up to here
        Some(float) if (0.0..=9_007_199_254_740_992.0).contains(&float) => Ok(Some(float.round() as u64)),
        _ => Err(D::Error::custom(format!("{number} is no count of bytes"))),
    }
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    whole(deserializer)?.ok_or_else(|| D::Error::custom("null is no count of bytes"))
}
