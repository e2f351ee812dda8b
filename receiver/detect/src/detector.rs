//! The doorway: sweeps in, findings out, and who is to be swept more often.

use std::collections::HashMap;
use std::time::Duration;

use crate::evidence::Testimony;
use crate::finding::{Cleared, Finding, FindingKind, Kill, Stage, Trend};
use crate::followed::{Followed, Subject};
use crate::rooms::{Around, Rooms};
use crate::rules::Rules;
use crate::sample::{About, ContainerKey, ContainerSample, OomVictim, Pass, ProcessKey, Room, Sample, Sweep};
use crate::siblings::Siblings;
use crate::track::{Measure, Surroundings, Track};
use crate::work::Work;

/// An open suspicion or verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ongoing {
    /// Of whom.
    pub about: About,
    /// Of a process: the container it runs in.
    pub container: Option<ContainerKey>,
    /// How far.
    pub stage: Stage,
    /// The newest slope.
    pub trend: Trend,
    /// Seconds until the nearest limit is reached, where there is one.
    pub exhaustion_s: Option<f64>,
    /// A risk has been told.
    pub told: bool,
}

/// A container that the next watched pass must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedContainer {
    /// Which one.
    pub key: ContainerKey,
    /// The process in it that grew most.
    pub leader: Option<ProcessKey>,
    /// The process in it that has lived longest: it is the likeliest to be still there, and so the way to it.
    pub through: Option<ProcessKey>,
}

/// The limits around a container, and the host's.
fn limits(rooms: &[Option<Room>; Room::MOST], sweep: &Sweep<'_>) -> Around {
    let mut all = rooms.iter().copied().chain(std::iter::once(host(sweep)));
    std::array::from_fn(|_| all.next().flatten())
}

/// What the host can still give. A watched pass has it from the full one before.
fn host(sweep: &Sweep<'_>) -> Option<Room> {
    sweep.host.map(|host| Room::of_host(host, sweep.pass == Pass::Full))
}

/// The process of a container that stands for it.
#[derive(Debug, Clone, Copy)]
struct Leader {
    key: ProcessKey,
    grown: u64,
    charged: u64,
    oldest: ProcessKey,
}

/// Follows every process and container of a host. The memory it needs for one is bounded and does not depend on time.
#[derive(Debug)]
pub struct Detector {
    rules: Rules,
    processes: Followed<ProcessKey>,
    containers: Followed<ContainerKey>,
    leaders: HashMap<ContainerKey, Leader>,
    siblings: Siblings,
    rooms: Rooms,
    at: Duration,
}

