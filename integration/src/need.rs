//! What a test needs of the machine. A test that cannot run here is skipped with the reason, never passed over.

use std::path::PathBuf;
use std::process::Command;

/// A reason to skip a test. As an error it travels up with `?`; [`scenario`](crate::scenario::scenario) reports it.
#[derive(Debug)]
pub struct Skip {
    /// What is missing, for a person.
    pub reason: String,
    /// eBPF is missing. With `MLH_REQUIRE_EBPF=1` in the environment that is a failure.
    pub ebpf: bool,
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Skip {}

impl Skip {
    /// For a reason that has nothing to do with eBPF.
    #[must_use]
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ebpf: false }
    }
}

/// The test changes users, capabilities or namespaces.
///
/// # Errors
/// A [`Skip`] for other users.
pub fn root() -> Result<(), Skip> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(Skip::because("needs root")) }
}

/// The test loads BPF programs: root, and a kernel that describes its types.
///
/// # Errors
/// A [`Skip`] that `MLH_REQUIRE_EBPF=1` turns into a failure.
pub fn ebpf() -> Result<(), Skip> {
    let lacks = |reason: &str| Skip { reason: reason.to_owned(), ebpf: true };
    root().map_err(|_| lacks("eBPF needs root here"))?;
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(lacks("eBPF needs a kernel with BTF (/sys/kernel/btf/vmlinux)"));
    }
    Ok(())
}

/// A program of the machine, as an absolute path.
///
/// # Errors
/// A [`Skip`] that names it.
pub fn program(name: &str) -> Result<PathBuf, Skip> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // administrators' programs are not on every user's path
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Skip::because(format!("needs `{name}`, which is not installed")))
}

/// A command that works on this machine, tried once by running it.
///
/// # Errors
/// A [`Skip`] with what it printed.
pub fn works(what: &str, command: &mut Command) -> Result<(), Skip> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Skip::because(format!(
            "{what} does not work here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(error) => Err(Skip::because(format!("{what} does not start: {error}"))),
    }
}
