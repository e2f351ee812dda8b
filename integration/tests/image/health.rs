//! The image's health check, against a server of our own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;

use anyhow::ensure;
use mlh_integration::need;
use mlh_integration::scenario::{free_port, repository, scenario};
use mlh_integration::sidecar::text;

/// What the check says of a server that gives this answer: whether it is healthy, and the text.
fn verdict(answer: &'static str) -> anyhow::Result<(bool, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut peer, _) = listener.accept()?;
        // a request is read to its end: closing before that would tear the answer down
        let mut lines = BufReader::new(peer.try_clone()?).lines();
        let first = lines.next().transpose()?;
        assert_eq!(first.as_deref(), Some("GET / HTTP/1.0"), "what a check asks for");
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        peer.write_all(answer.as_bytes())
    });
    let told = check(port)?;
    ensure!(matches!(server.join(), Ok(Ok(()))), "nobody asked, or not for what a check asks");
    Ok(told)
}

fn check(port: u16) -> anyhow::Result<(bool, String)> {
    let output = Command::new(repository().join("docker/healthcheck")).arg(port.to_string()).output()?;
    Ok((output.status.success(), text(&output.stdout)))
}

/// Guarantees: an answer of 200 is healthy, any other and none at all are not, and the reasons in the answer are told.
/// Needs: bash.
#[test]
fn it_tells_health_from_failure() {
    scenario(|_| {
        need::program("bash")?;
        let (healthy, _) = verdict("HTTP/1.0 200 OK\r\n\r\n{\"status\":\"ok\"}")?;
        ensure!(healthy, "200 is healthy");
        let (healthy, told) = verdict(
            "HTTP/1.0 503 Service Unavailable\r\ncontent-length: 24\r\n\r\n{\"otlp_grpc\":\"HTTP 200\"}",
        )?;
        ensure!(!healthy, "503 is unhealthy");
        ensure!(told.trim() == "{\"otlp_grpc\":\"HTTP 200\"}", "the reason: {told}");
        ensure!(!verdict("SSH-2.0-OpenSSH_9.2\r\n")?.0, "another protocol is unhealthy");
        ensure!(!verdict("")?.0, "silence is unhealthy");
        ensure!(!check(free_port()?)?.0, "a closed port is unhealthy");
        Ok(())
    });
}
