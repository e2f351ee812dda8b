//! Asks a sidecar at its socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// An order waits until the probes are in place.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of an answer.
const LARGEST_ANSWER: usize = 32 << 20;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// Asks the sidecar at a socket. It blocks, for two minutes at most.
///
/// # Errors
/// No sidecar answers there: why, and what to do.
pub fn request(socket: &Path, method: &str, path: &str, body: String) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
    runtime.block_on(async {
        let asked = ask(socket, method, path, body);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| Err(format!("{}: no answer within {PATIENCE:?}", socket.display())))
    })
}

async fn ask(socket: &Path, method: &str, path: &str, body: String) -> Result<Answer, String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(socket, &error))?;
    let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", socket.display());
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .map_err(|error| broken(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(Body::new(answer.into_body()), LARGEST_ANSWER).await;
    connection.abort();
    let bytes = bytes.map_err(|error| broken(&error))?;
    let body = String::from_utf8(bytes.to_vec()).map_err(|error| broken(&error))?;
    Ok(Answer { status, body })
}

fn unreachable(socket: &Path, error: &std::io::Error) -> String {
    let what_to_do = match error.kind() {
        ErrorKind::NotFound => {
            "no sidecar has a control socket there; start one, or name its socket with --socket"
        }
        ErrorKind::ConnectionRefused => "the sidecar of this socket has ended; start one",
        ErrorKind::PermissionDenied => "only root and the sidecar's own user may: try with sudo",
        _ => return format!("{}: {error}", socket.display()),
    };
    format!("{}: {error}: {what_to_do}", socket.display())
}
