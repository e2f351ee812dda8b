//! The thread that looks at one target more closely: as configured, or as somebody at the desk orders.

mod entering;
mod growing;
mod profiling;
mod testifying;
mod wanted;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_detect::Testimonies;
use mlh_pipeline::component::{Loss, Telemetry};
use mlh_pipeline::data::Signal;
use mlh_targets::host::HostClock;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use self::growing::Growing;
pub(super) use self::wanted::Wanted;
use super::scope::Scope;
use crate::investigate::bell::Bell;
use crate::investigate::desk::{Desk, Order, OrderError, Request, Seat, Status};
use crate::investigate::investigation::{Investigation, Meters, OpenError};
use crate::investigate::plan::{End, Mode, Origin, Plan, Rung};
use crate::investigate::report::Report;
use crate::investigate::told::{ModeChange, Told};
use crate::ladder::{Board, Climbing, Docket, KnownStacks};
use crate::metrics::{Look, Metrics, stage};
use crate::records::{Clock, DEBUG_PRICE, Encoder, HostIdentity};

/// Stock is taken this often,
const SECOND: Duration = Duration::from_secs(1);
/// and sooner when something has happened to a process, but not sooner than this.
const HASTE: Duration = Duration::from_millis(100);
/// A configured target that is not there is looked for again after so long.
const AGAIN: Duration = Duration::from_secs(5);
/// Places in the channel that records of single operations leave to all others.
const RESERVED: usize = 64;
/// So long records of operations wait for the pipeline's task to make room, each time.
const PATIENCE: Duration = Duration::from_millis(50);
/// Stacks in a status.
const TOP: usize = 10;

/// What outlives a configuration.
pub(super) struct Pursuit {
    wanted: Wanted,
    seat: Arc<Seat>,
    encoder: Encoder,
    current: Option<Current>,
    /// A configured target that is not there yet.
    missing: Option<Missing>,
}

struct Current {
    investigation: Investigation,
    /// Beside it, where that is asked for: who touches memory that stays.
    growing: Option<Growing>,
    /// What has been entered into the metrics.
    entered: Meters,
    stepped: Instant,
    /// When profiles were sent; at first when the look began.
    profiled: Instant,
    /// When its stacks were noted for verdicts; at first the same.
    noted: Instant,
    /// Something has happened since the step.
    rung: bool,
}

struct Missing {
    plan: Plan,
    tried: Instant,
    reason: String,
}

impl Pursuit {
    /// Of one who looks at nobody yet. With a configuration that names a target, that is sought first.
    pub(super) fn new(wanted: Wanted, host: Arc<HostIdentity>) -> Self {
        let encoder = Encoder::new(host, mlh_targets::host::HostIdentity::read().page_size);
        let mut new = Self { wanted, seat: Arc::default(), encoder, current: None, missing: None };
        new.seek();
        new
    }

    /// Where to say that it is time to stop.
    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    fn seek(&mut self) {
        let tried = Instant::now().checked_sub(AGAIN).unwrap_or_else(Instant::now);
        self.missing = self.wanted.plan.clone().map(|plan| Missing { plan, tried, reason: String::new() });
    }

    fn mode(&self) -> Mode {
        self.current
            .as_ref()
            .map_or(Mode::GrowthDetection, |current| Mode::Investigating(current.investigation.plan().rung))
    }
}

/// How a look is begun.
pub(super) type Open = Box<dyn Fn(&Plan, &Scope, Arc<Bell>) -> Result<Investigation, OpenError> + Send>;

/// Carries it out.
pub(super) struct Pursuer {
    pursuit: Pursuit,
    metrics: Arc<Metrics>,
    out: Sender<ResourceLogs>,
    /// Where a pipeline takes them.
    profiles: Option<Sender<ExportProfilesServiceRequest>>,
    /// What verdicts are told of the look.
    known: Arc<KnownStacks>,
    /// Where it is written who is looked at, and what else is being done.
    board: Arc<Board>,
    /// Where the judge hears what was seen of suspects, where somebody follows them up.
    docket: Option<Arc<Docket>>,
    open: Open,
}

impl Pursuer {
    pub(super) fn new(pursuit: Pursuit, metrics: Arc<Metrics>, out: Sender<ResourceLogs>) -> Self {
        let open: Open = Box::new(Investigation::open_ringing);
        Self {
            pursuit,
            metrics,
            out,
            profiles: None,
            known: Arc::default(),
            board: Arc::default(),
            docket: None,
            open,
        }
    }

    /// Goes on under another configuration: with the look that goes on, where nothing has changed for targets, else with
    /// what is wanted now.
    pub(super) fn adapt(&mut self, wanted: Wanted) {
        let changed = self.pursuit.wanted != wanted;
        self.pursuit.wanted = wanted;
        if changed {
            self.end(End::Replaced);
        }
        if self.pursuit.current.is_none() {
            self.pursuit.seek();
        }
    }

