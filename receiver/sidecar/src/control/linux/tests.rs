//! Real sockets.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::super::api::Api;
use super::place::place;
use super::*;
use crate::investigate::desk::Desk;

fn api() -> Api {
    Api::new(Arc::<Desk>::default(), Arc::default())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A socket that nobody answers at any more, as a killed process leaves it.
fn left_over(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

/// Guarantees: the folder is made for its owner alone, so is the socket; requests are answered at it, by the client that
/// the commands use too; it is gone after the end.
#[tokio::test]
async fn serves_and_goes() {
    let folder = folder();
    let path = folder.path().join("made/control.sock");
    let server = Server::start(&path, &api()).unwrap();
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    let socket = path.clone();
    let ask = move || request(&socket, "GET", "/v1/status", String::new());
    let answer = tokio::task::spawn_blocking(ask).await.unwrap().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(r#""mode":"growth_detection""#), "{}", answer.body);
    server.stop().await.unwrap();
    assert!(!path.exists());
    let error = request_off_thread(path).await.unwrap_err();
    assert!(error.contains("--socket"), "{error}");
}

async fn request_off_thread(path: std::path::PathBuf) -> Result<Answer, String> {
    tokio::task::spawn_blocking(move || request(&path, "GET", "/v1/status", String::new())).await.unwrap()
}

/// Guarantees: a socket that is left over is replaced; one that somebody answers at is not, and is named.
#[test]
fn only_what_is_left_over_is_replaced() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    left_over(&path);
    let (_listener, placed) = place(&path).unwrap();
    let error = place(&path).map(|_| ()).unwrap_err();
    assert!(error.contains("control.sock is answered by another program"), "{error}");
    drop(placed);
    assert!(!path.exists());
}

/// Guarantees: a socket that another program has put in place of ours stays when ours goes.
#[test]
fn anothers_socket_stays() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let (_listener, placed) = place(&path).unwrap();
    fs::remove_file(&path).unwrap();
    left_over(&path);
    drop(placed);
    assert!(path.exists());
}

/// Guarantees: what is no socket is not touched, links are not followed, and a folder that others may write is refused,
/// each with what is wrong; a sticky one will do.
#[test]
fn unsafe_places_are_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let refusal = |path: &Path| place(path).map(|_| ()).unwrap_err();

    fs::write(at("file"), "precious").unwrap();
    assert!(refusal(&at("file")).contains("is no socket"));
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");

    left_over(&at("real"));
    symlink(at("real"), at("link")).unwrap();
    assert!(refusal(&at("link")).contains("is no socket"));
    assert!(at("real").exists());

    fs::create_dir(at("folder")).unwrap();
    symlink(at("folder"), at("linked")).unwrap();
    assert!(refusal(&at("linked/control.sock")).contains("symbolic link"));
    assert!(refusal(&at("file/control.sock")).contains("is no folder"));
    assert!(refusal(&at("absent/absent/control.sock")).contains("cannot be made"));

    fs::set_permissions(at("folder"), Permissions::from_mode(0o777)).unwrap();
    assert!(refusal(&at("folder/control.sock")).contains("may be written by others"));
    fs::set_permissions(at("folder"), Permissions::from_mode(0o1777)).unwrap();
    assert!(place(&at("folder/control.sock")).is_ok());
}

/// Guarantees: of two that start at once only one sets up the socket.
#[test]
fn one_at_a_time() {
    let folder = folder();
    let _lock = Flock::lock(fs::File::open(folder.path()).unwrap(), FlockArg::LockExclusive).unwrap();
    let error = place(&folder.path().join("control.sock")).map(|_| ()).unwrap_err();
    assert!(error.contains("another program is at work"), "{error}");
}

/// Guarantees: what is no HTTP gets an answer or a closed connection, and the next peer is served; a head without an end
/// does not keep growing.
#[tokio::test]
async fn noise_does_no_harm() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let server = Server::start(&path, &api()).unwrap();
    for noise in [b"\x16\x03\x01\x02\x00".repeat(100), b"GET /v1/status HTTP/1.1\r\nx: ".repeat(4000)] {
        let socket = path.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            // it may hang up before it has read everything
            let _ = stream.write_all(&noise);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        let answer = answer.await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(request_off_thread(path).await.unwrap().status, 200);
    server.stop().await.unwrap();
}
