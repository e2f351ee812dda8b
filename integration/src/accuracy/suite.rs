//! Many runs beside one sidecar, which judges them and nobody else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::case::Case;
use super::cgroup::Around;
use super::heard::{Heard, by_cgroup};
use super::outcome::Outcome;
use super::run::{Run, now};
use super::story::Story;
use crate::process::Process;
use crate::scenario::{World, free_port};
use crate::sidecar;

/// How long runs last, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A leak is waited for so long after it has leaked 1 MiB.
    pub leak: f64,
    /// What has been called a leak goes on for so long: it should not be told again, and its culprit may follow.
    pub after_verdict: f64,
    /// A calm one is watched for so long.
    pub calm: f64,
    /// Nothing lasts longer.
    pub longest: f64,
}

/// Settings of the receiver where many leak at once: each of them is followed up, as it would be on a host of its own, and again
/// in its next run.
pub const SIDE_BY_SIDE: &str = "escalation: {max_concurrent_targets: 16, cooldown: 0s}";

/// What to run and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Cases with their seeds, in this order.
    pub runs: Vec<(Case, u64)>,
    /// So many at once.
    pub parallel: usize,
    /// How long.
    pub patience: Patience,
    /// Start moments are drawn with it, up to this many seconds apart.
    pub seed: u64,
    /// As said there.
    pub apart: f64,
    /// Settings of the receiver beside what it is to judge, as members of a YAML flow mapping; empty for the defaults.
    pub settings: String,
    /// Whether the host's sweeps are recorded beside, for `replay`.
    pub traced: bool,
}

/// What it came to, and the trace if one was asked for.
#[derive(Debug)]
pub struct Done {
    /// In the order of their ends.
    pub outcomes: Vec<Outcome>,
    /// In the world's folder.
    pub trace: Option<PathBuf>,
    /// The sidecar's resident memory, bytes, once a minute.
    pub resident: Vec<f64>,
}

/// Runs the plan.
///
/// # Errors
/// The sidecar does not start or ends early, or a run cannot be started or ended. A program that ends early is an outcome.
pub fn run(world: &World, plan: &Plan) -> anyhow::Result<Done> {
    let name = format!("mlh-accuracy-{}", std::process::id());
    let around = Around::create(&name)?;
    let done = beside_sidecar(world, plan, &around, &name);
    around.remove()?;
    done
}

fn beside_sidecar(world: &World, plan: &Plan, around: &Around, name: &str) -> anyhow::Result<Done> {
    let (file, port) = (world.path("events.jsonl"), free_port()?);
    let settings = match plan.settings.as_str() {
        "" => String::new(),
        members => format!(", {members}"),
    };
    let settings = format!("include: {{cgroups: ['/{name}']}}{settings}");
    let logs = format!("file: {{path: '{}', format: event}}", file.display());
    let config = sidecar::hunting_by(&settings, &logs, port);
    let mut hunter = sidecar::start(world, "sidecar", &config, port)?;
    let recorder = plan.traced.then(|| Recorder::start(world)).transpose()?;
    let (mut outcomes, resident) = Runs::new(plan).all(world, around, &file, &mut hunter)?;
    hunter.signal(Signal::SIGTERM)?;
    hunter.end(Duration::from_secs(60))?;
    let trace = recorder.map(Recorder::end).transpose()?;
    let mut heard = by_cgroup(&std::fs::read_to_string(&file)?);
    for outcome in &mut outcomes {
        outcome.heard = heard.remove(&outcome.cgroup_id).unwrap_or_default();
    }
    Ok(Done { outcomes, trace, resident })
}

/// `memory-leak-hunter record`: makes the passes that the sidecar makes.
struct Recorder {
    process: Process,
    trace: PathBuf,
}

impl Recorder {
    fn start(world: &World) -> anyhow::Result<Self> {
        let trace = world.path("trace.jsonl");
        let mut command = Command::new(sidecar::executable()?);
        let process = world.spawn("record", command.arg("record").arg(&trace).args(["--duration", "1d"]))?;
        Ok(Self { process, trace })
    }

    fn end(mut self) -> anyhow::Result<PathBuf> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.end(Duration::from_secs(60))?;
        Ok(self.trace)
    }
}

/// The sidecar's records are read so often.
const READ_EVERY: f64 = 5.0;
/// Progress is told so often.
const TELL_EVERY: f64 = 60.0;