    /// Until it is told to stop. Nothing is done, and nobody woken, while there is no target.
    pub(super) fn run(mut self, desk: &Desk) -> Pursuit {
        let seat = self.pursuit.seat();
        if !desk.attend(&seat) {
            tracing::warn!(
                "another receiver takes the orders of the control socket; this one follows its configuration alone"
            );
        }
        let _leaving = desk.leaving(&seat);
        self.enter();
        loop {
            let rung = seat.wait(self.patience());
            if let Some(current) = &mut self.pursuit.current {
                current.rung |= rung;
            }
            while let Some(request) = seat.next() {
                match request {
                    Request::Stop => {
                        desk.leave(&seat);
                        if desk.is_closing() {
                            self.end(End::Shutdown);
                        }
                        self.metrics.set_look(Look::default());
                        self.metrics.target_buffer_usage(0.0);
                        return self.pursuit;
                    }
                    // whoever asked may have gone
                    Request::Start(order, answer) => drop(answer.send(self.order(*order))),
                    Request::Release(origin, answer) => drop(answer.send(self.release(origin))),
                    Request::Status(answer) => drop(answer.send(self.status())),
                }
                // whoever never stops asking does not keep the budget waiting
                self.tick();
            }
            self.tick();
        }
    }

    /// How long nothing is to be done.
    fn patience(&self) -> Option<Duration> {
        if let Some(current) = &self.pursuit.current {
            let often = current.rung || current.investigation.plan().emits();
            let due = if often { HASTE } else { SECOND };
            let left = due.saturating_sub(current.stepped.elapsed());
            // the next burst does not wait for the second to be over
            let left = current.investigation.until_due().map_or(left, |pause| left.min(pause));
            return Some(left.max(Duration::from_millis(1)));
        }
        self.pursuit.missing.as_ref().map(|missing| AGAIN.saturating_sub(missing.tried.elapsed()))
    }

    fn tick(&mut self) {
        if let Some(missing) = self.pursuit.missing.take_if(|missing| missing.tried.elapsed() >= AGAIN) {
            self.seek(missing);
        }
        let Some(current) = &mut self.pursuit.current else { return };
        let since = current.stepped.elapsed();
        let is_due = current.investigation.until_due().is_some_and(|pause| pause.is_zero());
        if since < SECOND && !(current.rung && since >= HASTE) && !is_due {
            let told = current.investigation.told();
            self.tell(told);
            return;
        }
        (current.rung, current.stepped) = (false, Instant::now());
        let Some(now) = self.now() else { return };
        let Some(current) = &mut self.pursuit.current else { return };
        let step = current.investigation.step(now);
        let pids = current.investigation.pids();
        if let Some(growing) = &mut current.growing {
            growing.step(&pids);
        }
        self.board.order(pids);
        self.tell(step.told);
        self.enter();
        match step.ended {
            Some(end) => self.end(end),
            None => self.profile(),
        }
    }

    /// Tries to begin what the configuration asks for.
    fn seek(&mut self, missing: Missing) {
        let Missing { plan, reason, .. } = missing;
        if let Err(error) = self.begin(plan.clone()) {
            let now = error.to_string();
            if now != reason {
                tracing::warn!(target = %plan.target, reason = %now, "the configured target is not looked at; trying again");
            }
            self.pursuit.missing = Some(Missing { plan, tried: Instant::now(), reason: now });
        }
    }

    fn order(&mut self, order: Order) -> Result<Status, OrderError> {
        let plan = self.pursuit.wanted.plan(order);
        self.begin(plan)?;
        self.pursuit.missing = None;
        Ok(self.status())
    }

    fn release(&mut self, origin: Origin) -> Result<Status, OrderError> {
        let waits = self.pursuit.missing.take().is_some();
        if self.pursuit.current.is_none() && !waits {
            return Err(OrderError::NoTarget);
        }
        self.end(End::Released(origin));
        Ok(self.status())
    }

    fn status(&mut self) -> Status {
        let mode = self.pursuit.mode();
        let now = self.now();
        let climbs = self.board.climbs();
        let Some((current, now)) = self.pursuit.current.as_mut().zip(now) else {
            return Status { mode: climbing(&climbs).unwrap_or(mode), climbs, ..Status::default() };
        };
        let report = current.report(now, TOP);
        let plan = current.investigation.plan();
        Status {
            mode,
            target: Some(plan.target.to_string()),
            asked_by: Some(plan.origin.to_string()),
            remaining: plan.duration.map(|duration| duration.saturating_sub(report.lasted)),
            report: Some(report),
            climbs,
        }
    }

