//! In the kernel, by the BPF sweep.

use mlh_bpf::error::SweepError;
use mlh_bpf::messages::{self, Level};
use mlh_bpf::pass::{Pass as Rows, ProcessRow, collect};
use mlh_bpf::sweep::{SweepOptions, Sweeper};
use mlh_detect::{HostMemory, Pass};
use mlh_targets::process::ProcessReading;

use super::{Observation, ObserveError, Observer, Options, observe};

/// The stage of rows that could not be decoded.
const DECODE: &str = crate::metrics::stage::DECODE;

pub(super) fn open(options: &Options) -> Result<Box<dyn Observer>, String> {
    messages::set_sink(log);
    let options = SweepOptions { btf_path: options.btf_path.clone() };
    let sweeper = Sweeper::open(&options).map_err(|error| error.to_string())?;
    Ok(Box::new(KernelObserver { sweeper, bytes: Vec::new(), host: None }))
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
    /// A pass's bytes; the room is used again.
    bytes: Vec<u8>,
    host: Option<HostMemory>,
}

impl KernelObserver {
    fn pass(
        &mut self,
        pass: Pass,
        look: impl FnOnce(&mut Sweeper, &mut Vec<u8>) -> Result<(), SweepError>,
    ) -> Result<Observation, ObserveError> {
        let Self { sweeper, bytes, host } = self;
        let read = || {
            look(sweeper, bytes).map_err(|error| ObserveError::Kernel(error.to_string()))?;
            Ok(collect(bytes, &sweeper.counters()))
        };
        observe(pass, host, read, readings)
    }
}

impl Observer for KernelObserver {
    fn full(&mut self) -> Result<Observation, ObserveError> {
        self.pass(Pass::Full, Sweeper::full)
    }

    fn watched(&mut self, pids: &[u32]) -> Result<Observation, ObserveError> {
        self.pass(Pass::Watched, |sweeper, bytes| {
            sweeper.watch(pids)?;
            sweeper.watched(bytes)
        })
    }

    fn describe(&self) -> &'static str {
        "in the kernel (eBPF)"
    }
}

fn readings(rows: Rows) -> (Vec<ProcessReading>, Vec<(&'static str, u64)>) {
    if let Some(error) = rows.first_error {
        tracing::warn!(%error, rows = rows.errors, "rows of a pass could not be read");
    }
    let errors = if rows.errors > 0 { vec![(DECODE, rows.errors)] } else { Vec::new() };
    (rows.processes.into_iter().map(reading).collect(), errors)
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
