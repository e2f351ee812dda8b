//! The rung `outside`: what a process's own runtime or allocator says of its memory, read without its help.
//!
//! It needs the right to read the target's memory (`CAP_SYS_PTRACE`), and a runtime or allocator that is known. It costs the target
//! nothing but the reading, and the sidecar a hundredth of a CPU at most. It sees whether what is in use grows, and which kinds of it.
//! Who allocated them it sees where a runtime keeps a profile of its heap, as Go's does. It cannot see more of a container than the process
//! that grew most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use mlh_detect::outside::{Look as Noted, Series, Young};
use mlh_detect::{Rung, Spare, Testimony};
use mlh_stacks::modules::Modules;
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Captured, Unwinder};
use mlh_targets::outside::{OutsideError, Reader, Reading, Source, readers};
use mlh_targets::sweep::ProcSweep;

use super::knowledge::{Kind, Lead, ranked};
use super::rung::{Look, Paid};
use crate::investigate::report::GrowthStack;

/// Between two readings of a source, at least,
const SPACING: Duration = Duration::from_secs(5);
/// and this often what it took: a hundredth of a CPU, for all that are read at once.
const SPARING: u32 = 100;
/// Kinds of memory that are told.
const MOST_KINDS: usize = 3;
/// Stacks that are named, and the most frames of one.
const TOP: usize = 16;
const MAX_FRAMES: usize = 64;
/// Stacks whose names are kept.
const MAX_NAMES: usize = 256;
/// Sentences on what was not seen.
const MAX_NOTES: usize = 8;

pub(super) struct Outside {
    pid: u32,
    /// It is all that the case is about.
    alone: bool,
    /// Nothing is to be read now.
    hushed: bool,
    sweep: ProcSweep,
    sources: Vec<Read>,
    began: Duration,
    /// So many are read beside each other.
    among: u32,
    now: Duration,
    names: Names,
    leads: Vec<Lead>,
    not_seen: Vec<String>,
}

/// One source.
struct Read {
    reader: Box<dyn Reader>,
    series: Series,
    /// Who allocated the kinds of the newest reading, of those of which it is known.
    stacks: BTreeMap<String, Vec<u64>>,
    /// What the newest reading could not see.
    notes: Vec<String>,
    due: Duration,
}

/// Names for return addresses of one process; made with the first one.
struct Names {
    pid: u32,
    unwinder: Option<Unwinder>,
    known: HashMap<Vec<u64>, Trace>,
}

impl Names {
    /// The stack of these return addresses, innermost first. `None`: there are none.
    fn of(&mut self, returns: &[u64]) -> Option<Trace> {
        if let Some(known) = self.known.get(returns) {
            return Some(known.clone());
        }
        let (ip, chain) = returns.split_first()?;
        let modules = Modules::read(self.pid).ok()?;
        let unwinder = self.unwinder.get_or_insert_with(|| Unwinder::new(self.pid, MAX_FRAMES));
        unwinder.refresh(&modules);
        let trace = unwinder.trace(&Captured { ip: *ip, chain, ..Captured::default() });
        // a profile ends where the runtime ends it: there is nothing missing
        let trace = Trace { incomplete: None, ..trace };
        if self.known.len() >= MAX_NAMES {
            self.known.clear();
        }
        self.known.insert(returns.to_vec(), trace.clone());
        Some(trace)
    }
}

impl Outside {
    /// Begins with one process.
    ///
    /// # Errors
    /// It offers nothing that can be read, or must not be read: a sentence.
    pub(super) fn begin(pid: u32, now: Duration) -> Result<Self, String> {
        let modules = Modules::read(pid).map_err(|error| error.to_string())?;
        let read = |reader: Box<dyn Reader>| {
            let source = reader.source();
            let series =
                Series::new(source.name(), spare(source)).told_as_collected(source == Source::GoHeap);
            Read { reader, series, stacks: BTreeMap::new(), notes: Vec::new(), due: now }
        };
        let sources: Vec<Read> = readers(pid, &modules).into_iter().map(read).collect();
        if sources.is_empty() {
            return Err("what runs there tells nothing that can be read".to_owned());
        }
        let sweep = ProcSweep::open().map_err(|error| error.to_string())?;
        let names = Names { pid, unwinder: None, known: HashMap::new() };
        let (leads, not_seen) = (Vec::new(), Vec::new());
        Ok(Self {
            pid,
            alone: false,
            hushed: false,
            sweep,
            sources,
            began: now,
            among: 1,
            now,
            names,
            leads,
            not_seen,
        })
    }

