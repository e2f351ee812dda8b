//! `prometheus`: keeps the newest value of every series that came through the pipeline, and serves them at
//! `/metrics` for Prometheus to scrape.

mod expose;
mod name;
mod store;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use tokio::time::Instant;

use self::store::Store;
use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ExporterBlueprint,
    ExporterFactory, Refused, Stability, Telemetry, stage,
};
use crate::config::{Endpoint, Settings};
use crate::custody::Custody;
use crate::data::{Data, Signal};
use crate::http::Server;
use crate::log_gate::LogGate;
use crate::reporter::Reporter;

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
        let mut custody = Custody::of(&data, Arc::clone(&self.telemetry), stage::PROMETHEUS);
        let signal = data.signal();
        let Data::Metrics(request) = data else {
            custody.handed_on();
            return Err(Refused::Permanent(format!("{signal} are not for Prometheus")));
        };
        let losses =
            self.store.lock().unwrap_or_else(PoisonError::into_inner).accept(&request, Instant::now());
        custody.lose(stage::PROMETHEUS, losses.unsupported);
        custody.lose(stage::SERIES_LIMIT, losses.beyond_limit);
        custody.delivered(self.reporter.id());
        if let Some(reason) = losses.reason
            && let Some(silenced) = self.losses.open(stage::PROMETHEUS)
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
    server: Option<Server>,
}

impl Exporter {
    /// Starts to serve; returns where.
    async fn serve(&mut self) -> Result<std::net::SocketAddr, ComponentError> {
        let key = format!("exporters::{}::endpoint", self.reporter.id());
        let page = Arc::new(expose::Page::new(Arc::clone(&self.store)));
        let router = Router::new().route("/metrics", get(expose::metrics)).with_state(page);
        let server = Server::start(&self.endpoint, &key, router).await;
        let server = server.map_err(|reason| self.reporter.error(reason))?;
        let address = server.address();
        tracing::info!(component = %self.reporter.id(), "serving http://{address}/metrics");
        self.server = Some(server);
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
        match self.server.take() {
            Some(server) => server.stop().await.map_err(|reason| self.reporter.error(reason)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
