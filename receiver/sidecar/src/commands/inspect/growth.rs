//! What the target's memory does meanwhile: seen from outside, and judged by the same detector as in growth detection.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use mlh_detect::{
    About, Cleared, ContainerKey, ContainerSample, Detector, Finding, FindingKind, Memory, Pass, Room, Rules,
    Sample, Stage, Sweep, Trend,
};
use mlh_targets::hierarchy::{Hierarchy, Unit};
use mlh_targets::process::ProcessReading;

use crate::hunt::units::{counted, sum};
use crate::investigate::plan::Target;
use crate::observe::{self, Observation, ObserveError, Observer, Options, WatchedCgroup, sample};

/// Limits of the cgroups around may change.
const FULL_PASS: Duration = Duration::from_secs(30);
/// Readings that are kept: one a second of the longest look, and some.
const MOST_READINGS: usize = 4096;
/// The cgroup of a target that no memory controller counts for.
const SUMMED: ContainerKey = ContainerKey(0);

/// What is known of the growth, at the end of the look.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Grown {
    /// The open case, where there is one.
    pub(super) case: Option<Case>,
    /// Memory that can leak, at the first reading and at the last, bytes.
    pub(super) before: u64,
    pub(super) after: u64,
    /// The most in between.
    pub(super) peak: u64,
    /// Each of them, since boot, as far as there is room.
    pub(super) readings: Vec<(Duration, u64)>,
    /// From the first reading to the last.
    pub(super) seen_for: Duration,
    /// How old the oldest process was at the last one.
    pub(super) age: Duration,
    /// The memory is a sum over processes: shared pages stand in it several times.
    pub(super) upper_bound: bool,
    /// Why some or all of it could not be read.
    pub(super) trouble: Option<String>,
}

/// An open suspicion or verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Case {
    pub(super) about: About,
    pub(super) stage: Stage,
    pub(super) trend: Trend,
    /// On the clock of the sweeps.
    pub(super) onset: Duration,
    /// Of a verdict.
    pub(super) confidence: Option<f64>,
    pub(super) exhaustion_s: Option<f64>,
}

/// Looks at the target's memory, and judges.
pub(super) struct Growth {
    target: Target,
    observer: Option<Box<dyn Observer>>,
    hierarchy: Hierarchy,
    next_full: Duration,
    judge: Judge,
}

