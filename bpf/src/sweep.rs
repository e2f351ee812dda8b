//! Loads the sweep and reads its passes. The program runs within `read`, on the calling thread: a pass takes as long as it
//! takes to walk the host's tasks, and nothing runs between passes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{Iter, Link, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder};
use nix::unistd::{SysconfVar, sysconf};

use crate::error::SweepError;
use crate::pass::Counters;
use crate::wire::{ProcessRecord, WATCHED_MAX};
use crate::{cpus, kernel, messages, narrow};

/// The compiled program.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/growth.bpf.o"));

/// Bytes that a pass may take: some 270,000 processes.
pub const PASS_MAX: usize = 64 << 20;

/// Room offered to each read. The kernel's own buffer has 32 KiB.
const READ_ROOM: usize = 64 << 10;

/// What a pass over one process costs, in processes that a pass over all of them would walk past.
const NARROW_PRICE: usize = 16;

/// How to load the sweep.
#[derive(Debug, Clone, Default)]
pub struct SweepOptions {
    /// Type information of the running kernel; `None`: where the kernel shows it.
    pub btf_path: Option<PathBuf>,
}

/// The loaded sweep. Dropping it removes everything from the kernel.
#[derive(Debug)]
pub struct Sweeper {
    link: Link,
    watched_map: MapHandle,
    pass_map: MapHandle,
    watched: HashSet<u32>,
    /// One for each watched process that has had a pass of its own.
    narrow: HashMap<u32, Link>,
    /// Kernels before 6.1 have no passes over one process.
    narrow_possible: bool,
    /// About as many processes as the last full pass saw.
    population: usize,
    page_size: u64,
    // What the handles above belong to; dropped last.
    object: Object,
}

impl Sweeper {
    /// Loads and attaches the program. Takes some 50 ms, most of it libbpf reading the kernel's type information.
    ///
    /// # Errors
    /// Everything of [`SweepError`] but a pass too large and too many watched.
    pub fn open(options: &SweepOptions) -> Result<Self, SweepError> {
        let _guard = one_at_a_time();
        messages::install();
        messages::forget();
        kernel::require_btf(options.btf_path.as_deref())?;
        Self::load(options).map_err(|(doing, error)| kernel::explain(doing, &error))
    }

    fn load(options: &SweepOptions) -> Result<Self, (&'static str, libbpf_rs::Error)> {
        let opening = |error| ("opening the sweep", error);
        let mut builder = ObjectBuilder::default();
        builder.name("mlh_growth").map_err(opening)?;
        if let Some(path) = &options.btf_path {
            builder.btf_custom_path(path).map_err(opening)?;
        }
        let mut object = builder.open_memory(PROGRAM).map_err(opening)?;
        for mut map in object.maps_mut() {
            if map.name() == ".rodata.cpus" {
                map.set_initial_value(&cpus::possible().to_ne_bytes()).map_err(opening)?;
            }
        }
        let object = object.load().map_err(|error| ("loading the sweep", error))?;
        let attaching = |error| ("attaching the sweep", error);
        let absent = |what| attaching(libbpf_rs::Error::from(io::Error::new(io::ErrorKind::NotFound, what)));
        let program = object.progs_mut().find(|program| program.name() == "sweep");
        let handle = |name| {
            let map = object.maps().find(|map| map.name() == name).ok_or_else(|| absent(name))?;
            MapHandle::try_from(&map).map_err(attaching)
        };
        Ok(Self {
            link: program.ok_or_else(|| absent("sweep"))?.attach().map_err(attaching)?,
            watched_map: handle("watched")?,
            pass_map: handle(".data.pass")?,
            watched: HashSet::new(),
            narrow: HashMap::new(),
            narrow_possible: true,
            population: 0,
            page_size: page_size(),
            object,
        })
    }

