//! In the kernel, by the BPF sweep.

use std::path::PathBuf;

use mlh_bpf::cgroup::CgroupRow;
use mlh_bpf::error::SweepError;
use mlh_bpf::events::{self, EventOptions, KernelEvent, Listener, Scope};
use mlh_bpf::messages::{self, Level};
use mlh_bpf::pass::{Pass as Rows, ProcessRow, collect};
use mlh_bpf::sweep::{SweepOptions, Sweeper, WatchedCgroup as Through};
use mlh_detect::{HostMemory, Pass};
use mlh_targets::cgroup_reading::{CgroupMemory, CgroupReading};
use mlh_targets::process::ProcessReading;

use super::{
    BlindSpot, Listen, OOM_KILLS, Observation, ObserveError, Observer, Options, RSS_CROSSINGS, Read, Sink,
    Told, WatchedCgroup, observe,
};

/// The stage of rows that could not be decoded.
const DECODE: &str = crate::metrics::stage::DECODE;

pub(super) fn open(options: &Options) -> Result<Box<dyn Observer>, String> {
    messages::set_sink(log);
    let options = SweepOptions { btf_path: options.btf_path.clone() };
    let sweeper = Sweeper::open(&options).map_err(|error| error.to_string())?;
    Ok(Box::new(KernelObserver {
        sweeper,
        listener: None,
        idle: true,
        bytes: Vec::new(),
        host: None,
        btf_path: options.btf_path,
    }))
}

/// libbpf's messages are for those who debug: what matters of them is in the errors.
fn log(level: Level, text: &str) {
    match level {
        Level::Warn | Level::Info => tracing::debug!("libbpf: {text}"),
        Level::Debug => tracing::trace!("libbpf: {text}"),
    }
}

struct KernelObserver {
    sweeper: Sweeper,
    listener: Option<Listener>,
    /// Nobody has been watched since the last full pass.
    idle: bool,
    /// A pass's bytes; the room is used again.
    bytes: Vec<u8>,
    host: Option<HostMemory>,
    btf_path: Option<PathBuf>,
}

impl KernelObserver {
    /// Whose growth the tracepoint tells, where it tells that of the watched only.
    fn tell_of(&self, pids: &[u32]) {
        if let Some(listener) = &self.listener
            && let Err(error) = listener.watch(pids)
        {
            tracing::debug!(%error, "whose growth is told could not be changed");
        }
    }

    fn pass(
        &mut self,
        pass: Pass,
        look: impl FnOnce(&mut Sweeper, &mut Vec<u8>) -> Result<(), SweepError>,
    ) -> Result<Observation, ObserveError> {
        let Self { sweeper, bytes, host, .. } = self;
        let read = || {
            look(sweeper, bytes).map_err(|error| ObserveError::Kernel(error.to_string()))?;
            Ok(collect(bytes, &sweeper.counters()))
        };
        observe(pass, host, read, readings)
    }
}

impl Observer for KernelObserver {
    fn full(&mut self) -> Result<Observation, ObserveError> {
        // when nobody is to be watched any more there are only full passes
        if std::mem::replace(&mut self.idle, true) {
            self.tell_of(&[]);
        }
        self.pass(Pass::Full, Sweeper::full)
    }

    fn watched(&mut self, pids: &[u32], cgroups: &[WatchedCgroup]) -> Result<Observation, ObserveError> {
        let cgroups: Vec<Through> =
            cgroups.iter().map(|cgroup| Through { id: cgroup.id, through: cgroup.through }).collect();
        self.idle = false;
        self.tell_of(pids);
        self.pass(Pass::Watched, |sweeper, bytes| {
            sweeper.watch(pids, &cgroups)?;
            sweeper.watched(bytes)
        })
    }

    fn listen(&mut self, wish: &Listen, mut sink: Sink) -> Vec<BlindSpot> {
        // the one before must not tell as well
        self.listener = None;
        let options = EventOptions {
            btf_path: self.btf_path.clone(),
            oom_kills: true,
            crossings: wish.crossings.map(|wish| events::Crossings {
                threshold_pages: wish.threshold,
                scope: if wish.watched_only { Scope::Watched } else { Scope::Host },
            }),
        };
        match Listener::open(&options, move |event| sink(told(event))) {
            Ok((listener, blind)) => {
                self.listener = Some(listener);
                blind
                    .into_iter()
                    .map(|spot| BlindSpot { what: name_of(spot.what), reason: spot.reason })
                    .collect()
            }
            Err(error) => {
                let blind = |what| BlindSpot { what, reason: error.to_string() };
                let crossings = wish.crossings.map(|_| blind(RSS_CROSSINGS));
                std::iter::once(blind(OOM_KILLS)).chain(crossings).collect()
            }
        }
    }

