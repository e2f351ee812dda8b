//! Containers by podman, made of nothing but our own programs: no image and no registry is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::memory_cgroup::MemoryCgroup;
use crate::need::{self, Skip};
use crate::process::Process;
use crate::scenario::World;
use crate::wait::until;

/// A root file system with our programs and the libraries they load.
pub struct Rootfs {
    podman: PathBuf,
    world: PathBuf,
    open_files: String,
}

impl Rootfs {
    /// Lays it out, and tries podman with it once.
    ///
    /// # Errors
    /// A [`Skip`] where podman and runc are missing or do not work; an error where files cannot be copied.
    pub fn new(world: &World, programs: &[PathBuf]) -> anyhow::Result<Self> {
        need::root()?;
        let podman = need::program("podman")?;
        need::program("runc")?;
        let root = world.path("rootfs");
        for folder in ["proc", "sys", "dev", "etc", "tmp", &world.name()] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        // so that a sidecar can tell them from other tests' programs
        std::os::unix::fs::symlink(world.name(), root.join("bin"))?;
        for program in programs.iter().chain([&PathBuf::from("/bin/true")]) {
            std::fs::copy(program, root.join("bin").join(program.file_name().context("a program")?))?;
            for library in libraries(program)? {
                let copy = root.join(library.strip_prefix("/")?);
                std::fs::create_dir_all(copy.parent().context("a library in the root folder")?)?;
                std::fs::copy(&library, copy)?;
            }
        }
        let limits = std::fs::read_to_string("/proc/self/limits")?;
        let open_files = limits.lines().find(|line| line.starts_with("Max open files"));
        let open_files =
            open_files.and_then(|line| line.split_whitespace().nth(4)).unwrap_or("1024").to_owned();
        let rootfs = Self { podman, world: world.folder().to_owned(), open_files };
        need::works("podman", rootfs.run(&[]).arg("/bin/true").stdin(Stdio::null()))?;
        Ok(rootfs)
    }

    /// A command that runs a program in a new container: `podman run FLAGS ROOT`, to be completed by the program
    /// and its arguments. The test's folder is `/world` inside.
    #[must_use]
    pub fn run(&self, flags: &[&str]) -> Command {
        let mut command = self.podman();
        command
            .args(["run", "--rm", "--interactive"])
            // the limits as they are: raising them takes a capability that a nested host may lack
            .args([
                format!("--ulimit=nofile={0}:{0}", self.open_files),
                "--ulimit=nproc=1024:1024".to_owned(),
            ])
            .args(["--network=none", "--cap-drop=all"])
            .arg(format!("--volume={}:/world", self.world.display()))
            .args(flags)
            .arg("--rootfs")
            .arg(self.world.join("rootfs"));
        command
    }

    /// Starts a program in a container of its own, which takes no more memory than `limit`, and waits until it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        &self,
        world: &World,
        name: &str,
        limit: &str,
        program: &[&str],
    ) -> anyhow::Result<Container> {
        self.start_with(world, name, limit, &[], program)
    }

    /// The same with flags of `podman run`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        &self,
        world: &World,
        name: &str,
        limit: &str,
        flags: &[&str],
        program: &[&str],
    ) -> anyhow::Result<Container> {
        let (id_file, pid_file) = (world.path(&format!("{name}.id")), world.path(&format!("{name}.pid")));
        let own = [
            format!("--cidfile={}", id_file.display()),
            format!("--pidfile={}", pid_file.display()),
            // no swap: the limit is the end
            format!("--memory={limit}"),
            format!("--memory-swap={limit}"),
        ];
        let flags: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let mut command = self.run(&flags);
        let mut process = world.spawn(name, command.args(program))?;
        let what = format!("the container of {name}");
        let (id, pid) = until(&what, Duration::from_secs(60), || {
            process.lives()?;
            let id = std::fs::read_to_string(&id_file).ok().filter(|id| id.len() == 64);
            let pid = std::fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse().ok());
            Ok(id.zip(pid))
        })?;
        let mut remove = self.podman();
        remove.args(["rm", "--force", "--time=0", &id]);
        Ok(Container { cgroup: MemoryCgroup::of(pid)?, id, pid, process, remove })
    }

    fn podman(&self) -> Command {
        let mut command = Command::new(&self.podman);
        command
            // what it starts notes an OOM kill in a file in the folder that it was started in
            .current_dir(&self.world)
            .arg("--root")
            .arg(self.world.join("podman/store"))
            .arg("--runroot")
            .arg(self.world.join("podman/run"))
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc"]);
        command
    }
}

/// A container that runs. Dropped, it is removed with all that podman made for it.
pub struct Container {
    /// In full: 64 hexadecimal digits.
    pub id: String,
    /// Its first process, by its pid on the host.
    pub pid: u32,
    /// What its memory is charged to.
    pub cgroup: MemoryCgroup,
    /// The podman that waits for it: its output is the program's, and it ends when the container does.
    pub process: Process,
    remove: Command,
}

impl Drop for Container {
    fn drop(&mut self) {
        // it may have ended by itself: podman has nothing to remove then
        let _ = self.remove.stdin(Stdio::null()).output();
    }
}

/// The shared libraries of a program, its loader included: its own loader is asked, be it glibc's or musl's.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let headers = Command::new(need::program("readelf")?).args(["-lW"]).arg(program).output()?;
    let headers = String::from_utf8(headers.stdout)?;
    // `[Requesting program interpreter: /path]`
    let loader = headers.split_once("interpreter: ").and_then(|(_, rest)| rest.split_once(']'));
    let Some((loader, _)) = loader else { return Ok(Vec::new()) };
    let output = Command::new(loader).arg("--list").arg(program).output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || text.contains("not found") {
        return Err(Skip::because(format!("{} lacks a library: {text}", program.display())).into());
    }
    // `name => /path (address)`, or `/path (address)`
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.chain([loader]).map(PathBuf::from).collect())
}