    /// Who allocated what grows, by how much it has grown since the beginning.
    fn name(&mut self) {
        let Self { pid, sources, names, .. } = self;
        let seconds = self.now.saturating_sub(self.began).as_secs_f64();
        let growing = sources.iter().flat_map(|read| {
            let growing = read.series.growing().into_iter();
            growing.filter_map(|growing| Some((growing.bytes_per_second, read.stacks.get(&growing.name)?)))
        });
        let leads = growing.take(TOP).filter_map(|(velocity, stack)| {
            let bytes = (velocity * seconds).clamp(0.0, u64::MAX as f64) as u64;
            Some(Lead { pid: *pid, trace: names.of(stack)?, bytes, ..Lead::default() })
        });
        self.leads = leads.collect();
    }

    fn is_about(&self, pid: Option<u32>) -> bool {
        pid.map_or(self.alone, |pid| pid == self.pid)
    }

    /// What it is charged for now, as the sweeps count it.
    fn charged(&mut self) -> Option<u64> {
        let readings = self.sweep.only(&[self.pid], &[]).ok()?;
        let reading = readings.processes.first()?;
        Some(reading.anon.saturating_add(reading.swap).saturating_add(reading.shmem))
    }
}

impl Look for Outside {
    fn rung(&self) -> Rung {
        Rung::Outside
    }

    fn source(&self) -> &'static str {
        let profiled = self.sources.iter().find(|read| !read.stacks.is_empty());
        profiled.or(self.sources.first()).map_or("outside", |read| read.reader.source().name())
    }

    fn share(&mut self, among: u32) {
        self.among = among.max(1);
    }

    fn step(&mut self, now: Duration, pids: &[u32]) {
        self.alone = pids == [self.pid];
        self.now = now;
        if self.hushed || !pids.contains(&self.pid) || self.sources.iter().all(|read| read.due > now) {
            return;
        }
        let Some(charged) = self.charged() else { return };
        let mut gone = false;
        for read in self.sources.iter_mut().filter(|read| read.due <= now) {
            read.due = now + SPACING;
            match read.reader.read() {
                Ok(reading) => {
                    read.due = now + (reading.cost * SPARING).saturating_mul(self.among).max(SPACING);
                    take(&mut read.series, now, charged, &reading);
                    let known = reading.classes.into_iter().filter(|class| !class.stack.is_empty());
                    read.stacks = known.map(|class| (class.name, class.stack)).collect();
                    read.notes = reading.not_seen;
                }
                Err(OutsideError::Unknown(reason)) => read.notes = vec![reason],
                Err(OutsideError::Gone) => gone = true,
                Err(OutsideError::Refused(reason)) => {
                    read.notes = vec![reason];
                    read.due = Duration::MAX;
                }
            }
        }
        // each reading says anew what it could not see
        let notes: BTreeSet<String> = self.sources.iter().flat_map(|read| &read.notes).cloned().collect();
        self.not_seen = notes.into_iter().take(MAX_NOTES).collect();
        if gone {
            self.sources.iter_mut().for_each(|read| read.due = Duration::MAX);
        }
    }

    fn see(&mut self, now: Duration) {
        self.now = now;
        self.name();
    }

    fn hush(&mut self, quiet: bool) {
        self.hushed = quiet;
    }

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        if !self.is_about(pid) {
            return Vec::new();
        }
        self.sources.iter().filter_map(|read| read.series.testimony(self.now)).collect()
    }

    fn leads(&self, pid: Option<u32>) -> Vec<Lead> {
        if self.is_about(pid) { ranked(self.leads.iter().cloned()) } else { Vec::new() }
    }

    fn sees_blocks(&self) -> bool {
        true
    }

    fn kinds(&self) -> Vec<Kind> {
        // whoever has a stack is told as a lead
        let growing = self.sources.iter().flat_map(|read| {
            let growing = read.series.growing().into_iter();
            growing.filter(|growing| !read.stacks.contains_key(&growing.name))
        });
        let mut kinds: Vec<Kind> =
            growing.map(|growing| Kind { name: growing.name, share: growing.share }).collect();
        kinds.sort_by(|one, other| other.share.total_cmp(&one.share));
        kinds.truncate(MOST_KINDS);
        kinds
    }

    fn not_seen(&self) -> &[String] {
        &self.not_seen
    }

    fn paid(&self) -> Paid {
        Paid::default()
    }

    fn growth(&self) -> &[GrowthStack] {
        &[]
    }
}

fn take(series: &mut Series, at: Duration, charged: u64, reading: &Reading) {
    let classes: Vec<_> =
        reading.classes.iter().map(|class| (class.name.as_str(), class.bytes, class.count)).collect();
    let Reading { in_use, held, collections, young, .. } = *reading;
    let young =
        young.map(|it| Young { used: it.used, room: it.room, collections: it.collections, old: it.old });
    series.note(at, &Noted { in_use, held, collections, young, classes: &classes, charged });
}

/// What a source's memory is where it is held and not in use.
fn spare(source: Source) -> Spare {
    match source {
        Source::GoHeap | Source::JvmCounters => Spare::Garbage,
        Source::GlibcCensus | Source::PythonObjects => Spare::Retained,
        Source::SharedPages => Spare::Copies,
    }
}
