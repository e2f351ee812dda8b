//! Serves the socket, with bounds on what its peers can hold.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use mlh_pipeline::http::{Bounds, serve};
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::api::{Api, Peer};
use super::place::{Placed, place};

/// An order takes seconds, and a peer that sends or reads nothing cannot hold its place for long.
const BOUNDS: Bounds =
    Bounds { connections: 16, head: Duration::from_secs(10), lifetime: Duration::from_secs(120) };

/// A socket that is served.
pub(in super::super) struct Server {
    task: JoinHandle<()>,
    stop: CancellationToken,
    placed: Placed,
}

impl Server {
    /// Puts the socket in its place and serves it until it is stopped.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub(in super::super) fn start(path: &Path, api: &Api) -> Result<Self, String> {
        let (listener, placed) = place(path)?;
        let listener = UnixListener::from_std(listener).map_err(|error| error.to_string())?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(
            listener,
            BOUNDS,
            {
                let api = api.clone();
                move |stream| route(stream, &api)
            },
            stop.clone(),
        ));
        Ok(Self { task, stop, placed })
    }

    /// Finishes the answers that are under way, and takes the socket away.
    ///
    /// # Errors
    /// The server had broken down.
    pub(in super::super) async fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        let ended = self.task.await.map_err(|error| error.to_string());
        drop(self.placed);
        ended
    }
}

/// Everybody is answered, whoever may not ask with a refusal.
fn route(stream: &UnixStream, api: &Api) -> Option<Router> {
    let peer = Peer { uid: stream.peer_cred().ok()?.uid() };
    let own = geteuid().as_raw();
    if peer.may_order(own) {
        return Some(api.router(peer));
    }
    tracing::warn!(uid = peer.uid, "refused at the control socket");
    Some(Api::refusal(peer, own))
}
