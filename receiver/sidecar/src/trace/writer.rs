//! Writing a trace.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use mlh_detect::Pass;
use mlh_targets::cgroup_reading::CgroupReading;
use mlh_targets::hierarchy::Hierarchy;
use mlh_targets::host::{HostClock, HostIdentity};
use mlh_targets::process::ProcessReading;

use super::anonymize::Anonymizer;
use super::cgroup::CgroupLine;
use super::kill::OomKillLine;
use super::line::{Coverage, HostLine, Line, PassLine, ProcessLine, SCHEMA};
use crate::observe::Observation;

/// Writes observations as a trace. Each pass is flushed, so a recording that is cut short is a shorter recording.
#[derive(Debug)]
pub struct TraceWriter<W> {
    out: W,
    start: Duration,
    last: Duration,
    hide: Option<Anonymizer>,
    /// For the paths of cgroups: a watched pass does not tell of those around.
    hierarchy: Hierarchy,
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
        let hierarchy = Hierarchy::default();
        Self { out, start: Duration::ZERO, last: Duration::ZERO, hide, hierarchy, began: false, host }
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
        let t = self.t(observation.at);
        self.line(&Line::Pass(PassLine {
            t,
            coverage: Coverage::of(observation.pass),
            mem_available: Some(observation.host.available),
            swap_free: Some(observation.host.swap_free),
        }))?;
        match observation.pass {
            Pass::Full => self.hierarchy.full(&observation.cgroups),
            Pass::Watched | Pass::Partial | Pass::Told => self.hierarchy.some(&observation.cgroups),
        }
        for reading in &observation.cgroups {
            let line = self.cgroup(t, reading);
            self.line(&Line::Cgroup(Box::new(line)))?;
        }
        for reading in &observation.readings {
            let mut line = ProcessLine::new(t, reading);
            if let Some(hide) = &self.hide {
                line.comm = line.comm.map(|name| hide.hide(&name));
                line.exe = line.exe.map(|path| hide.hide(&path));
                line.image = line.image.map(|image| hide.hide_image(image));
                line.cgroup_id = line.cgroup_id.map(|id| hide.hide_cgroup_id(id));
                line.memory_cgroup_id = line.memory_cgroup_id.map(|id| hide.hide_cgroup_id(id));
            }
            self.line(&Line::Process(Box::new(line)))?;
        }
        self.out.flush()
    }

    /// Writes a kill. One before the first pass is not part of the trace.
    ///
    /// # Errors
    /// Writing failed.
    pub fn killed(&mut self, at: Duration, victim: &ProcessReading) -> io::Result<()> {
        if !self.began {
            return Ok(());
        }
        let mut line = OomKillLine::new(self.t(at), victim);
        if let Some(hide) = &self.hide {
            line.comm = line.comm.map(|name| hide.hide(&name));
            line.exe = line.exe.map(|path| hide.hide(&path));
            line.cgroup_id = line.cgroup_id.map(|id| hide.hide_cgroup_id(id));
            line.memory_cgroup_id = line.memory_cgroup_id.map(|id| hide.hide_cgroup_id(id));
        }
        self.line(&Line::OomKill(Box::new(line)))?;
        self.out.flush()
    }

    fn cgroup(&self, t: Duration, reading: &CgroupReading) -> CgroupLine {
        let (v2, v1) = if reading.unified { (Some(reading.id), None) } else { (None, Some(reading.id)) };
        let path = self.hierarchy.key_of(v2, v1).and_then(|key| self.hierarchy.path(key));
        let mut line = CgroupLine::new(t, reading, path.unwrap_or_else(|| reading.name.clone()));
        if let Some(hide) = &self.hide {
            line.cgroup_id = hide.hide_cgroup_id(line.cgroup_id);
            line.parent = line.parent.map(|id| hide.hide_cgroup_id(id));
            line.path = line.path.map(|path| hide.hide_cgroup(&path));
            line.node_name = line.node_name.map(|name| hide.hide(&name));
        }
        line
    }

    /// The time in the trace. A clock that stands still or steps back, or a kill that was heard of late, must not make
    /// the trace unordered.
    fn t(&mut self, at: Duration) -> Duration {
        self.last = at.saturating_sub(self.start).max(self.last);
        self.last
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }
}
