//! Running: load, build, start, wait, drain.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use mlh_pipeline::config::{LogEncoding, LogLevel, LogSettings};
use mlh_pipeline::service::Service;
use tokio::runtime;
use tracing_subscriber::filter::LevelFilter;

use super::settings::load;
use super::{Exit, factories};
use crate::cli::ConfigArgs;
use crate::metrics::Metrics;

/// How long the pipelines may drain. Kubernetes kills a pod 30 s after SIGTERM.
const DRAIN: Duration = Duration::from_secs(15);

pub(super) fn run(args: &ConfigArgs) -> Exit {
    let (metrics, factories) = factories();
    let loaded = match load(args, &factories) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    log_to_stderr(loaded.logs);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    // what runs here is I/O of a few records a second; the sweeps have a thread of their own
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime could not be created");
            return Exit::Fatal;
        }
    };
    runtime.block_on(async {
        match loaded.build(Arc::<Metrics>::clone(&metrics)) {
            Ok(service) => {
                let exit = serve(service).await;
                // the log of single losses is held back where there are many; here is the sum
                match metrics.lost_in_all() {
                    0 => tracing::info!("stopped"),
                    items => tracing::warn!(items, "stopped; so many items were lost in all"),
                }
                exit
            }
            Err(error) => {
                tracing::error!("{error}");
                Exit::Host
            }
        }
    })
}

async fn serve(mut service: Service) -> Exit {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    if service.is_idle() {
        tracing::warn!("every receiver is disabled: nothing will be found");
    }
    let mut exit = Exit::Success;
    match service.start().await {
        Ok(()) => tokio::select! {
            signal = asked_to_stop() => tracing::info!(signal, "stopping"),
            error = service.failed() => {
                tracing::error!("{error}");
                exit = Exit::Fatal;
            }
        },
        Err(error) => {
            tracing::error!("{error}");
            exit = Exit::Fatal;
        }
    }
    if let Err(errors) = service.shutdown(DRAIN).await {
        for error in errors {
            tracing::error!("while stopping: {error}");
        }
        exit = Exit::Fatal;
    }
    exit
}

/// Resolves with the name of the signal that asks the program to end.
#[cfg(unix)]
pub(super) async fn asked_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::hangup(), "SIGHUP"),
    ];
    let mut arrivals = tokio::task::JoinSet::new();
    for (kind, name) in kinds {
        match signal(kind) {
            Ok(mut signal) => {
                arrivals.spawn(async move {
                    signal.recv().await;
                    name
                });
            }
            Err(error) => tracing::warn!(%error, name, "this signal cannot be handled"),
        }
    }
    match arrivals.join_next().await {
        Some(Ok(name)) => name,
        _ => std::future::pending().await,
    }
}

/// Resolves when Ctrl-C is pressed.
#[cfg(not(unix))]
pub(super) async fn asked_to_stop() -> &'static str {
    match tokio::signal::ctrl_c().await {
        Ok(()) => "Ctrl-C",
        Err(_) => std::future::pending().await,
    }
}

/// Standard output holds results only, so the program's own log goes to standard error.
pub(super) fn log_to_stderr(settings: LogSettings) {
    let level = match settings.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match settings.encoding {
        LogEncoding::Json => builder.json().init(),
        LogEncoding::Console => builder.init(),
    }
}
