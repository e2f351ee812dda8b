//! Writing a trace.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::anonymize::Anonymizer;
use super::line::{Coverage, HostLine, Line, PassLine, ProcessLine, SCHEMA};
use crate::observe::Observation;
use mlh_targets::host::{HostClock, HostIdentity};

/// Writes observations as a trace. Each pass is flushed, so a recording that is cut short is a shorter recording.
#[derive(Debug)]
pub struct TraceWriter<W> {
    out: W,
    start: Duration,
    last: Duration,
    hide: Option<Anonymizer>,
    began: bool,
    host: HostLine,
}

impl<W: Write> TraceWriter<W> {
    /// A trace of this host into `out`. With `anonymize`, names and paths are replaced by digits that are the same
    /// within the trace, and the boot id is left out.
    #[must_use]
    pub fn new(out: W, host: &HostIdentity, anonymize: bool) -> Self {
        let host = HostLine {
            schema: Some(SCHEMA),
            boot_id: host.boot_id.clone().filter(|_| !anonymize),
            page_size: Some(host.page_size),
            ..HostLine::default()
        };
        let hide = anonymize.then(Anonymizer::default);
        Self { out, start: Duration::ZERO, last: Duration::ZERO, hide, began: false, host }
    }

    /// Writes one observation; the first is the beginning, `t` = 0. `clock` tells the time of day.
    ///
    /// # Errors
    /// Writing failed.
    pub fn pass(&mut self, observation: &Observation, clock: &HostClock) -> io::Result<()> {
        if !self.began {
            self.began = true;
            self.start = observation.at;
            let epoch = clock.to_epoch(observation.at).duration_since(SystemTime::UNIX_EPOCH).ok();
            let host = HostLine {
                epoch,
                uptime: Some(observation.at),
                mem_total: Some(observation.host.total),
                ..self.host.clone()
            };
            self.line(&Line::Host(host))?;
        }
        // a clock that stands still or steps back must not make the trace unordered
        let t = observation.at.saturating_sub(self.start).max(self.last);
        self.last = t;
        self.line(&Line::Pass(PassLine {
            t,
            coverage: Coverage::of(observation.pass),
            mem_available: Some(observation.host.available),
        }))?;
        for reading in &observation.readings {
            let mut line = ProcessLine::new(t, reading);
            if let Some(hide) = &self.hide {
                line.comm = line.comm.map(|name| hide.hide(&name));
                line.exe = line.exe.map(|path| hide.hide(&path));
            }
            self.line(&Line::Process(Box::new(line)))?;
        }
        self.out.flush()
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }
}
