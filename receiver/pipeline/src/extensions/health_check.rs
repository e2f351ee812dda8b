//! `health_check`: answers 200 while every component works, and 503 with those that do not.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_yaml::Value;

use crate::component::{
    BuildContext, Component, ComponentError, Description, ExtensionBlueprint, ExtensionFactory, Host, Status,
};
use crate::config::{Endpoint, Setting, Settings};
use crate::http::Server;
use crate::reporter::Reporter;

/// Makes health checks.
pub struct Factory;

impl ExtensionFactory for Factory {
    fn describe(&self) -> Description {
        Description { kind: "health_check", aliases: &[], signals: &[] }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExtensionBlueprint> {
        let default = Endpoint { host: "localhost".to_owned(), port: 13134 };
        Box::new(Blueprint {
            endpoint: settings.get("endpoint", default),
            path: settings.get("path", UrlPath("/".to_owned())),
        })
    }
}

/// An absolute path, and nothing that means something else to the router.
#[derive(Debug, Clone, PartialEq)]
struct UrlPath(String);

impl Setting for UrlPath {
    fn read(value: &Value) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
        let text = value.as_str().filter(|text| text.starts_with('/') && text.chars().all(plain));
        text.map(|text| Self(text.to_owned())).ok_or_else(|| "a path such as / or /healthz".to_owned())
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

struct Blueprint {
    endpoint: Endpoint,
    path: UrlPath,
}

impl ExtensionBlueprint for Blueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Component>, ComponentError> {
        let reporter = Reporter::new(&context);
        Ok(Box::new(HealthCheck {
            endpoint: self.endpoint,
            path: self.path.0,
            host: context.host,
            reporter,
            server: None,
        }))
    }
}

struct HealthCheck {
    endpoint: Endpoint,
    path: String,
    host: Arc<dyn Host>,
    reporter: Reporter,
    server: Option<Server>,
}

impl HealthCheck {
    /// Starts to serve; returns where.
    async fn serve(&mut self) -> Result<std::net::SocketAddr, ComponentError> {
        let key = format!("extensions::{}::endpoint", self.reporter.id());
        let router = Router::new().route(&self.path, get(answer)).with_state(Arc::clone(&self.host));
        let server = Server::start(&self.endpoint, &key, router).await;
        let server = server.map_err(|reason| self.reporter.error(reason))?;
        let address = server.address();
        self.server = Some(server);
        Ok(address)
    }
}

#[async_trait]
impl Component for HealthCheck {
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

async fn answer(State(host): State<Arc<dyn Host>>) -> Response {
    let failing: serde_json::Map<_, _> = host
        .statuses()
        .into_iter()
        .filter(|(_, status, _)| *status != Status::Ok)
        .map(|(id, status, reason)| {
            (id.to_string(), serde_json::json!({"status": word(status), "reason": reason}))
        })
        .collect();
    let code = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = if failing.is_empty() { "ok" } else { "failing" };
    let body = serde_json::json!({"status": status, "components": failing}).to_string();
    (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The Collector's words.
fn word(status: Status) -> &'static str {
    match status {
        Status::Starting => "StatusStarting",
        Status::Ok => "StatusOK",
        Status::RecoverableError => "StatusRecoverableError",
        Status::PermanentError => "StatusPermanentError",
        Status::FatalError => "StatusFatalError",
        Status::Stopping => "StatusStopping",
        Status::Stopped => "StatusStopped",
    }
}

#[cfg(test)]
mod tests;