struct Runs<'a> {
    plan: &'a Plan,
    waiting: std::slice::Iter<'a, (Case, u64)>,
    active: Vec<Run>,
    outcomes: Vec<Outcome>,
    resident: Vec<f64>,
    dice: fastrand::Rng,
}

impl<'a> Runs<'a> {
    fn new(plan: &'a Plan) -> Self {
        let dice = fastrand::Rng::with_seed(plan.seed);
        let (active, outcomes, resident) = (Vec::new(), Vec::new(), Vec::new());
        Self { plan, waiting: plan.runs.iter(), active, outcomes, resident, dice }
    }

    fn all(
        mut self,
        world: &World,
        around: &Around,
        file: &Path,
        hunter: &mut Process,
    ) -> anyhow::Result<(Vec<Outcome>, Vec<f64>)> {
        let (mut next, mut read, mut told) = (0.0, 0.0, now());
        while self.waiting.len() > 0 || !self.active.is_empty() {
            hunter.lives()?;
            let time = now();
            let room = time >= next && self.active.len() < self.plan.parallel;
            if let Some((case, seed)) = room.then(|| self.waiting.next()).flatten() {
                let run = Run::start(case.clone(), *seed, around, world.folder());
                self.active.push(run.with_context(|| case.id.clone())?);
                next = time + self.dice.f64() * self.plan.apart;
            }
            if time >= read + READ_EVERY {
                read = time;
                // until the first record there is no file
                self.end_those_over(&by_cgroup(&std::fs::read_to_string(file).unwrap_or_default()))?;
            }
            if time >= told + TELL_EVERY {
                told = time;
                self.resident.push(resident(hunter.pid())?);
                let (over, running, waiting) = (self.outcomes.len(), self.active.len(), self.waiting.len());
                eprintln!("{over} runs are over, {running} go on, {waiting} wait");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok((self.outcomes, self.resident))
    }

    fn end_those_over(&mut self, heard: &HashMap<u64, Vec<Heard>>) -> anyhow::Result<()> {
        let patience = self.plan.patience;
        for mut run in std::mem::take(&mut self.active) {
            let (story, time) = (run.story(), now());
            let heard = heard.get(&run.cgroup_id).map_or(&[][..], Vec::as_slice);
            let by_itself = run.lives().inspect_err(|error| eprintln!("{error:#}")).is_err();
            if !by_itself && !patience.is_over(run.begun, time, &story, heard) {
                self.active.push(run);
                continue;
            }
            run.end()?;
            self.outcomes.push(Outcome {
                id: run.case.id.clone(),
                set: run.case.set,
                seed: run.seed,
                cgroup_id: run.cgroup_id,
                story,
                ended: time,
                by_itself,
                heard: Vec::new(),
            });
        }
        Ok(())
    }
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0)
}

impl Patience {
    fn is_over(&self, begun: f64, time: f64, story: &Story, heard: &[Heard]) -> bool {
        let detected = heard.iter().find(|record| record.kind == "leak_detected").map(|record| record.at);
        let leaks = story.truth.as_ref().is_none_or(|truth| truth.leaks);
        let until = match (detected, story.one_mib) {
            (Some(at), _) => at + self.after_verdict,
            (None, Some(at)) => at + self.leak,
            (None, None) if leaks => f64::INFINITY,
            (None, None) => begun + self.calm,
        };
        time >= until.min(begun + self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::story::Truth;

    /// Guarantees: a leak is waited for from its first MiB on, a calm one from its start, and a verdict ends either a little later.
    #[test]
    fn runs_end_when_enough_has_been_seen() {
        let patience = Patience { leak: 300.0, after_verdict: 60.0, calm: 600.0, longest: 1200.0 };
        let story = |leaks, one_mib| Story {
            truth: Some(Truth { leaks, ..Truth::default() }),
            one_mib,
            ..Story::default()
        };
        let over = |time, story: &Story, heard: &[Heard]| patience.is_over(100.0, time, story, heard);
        let leak = story(true, Some(200.0));
        assert!(!over(499.0, &leak, &[]) && over(500.0, &leak, &[]));
        let slow = story(true, None);
        assert!(!over(1299.0, &slow, &[]) && over(1300.0, &slow, &[]));
        let calm = story(false, None);
        assert!(!over(699.0, &calm, &[]) && over(700.0, &calm, &[]));
        let (kind, line) = ("leak_detected".to_owned(), String::new());
        let verdict = [Heard { at: 250.0, kind, culprits: Vec::new(), line }];
        assert!(!over(309.0, &leak, &verdict) && over(310.0, &calm, &verdict));
    }
}
