//! The rung `coldness`: whether what the memory grows by is referenced again. It tells a cache that fills from a leak: both keep all
//! that they are given.
//!
//! It needs the right to write to the target's `clear_refs`. It marks what the process has of anonymous memory as not referenced, and
//! sums up what has been by the end of a window, over and over. Each page that is referenced in a window costs the target once what
//! the processor needs to note it, and its page faults wait while it is marked, which is counted as well; the window is as long as
//! the budget asks for, and where none is long enough nothing is marked.
//! Memory of a collected heap is walked by its collector. Where that tells when it does (CPython, most of the JVM's) what is referenced in
//! between is in use. What is not is kept in CPython; in the JVM it may be garbage, and nothing is told of it. Of other collected heaps nothing
//! can be told at all, nor of more of a container than the process that grew most. A leak that the program itself walks again and again
//! is taken for a cache, as long as that is believed.

mod collector;

use std::time::{Duration, Instant};

use mlh_detect::coldness::{Held, References, SOURCE, Window};
use mlh_detect::{Rung, Testimony};
use mlh_targets::outside::coldness::{Anonymous, Coldness as Marks};
use mlh_targets::outside::walks::Walked;
use mlh_targets::points::Runtime;
use mlh_targets::sweep::ProcSweep;

use self::collector::Collector;
use super::knowledge::Lead;
use super::rung::{Look, Paid};
use crate::investigate::report::GrowthStack;

/// A window is so long at least: who reads a cache has come round by then;
const SHORTEST: Duration = Duration::from_secs(20);
/// and so long at most: a verdict does not wait for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// Between the first two windows, and between all where nobody waits; others read the target's memory then, which the kernel takes for
/// references.
const BETWEEN: Duration = Duration::from_secs(1);
/// After the second, which is the first one that tells something, they have so long: a census takes several readings, and who gives back
/// what was touched is seen by several walks over the heap.
const BREAK: Duration = Duration::from_secs(30);
/// Where windows are longer the others come first: they are done by then.
const OTHERS: Duration = Duration::from_secs(22);
/// What a page costs that is referenced again: 0.9 to 1.6 microseconds were measured in a virtual machine, which is dearer than none.
const PAGE_COST: Duration = Duration::from_nanos(1_600);
const PAGE: u64 = 4096;
/// In a window it is looked so many times at what is held: requests come and go.
const LOOKS: u32 = 10;
/// Marking more would have the target wait for it for too long when it asks for memory, bytes.
const MOST: u64 = 4 << 30;

pub(super) struct Coldness {
    pid: u32,
    /// It is all that the case is about.
    alone: bool,
    collector: Collector,
    marks: Marks,
    sweep: ProcSweep,
    budget: Option<f64>,
    state: State,
    /// Somebody else reads its memory as well.
    others: bool,
    /// So many are over.
    windows: u32,
    references: References,
    /// What the target has paid: for pages that it referenced again,
    spent: Duration,
    /// and while it was marked.
    waited: Duration,
    not_seen: Vec<String>,
}

/// What is being done.
#[derive(Debug, Clone, Copy)]
enum State {
    /// The next window begins then.
    Between(Duration),
    Window(Open),
    /// Nothing is marked any more.
    Over,
}

/// A window that is not over yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    began: Duration,
    length: Duration,
    /// Bytes.
    marked: u64,
    held: Held,
    /// No collector walked, or it did not tell, if it tells the same when the window is over.
    walked: Option<Walked>,
    /// When it is looked at again.
    due: Duration,
}

impl Open {
    fn ends(&self) -> Duration {
        self.began + self.length
    }
}

impl Coldness {
    /// Begins with one process, of which this runtime is known; `others`: somebody else reads its memory as well.
    ///
    /// # Errors
    /// Nothing can be told of it, or it must not be marked: a sentence.
    pub(super) fn begin(
        pid: u32,
        runtime: Runtime,
        budget: Option<f64>,
        now: Duration,
        others: bool,
    ) -> Result<Self, String> {
        let collector = Collector::of(pid, runtime)?;
        let marks = Marks::of(pid);
        let sweep = ProcSweep::open().map_err(|error| error.to_string())?;
        let mut new = Self {
            pid,
            alone: false,
            references: collector.references(),
            collector,
            marks,
            sweep,
            budget,
            state: State::Between(now),
            others,
            windows: 0,
            spent: Duration::ZERO,
            waited: Duration::ZERO,
            not_seen: Vec::new(),
        };
        let anonymous = new.marks.read().map_err(|error| error.to_string())?;
        if new.length(&anonymous)? > SHORTEST && others {
            new.state = State::Between(now + OTHERS);
        }
        Ok(new)
    }

    /// How long a window must be that all this may be referenced in. An error: none can be, or it would do harm.
    fn length(&self, anonymous: &Anonymous) -> Result<Duration, String> {
        if anonymous.swapped > 0 {
            return Err(
                "some of it is swapped out: memory is short, and what is marked would follow".to_owned()
            );
        }
        if let Some(harm) = self.marks.harm() {
            return Err(harm.to_owned());
        }
        let length = window(anonymous.resident, self.budget);
        length.ok_or_else(|| "it holds more memory than can be marked within overhead_budget".to_owned())
    }

    /// What it holds now, and what its collector has done by then.
    fn look(&mut self) -> Result<(Anonymous, Held, Option<Walked>), String> {
        let anonymous = self.marks.read().map_err(|error| error.to_string())?;
        let readings = self.sweep.only(&[self.pid], &[]).map_err(|error| error.to_string())?;
        let reading = readings.processes.first().ok_or("what it is charged for cannot be read")?;
        let charged = reading.anon.saturating_add(reading.swap).saturating_add(reading.shmem);
        let walked = self.collector.read();
        let (resident, huge, old) =
            (anonymous.resident, anonymous.huge, walked.and_then(|walked| walked.old));
        Ok((anonymous, Held { resident, huge, charged, old }, walked))
    }

