//! Looking at the host: one trait, two ways. The pass in the kernel costs about a microsecond a process and needs
//! `CAP_BPF` and `CAP_PERFMON`; the pass through `/proc` needs nothing and costs some 60 us a process.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mlh_detect::{HostMemory, Memory, Pass, ProcessKey, Sample};
use mlh_targets::HostError;
use mlh_targets::cgroup_reading::CgroupReading;
use mlh_targets::host::{HostClock, MemoryTotals};
use mlh_targets::process::ProcessReading;

#[cfg(all(target_os = "linux", feature = "ebpf"))]
mod kernel;
mod proc;
#[cfg(test)]
mod tests;

#[cfg(not(all(target_os = "linux", feature = "ebpf")))]
mod kernel {
    use super::{Observer, Options};

    pub(super) fn open(_: &Options) -> Result<Box<dyn Observer>, String> {
        Err("this build has no BPF programs (feature `ebpf`, Linux only)".to_owned())
    }
}

/// Sees the host's processes. One thread at a time owns it, and may leave it to another.
pub trait Observer: Send {
    /// Every visible process.
    ///
    /// # Errors
    /// The pass as a whole failed; a process that cannot be read is counted in the observation.
    fn full(&mut self) -> Result<Observation, ObserveError>;

    /// Only these processes, by their pids as the readings give them, and these cgroups, as exactly as it can be had.
    /// One that is absent from the observation has ended.
    ///
    /// # Errors
    /// As [`full`](Self::full).
    fn watched(&mut self, pids: &[u32], cgroups: &[WatchedCgroup]) -> Result<Observation, ObserveError>;

    /// From now on hands to `sink` what the kernel tells by itself, on a thread of its own. Returns what will not be
    /// told, each with its reason.
    fn listen(&mut self, wish: &Listen, sink: Sink) -> Vec<BlindSpot>;

    /// Which way this is, in a few words.
    fn describe(&self) -> &'static str;
}

/// A cgroup to be seen in a watched pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedCgroup {
    /// Its id.
    pub id: u64,
    /// A process in it, by which it is found soonest; 0 where none is known.
    pub through: u32,
}

/// What the kernel is asked to tell by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listen {
    /// Growth by this many pages or more, seen by the tracepoint.
    pub crossings: Option<Crossings>,
}

/// The tracepoint's threshold and reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossings {
    /// Pages.
    pub threshold: u64,
    /// Only of the processes of the watched passes.
    pub watched_only: bool,
}

/// What the kernel told by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A process was chosen to be killed for lack of memory.
    Killed {
        /// Since boot (`CLOCK_BOOTTIME`).
        at: Duration,
        /// As it was then. Its pid is 0 where this pid namespace has none for it.
        reading: ProcessReading,
    },
    /// A process grew by the threshold.
    Grew(ProcessReading),
    /// This much could not be told: the kernel's buffer was full.
    Lost(u64),
}

/// Where what the kernel tells is handed to.
pub type Sink = Box<dyn FnMut(Told) + Send>;

/// [`BlindSpot::what`] where OOM kills are not told.
pub const OOM_KILLS: &str = "OOM kills";
/// [`BlindSpot::what`] where growth is told at the next sweep only, although it was asked for at once.
pub const RSS_CROSSINGS: &str = "growth at once";

/// What cannot be seen on this host, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlindSpot {
    /// In a few words.
    pub what: &'static str,
    /// In a sentence.
    pub reason: String,
}

/// What one pass saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When it began, since boot (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// How much it saw.
    pub pass: Pass,
    /// The host's memory then; in a watched pass, that of the full pass before.
    pub host: HostMemory,
    /// The processes, in any order.
    pub readings: Vec<ProcessReading>,
    /// Their memory cgroups and those around them, in any order; in a watched pass the watched ones.
    pub cgroups: Vec<CgroupReading>,
    /// What could not be read, by stage.
    pub errors: Vec<(&'static str, u64)>,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The host shows nothing, or this is no platform to watch.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The pass in the kernel failed.
    #[error("the pass in the kernel: {0}")]
    Kernel(String),
}

/// Which way to look first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// In the kernel, and through `/proc` where that cannot be had.
    #[default]
    Kernel,
    /// Through `/proc`.
    Proc,
}

/// How to look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Type information of the running kernel, where the kernel does not show its own.
    pub btf_path: Option<PathBuf>,
    /// Which way first.
    pub prefer: Prefer,
}

/// Which way was taken, and why. Its text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// In the kernel.
    Kernel,
    /// Through `/proc`, because it was asked for.
    Proc,
    /// Through `/proc`, because the kernel's way cannot be had.
    Fallback {
        /// Why not, in a sentence.
        reason: String,
    },
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("processes are swept in the kernel (eBPF)"),
            Self::Proc => f.write_str("processes are swept through /proc, as asked"),
            Self::Fallback { reason } => {
                write!(f, "processes are swept through /proc, which costs more, because {reason}")
            }
        }
    }
}

/// Opens the best way to look at this host. Loading into the kernel takes some 50 ms.
///
/// # Errors
/// Neither way can be had; off Linux that is always so, and the error names `replay`.
pub fn open(options: &Options) -> Result<(Box<dyn Observer>, Choice), ObserveError> {
    let choice = match options.prefer {
        Prefer::Kernel => match kernel::open(options) {
            Ok(observer) => return Ok((observer, Choice::Kernel)),
            Err(reason) => Choice::Fallback { reason },
        },
        Prefer::Proc => Choice::Proc,
    };
    Ok((Box::new(proc::ProcObserver::open()?), choice))
}

/// Opens the kernel's way and no other; else says why it cannot be had.
pub(crate) fn open_kernel(options: &Options) -> Result<Box<dyn Observer>, String> {
    kernel::open(options)
}

/// Who a reading is about.
#[must_use]
pub fn key(reading: &ProcessReading) -> ProcessKey {
    ProcessKey { pid: reading.pid, start_ns: reading.start_ns }
}

/// A reading as the detector takes it, but for its container.
#[must_use]
pub fn sample(reading: &ProcessReading) -> Sample {
    let ProcessReading { anon, swap, shmem, file, cpu_ns, threads, .. } = *reading;
    Sample {
        key: key(reading),
        memory: Memory { anon, swap, shmem, file },
        slack: reading.slack,
        image: reading.image,
        container: None,
        cpu_ns,
        threads,
    }
}

/// What a way of looking makes of one pass.
struct Read {
    readings: Vec<ProcessReading>,
    cgroups: Vec<CgroupReading>,
    errors: Vec<(&'static str, u64)>,
}

/// Times a pass and adds what every observation has. `host` keeps the host's memory from one full pass to the next: a watched
/// pass is made every second and has to be cheap.
fn observe<R>(
    pass: Pass,
    host: &mut Option<HostMemory>,
    look: impl FnOnce() -> Result<R, ObserveError>,
    read: impl FnOnce(R) -> Read,
) -> Result<Observation, ObserveError> {
    let at = HostClock::now_boot()?;
    let Read { readings, cgroups, errors } = read(look()?);
    let took = HostClock::now_boot()?.saturating_sub(at);
    let host = match *host {
        Some(known) if pass == Pass::Watched => known,
        _ => *host.insert(host_memory()?),
    };
    Ok(Observation { at, took, pass, host, readings, cgroups, errors })
}

fn host_memory() -> Result<HostMemory, HostError> {
    let memory = MemoryTotals::read()?;
    Ok(HostMemory {
        total: memory.total,
        available: memory.available.saturating_add(memory.swap_free),
        swap_free: memory.swap_free,
    })
}
