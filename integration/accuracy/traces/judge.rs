//! A trace through the detector, as a sweep every half minute would see it and whoever it watches each second.

use std::time::Duration;

use mlh_detect::{Detector, FindingKind, HostMemory, Memory, Pass, ProcessKey, Rules, Sample, Stage, Sweep};

use super::sketch::{Second, Trace};

/// Between two sweeps of all, seconds.
pub(crate) const SWEEP_EVERY: usize = 30;
const AN_HOUR: usize = 3600;
/// The host had been up for so long when the trace began: longer than the oldest program.
pub(crate) const UPTIME_S: u64 = 100_000;
/// The host's memory: too much for any of these to fill.
pub(crate) const HOST: HostMemory = HostMemory { total: 1 << 40, available: 1 << 39, swap_free: 0 };

/// What was said of a program.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Outcome {
    /// Seconds from the trace's beginning.
    pub(crate) suspected: Option<usize>,
    /// All suspicions' and verdicts' openings, seconds.
    pub(crate) suspicions: Vec<usize>,
    /// See `suspicions`.
    pub(crate) verdicts: Vec<usize>,
    /// How sure each verdict was.
    pub(crate) confidence: Vec<f64>,
    /// Whether a verdict stood when the trace ended.
    pub(crate) accused_at_end: bool,
    /// Whether a suspicion or verdict stood after the first hour.
    pub(crate) open_after_an_hour: bool,
}

impl Outcome {
    /// When the first verdict fell.
    pub(crate) fn accused(&self) -> Option<usize> {
        self.verdicts.first().copied()
    }
}

/// The key of the program of every trace.
pub(crate) fn key(trace: &Trace) -> ProcessKey {
    ProcessKey { pid: 7, start_ns: (UPTIME_S - u64::from(trace.age)) * 1_000_000_000 }
}

fn sample(key: ProcessKey, second: &Second) -> Sample {
    let Second { anon, swap, shmem, file, cpu_ns, threads } = *second;
    Sample {
        key,
        memory: Memory { anon, swap, shmem, file },
        image: 1,
        cpu_ns: Some(cpu_ns),
        threads,
        ..Sample::default()
    }
}

/// Judges a trace.
pub(crate) fn judge(trace: &Trace) -> Outcome {
    let mut detector = Detector::new(Rules::default());
    let (key, mut outcome) = (key(trace), Outcome::default());
    for (t, second) in trace.seconds.iter().enumerate() {
        if t == AN_HOUR {
            outcome.open_after_an_hour = detector.ongoing().next().is_some();
        }
        let pass = if t % SWEEP_EVERY == 0 { Pass::Full } else { Pass::Watched };
        if pass == Pass::Watched && detector.watched().is_empty() {
            continue;
        }
        let samples = [sample(key, second)];
        let at = Duration::from_secs(UPTIME_S + t as u64);
        for finding in
            detector.sweep(&Sweep { host: Some(HOST), samples: &samples, ..Sweep::empty(at, pass) })
        {
            match finding.kind {
                FindingKind::Suspected(_) => outcome.suspicions.push(t),
                FindingKind::Detected(verdict) => {
                    outcome.verdicts.push(t);
                    outcome.confidence.push(verdict.confidence);
                }
                _ => {}
            }
        }
    }
    outcome.suspected = outcome.suspicions.first().copied();
    outcome.accused_at_end = detector.ongoing().any(|case| case.stage == Stage::Leaking);
    outcome
}