    /// Begins a window.
    fn open(&mut self, now: Duration) -> Result<State, String> {
        let (anonymous, held, walked) = self.look()?;
        let walked = self.collector.since(walked);
        let length = self.length(&anonymous)?;
        let marking = Instant::now();
        let marked = self.marks.mark();
        // what it asks of memory meanwhile has to wait, from Linux 5.11 on
        self.waited = self.waited.saturating_add(marking.elapsed());
        marked.map_err(|error| error.to_string())?;
        let due = now + length / LOOKS;
        Ok(State::Window(Open { began: now, length, marked: anonymous.resident, held, walked, due }))
    }

    /// Looks at what is held in one, and ends it when it is over.
    fn go_on(&mut self, open: Open, now: Duration) -> Result<State, String> {
        let (anonymous, held, walked) = self.look()?;
        let held = open.held.least(held);
        if open.ends() > now {
            return Ok(State::Window(Open { held, due: now + open.length / LOOKS, ..open }));
        }
        self.spent = self.spent.saturating_add(cost(anonymous.referenced.min(open.marked)));
        let cold = anonymous.resident.saturating_sub(anonymous.referenced);
        let walked = self.collector.has_walked(open.walked, walked);
        self.references.note(Window { began: open.began, ended: now, held, cold, walked });
        self.windows = self.windows.saturating_add(1);
        let pause = match self.windows {
            _ if !self.others => BETWEEN,
            0 | 1 => BETWEEN,
            2 => BREAK,
            // what is told by now is confirmed, and others have as much of the time
            _ => open.length,
        };
        Ok(State::Between(now + pause))
    }
}

impl Look for Coldness {
    fn rung(&self) -> Rung {
        Rung::Coldness
    }

    fn source(&self) -> &'static str {
        SOURCE
    }

    fn step(&mut self, now: Duration, pids: &[u32]) {
        self.alone = pids == [self.pid];
        if !pids.contains(&self.pid) {
            return;
        }
        let next = match self.state {
            State::Between(until) if until <= now => self.open(now),
            State::Window(open) if open.due.min(open.ends()) <= now => self.go_on(open, now),
            State::Between(_) | State::Window(_) | State::Over => return,
        };
        self.state = next.unwrap_or_else(|reason| {
            self.not_seen = vec![format!("whether its memory is referenced: {reason}")];
            State::Over
        });
    }

    fn see(&mut self, _: Duration) {}

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        if pid.map_or(!self.alone, |pid| pid != self.pid) {
            return Vec::new();
        }
        self.references.testimony().into_iter().collect()
    }

    fn leads(&self, _: Option<u32>) -> Vec<Lead> {
        Vec::new()
    }

    fn not_seen(&self) -> &[String] {
        &self.not_seen
    }

    fn paid(&self) -> Paid {
        Paid { target: self.spent.saturating_add(self.waited), kernel_bytes: 0 }
    }

    fn growth(&self) -> &[GrowthStack] {
        &[]
    }

    fn is_awaited(&self) -> bool {
        let is_long = matches!(self.state, State::Window(open) if open.length > SHORTEST);
        self.windows < 2 && !is_long && !matches!(self.state, State::Over)
    }

    fn wants_quiet(&self) -> bool {
        matches!(self.state, State::Window(_))
    }
}

/// What the target pays when it references so many bytes again.
fn cost(bytes: u64) -> Duration {
    let pages = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX);
    PAGE_COST.saturating_mul(pages)
}

/// How long a window must be that so many bytes may be referenced in. `None`: longer than it may be.
fn window(bytes: u64, budget: Option<f64>) -> Option<Duration> {
    if bytes > MOST {
        return None;
    }
    let needed = cost(bytes).as_secs_f64() / budget.unwrap_or(1.0);
    (needed <= LONGEST.as_secs_f64()).then(|| SHORTEST.max(Duration::from_secs_f64(needed)))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

#[cfg(test)]
mod rules {
    use super::*;

    /// Guarantees: a window is as long as the budget asks for; where a minute is too short, where there is no budget at all, and where
    /// marking itself would take long, there is none.
    #[test]
    fn windows_keep_to_the_budget() {
        const MIB: u64 = 1 << 20;
        assert_eq!(window(10 * MIB, Some(0.001)), Some(SHORTEST));
        let longer = window(100 * MIB, Some(0.001)).unwrap();
        assert!(longer > SHORTEST && longer < LONGEST, "{longer:?}");
        assert!(cost(100 * MIB) <= longer.mul_f64(0.001) + Duration::from_nanos(1));
        assert_eq!(window(200 * MIB, Some(0.001)), None);
        assert_eq!(window(200 * MIB, Some(0.01)), Some(SHORTEST));
        assert_eq!((window(MIB, Some(0.0)), window(0, Some(0.0))), (None, None));
        assert_eq!((window(MOST, None), window(MOST + 1, None)), (Some(SHORTEST), None));
    }

    /// Guarantees: of a heap whose collector walks all of it and tells nobody when nothing is marked, and why is said.
    #[test]
    fn collected_heaps_are_let_be() {
        for runtime in
            [Runtime::Go, Runtime::Jvm, Runtime::Node, Runtime::Dotnet, Runtime::Ruby, Runtime::Php]
        {
            let begun = Coldness::begin(std::process::id(), runtime, None, Duration::ZERO, false);
            assert!(begun.is_err_and(|reason| reason.contains("collector")), "{runtime:?}");
        }
    }
}
