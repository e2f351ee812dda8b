//! The receiver as the pipeline knows it: factory, blueprint, start and shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TryRecvError};
use std::thread;

use async_trait::async_trait;
use mlh_pipeline::component::{
    BuildContext, Component, ComponentError, Description, Outputs, ReceiverBlueprint, ReceiverFactory,
    Stability, Status,
};
use mlh_pipeline::config::Settings;
use mlh_pipeline::data::Signal;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::estate::{Ears, Estate, Estates, Eyes};
use super::feed;
use super::judge::{Bench, Detail};
use super::pursuit::{Pursuer, Pursuit, Wanted};
use super::replay::Replay;
use super::scout::{Scout, Wake};
use super::settings::{HuntSettings, RssSource, TracepointScope};
use crate::control::Findings;
use crate::investigate::desk::{Desk, Request, Seat};
use crate::ladder::{self, Board, Climber, Docket, KnownStacks, Ladder, Outlets};
use crate::leaks::{self, Leaks, Store};
use crate::metrics::Metrics;
use crate::observe::{Crossings, Listen, Options};
use crate::records::{EventIds, HostIdentity};

/// Records between the thread that finds and the task that hands on. One is a few KiB.
const CHANNEL: usize = 1024;
/// Requests with profiles on the same way. One may be some MiB.
const PROFILES: usize = 4;

/// Makes the `memory_leak_hunter` receiver.
pub struct Factory {
    /// The one store of metrics, exported through the receiver's pipelines.
    pub metrics: Arc<Metrics>,
    /// Goes into every record.
    pub host: Arc<HostIdentity>,
    /// What receivers leave to those of the next configuration.
    pub estates: Arc<Estates>,
    /// What was found lately, for those who ask at the control socket.
    pub findings: Arc<Findings>,
    /// Where orders are taken.
    pub desk: Arc<Desk>,
}

impl ReceiverFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "memory_leak_hunter",
            aliases: &[],
            signals: &[
                (Signal::Logs, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Profiles, Stability::Development),
            ],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ReceiverBlueprint> {
        Box::new(Blueprint {
            settings: HuntSettings::read(settings),
            metrics: Arc::clone(&self.metrics),
            host: Arc::clone(&self.host),
            estates: Arc::clone(&self.estates),
            findings: Arc::clone(&self.findings),
            desk: Arc::clone(&self.desk),
        })
    }
}

struct Blueprint {
    settings: HuntSettings,
    metrics: Arc<Metrics>,
    host: Arc<HostIdentity>,
    estates: Arc<Estates>,
    findings: Arc<Findings>,
    desk: Arc<Desk>,
}

impl ReceiverBlueprint for Blueprint {
    fn enabled(&self) -> bool {
        self.settings.enabled
    }

    fn build(
        self: Box<Self>,
        context: BuildContext,
        next: Outputs,
    ) -> Result<Box<dyn Component>, ComponentError> {
        if self.settings.replay.is_none() && !cfg!(target_os = "linux") {
            let reason = "watching processes needs Linux; set `replay` to a recorded trace".to_owned();
            return Err(ComponentError { component: context.id, reason });
        }
        Ok(Box::new(Hunter { blueprint: *self, context, next, running: None }))
    }
}

struct Hunter {
    blueprint: Blueprint,
    context: BuildContext,
    next: Outputs,
    running: Option<Running>,
}

/// What the thread does. It returns what the next receiver is to go on with; a judged trace leaves nothing.
type Work = Box<dyn FnOnce() -> Option<Estate> + Send>;

/// The thread that looks at a target, and where to tell it to stop.
type Pursuing = (Arc<Seat>, thread::JoinHandle<Pursuit>);

/// The thread that follows suspicions up, and where to tell it to stop.
type Climbing = (Arc<Docket>, thread::JoinHandle<Ladder>);

/// What the threads share.
#[derive(Default)]
struct Shared {
    known: Arc<KnownStacks>,
    board: Arc<Board>,
    /// Whoever tells of looks at targets tells no event id twice.
    ids: EventIds,
    /// Where suspicions are handed in, where they are followed up.
    docket: Option<Arc<Docket>>,
}

