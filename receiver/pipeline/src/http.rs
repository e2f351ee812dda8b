//! A small HTTP server for scrapes and probes, with bounds on what its peers can hold.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Endpoint;

/// Further connections wait until one is closed.
const MAX_CONNECTIONS: usize = 64;

/// A request's head has to arrive within this time; idle connections are closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// No connection lives longer, so that peers that read nothing cannot hold theirs for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);

/// How long shutdown waits for answers that are under way.
const GRACE: Duration = Duration::from_secs(2);

/// Listens at `endpoint`. Of several addresses of a name IPv4 comes first, as in Go: who configures
/// `localhost` and asks 127.0.0.1 must find it.
///
/// # Errors
/// What is in the way and what to do; `key` is the setting that moves it.
async fn listen(endpoint: &Endpoint, key: &str) -> Result<TcpListener, String> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| format!("{endpoint}: {error}"))?
        .collect();
    addresses.sort_by_key(std::net::SocketAddr::is_ipv6);
    TcpListener::bind(addresses.as_slice()).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{endpoint} is in use by another program; stop that one, or choose another port in {key}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{endpoint}: {error}; ports below 1024 need privileges, choose another one in {key}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{endpoint} is no address of this host; choose one in {key}")
        }
        _ => format!("{endpoint}: {error}"),
    })
}

/// A server that runs.
pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Server {
    /// Listens, and serves until it is stopped. `key` is the setting that moves it elsewhere.
    ///
    /// # Errors
    /// As [`listen`].
    pub(crate) async fn start(endpoint: &Endpoint, key: &str, router: Router) -> Result<Self, String> {
        let listener = listen(endpoint, key).await?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, stop.clone()));
        Ok(Self { address, task, stop })
    }

    /// Where it listens: of port 0 the system chose one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Finishes the answers that are under way.
    ///
    /// # Errors
    /// The server had broken down.
    pub(crate) async fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        self.task.await.map_err(|error| error.to_string())
    }
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &slots) => accepted,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely; trying at once would only burn the processor.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A peer that breaks off is its own affair.
            let _ = tokio::time::timeout(CONNECTION_LIFETIME, connection).await;
            drop(slot);
        });
    }
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}
