//! Through `/proc`.

use mlh_detect::{HostMemory, Pass};
use mlh_targets::HostError;
use mlh_targets::sweep::{ProcSweep, Readings};

use super::{Observation, ObserveError, Observer, observe};

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
        observe(pass, host, || Ok(look(sweep)?), |readings| (readings.processes, readings.errors))
    }
}

impl Observer for ProcObserver {
    fn full(&mut self) -> Result<Observation, ObserveError> {
        self.pass(Pass::Full, ProcSweep::full)
    }

    fn watched(&mut self, pids: &[u32]) -> Result<Observation, ObserveError> {
        self.pass(Pass::Watched, |sweep| sweep.only(pids))
    }

    fn describe(&self) -> &'static str {
        "through /proc"
    }
}