impl Growth {
    pub(super) fn open(target: &Target, btf_path: Option<&Path>) -> Self {
        let options = Options { btf_path: btf_path.map(Path::to_owned), ..Options::default() };
        let (observer, trouble) = match observe::open(&options) {
            Ok((observer, _)) => (Some(observer), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut judge = Judge::new();
        judge.grown.trouble = trouble;
        Self {
            target: target.clone(),
            observer,
            hierarchy: Hierarchy::default(),
            next_full: Duration::ZERO,
            judge,
        }
    }

    /// Looks at the processes of the target.
    pub(super) fn look(&mut self, now: Duration, pids: &[u32]) {
        // the last of them has ended: what is known of it stays
        if pids.is_empty() {
            return;
        }
        if let Err(error) = self.try_look(now, pids) {
            self.judge.grown.trouble.get_or_insert(error.to_string());
        }
    }

    fn try_look(&mut self, now: Duration, pids: &[u32]) -> Result<(), ObserveError> {
        let Some(observer) = &mut self.observer else { return Ok(()) };
        if now >= self.next_full {
            self.hierarchy.full(&observer.full()?.cgroups);
            self.next_full = now + FULL_PASS;
        }
        // of one way of looking, the exact one: two would differ by how far the kernel's counters lag
        let unit = |hierarchy: &mut Hierarchy, reading: &ProcessReading| {
            hierarchy.unit_of(hierarchy.key_of(reading.cgroup_id, reading.memory_cgroup_id)?)
        };
        let known = self.judge.container.filter(|key| *key != SUMMED);
        let through = pids.first().copied().unwrap_or_default();
        let cgroups: Vec<_> = known.map(|key| WatchedCgroup { id: key.0, through }).into_iter().collect();
        let Observation { at, host, readings, cgroups, .. } = observer.watched(pids, &cgroups)?;
        self.hierarchy.some(&cgroups);
        let unit = readings.iter().min_by_key(|r| r.start_ns).and_then(|r| unit(&mut self.hierarchy, r));
        let is_target = unit.as_ref().is_some_and(|unit| is_of(&self.target, unit));
        let exact = unit
            .filter(|_| is_target || matches!(self.target, Target::Pid(_)))
            .and_then(|unit| counted(&self.hierarchy, ContainerKey(unit.key), host.swap_free));
        let samples: Vec<Sample> = readings.iter().map(sample).collect();
        let whole = !matches!(self.target, Target::Pid(_));
        self.judge.take(&Seen { at, host: Some(host), samples, container: exact, whole });
        Ok(())
    }

    /// What has come of it.
    pub(super) fn outcome(self) -> Grown {
        self.judge.grown
    }
}

/// Whether what a container's cgroup counts is what was asked for.
fn is_of(target: &Target, unit: &Unit) -> bool {
    match target {
        Target::Pid(_) => false,
        Target::CgroupId(id) => unit.cgroup_id == *id,
        Target::Cgroup(path) => Path::new(&unit.path) == path,
        Target::Container(id) => {
            unit.container_id.as_ref().is_some_and(|known| known.as_str().starts_with(id))
        }
    }
}

/// One pass over the target.
struct Seen {
    at: Duration,
    host: Option<mlh_detect::HostMemory>,
    samples: Vec<Sample>,
    /// What is counted for the container around.
    container: Option<ContainerSample>,
    /// The target is more than one process.
    whole: bool,
}

/// Keeps the detector, and what it has said.
struct Judge {
    detector: Detector,
    /// Since when each case has been, and how sure it is.
    said: HashMap<About, (Duration, Option<f64>)>,
    container: Option<ContainerKey>,
    began: Option<Duration>,
    grown: Grown,
}

impl Judge {
    fn new() -> Self {
        // whoever inspects waits for an answer, and sees beside it what is kept
        let rules =
            Rules { trend_alone: Rules::CONVICT_WINDOW, patience: Duration::ZERO, ..Rules::default() };
        Self {
            detector: Detector::new(rules),
            said: HashMap::new(),
            container: None,
            began: None,
            grown: Grown::default(),
        }
    }

    fn take(&mut self, seen: &Seen) {
        let Some(born) = seen.samples.iter().map(|sample| sample.key.start_ns).min() else { return };
        let container = seen.container.or_else(|| seen.whole.then(|| summed(&seen.samples)));
        let key = container.map(|container| container.key);
        self.container = key;
        let samples: Vec<Sample> =
            seen.samples.iter().map(|sample| Sample { container: key, ..*sample }).collect();
        let findings = self.detector.sweep(&Sweep {
            host: seen.host,
            samples: &samples,
            containers: container.as_slice(),
            ..Sweep::empty(seen.at, Pass::Full)
        });
        self.remember(seen, &findings);
        let memory = match &container {
            Some(container) if seen.whole => container.memory,
            _ => samples.iter().map(|sample| sample.memory).fold(Memory::default(), |a, b| sum(&a, &b)),
        };
        let (charged, first) = (memory.charged(), self.began.is_none());
        let began = *self.began.get_or_insert(seen.at);
        let grown = &mut self.grown;
        grown.before = if first { charged } else { grown.before };
        grown.after = charged;
        grown.peak = grown.peak.max(charged);
        if grown.readings.len() < MOST_READINGS {
            grown.readings.push((seen.at, charged));
        }
        grown.seen_for = seen.at.saturating_sub(began);
        grown.age = seen.at.saturating_sub(Duration::from_nanos(born));
        grown.upper_bound = seen.whole && container.is_some_and(|container| container.upper_bound);
    }

    /// Keeps the gravest open case; one that ends because a process does stays what it was.
    fn remember(&mut self, seen: &Seen, findings: &[Finding]) {
        let (mut taken_back, mut exited) = (false, false);
        for finding in findings {
            match &finding.kind {
                FindingKind::Suspected(trend) => {
                    // of what was before the look nothing is known
                    let onset = finding.at.saturating_sub(trend.window).max(self.began.unwrap_or(finding.at));
                    self.said.insert(finding.about, (onset, None));
                }
                FindingKind::Detected(verdict) => {
                    self.said.insert(finding.about, (verdict.onset, Some(verdict.confidence)));
                }
                FindingKind::Cleared { reason: Cleared::Exited, .. } => exited = true,
                FindingKind::Cleared { .. } => taken_back = true,
                FindingKind::Growth { .. } | FindingKind::OomRisk(_) | FindingKind::OomKill(_) => {}
            }
        }
        // of a container's case and a process's that of the container: it is what was asked for
        let gravest = self
            .detector
            .ongoing()
            .filter(|case| seen.whole || !is_container(&case.about))
            .max_by_key(|case| (case.stage, is_container(&case.about)));
        self.grown.case = match gravest {
            Some(case) => {
                let (onset, confidence) = self.said.get(&case.about).copied().unwrap_or((seen.at, None));
                Some(Case {
                    about: case.about,
                    stage: case.stage,
                    trend: case.trend,
                    onset,
                    confidence: confidence.filter(|_| case.stage == Stage::Leaking),
                    exhaustion_s: case.exhaustion_s,
                })
            }
            None if taken_back && !exited => None,
            None => self.grown.case,
        };
    }
}

fn is_container(about: &About) -> bool {
    matches!(about, About::Container(_))
}

fn summed(samples: &[Sample]) -> ContainerSample {
    ContainerSample {
        key: SUMMED,
        memory: samples.iter().fold(Memory::default(), |all, sample| sum(&all, &sample.memory)),
        slack: samples.iter().fold(0, |all, sample| all.saturating_add(sample.slack)),
        rooms: [None; Room::MOST],
        upper_bound: true,
        watchable: false,
    }
}

#[cfg(test)]
mod tests {
    use mlh_detect::{HostMemory, ProcessKey};

    use super::*;

    const MIB: u64 = 1 << 20;
    const KEY: ContainerKey = ContainerKey(9);

    fn sample(pid: u32, anon: u64) -> Sample {
        let memory = Memory { anon, ..Memory::default() };
        Sample { key: ProcessKey { pid, start_ns: 1 }, memory, ..Sample::default() }
    }

    fn container(anon: u64) -> ContainerSample {
        ContainerSample { key: KEY, upper_bound: false, ..summed(&[sample(1, anon)]) }
    }

    /// What is known after so many seconds of passes.
    fn look(seconds: u64, pass: impl Fn(u64) -> (Vec<Sample>, Option<ContainerSample>, bool)) -> Grown {
        let mut judge = Judge::new();
        for second in 0..=seconds {
            let (samples, container, whole) = pass(second);
            let host = Some(HostMemory { total: 1 << 34, available: 1 << 30, swap_free: 0 });
            judge.take(&Seen { at: Duration::from_secs(1000 + second), host, samples, container, whole });
        }
        judge.grown
    }

    /// Guarantees: a leak of 100 KiB/s is suspected within the default minute, with its velocity, its onset and the end of
    /// the host's memory, and is a verdict with a confidence in three; a process that stands still is no case.
    #[test]
    fn a_process() {
        let leak = |s| (vec![sample(1, 10 * MIB + s * 102_400)], None, false);
        let minute = look(60, leak);
        let case = minute.case.expect("suspected");
        assert_eq!((case.stage, case.confidence), (Stage::Suspected, None));
        assert!((case.trend.velocity - 102_400.0).abs() < 2048.0, "{case:?}");
        assert!(
            case.onset >= Duration::from_secs(1000) && case.onset < Duration::from_secs(1036),
            "{case:?}"
        );
        assert!(case.exhaustion_s.is_some_and(|seconds| (9000.0..12_000.0).contains(&seconds)), "{case:?}");
        assert_eq!((minute.before, minute.after), (10 * MIB, 10 * MIB + 60 * 102_400));
        assert_eq!((minute.seen_for, minute.age.as_secs()), (Duration::from_secs(60), 1059));
        let longer = look(180, leak).case.expect("a verdict");
        assert_eq!(longer.stage, Stage::Leaking);
        assert!(longer.confidence.is_some_and(|confidence| confidence > 0.5), "{longer:?}");
        assert_eq!(look(180, |_| (vec![sample(1, 10 * MIB)], None, false)).case, None);
    }

    /// Guarantees: of a container that which its cgroup counts is judged, though its workers come and go; of one that nobody
    /// counts for the sum, which says so; a process is not blamed for the container around it.
    #[test]
    fn a_container() {
        let recycled = |s: u64| {
            vec![
                sample(1, MIB),
                Sample { key: ProcessKey { pid: 2 + s as u32, start_ns: 2 }, ..sample(2, MIB) },
            ]
        };
        let counted = look(60, |s| (recycled(s), Some(container(10 * MIB + s * 102_400)), true));
        assert_eq!(counted.case.map(|case| case.about), Some(About::Container(KEY)));
        assert_eq!((counted.after, counted.upper_bound), (10 * MIB + 60 * 102_400, false));
        let alone = look(60, |s| (vec![sample(1, MIB)], Some(container(10 * MIB + s * 102_400)), false));
        assert_eq!((alone.case, alone.after), (None, MIB));
        let each = |s: u64| vec![sample(1, 10 * MIB + s * 51_200), sample(2, 20 * MIB + s * 51_200)];
        let summed = look(60, |s| (each(s), None, true));
        assert_eq!(summed.case.map(|case| case.about), Some(About::Container(SUMMED)));
        assert_eq!((summed.before, summed.upper_bound), (30 * MIB, true));
    }

    /// Guarantees: what was known of a process stays known when it ends in the middle of the look.
    #[test]
    fn an_end() {
        let pass = |s: u64| {
            let leaking = (s < 60).then(|| sample(1, 10 * MIB + s * 102_400));
            (leaking.into_iter().chain([sample(2, MIB)]).collect(), None, true)
        };
        assert!(look(59, pass).case.is_some());
        let after = look(62, pass);
        assert!(after.case.is_some_and(|case| case.stage == Stage::Suspected), "{after:?}");
    }
}
