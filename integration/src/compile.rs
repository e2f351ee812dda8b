//! Builds the programs in `targets/`, each with the compiler of its language, into a test's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::need::{self, Skip};
use crate::scenario::{World, repository};

/// What every C and C++ program is compiled with: as optimised as programs are, and named functions.
const USUAL: [&str; 5] = ["-O2", "-g", "-Wall", "-Wextra", "-Werror"];

/// A source file of `targets/`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    repository().join("integration/targets").join(name)
}

/// A C program by gcc, dynamically linked unless the flags say otherwise.
///
/// # Errors
/// A [`Skip`] without the compiler; what the compiler says.
pub fn c(world: &World, name: &str, from: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
    by("gcc", world, name, &USUAL, from, flags)
}

/// A C program by musl's gcc.
///
/// # Errors
/// As [`c`].
pub fn musl(world: &World, name: &str, from: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
    // the kernel's headers are found behind musl's own
    let headers = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"];
    by("musl-gcc", world, name, &[&USUAL[..], &headers].concat(), from, flags)
}

/// A C++ program by g++.
///
/// # Errors
/// As [`c`].
pub fn cpp(world: &World, name: &str, from: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
    by("g++", world, name, &[&USUAL[..], &["-std=c++17"]].concat(), from, flags)
}

/// A Rust program by rustc.
///
/// # Errors
/// As [`c`].
pub fn rust(world: &World, name: &str, from: &str) -> anyhow::Result<PathBuf> {
    by("rustc", world, name, &["--edition", "2024", "-O", "-g"], from, &[])
}

/// A program by any compiler that takes flags, what to write by `-o`, and a source: without flags that are not given.
///
/// # Errors
/// As [`c`].
pub fn plain(
    world: &World,
    compiler: &str,
    name: &str,
    from: &str,
    flags: &[&str],
) -> anyhow::Result<PathBuf> {
    by(compiler, world, name, &[], from, flags)
}

fn by(
    compiler: &str,
    world: &World,
    name: &str,
    usual: &[&str],
    from: &str,
    flags: &[&str],
) -> anyhow::Result<PathBuf> {
    let out = world.path(name);
    let mut command = Command::new(need::program(compiler)?);
    // libraries stand behind what needs them
    command.args(usual).arg("-o").arg(&out).arg(source(from)).args(flags);
    done(&mut command)?;
    Ok(out)
}

/// A Go program: a folder of `targets/`.
///
/// # Errors
/// As [`c`].
pub fn go(world: &World, name: &str, from: &str) -> anyhow::Result<PathBuf> {
    go_with(world, name, from, &[])
}

/// The same with flags of `go build`.
///
/// # Errors
/// As [`c`].
pub fn go_with(world: &World, name: &str, from: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
    let out = world.path(name);
    let mut command = Command::new(need::program("go")?);
    // nothing is fetched, and no version control is asked
    command.args(["build", "-buildvcs=false"]).args(flags).arg("-o").arg(&out).arg(".");
    command.current_dir(source(from)).env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    command.env("GOPROXY", "off").env("CGO_ENABLED", "1");
    done(&mut command)?;
    Ok(out)
}

/// The folder with a Java program's classes.
///
/// # Errors
/// As [`c`].
pub fn java(world: &World, from: &str) -> anyhow::Result<PathBuf> {
    let folder = world.path("classes");
    let mut command = Command::new(need::program("javac")?);
    done(command.args(["-Xlint:all", "-Werror", "-d"]).arg(&folder).arg(source(from)))?;
    Ok(folder)
}

/// A library of this machine as gcc finds it, such as `libjemalloc.so`.
///
/// # Errors
/// A [`Skip`] without it.
pub fn library(name: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new(need::program("gcc")?).arg(format!("-print-file-name={name}")).output()?;
    let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    // what it does not find it gives back as it is
    if path.is_absolute() { Ok(path) } else { Err(Skip::because(format!("needs the library {name}")).into()) }
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| program.clone())?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
