//! The thread `mlh-ladder`: takes cases up, climbs, and goes back.

mod taking;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_detect::Stage;
use mlh_pipeline::component::{Loss, Telemetry};
use mlh_pipeline::data::{Data, Signal};
use mlh_targets::host::HostClock;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::board::Board;
use super::case::Case;
use super::climb::{Climb, Doors};
use super::cooldown::Cooldown;
use super::docket::Docket;
use super::known::KnownStacks;
use crate::hunt::scope::Scope;
use crate::hunt::settings::{Escalation, HuntSettings};
use crate::investigate::plan::{End, Filters, Mode, Origin, Rung, Target};
use crate::investigate::told::ModeChange;
use crate::metrics::{Climbed, Metrics, stage};
use crate::records::{Clock, Encoder, EventIds, HostIdentity};

/// Between two steps while there is something to climb for.
const SECOND: Duration = Duration::from_secs(1);
/// Nor are steps more frequent than this.
const LEAST: Duration = Duration::from_millis(10);
/// So long after the ones before profiles are sent. They are cumulative: what is told more often tells little more.
const MINUTE: Duration = Duration::from_secs(60);
/// So many are climbed for, whoever's turn it is; others wait. Each has some hundred KiB, and a thread where its pages are followed.
const MOST_CLIMBS: usize = 32;
/// A reason is logged once. So many reasons are remembered.
const MOST_REASONS: usize = 64;

/// What a configuration says of climbs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(super) escalation: Escalation,
    pub(super) filters: Filters,
    /// Of a target's CPU time.
    pub(super) budget: Option<f64>,
    /// A climb takes no longer.
    pub(super) duration: Duration,
    pub(super) scope: Scope,
}

impl Wanted {
    pub(crate) fn of(settings: &HuntSettings) -> Self {
        Self {
            escalation: settings.escalation,
            filters: settings.filters.clone(),
            // nobody has named the target: no rung may cost it more than the least of them
            budget: settings.budget.of(Rung::Targeted),
            duration: settings.target_duration,
            scope: settings.scope.clone(),
        }
    }
}

/// What outlives a configuration.
pub(crate) struct Ladder {
    wanted: Wanted,
    docket: Arc<Docket>,
    known: Arc<KnownStacks>,
    board: Arc<Board>,
    cooldown: Cooldown,
    encoder: Encoder,
    climbs: Vec<Running>,
    logged: BTreeSet<String>,
}

struct Running {
    climb: Climb,
    /// The mode that was told of it.
    mode: Option<Mode>,
    /// Its CPU time that has been entered into the metrics, and when.
    entered: (Duration, Duration),
    profiled: Instant,
    /// A record has told who is to blame.
    blamed: bool,
}

impl Ladder {
    pub(crate) fn new(wanted: Wanted, host: Arc<HostIdentity>) -> Self {
        Self {
            wanted,
            docket: Arc::default(),
            known: Arc::default(),
            board: Arc::default(),
            cooldown: Cooldown::default(),
            encoder: Encoder::new(host, mlh_targets::host::HostIdentity::read().page_size),
            climbs: Vec::new(),
            logged: BTreeSet::new(),
        }
    }

    /// Where the judge hands cases in.
    pub(crate) fn docket(&self) -> Arc<Docket> {
        Arc::clone(&self.docket)
    }

    pub(crate) fn known(&self) -> Arc<KnownStacks> {
        Arc::clone(&self.known)
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Where the ids of its records are from.
    pub(crate) fn ids(&self) -> EventIds {
        self.encoder.ids()
    }

    /// Goes on under another configuration. True: it says something else of climbs.
    pub(crate) fn adapt(&mut self, wanted: Wanted) -> bool {
        let changed = self.wanted != wanted;
        self.wanted = wanted;
        changed
    }
}

/// Where what is told goes.
pub(crate) struct Outlets {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) records: Sender<ResourceLogs>,
    /// Where a pipeline takes them.
    pub(crate) profiles: Option<Sender<ExportProfilesServiceRequest>>,
}

/// How a climb is begun.
type Begin = fn(Case, Target, &Wanted, Duration) -> Result<Climb, String>;

/// Carries it out.
pub(crate) struct Climber {
    ladder: Ladder,
    out: Outlets,
    begin: Begin,
}

impl Climber {
    /// Goes on from where the one before left. `changed`: under another configuration, so that its climbs end.
    pub(crate) fn new(ladder: Ladder, out: Outlets, changed: bool) -> Self {
        ladder.docket.stop(false);
        let mut new = Self { ladder, out, begin: Climb::begin };
        if changed {
            new.end_all(&End::Replaced);
            new.ladder.docket.drop_unless(|_| new.ladder.wanted.escalation.climbs());
        }
        new
    }

