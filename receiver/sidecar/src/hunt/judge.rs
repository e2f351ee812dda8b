//! One pass in, the records of its findings out: the part that a live host and a trace have in common.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mlh_detect::{
    About, Detector, Finding, FindingKind, HostMemory, Memory, OomVictim, Pass, ProcessKey, Rules, Rung,
    Says, Stage, Sweep, Testimony, WatchedContainer,
};
use mlh_targets::cgroup_reading::CgroupReading;
use mlh_targets::host::HostClock;
use mlh_targets::process::ProcessReading;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

use super::admission::Admission;
use super::bucket::Bucket;
use super::held::{ASKED_EVERY, Held};
use super::scope::Scope;
use super::subjects::Subjects;
use super::units::Units;
use super::unplaced::{Unplaced, place};
use crate::ladder::{Case, Closed, Docket, KnownStacks};
use crate::leaks::Leaks;
use crate::metrics::{TimeToOom, Velocity};
use crate::observe::{Observation, ObserveError, Observer, WatchedCgroup, key};
use crate::records::{self, Clock, Encoder, HostIdentity, Subject};

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
    /// A limit that will be reached sooner is told as a risk.
    pub oom_horizon: Duration,
    /// `None`: as many as there are.
    pub max_events_per_second: Option<u32>,
    /// Where to learn more of a process.
    pub detail: Detail,
    /// Who is judged at all.
    pub scope: Scope,
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
    /// The cgroups.
    pub cgroups: &'a [CgroupReading],
    /// Those that are known to have ended.
    pub exits: &'a [ProcessKey],
    /// Those that were killed for lack of memory.
    pub kills: &'a [Killed],
}

/// A process that was killed for lack of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// When, on the clock of the sweeps.
    pub at: Duration,
    /// As it was then.
    pub reading: ProcessReading,
}

impl Seen<'_> {
    /// A pass that saw nothing.
    #[must_use]
    pub fn empty(at: Duration, pass: Pass) -> Self {
        Self { at, pass, host: None, readings: &[], cgroups: &[], exits: &[], kills: &[] }
    }
}

/// What came of a pass.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One record each, verdicts first, growth last.
    pub records: Vec<ResourceLogs>,
    /// How many of them tell of more than growth.
    pub grave: usize,
    /// Records that `max_events_per_second` held back.
    pub dropped: u64,
    /// Growth findings, held back or not.
    pub growth: u64,
    /// Verdicts on leaks that are known from others.
    pub recurred: u64,
    /// Processes that were passed over because too many are followed.
    pub unfollowed: u64,
    /// Cases that are not followed up because too many wait for it.
    pub unclimbed: u64,
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
    /// One for each container with an open case and a limit ahead.
    pub times_to_oom: Vec<TimeToOom>,
}

/// Detector, memory of names, limiter and encoder.
pub struct Judge {
    detector: Detector,
    admission: Admission,
    subjects: Subjects,
    units: Units,
    bucket: Option<Bucket>,
    encoder: Encoder,
    known: Arc<KnownStacks>,
    /// Where cases are followed up, where they are.
    docket: Option<Arc<Docket>>,
    leaks: Arc<Leaks>,
    unplaced: Unplaced,
    held: Held,
    unfollowed: u64,
}

impl Judge {
    /// A judge who has seen nothing yet.
    #[must_use]
    pub fn new(bench: &Bench) -> Self {
        Self {
            detector: Detector::new(rules(bench)),
            admission: Admission::new(bench.scope.clone(), bench.detail),
            subjects: Subjects::new(bench.detail),
            units: Units::default(),
            bucket: bench.max_events_per_second.map(Bucket::new),
            encoder: Encoder::new(Arc::clone(&bench.host), bench.page_size),
            known: Arc::default(),
            docket: None,
            leaks: Arc::default(),
            unplaced: Unplaced::default(),
            held: Held::default(),
            unfollowed: 0,
        }
    }

    /// Has verdicts tell who is known there to be to blame, and cases followed up by whoever reads the docket.
    pub(super) fn consult(&mut self, known: Arc<KnownStacks>, docket: Option<Arc<Docket>>) {
        (self.known, self.docket) = (known, docket);
    }

