//! Loading the program, and setting watches.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd as _;

use libbpf_rs::{Link, Object, ProgramMut};
use nix::libc;
use nix::poll::PollTimeout;
use zerocopy::IntoBytes as _;

use super::breakpoint::Breakpoint;
use super::decode::Decoder;
use super::wire::WatchConfig;
use super::{Heard, Options, THREADS_MAX, WATCHES_MAX};
use crate::capturing::Capturing;
use crate::error::SweepError;
use crate::kernel;
use crate::object::{self, io_error, within};
use crate::perf::threads;
use crate::python::PythonLayout;
use crate::worker::Worker;

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/watch.bpf.o"));

/// How often the ring is emptied though it is far from full, milliseconds.
const TICK_MS: u16 = 100;
/// The first kernel that tells a program by which of several events it was called.
const OLDEST: (u32, u32) = (5, 15);
const DOING: &str = "watching an address";
/// Threads are listed again as long as there were new ones, and no more often.
const ROUNDS: usize = 16;

/// Watches until it is dropped, which takes everything out of the kernel. What the ring holds by then is still told.
#[derive(Debug)]
pub struct Watcher {
    // in this order: nothing may be written any more when the worker empties the ring for the last time
    watches: HashMap<u64, Watch>,
    _born: Link,
    _worker: Option<Worker>,
    capturing: Capturing,
    pid: u32,
    // what all of the above belongs to
    object: Object,
}

/// An address that is watched.
#[derive(Debug)]
struct Watch {
    address: u64,
    /// On this thread alone.
    only: Option<u32>,
    /// Writes that each thread may tell,
    each: u32,
    /// and those that no thread has been given.
    left: u32,
    breakpoints: HashMap<u32, Breakpoint>,
}

impl Watcher {
    /// Loads the program. `sink` is called on a thread of its own; while it blocks, the ring fills.
    ///
    /// # Errors
    /// The kernel refuses, or the processor is not one of x86-64: on others a program that hears of a write keeps it from being done.
    pub fn open(options: &Options, sink: impl FnMut(Heard) + Send + 'static) -> Result<Self, SweepError> {
        let btf = options.btf_path.as_deref();
        let release = kernel::release();
        if !cfg!(target_arch = "x86_64") {
            return Err(io_error(DOING, &"it takes a processor of x86-64"));
        }
        if kernel::is_older_than(&release, OLDEST) {
            let what = "a number for each of several events of one program".to_owned();
            return Err(SweepError::Unsupported { release, what, since: "5.15" });
        }
        let config = WatchConfig { pid: options.pid, reserved: 0 };
        let (object, born, source, capturing) = object::explained(btf, || {
            let doing = |error| ("preparing to watch addresses", error);
            let constants = [(".rodata.config", config.as_bytes())];
            let object = object::load_met("mlh_watch", PROGRAM, btf, &constants, &["written", "born"])?;
            let born = object::program(&object, "born")?.attach().map_err(doing)?;
            let (source, capturing) = (object::source(&object)?, Capturing::of(&object)?);
            Ok((object, born, source, capturing))
        })?;
        let mut decoder = Decoder::default();
        let decode = move |bytes: &[u8]| decoder.read(bytes);
        let worker = Worker::decoding(vec![source], PollTimeout::from(TICK_MS), decode, Heard::Lost, sink)?;
        let watches = HashMap::new();
        Ok(Self { watches, _born: born, _worker: worker, capturing, pid: options.pid, object })
    }

    /// Watches the 8 bytes at an address (a multiple of 8) on all threads, under a number of the caller's; no more than so many writes
    /// are told and paid for. Gives how many each thread may tell: one that has told as many is watched no more. Half of them are for
    /// threads that come.
    ///
    /// # Errors
    /// [`WATCHES_MAX`] or [`THREADS_MAX`] would be passed, there are fewer writes than threads, or the kernel refuses, as where a debugger
    /// has taken all watchpoints: then nothing has changed.
    pub fn watch(&mut self, number: u64, address: u64, writes: u32) -> Result<u32, SweepError> {
        let found = self.threads()?.len();
        within(found, THREADS_MAX, "threads")?;
        let each = writes / 2 / u32::try_from(found.max(1)).unwrap_or(u32::MAX);
        if each == 0 {
            return Err(io_error(DOING, &format!("{writes} writes are too few for {found} threads")));
        }
        self.set(number, Watch { address, only: None, each, left: writes, breakpoints: HashMap::new() })?;
        Ok(each)
    }

