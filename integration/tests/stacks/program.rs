//! A row's program: made, started, told to leak and to stop.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::compile;
use mlh_integration::container::{Container, Rootfs};
use mlh_integration::need::{self, Skip};
use mlh_integration::process::{Process, copy_program};
use mlh_integration::scenario::World;
use mlh_integration::wait::until;
use serde_json::Value;

use crate::row::{Made, Place, Row};

const PATIENCE: Duration = Duration::from_secs(120);
/// With it, glibc gives back what was taken in large blocks, each time.
const GIVES_BACK: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// The program, and its twin with symbols.
pub(crate) struct Program {
    /// The command line.
    words: Vec<String>,
    /// The file that leaks, with all symbols: the same as it is run, unless that is stripped.
    pub(crate) twin: PathBuf,
    /// Of a program without symbols: what names it instead, where its linker wrote one.
    pub(crate) build_id: Option<String>,
    /// The source.
    pub(crate) source: PathBuf,
    /// What is run.
    file: PathBuf,
    /// What a container needs besides.
    mounts: Vec<String>,
    rootfs: Option<Rootfs>,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Program {
    /// Makes it.
    ///
    /// # Errors
    /// A [`Skip`] where a compiler or an interpreter is missing.
    pub(crate) fn make(world: &World, row: &Row) -> anyhow::Result<Self> {
        let of = |file: PathBuf, source: &str, words: Vec<String>| Self {
            words,
            twin: file.clone(),
            build_id: None,
            source: compile::source(source),
            file,
            mounts: Vec::new(),
            rootfs: None,
        };
        let mut program = match &row.made {
            Made::Compiled(compiler, source, flags) => {
                let source = format!("stacks/{source}");
                let twin = compile::plain(world, compiler, "leak.twin", &source, flags)?;
                let file = world.path("leak");
                copy_program(&twin, &file)?;
                let mut program = of(file, &source, vec![text(&world.path("leak"))]);
                program.twin = twin;
                program
            }
            Made::Go(folder, flags) => {
                let folder = format!("stacks/{folder}");
                let file = compile::go_with(world, "leak", &folder, flags)?;
                of(file, &format!("{folder}/main.go"), vec![text(&world.path("leak"))])
            }
            Made::Python(program) => {
                let file = match program.starts_with('/') {
                    true => PathBuf::from(program),
                    false => pyenv(program)?,
                };
                if !file.is_file() {
                    return Err(Skip::because(format!("needs {}", file.display())).into());
                }
                let mut python = of(file.clone(), "stacks/leak.py", vec![text(&file)]);
                let home = file.parent().and_then(Path::parent).context("an installation")?;
                python.mounts.push(text(home));
                python
            }
            Made::Node(flags, arguments) => {
                let file = need::program("node")?;
                let source = text(&compile::source("stacks/leak.js"));
                let words = [text(&file)].into_iter().chain(owned(flags)).chain([source]);
                of(file.clone(), "stacks/leak.js", words.chain(owned(arguments)).collect())
            }
            Made::Java(flags, arguments, _) => {
                let classes = compile::java(world, "stacks/Leak.java")?;
                let file = need::program("java")?;
                let words = [text(&file)].into_iter().chain(owned(flags));
                let words = words.chain(["-cp".to_owned(), text(&classes), "Leak".to_owned()]);
                of(file.clone(), "stacks/Leak.java", words.chain(owned(arguments)).collect())
            }
        };
        if let Made::Python(_) = row.made {
            // where a container finds it too
            std::fs::copy(&program.source, world.path("leak.py"))?;
            let folder = match row.place {
                Place::Host => text(world.folder()),
                Place::Container => "/world".to_owned(),
            };
            program.words.push(format!("{folder}/leak.py"));
        }
        if row.stripped {
            let strip = need::program("strip")?;
            let status = Command::new(strip).arg("--strip-all").arg(&program.file).status()?;
            ensure!(status.success(), "strip: {status}");
            program.build_id = build_id(&program.twin)?;
        }
        if row.place == Place::Container {
            program.rootfs = Some(Rootfs::new(world, std::slice::from_ref(&program.file))?);
        }
        Ok(program)
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// A [`Skip`] where containers cannot be had; it does not start.
    pub(crate) fn start(&self, world: &World, row: &Row, name: &str) -> anyhow::Result<Running> {
        let mut running = match &self.rootfs {
            None => {
                let mut command = Command::new(&self.words[0]);
                command.args(&self.words[1..]).env(GIVES_BACK.0, GIVES_BACK.1);
                // runtimes leave logs where they are started
                command.current_dir(world.folder());
                Running::Process(world.spawn(name, &mut command)?)
            }
            Some(rootfs) => {
                let mut flags = vec![format!("--env={}={}", GIVES_BACK.0, GIVES_BACK.1)];
                flags.extend(self.mounts.iter().map(|path| format!("--volume={path}:{path}:ro")));
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                let own = format!("/bin/{}", self.file.file_name().unwrap_or_default().display());
                let program = if self.mounts.is_empty() { &own } else { &self.words[0] };
                let words = [program].into_iter().chain(&self.words[1..]);
                let words: Vec<&str> = words.map(String::as_str).collect();
                Running::Container(Box::new(rootfs.start_with(world, name, "512m", &flags, &words)?))
            }
        };
        until("the program being ready", PATIENCE, || {
            running.process().lives()?;
            Ok(running.process().stdout().starts_with("ready\n").then_some(()))
        })?;
        if let Made::Java(_, _, true) = row.made {
            let mut jcmd = Command::new(need::program("jcmd")?);
            need::works("jcmd", jcmd.args([&running.pid().to_string(), "Compiler.perfmap"]))?;
        }
        Ok(running)
    }
}

/// As readelf shows it.
fn build_id(file: &Path) -> anyhow::Result<Option<String>> {
    let output = Command::new(need::program("readelf")?).arg("-nW").arg(file).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().find_map(|line| Some(line.split_once("Build ID: ")?.1.trim().to_owned())))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The newest interpreter of a version, such as `3.12`, among those that pyenv has installed.
fn pyenv(version: &str) -> anyhow::Result<PathBuf> {
    let missing = || Skip::because(format!("needs Python {version}, installed by pyenv"));
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home =
        home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv"))).ok_or_else(missing)?;
    let folders = std::fs::read_dir(home.join("versions")).map_err(|_| missing())?;
    let mut found: Vec<PathBuf> = folders
        .flatten()
        .filter(|folder| folder.file_name().to_string_lossy().starts_with(&format!("{version}.")))
        .map(|folder| folder.path().join("bin/python3"))
        .collect();
    found.sort();
    Ok(found.pop().ok_or_else(missing)?)
}

/// A started program.
pub(crate) enum Running {
    Process(Process),
    Container(Box<Container>),
}

impl Running {
    fn process(&mut self) -> &mut Process {
        match self {
            Self::Process(process) => process,
            Self::Container(container) => &mut container.process,
        }
    }

    /// Its pid on this host.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Process(process) => process.pid(),
            Self::Container(container) => container.pid,
        }
    }

