//! The receiver as the pipeline knows it: factory, blueprint, start and shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use async_trait::async_trait;
use mlh_pipeline::component::{
    BuildContext, Component, ComponentError, Description, Outputs, ReceiverBlueprint, ReceiverFactory,
    Stability, Status,
};
use mlh_pipeline::config::Settings;
use mlh_pipeline::data::Signal;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::feed;
use super::judge::{Bench, Detail, Judge};
use super::replay::Replay;
use super::scout::{Scout, WAKES, Wake};
use super::settings::{HuntSettings, RssSource, TracepointScope};
use crate::metrics::Metrics;
use crate::observe::{self, Crossings, Listen, Options};
use crate::records::HostIdentity;

/// Records between the thread that finds and the task that hands on. One is a few KiB.
const CHANNEL: usize = 1024;

/// Makes the `memory_leak_hunter` receiver.
pub struct Factory {
    /// The one store of metrics, exported through the receiver's pipelines.
    pub metrics: Arc<Metrics>,
    /// Goes into every record.
    pub host: Arc<HostIdentity>,
}

impl ReceiverFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "memory_leak_hunter",
            aliases: &[],
            signals: &[(Signal::Logs, Stability::Beta), (Signal::Metrics, Stability::Beta)],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ReceiverBlueprint> {
        Box::new(Blueprint {
            settings: HuntSettings::read(settings),
            metrics: Arc::clone(&self.metrics),
            host: Arc::clone(&self.host),
        })
    }
}

struct Blueprint {
    settings: HuntSettings,
    metrics: Arc<Metrics>,
    host: Arc<HostIdentity>,
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

struct Running {
    /// Ends the thread.
    wake: SyncSender<Wake>,
    /// Ends the metrics, and waiting for a pipeline that refuses.
    hurry: CancellationToken,
    thread: thread::JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

#[async_trait]
impl Component for Hunter {
    async fn start(&mut self) -> Result<(), ComponentError> {
        if self.running.is_some() {
            return Ok(());
        }
        let (out, records) = mpsc::channel(CHANNEL);
        let (wake, wakes) = sync_channel(WAKES);
        let hurry = CancellationToken::new();
        let thread = self.thread(out, wake.clone(), wakes)?;
        let metrics = &self.blueprint.metrics;
        let mut tasks = vec![tokio::spawn(feed::logs(
            records,
            self.next.logs.clone(),
            Arc::clone(metrics),
            hurry.clone(),
        ))];
        if let Some(next) = &self.next.metrics {
            let interval = self.blueprint.settings.collection_interval;
            let task = feed::metrics(interval, Arc::clone(next), Arc::clone(metrics), hurry.clone());
            tasks.push(tokio::spawn(task));
        }
        self.running = Some(Running { wake, hurry, thread, tasks });
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.hurry.cancel();
        // the thread may be in the middle of a pass; with its end the channel closes and the feed drains
        let ended = tokio::task::spawn_blocking(move || {
            // an error says that it has ended already
            let _ = running.wake.send(Wake::Stop);
            running.thread.join()
        })
        .await;
        for task in running.tasks {
            task.await.map_err(|error| self.error(error.to_string()))?;
        }
        match ended {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.error("the thread that makes the passes had panicked")),
        }
    }
}

impl Hunter {
    fn thread(
        &self,
        out: mpsc::Sender<ResourceLogs>,
        wake: SyncSender<Wake>,
        wakes: Receiver<Wake>,
    ) -> Result<thread::JoinHandle<()>, ComponentError> {
        let work: Box<dyn FnOnce() + Send> = match &self.blueprint.settings.replay {
            Some(path) => self.replay(path.clone(), out, wakes)?,
            None => self.scout(out, wake, wakes),
        };
        thread::Builder::new().name("mlh-hunt".to_owned()).spawn(work).map_err(|e| self.error(e.to_string()))
    }

    /// Watches this host. Loading the probes takes a while, so that is done in the thread.
    fn scout(
        &self,
        out: mpsc::Sender<ResourceLogs>,
        wake: SyncSender<Wake>,
        wakes: Receiver<Wake>,
    ) -> Box<dyn FnOnce() + Send> {
        let (context, metrics) = (self.context.clone(), Arc::clone(&self.blueprint.metrics));
        let options = Options { btf_path: self.blueprint.settings.btf_path.clone(), ..Options::default() };
        let interval = self.blueprint.settings.rss_check_interval;
        let listen = self.listen();
        let bench = self.bench(mlh_targets::host::HostIdentity::read().page_size, Detail::Live);
        Box::new(move || {
            let observer = match observe::open(&options) {
                Ok((observer, choice)) => {
                    tracing::info!("{choice}");
                    observer
                }
                Err(error) => {
                    context.host.report(&context.id, Status::FatalError, Some(error.to_string()));
                    return;
                }
            };
            context.host.report(&context.id, Status::Ok, None);
            let mut scout = Scout { observer, judge: Judge::new(&bench), metrics, interval, out };
            scout.listen(&listen, wake);
            scout.run(&wakes);
        })
    }

    /// Judges a trace. It waits for the pipeline instead of dropping: a trace does not run away.
    fn replay(
        &self,
        path: PathBuf,
        out: mpsc::Sender<ResourceLogs>,
        wakes: Receiver<Wake>,
    ) -> Result<Box<dyn FnOnce() + Send>, ComponentError> {
        let replay =
            Replay::open(&path).map_err(|error| self.error(format!("{}: {error}", path.display())))?;
        let bench = self.bench(replay.page_size(), Detail::Recorded);
        let interval = self.blueprint.settings.rss_check_interval;
        let metrics = Arc::clone(&self.blueprint.metrics);
        Ok(Box::new(move || {
            let faults = replay.run(&bench, Some(interval), |outcome, processes| {
                metrics.events_processed(processes as u64);
                metrics.rss_growth_detected(outcome.growth);
                let taken = outcome.records.into_iter().all(|record| out.blocking_send(record).is_ok());
                taken && matches!(wakes.try_recv(), Err(TryRecvError::Empty))
            });
            metrics.errors(crate::metrics::stage::DECODE, faults);
            tracing::info!(trace = %path.display(), faults, "the trace has been judged");
        }))
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
        }
    }

    fn error(&self, reason: impl Into<String>) -> ComponentError {
        ComponentError { component: self.context.id.clone(), reason: reason.into() }
    }
}
