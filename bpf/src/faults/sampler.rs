//! Loading the fault sampler, and saying whom it samples.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use libbpf_rs::{Link, Object, ProgramMut};
use nix::poll::PollTimeout;
use zerocopy::IntoBytes as _;

use super::coverage::Coverage;
use super::decode::Decoder;
use super::perf::{self, Of};
use super::wire::FaultsConfig;
use super::{Heard, Options, Whom};
use crate::capturing::Capturing;
use crate::error::SweepError;
use crate::object::{self, io_error};
use crate::python::PythonLayout;
use crate::worker::Worker;
use crate::{cpus, kernel};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faults.bpf.o"));

/// How often the ring is emptied though it is far from full, milliseconds.
const TICK_MS: u16 = 100;

const SECOND_NS: u64 = 1_000_000_000;
/// More samples would be a burden, and no better.
const FREQUENCY_MAX: u32 = 1000;
/// All threads together are told of as often as so many that fault all the time.
const THREADS_AT_ONCE: u64 = 16;

/// The first kernel that shows a thread's user registers wherever it is.
const OLDEST: (u32, u32) = (5, 15);

/// Samples until it is dropped, which takes everything out of the kernel. What the ring holds by then is still told.
#[derive(Debug)]
pub struct Sampler {
    // in this order: nothing may be written any more when the worker empties the ring for the last time
    coverage: Coverage,
    _cgroup: Vec<Link>,
    _worker: Option<Worker>,
    capturing: Capturing,
    // what all of the above belongs to
    object: Object,
}

impl Sampler {
    /// Loads the program and begins to sample. `sink` is called on a thread of its own; while it blocks, the ring fills.
    ///
    /// # Errors
    /// The kernel refuses, or one of those to be sampled is not there, or has too many threads.
    pub fn open(options: &Options, sink: impl FnMut(Heard) + Send + 'static) -> Result<Self, SweepError> {
        let btf = options.btf_path.as_deref();
        let release = kernel::release();
        if kernel::is_older_than(&release, OLDEST) {
            let what = "the user's registers at a page fault".to_owned();
            return Err(SweepError::Unsupported { release, what, since: "5.15" });
        }
        let config = config(options.frequency);
        let (object, source, capturing) = object::explained(btf, || {
            let constants = [(".rodata.config", config.as_bytes())];
            let object = object::load_met("mlh_faults", PROGRAM, btf, &constants, &["touched"])?;
            let (source, capturing) = (object::source(&object)?, Capturing::of(&object)?);
            Ok((object, source, capturing))
        })?;
        let mut decoder = Decoder::default();
        let decode = move |bytes: &[u8]| decoder.read(bytes);
        let worker = Worker::decoding(vec![source], PollTimeout::from(TICK_MS), decode, Heard::Lost, sink)?;
        let (mut coverage, mut cgroup) = (Coverage::default(), Vec::new());
        let program = touched(&object)?;
        match &options.whom {
            Whom::Processes(pids) => {
                for pid in pids {
                    coverage.add(&program, *pid)?;
                }
            }
            Whom::Cgroup(directory) => cgroup = enter(&program, directory)?,
        }
        Ok(Self { coverage, _cgroup: cgroup, _worker: worker, capturing, object })
    }

    /// Samples a further process (by pid in the reader's pid namespace), its threads and the children that it forks from now on.
    /// One that is followed already stays as it is; a child of one that is followed need not be: it would be sampled more often, and
    /// what its samples stand for stays right.
    ///
    /// # Errors
    /// No such process, more than [`THREADS_MAX`](super::THREADS_MAX) threads in all, or the kernel refuses: then nothing has changed.
    pub fn follow(&mut self, pid: u32) -> Result<(), SweepError> {
        self.coverage.add(&touched(&self.object)?, pid)
    }

    /// Samples a process no more that [`follow`](Self::follow) has named, nor the children that it has forked since. To be called as
    /// well when it has ended, so that its pid may name another one.
    pub fn release(&mut self, pid: u32) {
        self.coverage.remove(pid);
        self.capturing.forget(pid);
    }

    /// Whether the kernel follows the frame pointers of this process's stacks ([`Capture::chain`](crate::capture::Capture)) instead
    /// of copying them. A child that is forked is another process.
    ///
    /// # Errors
    /// More processes than [`TARGETS_MAX`](crate::alloc::wire::TARGETS_MAX), or the kernel refuses.
    pub fn walk(&mut self, pid: u32, by_kernel: bool) -> Result<(), SweepError> {
        self.capturing.walk(pid, by_kernel)
    }

    /// Where the Python interpreter of this process is; `None`: it is not looked at.
    ///
    /// # Errors
    /// As of [`walk`](Self::walk).
    pub fn set_python(&mut self, pid: u32, layout: Option<&PythonLayout>) -> Result<(), SweepError> {
        self.capturing.set_python(pid, layout)
    }

    /// Kernel memory of all maps, bytes, as the kernel itself accounts it.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        object::kernel_bytes(&self.object)
    }
}

fn config(frequency: u32) -> FaultsConfig {
    let frequency = u64::from(frequency.clamp(1, FREQUENCY_MAX));
    let (interval, all) = (SECOND_NS / frequency, SECOND_NS / (frequency * THREADS_AT_ONCE));
    FaultsConfig { interval_ns: interval, all_interval_ns: all }
}

fn touched(object: &Object) -> Result<ProgramMut<'_>, SweepError> {
    object::program(object, "touched").map_err(|(doing, error)| io_error(doing, &error))
}

fn enter(program: &ProgramMut<'_>, directory: &Path) -> Result<Vec<Link>, SweepError> {
    let opened = File::open(directory).map_err(|error| {
        io_error("sampling a cgroup's page faults", &format!("{}: {error}", directory.display()))
    })?;
    let attach = |cpu| perf::attach(program, Of::Cgroup(opened.as_fd(), cpu));
    let links: Result<Vec<_>, _> = cpus::online_ids().into_iter().map(attach).collect();
    Ok(links?.into_iter().flatten().collect())
}