struct Running {
    /// Ends the thread.
    wake: SyncSender<Wake>,
    /// Ends the metrics, and waiting for a pipeline that refuses.
    hurry: CancellationToken,
    thread: thread::JoinHandle<Option<Estate>>,
    /// Looks at a target; a judged trace has none.
    pursuing: Option<Pursuing>,
    /// Follows suspicions up; a judged trace has none.
    climbing: Option<Climbing>,
    /// Ends the keeping of leaks, when no more come.
    kept: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

#[async_trait]
impl Component for Hunter {
    async fn start(&mut self) -> Result<(), ComponentError> {
        if self.running.is_some() {
            return Ok(());
        }
        let store = self.state()?;
        let (out, records) = mpsc::channel(CHANNEL);
        let hurry = CancellationToken::new();
        let (profiles, profiled) = mpsc::channel(PROFILES);
        let profiles = self.next.profiles.as_ref().map(|_| profiles);
        let (shared, climbing) = self.climb(&out, profiles.clone())?;
        let pursuing = self.pursue(&out, &shared, profiles)?;
        let (wake, thread) = self.thread(out, shared)?;
        let metrics = &self.blueprint.metrics;
        let mut tasks = vec![tokio::spawn(feed::logs(
            records,
            self.next.logs.clone(),
            Arc::clone(metrics),
            Arc::clone(&self.blueprint.findings),
            hurry.clone(),
        ))];
        if let Some(next) = &self.next.metrics {
            let interval = self.blueprint.settings.collection_interval;
            let task = feed::metrics(interval, Arc::clone(next), Arc::clone(metrics), hurry.clone());
            tasks.push(tokio::spawn(task));
        }
        if let Some(next) = &self.next.profiles {
            metrics.carries_profiles();
            let task = feed::profiles(profiled, Arc::clone(next), Arc::clone(metrics), hurry.clone());
            tasks.push(tokio::spawn(task));
        }
        let kept = CancellationToken::new();
        if let Some(store) = store {
            let task = leaks::keep(self.leaks(), store, Arc::clone(metrics), kept.clone());
            tasks.push(tokio::spawn(task));
        }
        self.running = Some(Running { wake, hurry, thread, pursuing, climbing, kept, tasks });
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.hurry.cancel();
        // the thread may be in the middle of a pass; with its end the channel closes and the feed drains
        let ended = tokio::task::spawn_blocking(move || {
            if let Some((seat, _)) = &running.pursuing {
                seat.hand_in(Request::Stop);
            }
            if let Some((docket, _)) = &running.climbing {
                docket.stop(true);
            }
            // an error says that it has ended already
            let _ = running.wake.send(Wake::Stop);
            let pursued = running.pursuing.map(|(_, thread)| thread.join());
            let climbed = running.climbing.map(|(_, thread)| thread.join());
            (running.thread.join(), pursued.transpose(), climbed.transpose())
        })
        .await;
        running.kept.cancel();
        for task in running.tasks {
            task.await.map_err(|error| self.error(error.to_string()))?;
        }
        self.blueprint.metrics.buffer_usage(0.0);
        let Ok((Ok(estate), Ok(pursuit), Ok(ladder))) = ended else {
            return Err(self.error(
                "the thread that makes the passes, that looks at a target, or that follows suspicions up, had panicked",
            ));
        };
        if let Some(ladder) = ladder {
            self.blueprint.estates.leave_ladder(&self.context.id, ladder);
        }
        if let Some(pursuit) = pursuit {
            self.blueprint.estates.leave_pursuit(&self.context.id, pursuit);
        }
        if let Some(estate) = estate {
            self.blueprint.estates.leave(&self.context.id, estate);
        }
        Ok(())
    }
}

impl Hunter {
    fn thread(
        &self,
        out: mpsc::Sender<ResourceLogs>,
        shared: Shared,
    ) -> Result<(SyncSender<Wake>, thread::JoinHandle<Option<Estate>>), ComponentError> {
        let (wake, work) = match &self.blueprint.settings.replay {
            Some(path) => self.replay(path.clone(), out)?,
            None => self.scout(out, shared),
        };
        let thread = thread::Builder::new().name("mlh-hunt".to_owned()).spawn(work);
        Ok((wake, thread.map_err(|error| self.error(error.to_string()))?))
    }

