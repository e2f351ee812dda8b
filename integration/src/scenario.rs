//! A test's frame: a folder of its own, the report of its failure, and skipping.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use crate::need::Skip;
use crate::process::Process;

/// What a test works with.
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A new folder, removed with the value.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mlh-e2e-").tempdir()?;
        // other users run programs from here
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// The test's folder; everybody can read it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the test's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the test's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Starts a process whose output is kept under `name`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, command: &mut Command) -> anyhow::Result<Process> {
        Process::spawn(self.folder(), name, command)
    }

    /// Starts one of the target programs (`src/bin`), from the test's folder: see [`scope`](Self::scope).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn target(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let program = self.path(name);
        if !program.exists() {
            let built = built(name)?;
            std::fs::hard_link(&built, &program).or_else(|_| std::fs::copy(&built, &program).map(drop))?;
        }
        self.spawn(name, Command::new(program).args(arguments))
    }

    /// The name of the test's folder, and of the one in which its containers have their programs.
    #[must_use]
    pub fn name(&self) -> String {
        self.folder().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Settings by which a sidecar looks at this test's programs alone, in containers or not. Whoever looks closely at the same process as
    /// another sidecar does reads memory, which the other one takes for the program's own use of it.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("include: {{executables: ['/{}/']}}", self.name())
    }

    /// The last lines of every output in the folder.
    fn last_words(&self) -> String {
        let mut text = String::new();
        let mut paths: Vec<_> = std::fs::read_dir(self.folder())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "err" || e == "out")) {
            let output = std::fs::read(path).unwrap_or_default();
            let output = String::from_utf8_lossy(&output);
            let lines: Vec<_> = output.lines().collect();
            let name = path.file_name().unwrap_or_default().display();
            text += &format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
        text
    }
}

/// Runs a test. An error fails it, together with the last lines of what its processes printed; a [`Skip`] is
/// reported as `SKIPPED test: reason`, which the test run counts.
///
/// # Panics
/// That is how a test fails.
#[allow(clippy::panic)] // the one way to fail a test
pub fn scenario(test: impl FnOnce(&World) -> anyhow::Result<()>) {
    let world = match World::new() {
        Ok(world) => world,
        Err(error) => panic!("no folder for the test: {error:#}"),
    };
    let Err(error) = test(&world) else { return };
    match error.downcast_ref::<Skip>() {
        Some(skip) if skip.ebpf && required() => panic!("MLH_REQUIRE_EBPF is set, but: {skip}"),
        Some(skip) => println!("SKIPPED {}: {skip}", std::thread::current().name().unwrap_or("a test")),
        None => panic!("{error:#}\n{}", world.last_words()),
    }
}

fn required() -> bool {
    std::env::var("MLH_REQUIRE_EBPF").is_ok_and(|value| value == "1")
}

/// A program of this package, or the sidecar, as built beside the running test.
///
/// # Errors
/// When it has not been built.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    // target/PROFILE/deps/TEST-HASH: programs lie one folder up; a program itself finds its siblings beside it
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("`{name}` is not built: run `make test`, or `cargo build --workspace`"))
}

/// Ports that neither the kernel hands out by itself (`ip_local_port_range` begins at 32768) nor well-known servers use.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A TCP port of this host that was free a moment ago and that no other test of this process has been given. The
/// kernel's own choice will not do: it may give the same port to a connection before the server takes it.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let many = u32::from(PORTS.end - PORTS.start);
    // test programs that run at the same time begin far from each other
    let first = std::process::id().wrapping_mul(997);
    (0..many)
        .filter_map(|_| {
            let place = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % many;
            u16::try_from(place).ok().map(|place| PORTS.start + place)
        })
        .find(|&port| TcpListener::bind(("0.0.0.0", port)).is_ok())
        .context("no TCP port is free")
}

/// The repository's own folder, for the files that users are given.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