    /// Until it is told to stop. Nothing is done, and nobody woken, while there is nothing to climb for. `is_closing`: nobody
    /// will go on.
    pub(crate) fn run(mut self, is_closing: impl Fn() -> bool) -> Ladder {
        let bell = self.ladder.docket.bell();
        loop {
            bell.wait(self.patience());
            if self.ladder.docket.is_stopping() {
                if is_closing() {
                    self.end_all(&End::Shutdown);
                }
                self.out.metrics.set_climbed(Climbed::default());
                return self.ladder;
            }
            match HostClock::now_boot() {
                Ok(now) => self.tick(now),
                Err(_) => self.out.metrics.errors(stage::SWEEP, 1),
            }
        }
    }

    /// How long nothing is to be done, unless something is told.
    fn patience(&self) -> Option<Duration> {
        let busy = !self.ladder.climbs.is_empty() || self.ladder.docket.has_waiting();
        let due = self.ladder.climbs.iter().filter_map(|running| running.climb.until_due()).min();
        busy.then(|| due.map_or(SECOND, |due| due.clamp(LEAST, SECOND)))
    }

    fn tick(&mut self, now: Duration) {
        self.step(now);
        self.take_up(now);
        self.show(now);
    }

    /// Goes on with every climb.
    fn step(&mut self, now: Duration) {
        let Ladder { wanted, docket, known, board, climbs, .. } = &mut self.ladder;
        let beside = u32::try_from(climbs.len()).unwrap_or(u32::MAX);
        let crowded = climbs.len() >= MOST_CLIMBS && docket.has_waiting();
        let doors = Doors { docket, known, board, beside, crowded };
        let mut ended = Vec::new();
        for (index, running) in climbs.iter_mut().enumerate() {
            if let Some(end) = running.climb.step(now, wanted, &doors) {
                ended.push((index, end));
            }
        }
        for (index, end) in ended.into_iter().rev() {
            let running = self.ladder.climbs.remove(index);
            self.end(running, end, now);
        }
        self.change_modes(now);
        self.profile(now);
    }

    /// Tells of those that have come to another rung.
    fn change_modes(&mut self, now: Duration) {
        for index in 0..self.ladder.climbs.len() {
            let Some(running) = self.ladder.climbs.get_mut(index) else { return };
            let mode = running.climb.mode();
            if running.mode == mode {
                continue;
            }
            let before = std::mem::replace(&mut running.mode, mode);
            let ended = if mode.is_none() { running.climb.turn_ended() } else { None };
            running.blamed |= ended.is_some() && running.climb.has_leads();
            // while it is told it belongs to nobody
            let running = self.ladder.climbs.remove(index);
            self.tell(&running.climb, (before, mode), now, ended);
            self.ladder.climbs.insert(index, running);
        }
    }

    fn begin(&mut self, case: &Case, now: Duration) {
        let Some(target) = case.target() else { return self.ladder.docket.release(&case.about) };
        let stage = case.stage;
        match (self.begin)(case.clone(), target, &self.ladder.wanted, now) {
            Ok(climb) => {
                let target = climb.target.to_string();
                tracing::info!(target, case = stage_name(stage), "the ladder is climbed for it");
                let (entered, profiled) = ((Duration::ZERO, now), Instant::now());
                self.ladder.climbs.push(Running { climb, mode: None, entered, profiled, blamed: false });
            }
            Err(reason) => {
                self.ladder.docket.release(&case.about);
                // what this host does not allow it does not allow next time either
                self.ladder.cooldown.note(case, stage, now);
                self.warn(&reason);
            }
        }
    }

    fn warn(&mut self, reason: &str) {
        if self.ladder.logged.len() < MOST_REASONS && self.ladder.logged.insert(reason.to_owned()) {
            tracing::warn!(reason, "a suspicion cannot be followed up");
        }
    }

    /// Back to growth detection.
    fn end(&mut self, running: Running, end: End, now: Duration) {
        let Running { climb, mode, blamed, .. } = running;
        climb.note(&self.ladder.known);
        for case in climb.cases() {
            let stage = self.ladder.docket.stage(&case.about).unwrap_or(case.stage);
            let stage = if end == End::Verdict { Stage::Leaking } else { stage };
            self.ladder.cooldown.note(case, stage, now);
            self.ladder.docket.release(&case.about);
            if matches!(end, End::Cleared(_)) && case.about == climb.case.about {
                self.ladder.known.forget(&case.about);
            }
        }
        let target = climb.target.to_string();
        tracing::info!(target, reason = end.name(), "back to growth detection");
        if let End::Failed(reason) = &end {
            self.warn(reason);
        }
        self.send_profiles(&climb, now);
        if mode.is_some() || (climb.has_leads() && !blamed) {
            self.tell(&climb, (mode, None), now, Some(end));
        }
        drop(climb);
        mlh_bpf::memory::give_back();
    }