    /// As `inspect` takes it.
    pub(crate) fn target(&self) -> Vec<String> {
        match self {
            Self::Process(process) => vec!["--pid".to_owned(), process.pid().to_string()],
            Self::Container(container) => vec!["--container".to_owned(), container.id.clone()],
        }
    }

    /// Lets it begin to leak.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn go(&mut self) -> anyhow::Result<()> {
        self.process().tell("go")
    }

    /// Ends the leaking; so much it has leaked. It stays as it is then.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Leaked> {
        self.process().tell("stop")?;
        let line = until("the program's truth", PATIENCE, || {
            self.process().lives()?;
            let text = self.process().stdout();
            // a line that is still being written has no end
            Ok(text.split_inclusive('\n').nth(1).filter(|line| line.ends_with('\n')).map(str::to_owned))
        })?;
        let truth: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let number =
            |name: &str| truth["sites"][0][name].as_u64().with_context(|| format!("no {name}: {line}"));
        Ok(Leaked { blocks: number("live")?, bytes: number("live_bytes")? })
    }
}

/// What a program has leaked, by its own account.
#[derive(Clone, Copy)]
pub(crate) struct Leaked {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Node and the JVM leave it behind
        let _ = std::fs::remove_file(format!("/tmp/perf-{}.map", self.pid()));
    }
}