    /// What [`collect`](crate::pass::collect) needs to know of this host, as it is now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { page_size: self.page_size, online_cpus: cpus::online() }
    }

    /// Says which processes are watched from now on, by their pids in the agent's pid namespace: their memory is summed exactly
    /// in every pass. Watch them by pid only while they live; pids are reused.
    ///
    /// # Errors
    /// More than [`WATCHED_MAX`]: then nothing has changed. Or the kernel refuses.
    pub fn watch(&mut self, pids: &[u32]) -> Result<(), SweepError> {
        let wanted: HashSet<u32> = pids.iter().copied().collect();
        if wanted.len() > WATCHED_MAX {
            return Err(SweepError::TooManyWatched { asked: wanted.len(), max: WATCHED_MAX });
        }
        let failed = |error| io_error("changing the watched processes", &error);
        let gone: Vec<u32> = self.watched.difference(&wanted).copied().collect();
        for pid in gone {
            self.watched_map.delete(&pid.to_ne_bytes()).map_err(failed)?;
            self.watched.remove(&pid);
            self.narrow.remove(&pid);
        }
        for pid in wanted {
            if !self.watched.contains(&pid) {
                self.watched_map.update(&pid.to_ne_bytes(), &[1], MapFlags::ANY).map_err(failed)?;
                self.watched.insert(pid);
            }
        }
        Ok(())
    }

    /// Reads a pass over every visible process into `out`, which is cleared first and whose room is reused.
    ///
    /// # Errors
    /// Reading fails, or the pass exceeds [`PASS_MAX`]. `out` then holds nothing.
    pub fn full(&mut self, out: &mut Vec<u8>) -> Result<(), SweepError> {
        self.pass(false, out)?;
        self.population = out.len() / size_of::<ProcessRecord>();
        Ok(())
    }

    /// As [`full`](Self::full), of the watched processes only: past all others, or, when they are few among many, each by
    /// itself.
    ///
    /// # Errors
    /// As [`full`](Self::full).
    pub fn watched(&mut self, out: &mut Vec<u8>) -> Result<(), SweepError> {
        let few = self.watched.len().saturating_mul(NARROW_PRICE) <= self.population;
        if few && self.narrow_possible && self.each(out)? {
            return Ok(());
        }
        self.pass(true, out)
    }

    fn pass(&mut self, watched_only: bool, out: &mut Vec<u8>) -> Result<(), SweepError> {
        out.clear();
        self.choose(watched_only)?;
        read_pass(&self.link, out)
    }

    /// A pass over each watched process. False where the kernel has none.
    fn each(&mut self, out: &mut Vec<u8>) -> Result<bool, SweepError> {
        out.clear();
        self.choose(true)?;
        for pid in &self.watched {
            if !self.narrow.contains_key(pid) {
                let mut programs = self.object.progs_mut();
                let attached = programs
                    .find(|program| program.name() == "sweep")
                    .and_then(|program| narrow::attach(&program, *pid).ok());
                let Some(link) = attached else {
                    self.narrow_possible = false;
                    self.narrow.clear();
                    return Ok(false);
                };
                self.narrow.insert(*pid, link);
            }
            if let Some(link) = self.narrow.get(pid) {
                read_pass(link, out)?;
            }
        }
        Ok(true)
    }

    fn choose(&self, watched_only: bool) -> Result<(), SweepError> {
        self.pass_map
            .update(&0_u32.to_ne_bytes(), &u32::from(watched_only).to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| io_error("choosing the pass", &error))
    }
}

/// Adds a pass's rows to `out`, or on an error empties it.
fn read_pass(link: &Link, out: &mut Vec<u8>) -> Result<(), SweepError> {
    let iterator = Iter::new(link).map_err(|error| io_error("beginning a pass", &error))?;
    let result = read_all(iterator, PASS_MAX, out);
    if result.is_err() {
        out.clear();
    }
    result
}

fn read_all(mut from: impl io::Read, limit: usize, out: &mut Vec<u8>) -> Result<(), SweepError> {
    let mut length = out.len();
    loop {
        out.resize(length + READ_ROOM, 0);
        let room = out.get_mut(length..).unwrap_or_default();
        match from.read(room) {
            Ok(0) => break,
            Ok(read) => length += read,
            // The kernel yields after very many tasks that write nothing, and expects to be asked again.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(io_error("reading a pass", &error)),
        }
        if length > limit {
            return Err(SweepError::PassTooLarge { limit });
        }
    }
    out.truncate(length);
    Ok(())
}

pub(crate) fn io_error(doing: &'static str, error: &dyn std::fmt::Display) -> SweepError {
    SweepError::Io { doing, reason: format!("{error:#}") }
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok()).unwrap_or(4096)
}

/// libbpf's messages have one destination for the process: held while they are being gathered for one caller.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static OPENING: Mutex<()> = Mutex::new(());
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives what it holds, one for each read.
    struct Script(VecDeque<io::Result<Vec<u8>>>);

    impl io::Read for Script {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.pop_front().unwrap_or_else(|| Ok(Vec::new()))?;
            room[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    fn read(script: Vec<io::Result<Vec<u8>>>, limit: usize, out: &mut Vec<u8>) -> Result<(), SweepError> {
        read_all(Script(script.into()), limit, out)
    }

    /// Guarantees: a pass is read to its end across short reads and requests to ask again, into a buffer used before.
    #[test]
    fn reads_a_pass_to_its_end() {
        let mut out = vec![9; 300_000];
        out.clear();
        let again = || Err(io::ErrorKind::WouldBlock.into());
        let script = vec![
            Ok(vec![1; 3]),
            again(),
            Ok(vec![2; READ_ROOM]),
            Err(io::ErrorKind::Interrupted.into()),
            Ok(vec![3]),
        ];
        read(script, PASS_MAX, &mut out).expect("a pass");
        assert_eq!(out, [vec![1; 3], vec![2; READ_ROOM], vec![3]].concat());
        let mut out = Vec::new();
        read(vec![], PASS_MAX, &mut out).expect("nothing");
        assert_eq!(out, []);
    }

    /// Guarantees: a pass of exactly the bound is read, and a byte more is an error.
    #[test]
    fn bounds_a_pass() {
        let script = |bytes| vec![Ok(vec![0; 1000]), Ok(vec![0; bytes])];
        read(script(24), 1024, &mut Vec::new()).expect("as much as fits");
        let over = read(script(25), 1024, &mut Vec::new());
        assert!(matches!(over, Err(SweepError::PassTooLarge { limit: 1024 })), "{over:?}");
    }

    /// Guarantees: another error ends the pass and says what was being done.
    #[test]
    fn tells_that_reading_failed() {
        let failed = read(vec![Err(io::Error::other("gone"))], 1024, &mut Vec::new());
        assert!(
            matches!(&failed, Err(SweepError::Io { doing: "reading a pass", reason }) if reason == "gone"),
            "{failed:?}"
        );
    }
}
