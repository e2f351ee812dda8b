//! Podman: builds the image, and runs containers of it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::container::Rootfs;
use mlh_integration::need;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, repository};
use mlh_integration::sidecar::{executable, text};
use mlh_integration::wait::until;

/// The image's name in the test's own storage.
const IMAGE: &str = "localhost/memory-leak-hunter";
const BASE: &str = "localhost/base";

/// The version that the image is told.
pub(crate) const VERSION: &str = "1.2.3-test";

/// Podman with a storage in the test's folder that holds the image.
pub(crate) struct Engine<'a> {
    world: &'a World,
    podman: PathBuf,
    open_files: String,
}

impl<'a> Engine<'a> {
    /// Builds the image.
    ///
    /// # Errors
    /// A skip where podman does not work; an error where the image cannot be built.
    pub(crate) fn new(world: &'a World) -> anyhow::Result<Self> {
        // a runtime has no use for debugging information, and copying it takes longer than the test
        let program = world.path("build/image/usr/local/bin/memory-leak-hunter");
        std::fs::create_dir_all(program.parent().context("a folder")?)?;
        let strip = need::program("strip")?;
        need::works("strip", Command::new(strip).arg("-o").arg(&program).arg(executable()?))?;
        let programs = [PathBuf::from("/bin/bash"), PathBuf::from("/usr/bin/unshare"), program];
        Rootfs::new(world, &programs)?;
        // the base has the libraries of our program, not the program
        std::fs::remove_file(world.path("rootfs/bin/memory-leak-hunter"))?;
        let limits = std::fs::read_to_string("/proc/self/limits")?;
        let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let open_files = open_files.and_then(|line| line.split_whitespace().nth(1)).context("no limit")?;
        let engine = Self { world, podman: need::program("podman")?, open_files: open_files.to_owned() };
        engine.import_base()?;
        engine.build()?;
        Ok(engine)
    }

    fn import_base(&self) -> anyhow::Result<()> {
        let archive = self.world.path("base.tar");
        let mut tar = Command::new(need::program("tar")?);
        tar.arg("-C").arg(self.world.path("rootfs")).arg("-cf").arg(&archive).arg(".");
        done(&mut tar)?;
        done(self.podman().args(["import", "--quiet"]).arg(archive).arg(BASE))?;
        Ok(())
    }

    fn build(&self) -> anyhow::Result<()> {
        let repository = repository();
        let mut build = self.podman();
        build
            .args(["build", "--isolation=chroot", "--layers=false", "--pull=never", "--format=docker"])
            .args(["--build-arg", &format!("RUNTIME_IMAGE={BASE}")])
            .args(["--build-arg", &format!("BUILDER_IMAGE={BASE}")])
            .args(["--build-arg", &format!("VERSION={VERSION}")])
            .arg(format!("--build-context=build={}", self.world.path("build").display()))
            .arg("-f")
            .arg(repository.join("docker/Dockerfile"))
            .args(["-t", IMAGE])
            .arg(repository);
        done(&mut build)?;
        Ok(())
    }

    /// What podman tells of the image.
    pub(crate) fn inspect(&self) -> anyhow::Result<serde_json::Value> {
        let told = done(self.podman().args(["image", "inspect", IMAGE]))?;
        let mut images: Vec<serde_json::Value> = serde_json::from_str(&told)?;
        images.pop().context("no image")
    }

    /// Runs a container of the image to its end. Its network is its own loopback.
    pub(crate) fn run(&self, flags: &[&str], arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command(&["--rm"], flags, arguments);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// Starts a container of the image with the image's own arguments.
    pub(crate) fn start(&self, name: &str, flags: &[&str]) -> anyhow::Result<Hunter<'_>> {
        let process = self.world.spawn(name, &mut self.command(&["--name", name], flags, &[]))?;
        let mut hunter = Hunter { engine: self, name: name.to_owned(), pid: 0, process };
        hunter.pid = until("the container's first process", Duration::from_secs(60), || {
            hunter.process.lives()?;
            let told = self.podman().args(["inspect", "--format={{.State.Pid}}", name]).output()?;
            Ok(text(&told.stdout).trim().parse().ok().filter(|pid| *pid != 0))
        })?;
        Ok(hunter)
    }

    fn command(&self, podmans: &[&str], flags: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.podman();
        command
            .arg("run")
            .args(podmans)
            // the limits as they are: raising them takes a capability that a nested host may lack
            .args([
                format!("--ulimit=nofile={0}:{0}", self.open_files),
                "--ulimit=nproc=1024:1024".to_owned(),
            ])
            .arg("--network=none")
            .args(flags)
            .arg(IMAGE)
            .args(arguments);
        command
    }

    fn podman(&self) -> Command {
        let mut command = Command::new(&self.podman);
        command
            .arg("--root")
            .arg(self.world.path("podman/store"))
            .arg("--runroot")
            .arg(self.world.path("podman/run"))
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc"]);
        command
    }
}

/// A container that runs. Dropped, it is removed.
pub(crate) struct Hunter<'a> {
    engine: &'a Engine<'a>,
    name: String,
    /// Of the sidecar, on the host.
    pub(crate) pid: u32,
    /// The podman that waits for it: it ends when the container does, with its exit code.
    pub(crate) process: Process,
}

impl Hunter<'_> {
    /// Runs a program in the container, as its user.
    pub(crate) fn exec(&self, program: &[&str]) -> anyhow::Result<Output> {
        Ok(self.engine.podman().args(["exec", &self.name]).args(program).output()?)
    }

    /// The body of `http://address:port/path`, asked for in the container; empty while nobody answers.
    pub(crate) fn get(&self, address: &str, port: u16, path: &str) -> anyhow::Result<String> {
        let script = format!(
            "exec 3<>/dev/tcp/{address}/{port} && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3 && IFS= read -rd '' page <&3; echo \"$page\""
        );
        Ok(text(&self.exec(&["/bin/bash", "-c", &script])?.stdout))
    }

    /// Podman's own run of the image's health check.
    pub(crate) fn is_healthy(&self) -> anyhow::Result<bool> {
        Ok(self.engine.podman().args(["healthcheck", "run", &self.name]).output()?.status.success())
    }

    /// Stops it as an engine does: by the image's stop signal, and by SIGKILL where that does not end it.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        done(self.engine.podman().args(["stop", "--time=60", &self.name]))?;
        Ok(())
    }
}

impl Drop for Hunter<'_> {
    fn drop(&mut self) {
        // where it never came to be there is nothing to remove
        let _ = self.engine.podman().args(["rm", "--force", "--time=0", &self.name]).output();
    }
}

/// The standard output of a command that has to succeed.
fn done(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    Ok(text(&output.stdout))
}