    fn describe(&self) -> &'static str {
        "in the kernel (eBPF)"
    }
}

fn readings(rows: Rows) -> Read {
    if let Some(error) = rows.first_error {
        tracing::warn!(%error, rows = rows.errors, "rows of a pass could not be read");
    }
    let errors = if rows.errors > 0 { vec![(DECODE, rows.errors)] } else { Vec::new() };
    Read {
        readings: rows.processes.into_iter().map(reading).collect(),
        cgroups: rows.cgroups.into_iter().map(cgroup).collect(),
        errors,
    }
}

fn name_of(what: &str) -> &'static str {
    if what == events::OOM_KILLS { OOM_KILLS } else { RSS_CROSSINGS }
}

fn told(event: KernelEvent) -> Told {
    match event {
        KernelEvent::OomKill { at, process } => Told::Killed { at, reading: reading(process) },
        KernelEvent::Crossing { process, .. } => Told::Grew(reading(process)),
        KernelEvent::Lost(count) => Told::Lost(count),
    }
}

fn reading(row: ProcessRow) -> ProcessReading {
    let executable = if row.executable.is_empty() { row.comm.clone() } else { row.executable };
    ProcessReading {
        pid: row.pid,
        host_pid: Some(row.host_pid),
        own_pid: Some(row.own_pid),
        parent: row.parent,
        start_ns: row.start_ns,
        comm: row.comm,
        executable,
        image: row.image,
        cgroup_id: row.cgroup_id,
        memory_cgroup_id: row.memory_cgroup_id,
        anon: row.anon,
        file: row.file,
        shmem: row.shmem,
        swap: row.swap,
        slack: row.slack,
        virtual_size: row.virtual_size,
        page_tables: Some(row.page_tables),
        threads: row.threads,
        cpu_ns: Some(row.cpu_ns),
    }
}

fn cgroup(row: CgroupRow) -> CgroupReading {
    CgroupReading {
        id: row.id,
        parent: row.parent,
        unified: row.unified,
        name: row.name,
        memory: row.memory.map(|memory| CgroupMemory {
            usage: memory.usage,
            anon: memory.anon,
            file: memory.file,
            swap: memory.swap,
            slack: memory.slack,
            max: memory.max,
            high: memory.high,
            swap_max: memory.swap_max,
            total_max: memory.total_max,
        }),
        node_name: row.node_name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::observe::{Choice, Crossings};

    /// Guarantees: the tracepoint tells growth of the watched beyond the next full pass, and of nobody any more when there
    /// has been another full pass and no watched one between.
    ///
    /// Needs: eBPF with `CAP_BPF` and `CAP_PERFMON` (else it is skipped, or fails with `MLH_REQUIRE_EBPF=1`).
    #[test]
    fn who_is_watched_no_more_is_told_no_more() {
        const GROWTH: usize = 64 << 20;
        for (full_passes, is_told) in [(1, true), (2, false)] {
            let mut observer = match crate::observe::open(&Options::default()).unwrap() {
                (observer, Choice::Kernel) => observer,
                (_, choice) => {
                    assert!(std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|v| v != "1"), "{choice}");
                    eprintln!("SKIPPED: {choice}");
                    return;
                }
            };
            let (sender, told) = channel();
            let crossings = Some(Crossings { threshold: 256, watched_only: true });
            let sink = Box::new(move |told| drop(sender.send(told)));
            assert_eq!(observer.listen(&Listen { crossings }, sink), []);
            let me = std::process::id();
            let watched = observer.watched(&[me], &[]).unwrap();
            let before = watched.readings[0].anon;
            for _ in 0..full_passes {
                observer.full().unwrap();
            }
            std::hint::black_box(vec![1_u8; GROWTH]);
            // what the kernel has to tell by then is still told
            drop(observer);
            let by_growth = |told: Told| match told {
                Told::Grew(reading) => reading.anon > before + (GROWTH / 2) as u64,
                _ => false,
            };
            assert_eq!(told.iter().any(by_growth), is_told, "after {full_passes} full passes");
        }
    }
}
