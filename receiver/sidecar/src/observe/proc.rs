//! Through `/proc`.

use mlh_detect::{HostMemory, Pass};
use mlh_targets::HostError;
use mlh_targets::sweep::{ProcSweep, Readings};

use super::{
    BlindSpot, Listen, OOM_KILLS, Observation, ObserveError, Observer, RSS_CROSSINGS, Read, Sink,
    WatchedCgroup, observe,
};

#[derive(Debug)]
pub(super) struct ProcObserver {
    sweep: ProcSweep,
    host: Option<HostMemory>,
}

impl ProcObserver {
    pub(super) fn open() -> Result<Self, HostError> {
        Ok(Self { sweep: ProcSweep::open()?, host: None })
    }

    fn pass(
        &mut self,
        pass: Pass,
        look: impl FnOnce(&mut ProcSweep) -> Result<Readings, HostError>,
    ) -> Result<Observation, ObserveError> {
        let Self { sweep, host } = self;
        let read = |readings: Readings| Read {
            readings: readings.processes,
            cgroups: readings.cgroups,
            errors: readings.errors,
        };
        observe(pass, host, || Ok(look(sweep)?), read)
    }
}

impl Observer for ProcObserver {
    fn full(&mut self) -> Result<Observation, ObserveError> {
        self.pass(Pass::Full, ProcSweep::full)
    }

    fn watched(&mut self, pids: &[u32], cgroups: &[WatchedCgroup]) -> Result<Observation, ObserveError> {
        let cgroups: Vec<u64> = cgroups.iter().map(|cgroup| cgroup.id).collect();
        self.pass(Pass::Watched, |sweep| sweep.only(pids, &cgroups))
    }

    fn listen(&mut self, wish: &Listen, _sink: Sink) -> Vec<BlindSpot> {
        let reason = || "it comes with the sweep in the kernel, which is not in use here".to_owned();
        let crossings = wish.crossings.map(|_| BlindSpot { what: RSS_CROSSINGS, reason: reason() });
        std::iter::once(BlindSpot { what: OOM_KILLS, reason: reason() }).chain(crossings).collect()
    }

    fn describe(&self) -> &'static str {
        "through /proc"
    }
}