    /// Follows suspicions up, from where the receiver before this one left off.
    fn climb(
        &self,
        out: &mpsc::Sender<ResourceLogs>,
        profiles: Option<mpsc::Sender<ExportProfilesServiceRequest>>,
    ) -> Result<(Shared, Option<Climbing>), ComponentError> {
        let Blueprint { settings, metrics, host, estates, desk, .. } = &self.blueprint;
        if settings.replay.is_some() {
            return Ok((Shared::default(), None));
        }
        let wanted = ladder::Wanted::of(settings);
        let (ladder, changed) = match estates.take_ladder(&self.context.id) {
            Some(mut ladder) => {
                let changed = ladder.adapt(wanted);
                (ladder, changed)
            }
            None => (Ladder::new(wanted, Arc::clone(host)), false),
        };
        let docket = ladder.docket();
        let wanted = settings.escalation.climbs().then(|| Arc::clone(&docket));
        let shared =
            Shared { known: ladder.known(), board: ladder.board(), ids: ladder.ids(), docket: wanted };
        let out = Outlets { metrics: Arc::clone(metrics), records: out.clone(), profiles };
        let climber = Climber::new(ladder, out, changed);
        let desk = Arc::clone(desk);
        let work = move || climber.run(|| desk.is_closing());
        let thread = thread::Builder::new().name("mlh-ladder".to_owned()).spawn(work);
        let thread = thread.map_err(|error| self.error(error.to_string()))?;
        Ok((shared, Some((docket, thread))))
    }

    /// What is known of leaks; a trace's are not this host's.
    fn leaks(&self) -> Arc<Leaks> {
        Arc::clone(self.blueprint.findings.leaks())
    }

    /// Takes in what is known of leaks from earlier, and says where to keep it.
    fn state(&self) -> Result<Option<Store>, ComponentError> {
        let Blueprint { settings, metrics, .. } = &self.blueprint;
        let state = &settings.state;
        let (Some(path), None) = (&state.path, &settings.replay) else { return Ok(None) };
        let boot = mlh_targets::host::HostIdentity::read().boot_id;
        let store = Store::new(path.clone(), state.max_size, boot);
        match self.leaks().open(&store) {
            Ok(damage) => {
                if let Some(damage) = damage {
                    tracing::warn!("{damage}; what was known of leaks is lost");
                    metrics.errors(crate::metrics::stage::STATE, 1);
                }
                Ok(Some(store))
            }
            Err(reason) if state.is_dispensable() => {
                tracing::warn!(%reason, "what is known of leaks will be lost with the sidecar: no state file (state::path \"\" asks for none)");
                Ok(None)
            }
            Err(reason) => Err(self.error(format!("state::path: {reason}"))),
        }
    }

    /// Looks at targets, from where the receiver before this one left off.
    fn pursue(
        &self,
        out: &mpsc::Sender<ResourceLogs>,
        shared: &Shared,
        profiles: Option<mpsc::Sender<ExportProfilesServiceRequest>>,
    ) -> Result<Option<Pursuing>, ComponentError> {
        let Blueprint { settings, metrics, host, estates, desk, .. } = &self.blueprint;
        if settings.replay.is_some() {
            return Ok(None);
        }
        let wanted = Wanted::of(settings);
        let known = estates.take_pursuit(&self.context.id);
        let is_new = known.is_none();
        let pursuit = known.unwrap_or_else(|| Pursuit::new(wanted.clone(), Arc::clone(host)));
        let (seat, desk) = (pursuit.seat(), Arc::clone(desk));
        let mut pursuer = Pursuer::new(pursuit, Arc::clone(metrics), out.clone());
        let (known, board) = (Arc::clone(&shared.known), Arc::clone(&shared.board));
        let docket = shared.docket.clone();
        pursuer = pursuer.profiling(profiles, known).beside(board, docket, shared.ids.clone());
        let work = move || {
            if !is_new {
                pursuer.adapt(wanted);
            }
            pursuer.run(&desk)
        };
        let thread = thread::Builder::new().name("mlh-target".to_owned()).spawn(work);
        Ok(Some((seat, thread.map_err(|error| self.error(error.to_string()))?)))
    }

