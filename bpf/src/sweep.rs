//! Loads the sweep and reads its passes. The program runs within `read`, on the calling thread: a pass takes as long as it
//! takes to walk the host's tasks, and nothing runs between passes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use libbpf_rs::{Iter, Link, MapCore as _, MapFlags, MapHandle, Object};
use nix::unistd::{SysconfVar, sysconf};
use zerocopy::IntoBytes as _;

use crate::error::SweepError;
use crate::object::{self, Failure, change, io_error, within};
use crate::pass::Counters;
use crate::records::{Row, rows};
use crate::wire::{Choice, ProcessRecord, WATCHED_CGROUPS_MAX, WATCHED_MAX};
use crate::{cpus, narrow};

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

/// A cgroup to be shown in watched passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedCgroup {
    /// Inode of its directory.
    pub id: u64,
    /// The pid, in the agent's pid namespace, of a process in it or below it, through which it is found at once; 0: none is
    /// known, and it is looked for among all processes.
    pub through: u32,
}

/// The loaded sweep. Dropping it removes everything from the kernel.
#[derive(Debug)]
pub struct Sweeper {
    link: Link,
    watched_map: MapHandle,
    cgroups_map: MapHandle,
    pass_map: MapHandle,
    /// Of the last pass.
    number: u64,
    watched: HashSet<u32>,
    /// By id: the process to look through.
    cgroups: HashMap<u64, u32>,
    /// Watched cgroups that the last pass over all processes did not come by: no process is in them, and they are not looked for
    /// again before the next full pass.
    empty: HashSet<u64>,
    /// One for each process that has had a pass of its own.
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
        let btf = options.btf_path.as_deref();
        object::explained(btf, || Self::load(btf))
    }

    fn load(btf: Option<&Path>) -> Result<Self, Failure> {
        let object = object::load("mlh_growth", PROGRAM, btf, &[], &["sweep"])?;
        let attaching = |error| ("attaching the sweep", error);
        Ok(Self {
            link: object::program(&object, "sweep")?.attach().map_err(attaching)?,
            watched_map: object::handle(&object, "watched")?,
            cgroups_map: object::handle(&object, "watched_cgroups")?,
            pass_map: object::handle(&object, ".data.pass")?,
            number: 0,
            watched: HashSet::new(),
            cgroups: HashMap::new(),
            empty: HashSet::new(),
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

    /// Says which processes and cgroups are watched from now on: they make up the watched passes, and the processes' memory is
    /// summed exactly in every pass. Processes are named by their pids in the agent's pid namespace, and are to be watched only
    /// while they live, as pids are reused.
    ///
    /// # Errors
    /// More than [`WATCHED_MAX`] or [`WATCHED_CGROUPS_MAX`]: then nothing has changed. Or the kernel refuses.
    pub fn watch(&mut self, pids: &[u32], cgroups: &[WatchedCgroup]) -> Result<(), SweepError> {
        let pids: HashSet<u32> = pids.iter().copied().collect();
        let cgroups: HashMap<u64, u32> = cgroups.iter().map(|cgroup| (cgroup.id, cgroup.through)).collect();
        within(pids.len(), WATCHED_MAX, "processes")?;
        within(cgroups.len(), WATCHED_CGROUPS_MAX, "cgroups")?;
        change(&self.watched_map, &mut self.watched, &pids)?;
        let mut ids = self.cgroups.keys().copied().collect();
        let changed = change(&self.cgroups_map, &mut ids, &cgroups.keys().copied().collect());
        self.cgroups = ids.into_iter().map(|id| (id, cgroups.get(&id).copied().unwrap_or(0))).collect();
        self.empty.retain(|id| self.cgroups.contains_key(id));
        let wanted = self.looked_through();
        self.narrow.retain(|pid, _| wanted.contains(pid));
        changed
    }

    /// The watched processes, and those through which watched cgroups are found.
    fn looked_through(&self) -> HashSet<u32> {
        let through = self.cgroups.values().copied().filter(|pid| *pid != 0);
        self.watched.iter().copied().chain(through).collect()
    }

    /// Reads a pass over every visible process, and the cgroups around them, into `out`, which is cleared first and whose room is
    /// reused.
    ///
    /// # Errors
    /// Reading fails, or the pass exceeds [`PASS_MAX`]. `out` then holds nothing.
    pub fn full(&mut self, out: &mut Vec<u8>) -> Result<(), SweepError> {
        self.empty.clear();
        self.pass(false, out)?;
        self.population = out.len() / size_of::<ProcessRecord>();
        Ok(())
    }

    /// As [`full`](Self::full), of what is watched only: past all other processes, or, when it is few among many, each by itself.
    ///
    /// # Errors
    /// As [`full`](Self::full).
    pub fn watched(&mut self, out: &mut Vec<u8>) -> Result<(), SweepError> {
        let pids = self.looked_through();
        let few = pids.len().saturating_mul(NARROW_PRICE) <= self.population;
        if few && self.narrow_possible && self.each(&pids, out)? && self.unseen(out).is_empty() {
            return Ok(());
        }
        self.pass(true, out)?;
        self.empty.extend(self.unseen(out));
        Ok(())
    }

    /// Watched cgroups that have no row though they should.
    fn unseen(&self, pass: &[u8]) -> Vec<u64> {
        let mut unseen: HashSet<u64> = self.cgroups.keys().copied().collect();
        unseen.retain(|id| !self.empty.contains(id));
        if !unseen.is_empty() {
            for row in rows(pass) {
                if let Ok(Row::Cgroup(cgroup)) = row {
                    unseen.remove(&cgroup.id);
                }
            }
        }
        unseen.into_iter().collect()
    }

    fn pass(&mut self, watched_only: bool, out: &mut Vec<u8>) -> Result<(), SweepError> {
        out.clear();
        self.choose(watched_only)?;
        read_pass(&self.link, out)
    }

    /// A pass over each of these processes. False where the kernel has no such passes.
    fn each(&mut self, pids: &HashSet<u32>, out: &mut Vec<u8>) -> Result<bool, SweepError> {
        out.clear();
        self.choose(true)?;
        for pid in pids {
            if !self.narrow.contains_key(pid) {
                let attached = object::program(&self.object, "sweep")
                    .ok()
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

    fn choose(&mut self, watched_only: bool) -> Result<(), SweepError> {
        self.number += 1;
        let choice = Choice {
            number: self.number,
            watched_only: watched_only.into(),
            cgroups: (!watched_only || !self.cgroups.is_empty()).into(),
        };
        self.pass_map
            .update(&0_u32.to_ne_bytes(), choice.as_bytes(), MapFlags::ANY)
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

/// As [`Sweeper::counters`], where there is no sweep.
pub(crate) fn counters() -> Counters {
    Counters { page_size: page_size(), online_cpus: cpus::online() }
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok()).unwrap_or(4096)
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
