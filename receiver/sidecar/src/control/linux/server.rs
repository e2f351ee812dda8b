//! Serves the socket, with bounds on what its peers can hold.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::api::{Api, Peer};
use super::place::{Placed, place};

/// Further connections wait until one is closed.
const MOST_CONNECTIONS: usize = 16;
/// Bytes of a request's head.
const LARGEST_HEAD: usize = 16 * 1024;
/// A request's head has to arrive within this time; idle connections are closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection lives longer: an order takes seconds, and a peer that sends or reads nothing cannot hold its place.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);
/// How long shutdown waits for answers that are under way.
const GRACE: Duration = Duration::from_secs(2);

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
        let task = tokio::spawn(serve(listener, api.clone(), stop.clone()));
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

async fn serve(listener: UnixListener, api: Api, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of file descriptors, most likely; trying at once would only burn the processor
                tracing::warn!(%error, "a connection to the control socket could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let own = geteuid().as_raw();
        let router = if peer.may_order(own) {
            api.router(peer)
        } else {
            tracing::warn!(uid = peer.uid, "refused at the control socket");
            Api::refusal(peer, own)
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // a peer that breaks off is its own affair
            let _ = tokio::time::timeout(CONNECTION_LIFETIME, connection).await;
            drop(slot);
        });
    }
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

async fn next(
    listener: &UnixListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, Peer, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    let peer = Peer { uid: stream.peer_cred()?.uid() };
    Ok((stream, peer, slot))
}
