//! The rung `outside`: what a process's own runtime or allocator says of its memory, read without its help.
//!
//! It needs the right to read the target's memory (`CAP_SYS_PTRACE`), and a runtime or allocator that is known. It costs the target
//! nothing but the reading, and the sidecar a hundredth of a CPU at most. It sees whether what is in use grows, and which kinds of it.
//! It cannot see who allocated them, nor more of a container than the process that grew most.

use std::collections::BTreeSet;
use std::time::Duration;

use mlh_detect::outside::{Look as Noted, Series};
use mlh_detect::{Rung, Spare, Testimony};
use mlh_stacks::modules::Modules;
use mlh_targets::outside::{OutsideError, Reader, Reading, Source, readers};
use mlh_targets::sweep::ProcSweep;

use super::knowledge::{Kind, Lead};
use super::rung::{Look, Paid};
use crate::investigate::report::GrowthStack;

/// Between two readings of a source, at least,
const SPACING: Duration = Duration::from_secs(5);
/// and this often what it took: a hundredth of a CPU.
const SPARING: u32 = 100;
/// Kinds of memory that are told.
const MOST_KINDS: usize = 3;
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
    now: Duration,
    notes: BTreeSet<String>,
    not_seen: Vec<String>,
}

/// One source.
struct Read {
    reader: Box<dyn Reader>,
    series: Series,
    due: Duration,
}

impl Outside {
    /// Begins with one process.
    ///
    /// # Errors
    /// It offers nothing that can be read, or must not be read: a sentence.
    pub(super) fn begin(pid: u32, now: Duration) -> Result<Self, String> {
        let modules = Modules::read(pid).map_err(|error| error.to_string())?;
        let read = |reader: Box<dyn Reader>| {
            let series = Series::new(reader.source().name(), spare(reader.source()));
            Read { reader, series, due: now }
        };
        let sources: Vec<Read> = readers(pid, &modules).into_iter().map(read).collect();
        if sources.is_empty() {
            return Err("what runs there tells nothing that can be read".to_owned());
        }
        let sweep = ProcSweep::open().map_err(|error| error.to_string())?;
        let (notes, not_seen) = (BTreeSet::new(), Vec::new());
        Ok(Self { pid, alone: false, hushed: false, sweep, sources, now, notes, not_seen })
    }

    /// What it is charged for now, as the sweeps count it.
    fn charged(&mut self) -> Option<u64> {
        let readings = self.sweep.only(&[self.pid], &[]).ok()?;
        let reading = readings.processes.first()?;
        Some(reading.anon.saturating_add(reading.swap).saturating_add(reading.shmem))
    }

    fn note(&mut self, sentences: impl IntoIterator<Item = String>) {
        let room = MAX_NOTES.saturating_sub(self.notes.len());
        self.notes.extend(sentences.into_iter().take(room));
        self.not_seen = self.notes.iter().cloned().collect();
    }
}

impl Look for Outside {
    fn rung(&self) -> Rung {
        Rung::Outside
    }

    fn source(&self) -> &'static str {
        self.sources.first().map_or("outside", |read| read.reader.source().name())
    }

    fn step(&mut self, now: Duration, pids: &[u32]) {
        self.alone = pids == [self.pid];
        self.now = now;
        if self.hushed || !pids.contains(&self.pid) || self.sources.iter().all(|read| read.due > now) {
            return;
        }
        let Some(charged) = self.charged() else { return };
        let (mut notes, mut gone) = (Vec::new(), false);
        for read in self.sources.iter_mut().filter(|read| read.due <= now) {
            read.due = now + SPACING;
            match read.reader.read() {
                Ok(reading) => {
                    read.due = now + (reading.cost * SPARING).max(SPACING);
                    take(&mut read.series, now, charged, &reading);
                    notes.extend(reading.not_seen);
                }
                Err(OutsideError::Unknown(reason)) => notes.push(reason),
                Err(OutsideError::Gone) => gone = true,
                Err(OutsideError::Refused(reason)) => {
                    notes.push(reason);
                    read.due = Duration::MAX;
                }
            }
        }
        self.note(notes);
        if gone {
            self.sources.iter_mut().for_each(|read| read.due = Duration::MAX);
        }
    }

    fn see(&mut self, now: Duration) {
        self.now = now;
    }

    fn hush(&mut self, quiet: bool) {
        self.hushed = quiet;
    }

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        if pid.map_or(!self.alone, |pid| pid != self.pid) {
            return Vec::new();
        }
        self.sources.iter().filter_map(|read| read.series.testimony(self.now)).collect()
    }

    fn leads(&self, _: Option<u32>) -> Vec<Lead> {
        Vec::new()
    }

    fn kinds(&self) -> Vec<Kind> {
        let growing = self.sources.iter().flat_map(|read| read.series.growing());
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
    let Reading { in_use, held, collections, .. } = *reading;
    series.note(at, &Noted { in_use, held, collections, classes: &classes, charged });
}

/// What a source's memory is where it is held and not in use.
fn spare(source: Source) -> Spare {
    match source {
        Source::GoHeap | Source::JvmCounters => Spare::Garbage,
        Source::GlibcCensus | Source::PythonObjects => Spare::Retained,
        Source::SharedPages => Spare::Copies,
    }
}
