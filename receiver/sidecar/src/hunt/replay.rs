//! A trace instead of a host: the same judge, time taken from the trace, as fast as it can be read.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mlh_detect::Pass;
use mlh_targets::host::HostClock;

use super::judge::{Bench, Judge, Killed, Outcome, Seen};
use crate::observe::key;
use crate::trace::{Passes, TraceError, TraceHost, TracePass, thin};

/// Pages of most kernels; a trace may say otherwise.
const USUAL_PAGE: u64 = 4096;

/// A trace and what it says of its host.
pub struct Replay {
    passes: Box<dyn Iterator<Item = Result<TracePass, TraceError>> + Send>,
    first: Option<TracePass>,
    host: TraceHost,
    faults: u64,
}

impl Replay {
    /// Opens a trace and reads up to its first pass, for that is where its host is described.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut passes = Passes::new(BufReader::new(File::open(path)?));
        let mut faults = 0;
        let first = loop {
            match passes.next() {
                Some(Ok(pass)) => break Some(pass),
                Some(Err(error)) => fault(&mut faults, &error),
                None => break None,
            }
        };
        let host = passes.host().clone();
        Ok(Self { passes: Box::new(passes), first, host, faults })
    }

    /// Bytes in a page of the recorded host.
    #[must_use]
    pub fn page_size(&self) -> u64 {
        self.host.page_size.filter(|size| *size > 0).unwrap_or(USUAL_PAGE)
    }

    /// Judges the whole trace; each pass's outcome goes to `deliver`, with the number of processes it showed.
    /// With an `interval` the trace is thinned to what a sweep that often would have seen. `deliver` ends the
    /// replay by returning false. Returns how many lines were faulty.
    pub fn run(
        mut self,
        bench: &Bench,
        interval: Option<Duration>,
        mut deliver: impl FnMut(Outcome, usize) -> bool,
    ) -> u64 {
        let mut judge = Judge::new(bench);
        // the clock of the sweeps counts from the recorded host's boot, as a live one does
        let uptime = self.host.uptime.unwrap_or_default();
        let epoch = self.host.epoch.unwrap_or(SystemTime::UNIX_EPOCH);
        let clock = HostClock::starting_at(epoch.checked_sub(uptime).unwrap_or(epoch));
        let passes = self.first.take().into_iter().map(Ok).chain(self.passes);
        let passes: Box<dyn Iterator<Item = _>> = match interval {
            Some(interval) => Box::new(thin(passes, interval)),
            None => Box::new(passes.map(|pass| pass.map(|pass| (pass, true)))),
        };
        for pass in passes {
            let (mut pass, due) = match pass {
                Ok(pass) => pass,
                Err(error) => {
                    fault(&mut self.faults, &error);
                    continue;
                }
            };
            let at = uptime.saturating_add(pass.t);
            let coverage = coverage(&mut pass, due, &judge);
            let kills = std::mem::take(&mut pass.oom_kills).into_iter();
            let kills: Vec<Killed> = kills.map(|reading| Killed { at, reading }).collect();
            let seen = Seen {
                at,
                pass: coverage,
                host: pass.host,
                readings: &pass.readings,
                cgroups: &pass.cgroups,
                exits: &pass.exits,
                kills: &kills,
            };
            if !deliver(judge.pass(&seen, &clock), pass.readings.len()) {
                break;
            }
        }
        self.faults
    }
}

/// How the detector is to take the pass. One that is not due shows only those that are watched; and whom a
/// recorder watched is not whom this detector watches, so absence from such a pass means nothing.
fn coverage(pass: &mut TracePass, due: bool, judge: &Judge) -> Pass {
    let full = pass.coverage == Some(Pass::Full);
    if !due {
        let watched: HashSet<_> = judge.watched().iter().copied().collect();
        pass.readings.retain(|reading| watched.contains(&key(reading)));
        let watched: HashSet<u64> = judge.watched_containers().map(|watched| watched.key.0).collect();
        pass.cgroups.retain(|cgroup| watched.contains(&cgroup.id));
    }
    match (full, due) {
        (true, true) => Pass::Full,
        (true, false) => Pass::Watched,
        (false, _) => Pass::Partial,
    }
}

fn fault(faults: &mut u64, error: &TraceError) {
    *faults += 1;
    // a file that is no trace at all would say the same a million times
    if *faults <= 3 {
        tracing::warn!(%error, "in the trace");
    }
}