    /// Watches this host, from where the receiver before this one left off. Loading the probes takes a while, so that is
    /// done in the thread, unless it decides what may be kept.
    fn scout(&self, out: mpsc::Sender<ResourceLogs>, shared: Shared) -> (SyncSender<Wake>, Work) {
        let (context, metrics) = (self.context.clone(), Arc::clone(&self.blueprint.metrics));
        let options = Options { btf_path: self.blueprint.settings.btf_path.clone(), ..Options::default() };
        let interval = self.blueprint.settings.rss_check_interval;
        let listen = self.listen();
        let bench = self.bench(mlh_targets::host::HostIdentity::read().page_size, Detail::Live);
        let Estate { mut judge, ears, eyes } = match self.blueprint.estates.take(&self.context.id) {
            Some(estate) => estate.adapt(&bench, &options),
            None => Estate::new(&bench),
        };
        judge.consult(shared.known, shared.docket);
        judge.recognise(self.leaks());
        let wake = ears.wake.clone();
        let work = move || {
            let Eyes { observer, listening, .. } = match eyes.map_or_else(|| Eyes::open(&options), Ok) {
                Ok(eyes) => eyes,
                Err(error) => {
                    context.host.report(&context.id, Status::FatalError, Some(error.to_string()));
                    return Some(Estate { judge, ..Estate::new(&bench) });
                }
            };
            context.host.report(&context.id, Status::Ok, None);
            let mut scout = Scout { observer, judge, metrics, interval, out };
            if listening != Some(listen) {
                scout.listen(&listen, ears.wake.clone());
            }
            scout.run(&ears.wakes);
            let Scout { observer, judge, .. } = scout;
            let eyes = Eyes { options, observer, listening: Some(listen) };
            Some(Estate { judge, ears, eyes: Some(eyes) })
        };
        (wake, Box::new(work))
    }

    /// Judges a trace, from its beginning also where it was judged before. It waits for the pipeline instead of
    /// dropping: a trace does not run away.
    fn replay(
        &self,
        path: PathBuf,
        out: mpsc::Sender<ResourceLogs>,
    ) -> Result<(SyncSender<Wake>, Work), ComponentError> {
        let replay =
            Replay::open(&path).map_err(|error| self.error(format!("{}: {error}", path.display())))?;
        let bench = self.bench(replay.page_size(), Detail::Recorded);
        let interval = self.blueprint.settings.rss_check_interval;
        let metrics = Arc::clone(&self.blueprint.metrics);
        let Ears { wake, wakes } = Ears::new();
        let work = move || {
            let faults = replay.run(&bench, Some(interval), |outcome, processes| {
                metrics.events_processed(processes as u64);
                metrics.rss_growth_detected(outcome.growth);
                let taken = outcome.records.into_iter().all(|record| out.blocking_send(record).is_ok());
                taken && matches!(wakes.try_recv(), Err(TryRecvError::Empty))
            });
            metrics.errors(crate::metrics::stage::DECODE, faults);
            tracing::info!(trace = %path.display(), faults, "the trace has been judged");
            None
        };
        Ok((wake, Box::new(work)))
    }

    fn listen(&self) -> Listen {
        let settings = &self.blueprint.settings;
        let crossings = Crossings {
            threshold: settings.rss_growth_threshold,
            watched_only: settings.rss_tracepoint_scope == TracepointScope::Suspects,
        };
        Listen { crossings: (settings.rss_source == RssSource::Tracepoint).then_some(crossings) }
    }

    fn bench(&self, page_size: u64, detail: Detail) -> Bench {
        let settings = &self.blueprint.settings;
        let limit = (detail == Detail::Live).then_some(settings.max_events_per_second);
        Bench {
            host: Arc::clone(&self.blueprint.host),
            page_size,
            growth_threshold: settings.rss_growth_threshold,
            oom_horizon: settings.oom_horizon,
            max_events_per_second: limit,
            detail,
            scope: settings.scope.clone(),
        }
    }

    fn error(&self, reason: impl Into<String>) -> ComponentError {
        ComponentError { component: self.context.id.clone(), reason: reason.into() }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