    /// Looks at a target, in place of the one before.
    fn begin(&mut self, plan: Plan) -> Result<(), OrderError> {
        let bell = self.pursuit.seat.bell();
        let investigation = (self.open)(&plan, &self.pursuit.wanted.scope, bell)
            .map_err(|error| OrderError::Target(error.to_string()))?;
        let growing = Growing::beside(&investigation).map_err(OrderError::Target)?;
        self.end(End::Replaced);
        let (subject, whole_group) = investigation.subject();
        let target = plan.target.to_string();
        if plan.rung == Rung::Debug {
            tracing::warn!(target, "debug mode: {DEBUG_PRICE}");
        }
        tracing::info!(target, mode = Mode::Investigating(plan.rung).name(), asked_by = %plan.origin, "a target is looked at");
        let change = ModeChange {
            at: investigation.started(),
            from: Mode::GrowthDetection,
            to: Mode::Investigating(plan.rung),
            target,
            subject: Arc::new(subject),
            whole_group,
            asked_by: plan.origin,
            ended: None,
            duration: plan.duration,
            cost: None,
            over: None,
            budget: None,
            found: None,
            evidence: Testimonies::default(),
        };
        self.board.order(investigation.pids());
        self.record(|encoder, clock| encoder.mode_changed(&change, clock));
        let (entered, begun) = (Meters::default(), Instant::now());
        self.pursuit.current = Some(Current {
            investigation,
            growing,
            entered,
            stepped: begun,
            profiled: begun,
            noted: begun,
            rung: false,
        });
        self.enter();
        mlh_bpf::memory::give_back();
        Ok(())
    }

    /// Back to growth detection, where a target was looked at.
    fn end(&mut self, end: End) {
        self.enter();
        self.leave_known();
        let Some(current) = self.pursuit.current.take() else { return };
        self.known.clear();
        self.board.order([]);
        let now = self.now().unwrap_or_else(|| current.investigation.started());
        let plan = current.investigation.plan().clone();
        let (over, (subject, whole_group)) = (current.investigation.over(), current.investigation.subject());
        let subjects = current.investigation.subjects();
        let growing = current.growing;
        let (told, mut report) = current.investigation.close(now, self.profiled_stacks(), end.clone());
        if let Some(growing) = growing {
            growing.close(now, &mut report);
        }
        self.tell(told);
        self.send_profiles(&report, &subjects);
        let Report { lasted, cost, .. } = report;
        let target = plan.target.to_string();
        let cost_percent = format!("{:.2}", cost.target_cpu_share * 100.0);
        if let End::Failed(why) = &end {
            tracing::warn!(target, why, "the look cannot go on");
        }
        if end == End::OverBudget {
            tracing::warn!(
                target,
                cost_percent,
                "the look cost more than overhead_budget allows: back to growth detection; a larger budget allows more, a \
                 larger min_allocation_size costs less"
            );
        } else {
            tracing::info!(target, reason = end.name(), cost_percent, "back to growth detection");
        }
        let change = ModeChange {
            at: now,
            from: Mode::Investigating(plan.rung),
            to: Mode::GrowthDetection,
            target,
            subject: Arc::new(subject),
            whole_group,
            asked_by: plan.origin,
            ended: Some(end),
            duration: Some(lasted),
            cost: Some(cost),
            over,
            budget: over.and(plan.filters.overhead_budget),
            found: None,
            evidence: Testimonies::default(),
        };
        self.record(|encoder, clock| encoder.mode_changed(&change, clock));
        self.enter();
        mlh_bpf::memory::give_back();
    }

    fn tell(&mut self, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        self.metrics.events_processed(told.len() as u64);
        let Some(clock) = clock() else { return self.lost(stage::CHANNEL, told.len() as u64) };
        let deadline = Instant::now() + PATIENCE;
        for told in told {
            match told {
                Told::Operation(operation) => {
                    // the task that hands records on is behind: it gets a moment
                    while self.out.capacity() <= RESERVED && Instant::now() < deadline {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    if self.out.capacity() <= RESERVED {
                        self.lost(stage::CHANNEL, 1);
                        continue;
                    }
                    let record = self.pursuit.encoder.operation(&operation, &clock);
                    self.send(record);
                }
                Told::Unfreed(unfreed) => {
                    let record = self.pursuit.encoder.unfreed(&unfreed, &clock);
                    self.send(record);
                }
            }
        }
    }

    fn record(&mut self, encode: impl FnOnce(&mut Encoder, &Clock) -> ResourceLogs) {
        match clock() {
            Some(clock) => {
                let record = encode(&mut self.pursuit.encoder, &clock);
                self.send(record);
            }
            None => self.lost(stage::CHANNEL, 1),
        }
    }

    fn send(&self, record: ResourceLogs) {
        match self.out.try_send(record) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.lost(stage::CHANNEL, 1),
        }
    }

    fn lost(&self, stage: &'static str, count: u64) {
        if count > 0 {
            self.metrics.lost(Signal::Logs, Loss { stage, count });
        }
    }

    fn now(&self) -> Option<Duration> {
        HostClock::now_boot().inspect_err(|_| self.metrics.errors(stage::SWEEP, 1)).ok()
    }
}

/// The mode where suspicions are followed up and nothing else is done.
fn climbing(climbs: &[Climbing]) -> Option<Mode> {
    let samples = |climb: &Climbing| climb.rungs.contains(&mlh_detect::Rung::GrowthStacks);
    climbs.iter().any(samples).then_some(Mode::Investigating(Rung::GrowthStacks))
}

fn clock() -> Option<Clock> {
    HostClock::read().ok().map(|clock| Clock::of(&clock))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