    fn end_all(&mut self, end: &End) {
        let Ok(now) = HostClock::now_boot() else { return };
        for running in std::mem::take(&mut self.ladder.climbs) {
            self.end(running, end.clone(), now);
        }
        self.show(now);
    }

    /// Tells the change of mode.
    fn tell(
        &mut self,
        climb: &Climb,
        (from, to): (Option<Mode>, Option<Mode>),
        now: Duration,
        ended: Option<End>,
    ) {
        let [from, to] = [from, to].map(Option::unwrap_or_default);
        let lasted = now.saturating_sub(climb.began);
        let cost = climb.cost(now);
        let over = (ended == Some(End::OverBudget)).then_some(cost.target_cpu_share);
        let case = &climb.case;
        let of = self.ladder.docket.stage(&case.about).unwrap_or(case.stage);
        let change = ModeChange {
            at: now,
            from,
            to,
            target: climb.target.to_string(),
            subject: climb.subject(),
            whole_group: case.is_whole(),
            asked_by: Origin::Escalation { of },
            duration: Some(if ended.is_some() { lasted } else { self.ladder.wanted.duration }),
            cost: ended.is_some().then_some(cost),
            over,
            budget: over.and(self.ladder.wanted.budget),
            found: ended.as_ref().and(climb.knowledge.clone()),
            evidence: ended.as_ref().map(|_| climb.evidence()).unwrap_or_default(),
            ended,
        };
        let Ok(clock) = HostClock::read() else { return self.lost(1) };
        let clock = Clock::of(&clock);
        let record = self.ladder.encoder.mode_changed(&change, &clock);
        if let Err(TrySendError::Full(_)) = self.out.records.try_send(record) {
            self.lost(1);
        }
    }

    fn profile(&mut self, now: Duration) {
        for index in 0..self.ladder.climbs.len() {
            let Some(running) = self.ladder.climbs.get_mut(index) else { return };
            if running.profiled.elapsed() < MINUTE {
                continue;
            }
            running.profiled = Instant::now();
            if let Some(running) = self.ladder.climbs.get(index) {
                self.send_profiles(&running.climb, now);
            }
        }
    }

    /// Sends what grows as profiles. A full channel loses them.
    fn send_profiles(&self, climb: &Climb, now: Duration) {
        let Some(profiles) = &self.out.profiles else { return };
        let Ok(clock) = HostClock::read() else { return };
        let subjects = vec![(climb.case.subject.reading.pid, climb.subject())];
        let request = self.ladder.encoder.profiles(&climb.report(now), &subjects, &Clock::of(&clock));
        if request.resource_profiles.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(request)) = profiles.try_send(request) {
            let count = Data::Profiles(request).items() as u64;
            self.out.metrics.lost(Signal::Profiles, Loss { stage: stage::CHANNEL, count });
        }
    }

    /// On the board, and into the metrics.
    fn show(&mut self, now: Duration) {
        let sampled = self.ladder.climbs.iter().filter(|running| running.mode.is_some());
        let mut climbed = Climbed { targets: sampled.count() as u64, ..Climbed::default() };
        for running in &mut self.ladder.climbs {
            let paid = running.climb.paid();
            let (before, at) = std::mem::replace(&mut running.entered, (paid.target, now));
            let passed = now.saturating_sub(at);
            let spent = paid.target.saturating_sub(before).as_secs_f64();
            if !passed.is_zero() {
                climbed.overhead = climbed.overhead.max(spent / passed.as_secs_f64());
                self.out.metrics.target_time(passed);
            }
            climbed.kernel_bytes = climbed.kernel_bytes.saturating_add(paid.kernel_bytes);
        }
        self.out.metrics.set_climbed(climbed);
        self.ladder.board.show(self.ladder.climbs.iter().map(|running| running.climb.shown(now)).collect());
    }

    fn lost(&self, count: u64) {
        self.out.metrics.lost(Signal::Logs, Loss { stage: stage::CHANNEL, count });
    }
}

fn stage_name(stage: Stage) -> &'static str {
    if stage == Stage::Leaking { "detected" } else { "suspected" }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
