//! What happens between passes: OOM kills, and growth in the moment in which it crosses a threshold. Programs of their own, loaded
//! beside the sweep and independently of it, and a thread that sleeps until one of them has something to tell.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::MapHandle;
use nix::poll::PollTimeout;

use crate::error::SweepError;
use crate::object::{change, within};
use crate::pass::{Counters, ProcessRow};
use crate::probe::{self, Probe};
use crate::records::{Row, rows};
use crate::sweep::counters;
use crate::wire::WATCHED_MAX;
use crate::worker::Worker;

/// [`BlindSpot::what`] where OOM kills cannot be told.
pub const OOM_KILLS: &str = "oom kills";
/// [`BlindSpot::what`] where crossings cannot be told.
pub const RSS_CROSSINGS: &str = "rss crossings";

/// What to listen for.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// Type information of the running kernel; `None`: where the kernel shows it.
    pub btf_path: Option<PathBuf>,
    /// OOM kills on the whole host. They cost nothing until one happens.
    pub oom_kills: bool,
    /// Growth. It costs a few percent of every page fault, on the whole host in either scope.
    pub crossings: Option<Crossings>,
}

/// Which growth is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossings {
    /// Pages of growth since the last time, or since the lowest point after it. The kernel folds per-CPU counts in by batches, so
    /// that growth is seen late by a batch for each CPU that a process runs on.
    pub threshold_pages: u64,
    /// Whose.
    pub scope: Scope,
}

/// Whose growth is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// That of every process which is visible in the agent's pid namespace.
    Host,
    /// That of the processes that [`Listener::watch`] names.
    Watched,
}

/// Something that happened.
///
/// The process's memory is exact where the sums over CPUs can be had. Its `cpu_ns` holds the time of the thread that was met and
/// of those that have ended, not of the other living ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelEvent {
    /// The kernel chose this process to be killed for want of memory, told once for each process. One that is dying already and
    /// still wants memory is among them.
    OomKill {
        /// Since boot (`CLOCK_BOOTTIME`).
        at: Duration,
        /// As it was when it was chosen. Its pid is 0 where it has none in the agent's pid namespace.
        process: ProcessRow,
    },
    /// This process grew by the threshold.
    Crossing {
        /// Since boot (`CLOCK_BOOTTIME`).
        at: Duration,
        /// As it was then.
        process: ProcessRow,
    },
    /// So many more events were not told, as the ring was full or nothing could be learnt of the process.
    Lost(u64),
}

/// What cannot be told on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlindSpot {
    /// [`OOM_KILLS`] or [`RSS_CROSSINGS`].
    pub what: &'static str,
    /// Why not.
    pub reason: String,
}

/// Listens until it is dropped, which takes the programs out of the kernel and ends the thread. What the rings hold by then is
/// still told.
#[derive(Debug)]
pub struct Listener {
    // in this order: nothing may be written any more when the worker empties the rings for the last time
    _probes: Vec<Probe>,
    _worker: Option<Worker>,
    watched: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    map: MapHandle,
    pids: Mutex<HashSet<u32>>,
}

impl Listener {
    /// Loads and attaches what was asked for. `sink` is called on the listener's own thread. While it blocks, the rings fill.
    ///
    /// # Errors
    /// Nothing of what was asked for can be had: then why the first cannot. If a part of it can, the rest are blind spots.
    pub fn open(
        options: &EventOptions,
        mut sink: impl FnMut(KernelEvent) + Send + 'static,
    ) -> Result<(Self, Vec<BlindSpot>), SweepError> {
        let btf = options.btf_path.as_deref();
        let kills = options.oom_kills.then(|| (OOM_KILLS, probe::oom_kills(btf)));
        let crossings = options.crossings.map(|wanted| (RSS_CROSSINGS, probe::crossings(btf, wanted)));
        let (mut probes, mut refused) = (Vec::new(), Vec::new());
        for (what, opened) in [kills, crossings].into_iter().flatten() {
            match opened {
                Ok(probe) => probes.push(probe),
                Err(error) => refused.push((what, error)),
            }
        }
        if probes.is_empty() && !refused.is_empty() {
            return Err(refused.swap_remove(0).1);
        }
        let watched = probes.iter_mut().find_map(|probe| probe.watched.take());
        let sources = probes.iter_mut().filter_map(|probe| probe.source.take()).collect();
        let counters = counters();
        let worker = Worker::start(sources, PollTimeout::NONE, move |told| {
            sink(match told {
                Told::Record(bytes) => read(bytes, &counters),
                Told::Lost(count) => KernelEvent::Lost(count),
            });
        })?;
        let blind = |(what, error): (_, SweepError)| BlindSpot { what, reason: error.to_string() };
        let listener = Self {
            _probes: probes,
            _worker: worker,
            watched: watched.map(|map| Watched { map, pids: Mutex::default() }),
        };
        Ok((listener, refused.into_iter().map(blind).collect()))
    }

    /// Whose growth is told from now on, by pid in the agent's pid namespace. Without [`Scope::Watched`] it changes nothing.
    ///
    /// # Errors
    /// More than [`WATCHED_MAX`]: then nothing has changed. Or the kernel refuses.
    pub fn watch(&self, pids: &[u32]) -> Result<(), SweepError> {
        let wanted: HashSet<u32> = pids.iter().copied().collect();
        within(wanted.len(), WATCHED_MAX, "processes")?;
        let Some(Watched { map, pids }) = &self.watched else { return Ok(()) };
        change(map, &mut pids.lock().unwrap_or_else(PoisonError::into_inner), &wanted)
    }
}

/// What the worker hands over.
pub(crate) enum Told<'a> {
    /// A record of a ring.
    Record(&'a [u8]),
    /// So many more could not be written.
    Lost(u64),
}

/// A record that cannot be read is one event less.
fn read(bytes: &[u8], counters: &Counters) -> KernelEvent {
    let (at_ns, record, is_kill) = match rows(bytes).next() {
        Some(Ok(Row::OomKill(event))) => (event.at_ns, event.process, true),
        Some(Ok(Row::Crossing(event))) => (event.at_ns, event.process, false),
        _ => return KernelEvent::Lost(1),
    };
    let (at, process) = (Duration::from_nanos(at_ns), ProcessRow::alone(record, counters));
    if is_kill { KernelEvent::OomKill { at, process } } else { KernelEvent::Crossing { at, process } }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::records::tests::{event, process};
    use crate::wire::kind;

    /// Guarantees: records become the events that they are, with their time and process; what is none is a loss.
    #[test]
    fn reads_events() {
        let counters = Counters { page_size: 4096, online_cpus: 4 };
        let expected = ProcessRow::alone(process(), &counters);
        assert_eq!((expected.pid, expected.anon), (21, 4_096_000));
        let (at, process) = (Duration::from_secs(99), expected);
        assert_eq!(
            read(event(kind::OOM_KILL).as_bytes(), &counters),
            KernelEvent::OomKill { at, process: process.clone() }
        );
        assert_eq!(read(event(kind::CROSSING).as_bytes(), &counters), KernelEvent::Crossing { at, process });
        let alone = crate::records::tests::process();
        for bytes in [&[][..], &[1, 2, 3], alone.as_bytes(), &event(kind::OOM_KILL).as_bytes()[..200]] {
            assert_eq!(read(bytes, &counters), KernelEvent::Lost(1));
        }
    }
}