    /// The same for the next write of one thread alone.
    ///
    /// # Errors
    /// As of [`watch`](Self::watch).
    pub fn watch_once(&mut self, number: u64, address: u64, thread: u32) -> Result<(), SweepError> {
        let only = Some(thread);
        self.set(number, Watch { address, only, each: 1, left: 1, breakpoints: HashMap::new() })
    }

    fn set(&mut self, number: u64, mut watch: Watch) -> Result<(), SweepError> {
        self.release(number);
        within(self.watches.len() + 1, WATCHES_MAX, "addresses")?;
        self.complete(number, &mut watch)?;
        self.watches.insert(number, watch);
        Ok(())
    }

    /// Gives the threads that have come since their watchpoints, and closes those of threads that have ended.
    ///
    /// # Errors
    /// As of [`watch`](Self::watch); what could not be watched on all threads is watched on none any more. They are named.
    pub fn cover(&mut self) -> Result<(), (Vec<u64>, SweepError)> {
        let mut failed = Vec::new();
        let mut last = None;
        for (number, mut watch) in std::mem::take(&mut self.watches) {
            match self.complete(number, &mut watch) {
                Ok(()) => drop(self.watches.insert(number, watch)),
                Err(error) => {
                    failed.push(number);
                    last = Some(error);
                }
            }
        }
        last.map_or(Ok(()), |error| Err((failed, error)))
    }

    /// Watches it no more.
    pub fn release(&mut self, number: u64) {
        self.watches.remove(&number);
    }

    /// Whether the kernel follows the process's frame pointers ([`Capture::chain`](crate::capture::Capture)) instead of copying its stacks.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn walk(&mut self, by_kernel: bool) -> Result<(), SweepError> {
        self.capturing.walk(self.pid, by_kernel)
    }

    /// Where the process's Python interpreter is; `None`: it is not looked at.
    ///
    /// # Errors
    /// As of [`walk`](Self::walk).
    pub fn set_python(&mut self, layout: Option<&PythonLayout>) -> Result<(), SweepError> {
        self.capturing.set_python(self.pid, layout)
    }

    /// Kernel memory of all maps, bytes, as the kernel itself accounts it.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        object::kernel_bytes(&self.object)
    }

    fn threads(&self) -> Result<HashSet<u32>, SweepError> {
        let threads = threads(self.pid)
            .map_err(|error| io_error(DOING, &format!("there is no process {} ({error})", self.pid)))?;
        Ok(threads.into_iter().collect())
    }

    /// A watchpoint for each thread that has none.
    fn complete(&self, number: u64, watch: &mut Watch) -> Result<(), SweepError> {
        let program = written(&self.object)?;
        // who has ended may be listed until somebody has been told of it
        let mut ended = HashSet::new();
        for _ in 0..ROUNDS {
            let mut threads = self.threads()?;
            threads.retain(|thread| watch.only.is_none_or(|only| only == *thread));
            watch.breakpoints.retain(|thread, _| threads.contains(thread));
            let is_new = |thread: &u32| !watch.breakpoints.contains_key(thread) && !ended.contains(thread);
            let news: Vec<u32> = threads.into_iter().filter(is_new).collect();
            if news.is_empty() {
                return Ok(());
            }
            for thread in news {
                within(watch.breakpoints.len() + 1, THREADS_MAX, "threads")?;
                let left = watch.left.checked_sub(watch.each);
                let left = left.ok_or_else(|| io_error(DOING, &"more threads came than it was for"))?;
                match Breakpoint::set(program.as_fd(), thread, watch.address, watch.each, number) {
                    Ok(breakpoint) => {
                        watch.left = left;
                        watch.breakpoints.insert(thread, breakpoint);
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => drop(ended.insert(thread)),
                    Err(error) => return Err(refused(&error)),
                }
            }
        }
        Err(io_error(DOING, &"its threads come and go too fast"))
    }
}

fn refused(error: &io::Error) -> SweepError {
    let hint = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => ": grant CAP_PERFMON; a seccomp profile may forbid it as well",
        Some(libc::ENOSPC | libc::EBUSY) => ": a debugger has the processor's watchpoints",
        Some(libc::EMFILE | libc::ENFILE) => ": raise the limit of open files (ulimit -n)",
        _ => "",
    };
    io_error(DOING, &format!("{error}{hint}"))
}

fn written(object: &Object) -> Result<ProgramMut<'_>, SweepError> {
    object::program(object, "written").map_err(|(doing, error)| io_error(doing, &error))
}