impl Detector {
    /// A detector that has seen nothing yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            processes: Followed::new(rules.max_processes, rules.max_watched),
            containers: Followed::new(rules.max_containers, rules.max_watched_containers),
            leaders: HashMap::new(),
            siblings: Siblings::default(),
            rooms: Rooms::new(rules.max_containers),
            at: Duration::ZERO,
        }
    }

    /// Goes on under other rules: what is known stays.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.processes.bound(rules.max_processes, rules.max_watched);
        self.containers.bound(rules.max_containers, rules.max_watched_containers);
        self.rooms.bound(rules.max_containers);
    }

    /// Takes one pass over the host and says what follows from it. A pass older than the one before is ignored.
    pub fn sweep(&mut self, sweep: &Sweep<'_>) -> Vec<Finding> {
        if sweep.at < self.at {
            return Vec::new();
        }
        self.at = sweep.at;
        let mut findings = Vec::new();
        // whoever was killed is told of with what was known of him before
        findings.extend(sweep.victims.iter().map(|victim| self.killed(victim)));
        if sweep.pass == Pass::Full {
            self.leaders.clear();
            self.compare_siblings(sweep.samples);
        }
        if sweep.pass != Pass::Told {
            self.follow_rooms(sweep);
        }
        // containers first: what they say of a time bears on what their processes are suspected of
        for sample in sweep.containers {
            self.container(sweep, sample, &mut findings);
        }
        for sample in sweep.samples {
            self.process(sweep, sample, &mut findings);
        }
        for finding in &mut findings {
            if let About::Container(key) = finding.about {
                finding.leader = self.leader(key);
            }
        }
        self.bury(sweep, &mut findings);
        self.processes.choose_watched(sweep.pass);
        self.containers.choose_watched(sweep.pass);
        findings
    }

    /// Takes in what a rung of the ladder says of an open case; where none is open, it changes nothing. What follows from
    /// it, the next sweep that sees the process or container says.
    pub fn hear(&mut self, about: &About, testimony: Testimony) {
        match about {
            About::Process(key) => self.processes.hear(key, testimony),
            About::Container(key) => self.containers.hear(key, testimony),
        }
    }

    fn follow_rooms(&mut self, sweep: &Sweep<'_>) {
        let around = sweep.containers.iter().flat_map(|sample| sample.rooms.iter().flatten().copied());
        for room in around.chain(host(sweep)) {
            self.rooms.observe(sweep.at, &room);
        }
        if sweep.pass == Pass::Full {
            self.rooms.forget_unseen(sweep.at);
        }
    }

    fn process(&mut self, sweep: &Sweep<'_>, sample: &Sample, findings: &mut Vec<Finding>) {
        let finding = |kind| Finding {
            at: sweep.at,
            about: About::Process(sample.key),
            memory: sample.memory,
            leader: None,
            container: sample.container,
            upper_bound: false,
            kind,
        };
        let measure = Measure {
            memory: sample.memory,
            slack: sample.slack,
            image: sample.image,
            work: Work::new(sample.cpu_ns, sample.threads),
        };
        let container = sample.container.and_then(|key| self.containers.track(&key));
        let grown_around = |back| container.filter(|track| track.is_exact())?.grown_over(back);
        let around = Surroundings {
            limits: container.map_or_else(|| limits(&[None; Room::MOST], sweep), Track::limits),
            rooms: &self.rooms,
            // a container's end is told of the container, not of each process in it; but one that is calm tells nothing
            horizon: container
                .is_none_or(|track| track.stage() == Stage::Calm)
                .then_some(self.rules.oom_horizon),
            alone: self.rules.trend_alone,
            patience: self.rules.patience,
            siblings: self.siblings.level(sample.container, sample.image),
            grown_around: &grown_around,
        };
        let subject = Subject {
            key: sample.key,
            born: Duration::from_nanos(sample.key.start_ns),
            measure,
            container: sample.container,
            exact: true,
            watchable: true,
            threshold: self.rules.growth_threshold,
        };
        findings.extend(self.processes.observe(sweep, &subject, &around).into_iter().map(finding));
        if sweep.pass == Pass::Told {
            self.processes.watch_as_well(sample.key);
        }
        if sweep.pass == Pass::Full
            && let Some(key) = sample.container
        {
            self.lead(key, sample);
        }
    }

    fn container(&mut self, sweep: &Sweep<'_>, sample: &ContainerSample, findings: &mut Vec<Finding>) {
        let finding = |kind| Finding {
            at: sweep.at,
            about: About::Container(sample.key),
            memory: sample.memory,
            leader: None,
            container: None,
            upper_bound: sample.upper_bound,
            kind,
        };
        let around = Surroundings {
            limits: limits(&sample.rooms, sweep),
            rooms: &self.rooms,
            horizon: Some(self.rules.oom_horizon),
            alone: self.rules.trend_alone,
            patience: self.rules.patience,
            siblings: 0,
            grown_around: &|_| None,
        };
        let members = sweep.samples.iter().filter(|process| process.container == Some(sample.key));
        let born = || members.map(|process| process.key.start_ns).min();
        let subject = Subject {
            key: sample.key,
            born: if self.containers.follows(&sample.key) {
                Duration::ZERO
            } else {
                born().map_or(sweep.at, Duration::from_nanos)
            },
            measure: Measure { memory: sample.memory, slack: sample.slack, image: 0, work: Work::default() },
            container: None,
            exact: !sample.upper_bound,
            watchable: sample.watchable && !sample.upper_bound,
            threshold: self.rules.growth_threshold,
        };
        findings.extend(self.containers.observe(sweep, &subject, &around).into_iter().map(finding));
    }

    /// Notes at which sizes the programs of each container have settled.
    fn compare_siblings(&mut self, samples: &[Sample]) {
        self.siblings.clear();
        for sample in samples {
            let settled = self.processes.track(&sample.key).is_some_and(Track::has_settled);
            if let Some(container) = sample.container.filter(|_| settled && sample.image != 0) {
                self.siblings.note(container, sample.image, sample.memory.charged());
            }
        }
    }

    /// Notes the process of a container that grew most, or else is the largest.
    fn lead(&mut self, container: ContainerKey, sample: &Sample) {
        let grown = self.processes.track(&sample.key).map_or(0, Track::grown);
        let charged = sample.memory.charged();
        let candidate = Leader { key: sample.key, grown, charged, oldest: sample.key };
        self.leaders
            .entry(container)
            .and_modify(|leader| {
                let oldest = [leader.oldest, sample.key].into_iter().min_by_key(|key| key.start_ns);
                if (grown, charged) > (leader.grown, leader.charged) {
                    *leader = candidate;
                }
                leader.oldest = oldest.unwrap_or(sample.key);
            })
            .or_insert(candidate);
    }

    /// The process of a container that grew most, as of the last full pass.
    #[must_use]
    pub fn leader(&self, container: ContainerKey) -> Option<ProcessKey> {
        self.leaders.get(&container).map(|leader| leader.key)
    }

    fn killed(&self, victim: &OomVictim) -> Finding {
        let of_process = self.processes.track(&victim.key);
        let of_container = victim.container.and_then(|key| self.containers.track(&key));
        // a worker may be the victim of what its container has grown by
        let track = [of_process, of_container]
            .into_iter()
            .flatten()
            .max_by_key(|track| (track.told().is_some(), track.stage()));
        Finding {
            at: victim.at,
            about: About::Process(victim.key),
            memory: victim.memory,
            leader: None,
            container: victim.container,
            upper_bound: false,
            kind: FindingKind::OomKill(track.map_or(
                Kill { stage: Stage::Calm, trend: None, grown: 0, told: None },
                |track| Kill {
                    stage: track.stage(),
                    trend: track.open_case().map(|(trend, _)| trend),
                    grown: track.grown_in_case(),
                    told: track.told(),
                },
            )),
        }
    }

    /// Ends the tracks of those who have exited: they are said to have, or this pass should have seen them.
    fn bury(&mut self, sweep: &Sweep<'_>, findings: &mut Vec<Finding>) {
        let exited = |about, leader, container, track: &Track, kind| Finding {
            at: sweep.at,
            about,
            memory: track.memory(),
            leader,
            container,
            upper_bound: !track.is_exact(),
            kind,
        };
        for (key, container, mut track) in self.processes.take_gone(sweep, sweep.exits) {
            if let Some(kind) = track.close(Cleared::Exited) {
                findings.push(exited(About::Process(key), None, container, &track, kind));
            }
        }
        for (key, _, mut track) in self.containers.take_gone(sweep, &[]) {
            let leader = self.leaders.remove(&key).map(|leader| leader.key);
            if let Some(kind) = track.close(Cleared::Exited) {
                findings.push(exited(About::Container(key), leader, None, &track, kind));
            }
        }
    }

    /// The processes the next [`Pass::Watched`] must hold; ordered by urgency after a full sweep. A process that
    /// is missing from that pass is taken to have exited.
    #[must_use]
    pub fn watched(&self) -> &[ProcessKey] {
        self.processes.watched()
    }

    /// The containers the next [`Pass::Watched`] must hold; as with processes, one that is missing is gone.
    pub fn watched_containers(&self) -> impl Iterator<Item = WatchedContainer> {
        self.containers.watched().iter().map(|key| {
            let leader = self.leaders.get(key);
            WatchedContainer {
                key: *key,
                leader: leader.map(|leader| leader.key),
                through: leader.map(|leader| leader.oldest),
            }
        })
    }

    /// How long after the last pass the watched ones should be looked at again; `None` when there are none.
    #[must_use]
    pub fn watch_again_in(&self) -> Option<Duration> {
        let wishes = [self.processes.watch_again_in(self.at), self.containers.watch_again_in(self.at)];
        wishes.into_iter().flatten().min()
    }

    /// All open suspicions and verdicts, in no order.
    pub fn ongoing(&self) -> impl Iterator<Item = Ongoing> {
        let processes =
            self.processes.cases().map(|(key, container, track)| (About::Process(key), container, track));
        let containers =
            self.containers.cases().map(|(key, container, track)| (About::Container(key), container, track));
        processes.chain(containers).filter_map(|(about, container, track)| {
            let (trend, _) = track.open_case()?;
            Some(Ongoing {
                about,
                container,
                stage: track.stage(),
                trend,
                exhaustion_s: track.exhaustion_s(&self.rooms),
                told: track.told().is_some(),
            })
        })
    }

    /// Whether this process or container is followed: it was alive in the last pass that could tell.
    #[must_use]
    pub fn follows(&self, about: &About) -> bool {
        match about {
            About::Process(key) => self.processes.follows(key),
            About::Container(key) => self.containers.follows(key),
        }
    }

    /// How many processes are followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.processes.len()
    }

    /// How often a process or container was passed over because as many as the rules allow were followed already. A
    /// loss.
    #[must_use]
    pub fn unfollowed(&self) -> u64 {
        self.processes.unfollowed() + self.containers.unfollowed()
    }
}
