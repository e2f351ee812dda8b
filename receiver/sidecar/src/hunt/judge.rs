//! One pass in, the records of its findings out: the part that a live host and a trace have in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mlh_detect::{Detector, FindingKind, HostMemory, Pass, ProcessKey, Rules, Sample, Stage, Sweep};
use mlh_targets::host::HostClock;
use mlh_targets::process::ProcessReading;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

use super::bucket::Bucket;
use super::subjects::Subjects;
use crate::metrics::Velocity;
use crate::observe::{key, sample};
use crate::records::{Clock, Encoder, HostIdentity};

pub use super::subjects::Detail;

/// What the judge must know beforehand.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Goes into the records.
    pub host: Arc<HostIdentity>,
    /// Bytes.
    pub page_size: u64,
    /// Pages.
    pub growth_threshold: u64,
    /// `None`: as many as there are.
    pub max_events_per_second: Option<u32>,
    /// Where to learn more of a process.
    pub detail: Detail,
}

/// One pass as the judge sees it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// On the clock of the sweeps.
    pub at: Duration,
    /// How much of the host it saw.
    pub pass: Pass,
    /// The host's memory, where known.
    pub host: Option<HostMemory>,
    /// The processes.
    pub readings: &'a [ProcessReading],
    /// Those that are known to have ended.
    pub exits: &'a [ProcessKey],
}

/// What came of a pass.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One record each, verdicts first.
    pub records: Vec<ResourceLogs>,
    /// Records that `max_events_per_second` held back.
    pub dropped: u64,
    /// Growth findings, held back or not.
    pub growth: u64,
    /// Processes that were passed over because too many are followed.
    pub unfollowed: u64,
}

/// Who is under suspicion and who leaks.
#[derive(Debug, Default)]
pub struct Standing {
    /// Open suspicions.
    pub suspects: u64,
    /// Open verdicts.
    pub leaks: u64,
    /// One for each verdict.
    pub velocities: Vec<Velocity>,
}

/// Detector, memory of names, limiter and encoder.
pub struct Judge {
    detector: Detector,
    subjects: Subjects,
    bucket: Option<Bucket>,
    encoder: Encoder,
    unfollowed: u64,
}

impl Judge {
    /// A judge who has seen nothing yet.
    #[must_use]
    pub fn new(bench: &Bench) -> Self {
        let threshold = bench.growth_threshold.saturating_mul(bench.page_size);
        Self {
            detector: Detector::new(Rules { growth_threshold: threshold, ..Rules::default() }),
            subjects: Subjects::new(bench.detail),
            bucket: bench.max_events_per_second.map(Bucket::new),
            encoder: Encoder::new(Arc::clone(&bench.host), bench.page_size),
            unfollowed: 0,
        }
    }

    /// Judges one pass. `clock` turns the pass's time into the time of day.
    pub fn pass(&mut self, seen: &Seen<'_>, clock: &HostClock) -> Outcome {
        let samples: Vec<Sample> = seen.readings.iter().map(sample).collect();
        let mut findings = self.detector.sweep(&Sweep {
            at: seen.at,
            pass: seen.pass,
            host: seen.host,
            samples: &samples,
            exits: seen.exits,
        });
        let growth = findings.iter().filter(|f| matches!(f.kind, FindingKind::Growth { .. })).count();
        findings.sort_by_key(|finding| rank(&finding.kind));
        let granted = self.bucket.as_mut().map_or(findings.len(), |b| b.take(seen.at, findings.len()));
        let dropped = findings.len() - granted;

        let readings: HashMap<ProcessKey, &ProcessReading> = if granted == 0 {
            HashMap::new()
        } else {
            seen.readings.iter().map(|reading| (key(reading), reading)).collect()
        };
        let times = Clock { zero: clock.to_epoch(Duration::ZERO), observed: SystemTime::now() };
        let records = findings[..granted]
            .iter()
            .map(|finding| {
                let reading = readings.get(&finding.key).copied();
                let subject = self.subjects.of(finding.key, reading, clock);
                self.encoder.encode(finding, subject, &times)
            })
            .collect();
        self.subjects.retain(|key| self.detector.follows(key));

        let unfollowed = self.detector.unfollowed() - self.unfollowed;
        self.unfollowed += unfollowed;
        Outcome { records, dropped: dropped as u64, growth: growth as u64, unfollowed }
    }

