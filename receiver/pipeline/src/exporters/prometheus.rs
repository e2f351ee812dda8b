//! `prometheus`: keeps the newest value of every series that came through the pipeline, and serves them at
//! `/metrics` for Prometheus to scrape.

mod expose;
mod name;
mod store;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::store::Store;
use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ExporterBlueprint,
    ExporterFactory, Refused, Stability, Telemetry,
};
use crate::config::{Endpoint, Settings};
use crate::custody::Custody;
use crate::data::{Data, Signal};
use crate::log_gate::LogGate;
use crate::reporter::Reporter;

/// Where points are counted that Prometheus has no form for.
const STAGE: &str = "prometheus";

/// Where points are counted for which there is no room.
const SERIES_LIMIT: &str = "series_limit";

/// Makes Prometheus exporters.
pub struct Factory;

impl ExporterFactory for Factory {
    fn describe(&self) -> Description {
        Description { kind: "prometheus", aliases: &[], signals: &[(Signal::Metrics, Stability::Beta)] }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExporterBlueprint> {
        let default = Endpoint { host: "localhost".to_owned(), port: 9464 };
        Box::new(Blueprint { endpoint: settings.get("endpoint", default) })
    }
}

struct Blueprint {
    endpoint: Endpoint,
}

impl ExporterBlueprint for Blueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<BuiltConsumer, ComponentError> {
        let reporter = Arc::new(Reporter::new(&context));
        let store = Arc::new(Mutex::new(Store::default()));
        let keeper = Keeper {
            store: Arc::clone(&store),
            telemetry: context.telemetry,
            reporter: Arc::clone(&reporter),
            losses: LogGate::default(),
        };
        let component = Exporter { endpoint: self.endpoint, store, reporter, server: None };
        Ok(BuiltConsumer { consumer: Arc::new(keeper), component: Box::new(component) })
    }
}

/// Takes metrics into the store.
struct Keeper {
    store: Arc<Mutex<Store>>,
    telemetry: Arc<dyn Telemetry>,
    reporter: Arc<Reporter>,
    losses: LogGate,
}

#[async_trait]
impl Consumer for Keeper {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        let mut custody = Custody::of(&data, Arc::clone(&self.telemetry), STAGE);
        let Data::Metrics(request) = data else {
            custody.handed_on();
            return Err(Refused::Permanent("logs are not for Prometheus".to_owned()));
        };
        let losses =
            self.store.lock().unwrap_or_else(PoisonError::into_inner).accept(&request, Instant::now());
        custody.lose(STAGE, losses.unsupported);
        custody.lose(SERIES_LIMIT, losses.beyond_limit);
        custody.delivered(self.reporter.id());
        if let Some(reason) = losses.reason
            && let Some(silenced) = self.losses.open()
        {
            let items = losses.unsupported + losses.beyond_limit;
            tracing::warn!(component = %self.reporter.id(), items, reason, silenced, "points were lost");
        }
        Ok(())
    }
}

/// The HTTP side.
struct Exporter {
    endpoint: Endpoint,
    store: Arc<Mutex<Store>>,
    reporter: Arc<Reporter>,
    server: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Exporter {
    /// Starts to serve; returns where.
    async fn serve(&mut self) -> Result<std::net::SocketAddr, ComponentError> {
        let key = format!("exporters::{}::endpoint", self.reporter.id());
        let listener =
            crate::http::listen(&self.endpoint, &key).await.map_err(|reason| self.reporter.error(reason))?;
        let address = listener.local_addr().map_err(|error| self.reporter.error(error.to_string()))?;
        tracing::info!(component = %self.reporter.id(), "serving http://{address}/metrics");
        let page = Arc::new(expose::Page::new(Arc::clone(&self.store)));
        let router = Router::new().route("/metrics", get(expose::metrics)).with_state(page);
        let stop = CancellationToken::new();
        let task = tokio::spawn(crate::http::serve(listener, router, stop.clone()));
        self.server = Some((task, stop));
        Ok(address)
    }
}

#[async_trait]
impl Component for Exporter {
    async fn start(&mut self) -> Result<(), ComponentError> {
        self.serve().await?;
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        if let Some((task, stop)) = self.server.take() {
            stop.cancel();
            task.await.map_err(|error| self.reporter.error(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
