//! Lines of one time become one pass.

use std::io::BufRead;
use std::time::{Duration, SystemTime};

use mlh_detect::{HostMemory, Pass, ProcessKey};
use mlh_targets::cgroup_reading::CgroupReading;
use mlh_targets::process::ProcessReading;

use super::cgroups::{Cgroups, MAX_CGROUPS};
use super::line::{HostLine, Line, SCHEMA};
use super::presence::Presence;
use super::reader::{LineReader, TraceError};
use crate::observe::key;

/// More processes than a host can have.
const MAX_PROCESSES: usize = 1 << 20;
/// More processes than the kernel kills at one time.
const MAX_KILLS: usize = 1 << 12;

/// What a trace shows at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TracePass {
    /// Since the trace began.
    pub t: Duration,
    /// How much of the host it saw. `None`: only some of the processes, and the absence of others means nothing.
    /// Where the trace does not say, a pass is full when it holds every process known to live.
    pub coverage: Option<Pass>,
    /// The host's memory, where the trace tells it.
    pub host: Option<HostMemory>,
    /// The processes.
    pub readings: Vec<ProcessReading>,
    /// The cgroups: of a full pass all there are, with the memory of those of which the trace still tells.
    pub cgroups: Vec<CgroupReading>,
    /// Who ended: by an `exit` line, or by staying away for too long.
    pub exits: Vec<ProcessKey>,
    /// Who was killed for lack of memory, as they were then.
    pub oom_kills: Vec<ProcessReading>,
}

impl TracePass {
    fn is_empty(&self) -> bool {
        let Self { readings, cgroups, exits, oom_kills, .. } = self;
        readings.is_empty() && cgroups.is_empty() && exits.is_empty() && oom_kills.is_empty()
    }
}

/// What the `host` lines read so far tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceHost {
    /// The time of day at `t` = 0.
    pub epoch: Option<SystemTime>,
    /// Time since boot at `t` = 0.
    pub uptime: Option<Duration>,
    /// The kernel's id of the boot.
    pub boot_id: Option<String>,
    /// Bytes in a page.
    pub page_size: Option<u64>,
    /// The host's memory, bytes.
    pub mem_total: Option<u64>,
}

impl TraceHost {
    fn learn(&mut self, line: HostLine) {
        self.epoch = line.epoch.map(|epoch| SystemTime::UNIX_EPOCH + epoch).or(self.epoch);
        self.uptime = line.uptime.or(self.uptime);
        self.boot_id = line.boot_id.or(self.boot_id.take());
        self.page_size = line.page_size.or(self.page_size);
        self.mem_total = line.mem_total.or(self.mem_total);
    }
}

/// The passes of a trace, in order. A bad line is an error in between and stops nothing.
#[derive(Debug)]
pub struct Passes<R> {
    lines: LineReader<R>,
    host: TraceHost,
    presence: Presence,
    cgroups: Cgroups,
    pass: TracePass,
    /// The pass being gathered said itself how much it saw.
    marked: bool,
    /// The line that ended the pass before: the first of the next.
    held: Option<(u64, Line)>,
    ended: bool,
}

impl<R: BufRead> Passes<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self {
            lines: LineReader::new(input),
            host: TraceHost::default(),
            presence: Presence::default(),
            cgroups: Cgroups::default(),
            pass: TracePass::default(),
            marked: false,
            held: None,
            ended: false,
        }
    }

    /// What is known of the host so far: all of it once the first pass is there.
    #[must_use]
    pub fn host(&self) -> &TraceHost {
        &self.host
    }

    /// Takes in a line of the pass being gathered.
    fn take(&mut self, number: u64, line: Line) -> Result<(), TraceError> {
        let t = self.pass.t;
        match line {
            Line::Host(line) => {
                let schema = line.schema.unwrap_or(SCHEMA);
                self.host.learn(line);
                if schema > SCHEMA {
                    return Err(TraceError::Schema { line: number, schema });
                }
            }
            Line::Pass(line) => {
                self.marked = line.coverage.is_some();
                self.pass.coverage = line.coverage.map(Pass::from);
                let memory = self.host.mem_total.zip(line.mem_available);
                self.pass.host = memory.map(|(total, available)| HostMemory {
                    total,
                    available,
                    swap_free: line.swap_free.unwrap_or(0).min(available),
                });
            }
            Line::Cgroup(line) => {
                if !self.cgroups.take(*line) {
                    return Err(TraceError::TooMany { line: number, most: MAX_CGROUPS, what: "cgroups" });
                }
            }
            Line::Process(line) => {
                if self.pass.readings.len() >= MAX_PROCESSES {
                    return Err(TraceError::TooMany { line: number, most: MAX_PROCESSES, what: "processes" });
                }
                let reading = ProcessReading::from(*line);
                if !self.presence.see(&reading, t) {
                    return Err(TraceError::Repeated { line: number, pid: reading.pid, t: t.as_secs_f64() });
                }
                self.pass.readings.push(reading);
            }
            Line::OomKill(line) => {
                if self.pass.oom_kills.len() >= MAX_KILLS {
                    return Err(TraceError::TooMany { line: number, most: MAX_KILLS, what: "kills" });
                }
                let known = self.presence.find(line.key());
                self.pass.oom_kills.push(line.reading(known));
            }
            Line::Exit(line) => {
                let ended = self.presence.end(line.key());
                self.pass.exits.push(ended);
            }
            Line::Unknown => {}
        }
        Ok(())
    }

    /// Closes the pass and begins the one at `t`.
    fn close(&mut self, t: Duration) -> Option<TracePass> {
        let mut pass = std::mem::replace(&mut self.pass, TracePass { t, ..TracePass::default() });
        let marked = std::mem::take(&mut self.marked);
        pass.cgroups = self.cgroups.told();
        if pass.is_empty() && !marked {
            return None;
        }
        if !marked {
            let alive = pass.readings.iter().filter(|r| !pass.exits.contains(&key(r))).count();
            let (full, lapsed) = self.presence.close(pass.t, alive);
            pass.coverage = full.then_some(Pass::Full);
            pass.exits.extend(lapsed);
            if full {
                pass.cgroups = self.cgroups.all(pass.t, self.presence.longest_step());
            }
        } else if pass.coverage == Some(Pass::Full) {
            self.presence.close_full(pass.t);
            self.cgroups.close_full(pass.t);
        }
        Some(pass)
    }
}

impl<R: BufRead> Iterator for Passes<R> {
    type Item = Result<TracePass, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let (number, line) = match self.held.take().map(Ok).or_else(|| self.lines.next()) {
                Some(Ok(numbered)) => numbered,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.ended = true;
                    return self.close(Duration::ZERO).map(Ok);
                }
            };
            let Some(t) = line.t() else { continue };
            if t < self.pass.t {
                let previous = self.pass.t.as_secs_f64();
                return Some(Err(TraceError::Order { line: number, t: t.as_secs_f64(), previous }));
            }
            if t > self.pass.t {
                let closed = self.close(t);
                self.held = Some((number, line));
                if let Some(pass) = closed {
                    return Some(Ok(pass));
                }
            } else if let Err(error) = self.take(number, line) {
                return Some(Err(error));
            }
        }
        None
    }
}
