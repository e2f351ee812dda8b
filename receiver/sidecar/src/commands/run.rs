//! Running: load, build, start, wait, drain; on SIGHUP once more with the configuration read anew.

use std::sync::Arc;
use std::time::Duration;

use mlh_pipeline::component::ComponentError;
use mlh_pipeline::config::{Kept, Loaded};
use mlh_pipeline::service::Service;
use tokio::runtime;

use super::log::Log;
use super::settings::load;
use super::signals::{Asked, Signals};
use super::{Exit, Parts};
use crate::cli::ConfigArgs;
use crate::metrics::Metrics;

/// How long the pipelines may drain. Kubernetes kills a pod 30 s after SIGTERM.
pub(super) const DRAIN: Duration = Duration::from_secs(15);

/// What stays while configurations come and go.
pub(super) struct Program<'a> {
    pub(super) args: &'a ConfigArgs,
    pub(super) parts: Parts,
    pub(super) log: Log,
}

/// What runs, and the configuration it was built from.
pub(super) struct Running {
    pub(super) service: Service,
    pub(super) kept: Kept,
}

pub(super) fn run(args: &ConfigArgs) -> Exit {
    let parts = Parts::new();
    let loaded = match load(args, &parts.factories) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let program = Program { args, parts, log: Log::to_stderr(loaded.logs) };
    // what runs here is I/O of a few records a second; the sweeps have a thread of their own
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime could not be created");
            return Exit::Fatal;
        }
    };
    runtime.block_on(program.run(loaded))
}

impl Program<'_> {
    async fn run(&self, loaded: Loaded) -> Exit {
        let mut signals = Signals::listen();
        let running = match self.build(loaded) {
            Ok(running) => running,
            Err(error) => {
                tracing::error!("{error}");
                return Exit::Host;
            }
        };
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
        let exit = self.serve(running, &mut signals).await;
        // the log of single losses is held back where there are many; here is the sum
        let lost = self.parts.metrics.losses();
        if lost.is_empty() {
            tracing::info!("stopped");
        } else {
            let items: u64 = lost.values().sum();
            let each = lost.iter().map(|((stage, signal), items)| format!("{items} {signal} ({stage})"));
            let by_stage = each.collect::<Vec<_>>().join(", ");
            tracing::warn!(items, by_stage, "stopped; this was lost since the start");
        }
        exit
    }

    /// Nothing is started yet, and nothing of what runs is disturbed.
    pub(super) fn build(&self, loaded: Loaded) -> Result<Running, ComponentError> {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let kept = loaded.kept();
        let service = loaded.build(Arc::<Metrics>::clone(&self.parts.metrics))?;
        if service.is_idle() {
            tracing::warn!("every receiver is disabled: nothing will be found");
        }
        Ok(Running { service, kept })
    }

    async fn serve(&self, mut running: Running, signals: &mut Signals) -> Exit {
        let started = tokio::select! {
            biased;
            signal = signals.stop() => Err(stopping(signal)),
            started = running.service.start() => started.map_err(|error| fatal(&error)),
        };
        if let Err(exit) = started {
            return self.drain(running.service, exit).await;
        }
        let exit = loop {
            let asked = tokio::select! {
                biased;
                asked = signals.next() => asked,
                error = running.service.failed() => break fatal(&error),
            };
            match asked {
                Asked::Stop(signal) => break stopping(signal),
                Asked::Reload => match self.reload(running, signals).await {
                    Ok(next) => running = next,
                    Err(exit) => return exit,
                },
            }
        };
        self.drain(running.service, exit).await
    }

    /// Ends as `exit` says, unless something goes wrong on the way.
    async fn drain(&self, mut service: Service, exit: Exit) -> Exit {
        // a target is let go with a record of it, while there still is a pipeline
        self.parts.desk.close();
        let Err(errors) = service.shutdown(DRAIN).await else { return exit };
        for error in errors {
            tracing::error!("while stopping: {error}");
        }
        Exit::Fatal
    }
}

pub(super) fn stopping(signal: &'static str) -> Exit {
    tracing::info!(signal, "stopping");
    Exit::Success
}

fn fatal(error: &ComponentError) -> Exit {
    tracing::error!("{error}");
    Exit::Fatal
}
