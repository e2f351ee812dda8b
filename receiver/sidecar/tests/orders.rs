//! Orders to a running sidecar, given as users give them: `status`, `target`, `release` over a real control socket.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets the unexpected is to fail")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// How long to wait for a process; nothing passes or fails by it on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody's.
const STRANGER: u32 = 65_534;

/// A sidecar that judges an empty trace, so that it needs nothing of its host.
struct Sidecar {
    program: PathBuf,
    socket: PathBuf,
    /// Until it is asked to end.
    child: Option<Child>,
}

impl Sidecar {
    /// In a folder that all may enter.
    fn start(folder: &Path) -> Self {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        let program = folder.join("memory-leak-hunter");
        if !program.exists() {
            // the build's own folder may lie where others cannot go; a file that this process writes is busy for whom
            // another thread forks meanwhile
            let original = env!("CARGO_BIN_EXE_memory-leak-hunter");
            assert!(Command::new("cp").arg(original).arg(&program).status().unwrap().success());
        }
        let socket = folder.join("control.sock");
        configure(folder, &socket);
        let mut command = Command::new(&program);
        command.arg("--config").arg(folder.join("sidecar.yaml"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Self { program, socket, child: command.spawn().ok() }
    }

    /// Waits until it takes orders.
    fn ready(self) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(&["status"]).status.code() != Some(0) {
            assert!(Instant::now() < deadline, "it takes no orders: {:?}", self.ask(&["status"]));
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--socket").arg(&self.socket);
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> Output {
        self.signal(signal);
        self.child.take().expect("it runs").wait_with_output().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // a test that fails leaves nothing behind
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes the configuration, with the socket at a place.
fn configure(folder: &Path, socket: &Path) {
    let config = format!(
        "receivers: {{memory_leak_hunter: {{replay: /dev/null}}}}
exporters: {{debug: }}
extensions: {{control: {{socket: {}}}}}
service:
  extensions: [control]
  pipelines: {{logs: {{receivers: [memory_leak_hunter], exporters: [debug]}}}}
",
        socket.display()
    );
    fs::write(folder.join("sidecar.yaml"), config).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Guarantees: `status` answers for people and as JSON; what cannot be done ends with 2 and says why, what is asked wrongly
/// with 1; the socket goes with the sidecar, and then whoever asks is told what to do.
#[test]
fn orders_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path()).ready();
    let status = sidecar.ask(&["status"]);
    assert!(text(&status.stdout).contains("growth_detection"), "{status:?}");
    let json = sidecar.ask(&["status", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["mode"], json.get("target")), (&"growth_detection".into(), None));

    for (arguments, code, said) in [
        (&["target", "--pid", "1"][..], 2, "no memory_leak_hunter receiver is running"),
        (&["release"], 2, "no memory_leak_hunter receiver is running"),
        (&["target", "--container", "my-app"], 1, "container's id"),
        (&["target", "--pid", "1", "--duration", "0s"], 1, "1s to 168h"),
        (&["target"], 1, "--pid <N>"),
    ] {
        let answer = sidecar.ask(arguments);
        assert_eq!(answer.status.code(), Some(code), "{arguments:?}: {answer:?}");
        assert!(text(&answer.stderr).contains(said) && answer.stdout.is_empty(), "{arguments:?}: {answer:?}");
    }

    let (program, socket) = (sidecar.program.clone(), sidecar.socket.clone());
    let ended = sidecar.end(Signal::SIGTERM);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    assert!(!socket.exists());
    let answer = Command::new(program).arg("status").arg("--socket").arg(socket).output().unwrap();
    assert_eq!(answer.status.code(), Some(2));
    assert!(text(&answer.stderr).contains("start one"), "{answer:?}");
}

/// Guarantees: a sidecar takes the place of one that was killed, and does not take that of one that lives.
#[test]
fn a_killed_sidecars_socket_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let first = Sidecar::start(folder.path()).ready();
    let socket = first.socket.clone();
    let mut second = Sidecar::start(folder.path());
    let refused = second.child.take().unwrap().wait().unwrap();
    assert_eq!(refused.code(), Some(3), "two sidecars share a socket");
    assert_eq!(first.ask(&["status"]).status.code(), Some(0));
    first.end(Signal::SIGKILL);
    assert!(socket.exists());
    let third = Sidecar::start(folder.path()).ready();
    assert_eq!(third.end(Signal::SIGTERM).status.code(), Some(0));
}

/// Guarantees: another user is refused, also where the socket's permissions would let him in, and is told who may.
/// Needs: root, to be another user.
#[test]
fn strangers_are_refused() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path()).ready();
    let stranger = || sidecar.command(&["status"]).uid(STRANGER).gid(STRANGER).output().unwrap();
    let kept_out = stranger();
    assert_eq!(kept_out.status.code(), Some(2));
    assert!(text(&kept_out.stderr).contains("Permission denied"), "{kept_out:?}");
    fs::set_permissions(&sidecar.socket, Permissions::from_mode(0o666)).unwrap();
    let refused = stranger();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("user 65534 may not give orders here"), "{refused:?}");
}

/// Guarantees: on SIGHUP the socket moves to where the new configuration has it, and nothing is left at the old place.
#[test]
fn a_reload_moves_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(folder.path()).ready();
    let moved = folder.path().join("moved.sock");
    configure(folder.path(), &moved);
    let before = std::mem::replace(&mut sidecar.socket, moved);
    sidecar.signal(Signal::SIGHUP);
    let sidecar = sidecar.ready();
    assert!(!before.exists());
    assert_eq!(sidecar.end(Signal::SIGTERM).status.code(), Some(0));
}
