//! A small HTTP server with bounds on what its peers can hold: for scrapes and probes, and for whoever brings a listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Endpoint;

/// What the peers of one server may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once; further ones wait until one is closed.
    pub connections: usize,
    /// A request's head has to arrive within this time; idle connections are closed after it.
    pub head: Duration,
    /// No connection lives longer, so that peers that read nothing cannot hold theirs for ever.
    pub lifetime: Duration,
}

/// For scrapes and probes.
const BOUNDS: Bounds =
    Bounds { connections: 64, head: Duration::from_secs(60), lifetime: Duration::from_secs(600) };

/// Bytes of a request's head.
const LARGEST_HEAD: usize = 16 * 1024;

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
        let task = tokio::spawn(serve(listener, BOUNDS, move |_| Some(router.clone()), stop.clone()));
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

/// Where connections come in.
pub trait Incoming {
    /// One of them.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn incoming(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Incoming for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn incoming(&self) -> io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

#[cfg(unix)]
impl Incoming for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn incoming(&self) -> io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

/// Answers each connection by the router that `route` gives for it, until `stop`; `None` closes it. Answers that are under way
/// then are finished.
pub async fn serve<L>(
    listener: L,
    bounds: Bounds,
    route: impl Fn(&L::Stream) -> Option<Router>,
    stop: CancellationToken,
) where
    L: Incoming,
{
    let slots = Arc::new(Semaphore::new(bounds.connections));
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
        let Some(router) = route(&stream) else { continue };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A peer that breaks off is its own affair.
            let _ = tokio::time::timeout(bounds.lifetime, connection).await;
            drop(slot);
        });
    }
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

async fn next<L: Incoming>(
    listener: &L,
    slots: &Arc<Semaphore>,
) -> io::Result<(L::Stream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.incoming().await?, slot))
}