    /// Has leaks recognised among those that are known there.
    pub(super) fn recognise(&mut self, leaks: Arc<Leaks>) {
        self.leaks = leaks;
    }

    /// Goes on for the same host under other settings; what is known of processes and containers stays, and no event
    /// id repeats.
    pub fn reconfigure(&mut self, bench: &Bench) {
        self.detector.set_rules(rules(bench));
        self.admission.set_scope(&bench.scope);
        match (&mut self.bucket, bench.max_events_per_second) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate),
            (bucket, rate) => *bucket = rate.map(Bucket::new),
        }
    }

    /// Has the observer make a pass, over those that this judge wants to see if it is a watched one.
    ///
    /// # Errors
    /// The pass failed.
    pub fn look(&self, observer: &mut dyn Observer, pass: Pass) -> Result<Observation, ObserveError> {
        if pass != Pass::Watched {
            return observer.full();
        }
        let pids: Vec<u32> = self.detector.watched().iter().map(|key| key.pid).collect();
        // those around that have a limit beside them: what is left there shrinks by others as well
        let watched = |container: WatchedContainer| {
            let through = container.through.map_or(0, |process| process.pid);
            let around = self.units.limited_around(container.key);
            std::iter::once(container.key.0).chain(around).map(move |id| (id, WatchedCgroup { id, through }))
        };
        let cgroups: HashMap<_, _> = self.detector.watched_containers().flat_map(watched).collect();
        observer.watched(&pids, &cgroups.into_values().collect::<Vec<_>>())
    }

    /// Judges one pass. `clock` turns the pass's time into the time of day.
    pub fn pass(&mut self, seen: &Seen<'_>, clock: &HostClock) -> Outcome {
        self.hear();
        let mut samples = self.units.samples(seen.pass, seen.host, seen.readings, seen.cgroups);
        if seen.pass == Pass::Watched {
            let watched: HashSet<_> = self.detector.watched_containers().map(|watched| watched.key).collect();
            samples.containers.retain(|sample| watched.contains(&sample.key));
        }
        self.admission.filter(seen.pass, seen.readings, &mut samples, &mut self.units);
        let victims: Vec<OomVictim> = seen.kills.iter().filter_map(|killed| self.victim(killed)).collect();
        let mut findings = self.detector.sweep(&Sweep {
            at: seen.at,
            pass: seen.pass,
            host: seen.host,
            samples: &samples.processes,
            containers: &samples.containers,
            exits: seen.exits,
            victims: &victims,
        });
        findings.retain(|finding| self.admission.tells(finding));
        let docket = self.docket.as_ref();
        self.held.sift(&mut findings, seen.at, |about| docket.is_some_and(|docket| docket.awaits(about)));
        if let Some(docket) = docket {
            docket.set_due(|about| self.held.holds(about));
        }
        let growth = findings.iter().filter(|f| matches!(f.kind, FindingKind::Growth { .. })).count();
        findings.sort_by_key(|finding| rank(&finding.kind));
        // a verdict is given once: it is charged for, and never held back
        let grave = findings.len() - growth;
        let granted = self.bucket.as_mut().map_or(findings.len(), |bucket| {
            bucket.charge(seen.at, grave);
            grave + bucket.take(seen.at, growth)
        });
        let dropped = findings.len() - granted;

        let full = seen.pass == Pass::Full;
        let readings: HashMap<ProcessKey, &ProcessReading> = if granted == 0 && !full {
            HashMap::new()
        } else {
            let killed = seen.kills.iter().map(|killed| &killed.reading);
            killed.chain(seen.readings).map(|reading| (key(reading), reading)).collect()
        };
        if full {
            self.subjects.remember(&self.detector, &readings);
        }
        let times = Clock { zero: clock.to_epoch(Duration::ZERO), observed: SystemTime::now() };
        let mut recurred = self.unplaced.learn(&self.known, &self.leaks, &times);
        let mut unclimbed = 0;
        let records = findings[..granted]
            .iter()
            .map(|finding| {
                let subject = Arc::new(self.subjects.of(finding, &readings, &self.units, clock));
                let known = self.known.of(&finding.about, finding.leader);
                let blames = known.as_ref().is_some_and(|known| !known.leads.is_empty());
                // probes may be at work that will know more than was told
                let awaits = self.docket.as_ref().is_some_and(|docket| docket.awaits(&finding.about));
                unclimbed += u64::from(!self.follow_up(finding, &subject, blames && !awaits));
                let leak = self.leaks.note(finding, &subject, known.as_deref().and_then(place), &times);
                let returned = leak.as_ref().is_some_and(|leak| leak.returned);
                recurred += u64::from(returned);
                self.unplaced.note(finding, &subject, known.as_deref(), returned);
                let mut logs = self.encoder.encode(finding, &subject, known.as_deref(), &times);
                if let Some(leak) = leak {
                    records::recognise(&mut logs, &leak);
                }
                logs
            })
            .collect();
        if full {
            self.leaks.retain(|about| match about {
                About::Process(key) => readings.contains_key(key),
                About::Container(key) => self.units.unit(*key).is_some(),
            });
            self.unplaced.retain(|about| self.detector.follows(about));
            self.admission.forget_gone();
        }
        if seen.pass != Pass::Told {
            self.subjects.retain(&self.detector);
            self.units.retain(&self.detector);
        }

        let unfollowed = self.detector.unfollowed() - self.unfollowed;
        self.unfollowed += unfollowed;
        Outcome {
            records,
            grave,
            dropped: dropped as u64,
            growth: growth as u64,
            recurred,
            unfollowed,
            unclimbed,
        }
    }

    /// Takes in what was seen of the open cases. How much of a case's growth that is, is known here.
    fn hear(&mut self) {
        let testimonies = self.docket.as_ref().map(|docket| docket.testimonies()).unwrap_or_default();
        for (about, testimony) in testimonies {
            let Some(case) = self.detector.ongoing().find(|case| case.about == about) else { continue };
            let says = match testimony.says {
                // what is read from outside, and coldness, know what the process had grown by meanwhile
                Says::Kept { velocity, interval, share } if testimony.rung > Rung::Coldness => {
                    let explained = (velocity / case.trend.velocity).clamp(0.0, 1.0);
                    Says::Kept { velocity, interval, share: share.min(explained) }
                }
                says => says,
            };
            self.detector.hear(&about, Testimony { says, ..testimony });
        }
    }

    /// Hands a case on that has begun, or of which nobody knows who is to blame, and says when one has ended. False: there was no
    /// room for it.
    fn follow_up(&self, finding: &Finding, subject: &Arc<Subject>, is_known: bool) -> bool {
        let Some(docket) = &self.docket else { return true };
        let case = |stage, velocity| Case {
            about: finding.about,
            container: match finding.about {
                About::Process(_) => finding.container,
                About::Container(key) => Some(key),
            },
            leader: finding.leader,
            subject: Arc::clone(subject),
            stage,
            velocity,
            exhaustion: self.exhaustion(&finding.about),
        };
        match &finding.kind {
            FindingKind::Suspected(trend) => docket.offer(case(Stage::Suspected, trend.velocity)),
            FindingKind::Detected(_) if is_known => {
                docket.close(&finding.about, Closed::Verdict);
                true
            }
            FindingKind::Detected(verdict) => docket.offer(case(Stage::Leaking, verdict.trend.velocity)),
            FindingKind::Cleared { reason, .. } => {
                docket.close(&finding.about, Closed::Cleared(*reason));
                self.known.forget(&finding.about);
                true
            }
            FindingKind::Growth { .. } | FindingKind::OomRisk(_) | FindingKind::OomKill(_) => true,
        }
    }

    /// Until a case's limit is reached.
    fn exhaustion(&self, about: &About) -> Option<Duration> {
        let seconds = self.detector.ongoing().find(|case| case.about == *about)?.exhaustion_s?;
        Duration::try_from_secs_f64(seconds.max(0.0)).ok()
    }

    /// Whether it is known in which container this process runs, or that it runs in none.
    pub(crate) fn places(&mut self, reading: &ProcessReading) -> bool {
        reading.memory_cgroup_id.is_none_or(|id| self.units.knows(id))
    }

    /// `None`: one that is not judged.
    fn victim(&mut self, killed: &Killed) -> Option<OomVictim> {
        let ProcessReading { anon, swap, shmem, file, .. } = killed.reading;
        self.admission.admits(&killed.reading, &mut self.units).then(|| OomVictim {
            at: killed.at,
            key: key(&killed.reading),
            container: self.units.container_of(&killed.reading),
            memory: Memory { anon, swap, shmem, file },
        })
    }

    /// Who is to be seen in the next watched pass.
    #[must_use]
    pub fn watched(&self) -> &[ProcessKey] {
        self.detector.watched()
    }

    /// The containers to be seen in it.
    pub fn watched_containers(&self) -> impl Iterator<Item = WatchedContainer> {
        self.detector.watched_containers()
    }

    /// How soon; `None` when nobody is.
    #[must_use]
    pub fn watch_again_in(&self) -> Option<Duration> {
        let again = self.detector.watch_again_in();
        let asked = self.held.is_waiting().then_some(ASKED_EVERY);
        again.into_iter().chain(asked).min()
    }

    /// For the metrics.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        let leaks: Vec<_> = self.detector.ongoing().filter(|case| case.stage == Stage::Leaking).collect();
        let leaking: HashSet<About> = leaks.iter().map(|case| case.about).collect();
        for case in &leaks {
            let (container, executable) = match &case.about {
                About::Container(key) => (self.container_of(&case.about), self.subjects.leader_name(*key)),
                About::Process(key) => {
                    let Some(subject) = self.subjects.known(key) else { continue };
                    // the container's own velocity holds that of its processes
                    if case.container.is_some_and(|container| leaking.contains(&About::Container(container)))
                    {
                        continue;
                    }
                    (subject.container_id.clone(), Some(subject.name()))
                }
            };
            let executable = executable.unwrap_or("unknown").to_owned();
            standing.velocities.push(Velocity {
                container,
                executable,
                bytes_per_second: case.trend.velocity,
            });
        }
        for case in self.detector.ongoing() {
            standing.suspects += u64::from(case.stage < Stage::Leaking);
            // what a suspect will come to is told when it is urgent, and not before
            let is_told = case.stage == Stage::Leaking || case.told;
            if let (true, Some(container), Some(seconds)) =
                (is_told, self.container_of(&case.about), case.exhaustion_s)
            {
                standing.times_to_oom.push(TimeToOom { container, seconds });
            }
        }
        standing.leaks = leaks.len() as u64;
        standing
    }

    /// The label of a container: its id, or the path of its cgroup.
    fn container_of(&self, about: &About) -> Option<String> {
        let About::Container(key) = about else { return None };
        let unit = self.units.unit(*key)?;
        Some(unit.container_id.as_ref().map_or(unit.path.as_str(), |id| id.as_str()).to_owned())
    }

    /// Forgets the processes and containers, and says nothing of it. What bounds the records and tells them apart stays.
    pub(super) fn forget(&mut self, bench: &Bench) {
        self.detector = Detector::new(rules(bench));
        self.admission = Admission::new(bench.scope.clone(), bench.detail);
        self.subjects = Subjects::new(bench.detail);
        self.units = Units::default();
        self.unplaced = Unplaced::default();
        self.held = Held::default();
        self.unfollowed = 0;
    }
}

/// Of a trace there is growth alone, for as long as it lasts: only time tells a leak from a cache that fills. On a live host a case that
/// waits for its turn on the ladder, or of which no rung can tell, has to be told within minutes.
fn by_source(detail: Detail) -> Rules {
    match detail {
        Detail::Recorded => Rules::default(),
        Detail::Live => Rules { trend_alone: Rules::CONVICT_WINDOW, ..Rules::default() },
    }
}

fn rules(bench: &Bench) -> Rules {
    Rules {
        growth_threshold: bench.growth_threshold.saturating_mul(bench.page_size),
        oom_horizon: bench.oom_horizon,
        ..by_source(bench.detail)
    }
}

/// The order in which records pass the limiter.
fn rank(kind: &FindingKind) -> u8 {
    match kind {
        FindingKind::Detected(_) | FindingKind::OomKill(_) | FindingKind::OomRisk(_) => 0,
        FindingKind::Suspected(_) => 1,
        FindingKind::Cleared { .. } => 2,
        FindingKind::Growth { .. } => 3,
    }
}

#[cfg(test)]
mod tests;
