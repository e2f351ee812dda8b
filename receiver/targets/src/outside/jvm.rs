//! The counters that a JVM (`HotSpot`) publishes for `jstat` and the like: `hsperfdata`, a file that it maps, so that its own memory
//! shows them, whatever its mount and pid namespaces are.
//!
//! Of the heap a JVM tells what is used, garbage included; what lives is known only when the old generation has been collected:
//! wholly, or by a concurrent cycle.

mod counters;

use std::ops::Range;

use mlh_stacks::modules::{Module, Modules};

use self::counters::Counters;
use super::target::Target;
use super::walks::Walked;
use super::{Class, OutsideError, Reader, Reading, Source, Young};

/// 32 KiB unless a JVM was told otherwise.
const MAX_SIZE: u64 = 1 << 20;

const ELSEWHERE: &str = "memory of the JVM outside of its heap and its metaspace: direct buffers, stacks of threads, what native code allocates";

const NOT_YET: &str =
    "how much of the old generation is garbage: it has not been collected since the process began";

/// Young collections of these copy what is young and leave the old generation alone but for what refers to it. Other collectors walk it
/// while the program runs, at any time.
const WALKING_SELDOM: [&str; 3] = ["Copy:MSC", "ParScav:MSC", "GarbageFirst"];

/// What the JVM gives as the cause of a collection while there is none.
const NO_COLLECTION: &str = "No GC";

const UNPUBLISHED: &str =
    "the JVM publishes no counters: it was started with -XX:-UsePerfData or -XX:+PerfDisableSharedMem";

/// Reads them.
#[derive(Debug)]
pub(super) struct Jvm {
    target: Target,
    counters: Option<Range<u64>>,
}

impl Jvm {
    /// `None`: no JVM runs in the process.
    pub(super) fn find(pid: u32, modules: &Modules) -> Option<Self> {
        let library = |module: &Module| module.path.file_name().is_some_and(|name| name == "libjvm.so");
        modules
            .modules
            .iter()
            .any(|module| library(module) && module.has_code())
            .then(|| Self { target: Target::of(pid), counters: counters(modules) })
    }

    /// How often its old generation has been walked.
    ///
    /// # Errors
    /// It does not tell.
    pub(super) fn walks(&self) -> Result<Walked, OutsideError> {
        let place = self.counters.as_ref().ok_or_else(|| OutsideError::Unknown(UNPUBLISHED.to_owned()))?;
        self.look(
            place,
            walks,
            "its collector walks what is old at any time: that of Serial, Parallel or G1 tells when",
        )
    }

    /// What `read` makes of the counters; where that is nothing, `otherwise` says why.
    fn look<T>(
        &self,
        place: &Range<u64>,
        read: impl FnOnce(&Counters<'_>) -> Option<T>,
        otherwise: &str,
    ) -> Result<T, OutsideError> {
        let mut bytes = vec![0; usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(0)];
        if !self.target.memory.read(place.start, &mut bytes) {
            return Err(self.target.unreadable());
        }
        let counters = Counters::read(&bytes).map_err(|why| OutsideError::Unknown(why.to_owned()))?;
        read(&counters).ok_or_else(|| OutsideError::Unknown(otherwise.to_owned()))
    }
}

impl Reader for Jvm {
    fn source(&self) -> Source {
        Source::JvmCounters
    }

    fn read(&mut self) -> Result<Reading, OutsideError> {
        // it maps them once it has begun
        if self.counters.is_none() {
            self.counters = Modules::read(self.target.pid).ok().as_ref().and_then(counters);
        }
        self.target.reading(|| match &self.counters {
            Some(place) => self.look(place, reading, "the JVM's counters tell nothing of its heap"),
            None => Err(OutsideError::Unknown(UNPUBLISHED.to_owned())),
        })
    }
}

/// Where it maps its counters: a file `hsperfdata_USER/PID`, which may have been removed since.
fn counters(modules: &Modules) -> Option<Range<u64>> {
    let of_jvm = |module: &&Module| {
        let folder = module.path.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
        folder.as_encoded_bytes().starts_with(b"hsperfdata_")
    };
    let module = modules.modules.iter().find(of_jvm)?;
    let part = module.parts.iter().find(|part| part.offset == 0 && part.writable)?;
    Some(part.start..part.end.min(part.start.saturating_add(MAX_SIZE)))
}

/// What the counters say. `None` where they tell nothing of an old generation. A collector without generations tells its heap as an old
/// one.
fn reading(counters: &Counters<'_>) -> Option<Reading> {
    let old = counters.sum("sun.gc.generation.1.space.", ".used")?;
    let heap = counters.sum("sun.gc.generation.", ".capacity").unwrap_or(0);
    let metaspace = counters.get("sun.gc.metaspace.used").unwrap_or(0);
    let held = heap.checked_add(counters.get("sun.gc.metaspace.capacity").unwrap_or(0))?;
    let collections = old_collections(counters)?;
    let less =
        |of: &str, less: &str| counters.get(of).unwrap_or(0).saturating_sub(counters.get(less).unwrap_or(0));
    let classes = less("java.cls.loadedClasses", "java.cls.unloadedClasses")
        .saturating_add(less("java.cls.sharedLoadedClasses", "java.cls.sharedUnloadedClasses"));
    let class = |name: &str, bytes, count| Class { name: name.to_owned(), bytes, count, stack: Vec::new() };
    let mut classes = vec![
        class("old generation", old, 0),
        class("metaspace", metaspace, classes),
        class("threads", 0, counters.get("java.threads.live").unwrap_or(0)),
    ];
    classes.sort_by_key(|class| std::cmp::Reverse(class.bytes));
    let mut not_seen = vec![ELSEWHERE.to_owned()];
    if collections == 0 {
        not_seen.push(NOT_YET.to_owned());
    }
    Some(Reading {
        in_use: old.checked_add(metaspace),
        held: Some(held),
        collections: Some(collections),
        young: young(counters, old),
        classes,
        not_seen,
        ..Reading::default()
    })
}

/// The young generation. `None` where there is none, or nothing is told of it between collections.
fn young(counters: &Counters<'_>, old: u64) -> Option<Young> {
    let policy = counters.text("sun.gc.policy.name")?;
    let spaces = |of| counters.sum("sun.gc.generation.0.space.", of);
    let all = || counters.sum("sun.gc.collector.", ".invocations");
    let told = WALKING_SELDOM.contains(&policy);
    let young = Young { used: spaces(".used")?, room: spaces(".capacity")?, collections: all()?, old };
    (told && young.room > 0).then_some(young)
}

/// Those that are none of the young generation alone: whole collections, and pauses of concurrent ones.
fn old_collections(counters: &Counters<'_>) -> Option<u64> {
    let all = counters.sum("sun.gc.collector.", ".invocations")?;
    Some(all.saturating_sub(counters.get("sun.gc.collector.0.invocations").unwrap_or(0)))
}

/// How often the old generation has been walked. `None` where that is not counted. G1 walks before the pauses that are counted, so that one
/// whose pause is still to come is not seen.
fn walks(counters: &Counters<'_>) -> Option<Walked> {
    let policy = counters.text("sun.gc.policy.name")?;
    Some(Walked {
        count: WALKING_SELDOM.contains(&policy).then(|| old_collections(counters))??,
        under_way: counters.text("sun.gc.cause") != Some(NO_COLLECTION),
        old: Some(counters.sum("sun.gc.generation.1.space.", ".used")?),
    })
}

#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    drop(Counters::read(bytes).map(|counters| (reading(&counters), walks(&counters))));
}

#[cfg(test)]
mod tests;