    /// Who is to be seen in the next watched pass.
    #[must_use]
    pub fn watched(&self) -> &[ProcessKey] {
        self.detector.watched()
    }

    /// How soon; `None` when nobody is.
    #[must_use]
    pub fn watch_again_in(&self) -> Option<Duration> {
        self.detector.watch_again_in()
    }

    /// For the metrics.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for case in self.detector.ongoing() {
            if case.stage < Stage::Leaking {
                standing.suspects += 1;
                continue;
            }
            standing.leaks += 1;
            if let Some(subject) = self.subjects.known(&case.key) {
                standing.velocities.push(Velocity {
                    container: subject.container_id.clone(),
                    executable: subject.name().to_owned(),
                    bytes_per_second: case.trend.velocity,
                });
            }
        }
        standing
    }
}

/// The order in which records pass the limiter.
fn rank(kind: &FindingKind) -> u8 {
    match kind {
        FindingKind::Detected(_) => 0,
        FindingKind::Suspected(_) => 1,
        FindingKind::Cleared { .. } => 2,
        FindingKind::Growth { .. } => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes, one of which leaks and both of which grow by 2 MiB a sweep, for six minutes.
    fn judged(limit: Option<u32>, threshold: u64) -> (Vec<Vec<String>>, u64) {
        let bench = Bench {
            host: Arc::default(),
            page_size: 4096,
            growth_threshold: threshold,
            max_events_per_second: limit,
            detail: Detail::Recorded,
        };
        let (mut judge, mut names, mut dropped) = (Judge::new(&bench), Vec::new(), 0);
        for sweep in 0..24_u64 {
            let reading = |pid| ProcessReading { pid, anon: sweep << 21, ..ProcessReading::default() };
            let readings = [reading(1), reading(2)];
            let at = Duration::from_secs(100 + sweep * 15);
            let seen = Seen { at, pass: Pass::Full, host: None, readings: &readings, exits: &[] };
            let outcome = judge.pass(&seen, &HostClock::starting_at(SystemTime::UNIX_EPOCH));
            let records =
                outcome.records.iter().flat_map(|logs| &logs.scope_logs).flat_map(|s| &s.log_records);
            names.push(records.map(|record| record.event_name.clone()).collect());
            dropped += outcome.dropped;
        }
        (names, dropped)
    }

    fn count(names: &[Vec<String>], name: &str) -> usize {
        names.iter().flatten().filter(|found| found.ends_with(name)).count()
    }

    /// Guarantees: `max_events_per_second` holds back what is over it and counts it, and verdicts pass first.
    #[test]
    fn the_limit_holds_and_verdicts_pass_first() {
        let (all, none) = judged(None, 256);
        assert_eq!((none, count(&all, "leak.detected")), (0, 2));
        let (some, dropped) = judged(Some(2), 256);
        assert!(some.iter().all(|pass| pass.len() <= 2), "{some:?}");
        assert_eq!(some.iter().flatten().count() as u64 + dropped, all.iter().flatten().count() as u64);
        assert!(dropped > 0);
        assert_eq!(count(&some, "leak.detected"), 2);
    }

    /// Guarantees: `rss_growth_threshold` is in pages and decides which growth makes a record.
    #[test]
    fn the_threshold_decides() {
        assert_eq!(count(&judged(None, 512).0, "rss.growth"), 46, "2 MiB each sweep");
        assert_eq!(count(&judged(None, 513).0, "rss.growth"), 22, "4 MiB every other sweep");
    }
}
