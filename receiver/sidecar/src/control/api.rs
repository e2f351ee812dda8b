//! The paths of the control socket and what they answer. What is wrong comes as `{"error": "..."}`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::Findings;
use super::message::{Ask, StatusMessage};
use crate::investigate::desk::{Desk, Order, OrderError, Status};
use crate::investigate::plan::Origin;

/// Bytes of a request.
const LARGEST_BODY: usize = 64 * 1024;
/// Orders take a while, and whoever asks may have gone meanwhile: so many wait at once.
const MOST_ORDERS: usize = 8;

const PATHS: &str = "there are GET /v1/status, POST /v1/target, DELETE /v1/target and GET /v1/findings";

/// Who carries orders out. The calls may take seconds.
pub trait Orders: Send + Sync + 'static {
    /// See [`Desk::start`].
    ///
    /// # Errors
    /// As there.
    fn start(&self, order: Order) -> Result<Status, OrderError>;
    /// See [`Desk::release`].
    ///
    /// # Errors
    /// As there.
    fn release(&self, origin: Origin) -> Result<Status, OrderError>;
    /// See [`Desk::status`].
    fn status(&self) -> Status;
}

impl Orders for Desk {
    fn start(&self, order: Order) -> Result<Status, OrderError> {
        Desk::start(self, order)
    }

    fn release(&self, origin: Origin) -> Result<Status, OrderError> {
        Desk::release(self, origin)
    }

    fn status(&self) -> Status {
        Desk::status(self)
    }
}

/// Who sits at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user, as the kernel says.
    pub uid: u32,
}

impl Peer {
    /// Root may, and whoever the sidecar runs as.
    #[must_use]
    pub fn may_order(self, own: u32) -> bool {
        self.uid == 0 || self.uid == own
    }
}

/// What the paths work with.
#[derive(Clone)]
pub struct Api {
    orders: Arc<dyn Orders>,
    findings: Arc<Findings>,
    under_way: Arc<Semaphore>,
}

impl Api {
    /// With these behind it.
    #[must_use]
    pub fn new(orders: Arc<dyn Orders>, findings: Arc<Findings>) -> Self {
        Self { orders, findings, under_way: Arc::new(Semaphore::new(MOST_ORDERS)) }
    }

    /// For a peer who may give orders.
    pub fn router(&self, peer: Peer) -> Router {
        Router::new()
            .route("/v1/status", get(status))
            .route("/v1/target", post(target).delete(release))
            .route("/v1/findings", get(findings))
            .fallback(|| async { error(StatusCode::NOT_FOUND, &format!("no such path; {PATHS}")) })
            .method_not_allowed_fallback(|| async {
                error(StatusCode::METHOD_NOT_ALLOWED, &format!("no such method here; {PATHS}"))
            })
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(Extension(peer))
            .with_state(self.clone())
    }

    /// For everybody else; `own` is the user that the sidecar runs as.
    pub fn refusal(peer: Peer, own: u32) -> Router {
        let reason = format!("user {} may not give orders here: root and user {own} may", peer.uid);
        Router::new().fallback(move || async move { error(StatusCode::FORBIDDEN, &reason) })
    }

    /// Has something done that may take a while.
    async fn carry_out(
        &self,
        what: impl FnOnce(&dyn Orders) -> Result<Status, OrderError> + Send + 'static,
    ) -> Response {
        let Ok(slot) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return error(StatusCode::SERVICE_UNAVAILABLE, "too many orders are under way; try again later");
        };
        let orders = Arc::clone(&self.orders);
        let done = tokio::task::spawn_blocking(move || {
            // held until it is done, also where nobody waits for it any more
            let _slot = slot;
            what(orders.as_ref())
        });
        match done.await {
            Ok(Ok(status)) => {
                let leaks = self.findings.leaks().messages();
                json(StatusCode::OK, &StatusMessage { leaks, ..StatusMessage::from(status) })
            }
            Ok(Err(reason)) => error(code(&reason), &reason.to_string()),
            Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the order broke off; see the sidecar's log"),
        }
    }
}

fn code(reason: &OrderError) -> StatusCode {
    match reason {
        OrderError::NobodyHome => StatusCode::SERVICE_UNAVAILABLE,
        OrderError::Target(_) => StatusCode::NOT_FOUND,
        OrderError::NoTarget => StatusCode::CONFLICT,
    }
}

fn error(code: StatusCode, reason: &str) -> Response {
    json(code, &serde_json::json!({ "error": reason }))
}

fn json(code: StatusCode, message: &impl Serialize) -> Response {
    match serde_json::to_string(message) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()).into_response(),
    }
}

async fn status(State(api): State<Api>) -> Response {
    api.carry_out(|orders| Ok(orders.status())).await
}

async fn target(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return error(rejection.status(), &rejection.body_text()),
    };
    let ask = serde_json::from_slice::<Ask>(&body).map_err(|fault| fault.to_string());
    match ask.and_then(|ask| ask.order(peer.uid)) {
        Ok(order) => {
            tracing::info!(uid = peer.uid, target = %order.target, "asked to look at a target");
            api.carry_out(move |orders| orders.start(order)).await
        }
        Err(reason) => error(StatusCode::BAD_REQUEST, &reason),
    }
}

async fn release(State(api): State<Api>, Extension(peer): Extension<Peer>) -> Response {
    tracing::info!(uid = peer.uid, "asked to release the target");
    api.carry_out(move |orders| orders.release(Origin::Control { uid: peer.uid })).await
}

async fn findings(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.findings.json()).into_response()
}

#[cfg(test)]
mod tests;
