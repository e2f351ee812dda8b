//! The subject of a test, and what to do where eBPF cannot be had.
// Not every test uses all of it.
#![allow(dead_code)]

pub(crate) mod allocator;
pub(crate) mod cgroup;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mlh_bpf::pass::{Pass, ProcessRow, collect};
use mlh_bpf::sweep::{SweepOptions, Sweeper};

/// The sweep; where it cannot be had, the test is skipped, or fails if `MLH_REQUIRE_EBPF=1`.
pub(crate) fn sweeper() -> Option<Sweeper> {
    Sweeper::open(&SweepOptions::default()).map_err(|error| skip(&error.to_string())).ok()
}

pub(crate) fn full(sweeper: &mut Sweeper) -> Pass {
    let mut bytes = Vec::new();
    sweeper.full(&mut bytes).expect("a pass");
    let pass = collect(&bytes, &sweeper.counters());
    assert_eq!((pass.errors, pass.first_error), (0, None));
    pass
}

pub(crate) fn watched(sweeper: &mut Sweeper) -> Pass {
    let mut bytes = Vec::new();
    sweeper.watched(&mut bytes).expect("a pass");
    let pass = collect(&bytes, &sweeper.counters());
    assert_eq!((pass.errors, pass.first_error), (0, None));
    pass
}

/// What makes setpriv run a program as nobody, with these capabilities.
pub(crate) fn nobody_with(capabilities: &str) -> [&str; 9] {
    let [inheritable, ambient] = ["--inh-caps", "--ambient-caps"];
    [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        inheritable,
        capabilities,
        ambient,
        capabilities,
    ]
}

/// Says that a test did not run.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|value| value != "1"), "cannot run: {reason}");
    eprintln!("SKIPPED: {reason}");
}

/// An example of this crate; `cargo test` builds them (with `--test`, say `--examples` too).
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let path = test.parent().and_then(Path::parent).expect("target/PROFILE/deps").join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo test --examples", path.display());
    path
}

/// Whether a tool of the system does what a test needs of it; else the test is skipped.
pub(crate) fn can(tool: &str, arguments: &[&str]) -> bool {
    let output = Command::new(tool).args(arguments).arg("true").output();
    let refusal = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skip(&format!("{tool} {arguments:?}: {refusal}"));
    false
}

/// Runs it to its end, which is a success, and gives its output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy that goes when this is dropped.
pub(crate) struct Copy(PathBuf);

impl Copy {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies a program to where every user may run it.
pub(crate) fn copy_for_everybody(program: &Path) -> Copy {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicU32, Ordering};
    static COPIES: AtomicU32 = AtomicU32::new(0);
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("mlh-bpf-test-{}-{number}", std::process::id()));
    // by another process: what a thread here starts meanwhile would hold it open for writing
    let copied = Command::new("cp").args([program, &path]).status().expect("cp");
    assert!(copied.success(), "a copy of {}", program.display());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    Copy(path)
}

/// The example `subject`, running.
pub(crate) struct Subject {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Subject {
    pub(crate) fn start() -> Self {
        Self::from(&mut Command::new(example("subject")))
    }

    /// As pid 1 of a namespace of its own; [`Self::pid`] is then that of `unshare`, its parent.
    pub(crate) fn start_in_pid_namespace() -> Option<Self> {
        let own = ["--pid", "--fork", "--kill-child"];
        can("unshare", &own).then(|| Self::from(Command::new("unshare").args(own).arg(example("subject"))))
    }

    pub(crate) fn from(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut subject = Self { child, input, output };
        subject.answer("ready", 'S');
        subject
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something, and waits until it is done.
    pub(crate) fn ask(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the subject listens");
        match line {
            "exec" => self.answer("ready", 'S'),
            "orphan" => self.answer("done", 'Z'),
            _ => self.answer("done", 'S'),
        }
    }

    /// Has it do something that it does not survive.
    pub(crate) fn dies_of(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the subject listens");
        let status = self.child.wait().expect("it ends");
        assert!(!status.success(), "it survived");
    }

    /// Has it end, which is a success.
    pub(crate) fn exits(&mut self) {
        writeln!(self.input, "exit").expect("the subject listens");
        assert!(self.child.wait().expect("it ends").success());
    }

    /// It goes on for a moment after its answer, and takes memory: only once its main thread sleeps, or is gone, does it
    /// hold still.
    fn answer(&mut self, expected: &str, then: char) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the subject answers");
        assert_eq!(line.trim(), expected);
        self.wait_for_state(then);
    }

    /// Its row in a pass, in which it stands once.
    pub(crate) fn row(&self, pass: &Pass) -> ProcessRow {
        let mut rows = pass.processes.iter().filter(|row| row.pid == self.pid());
        let row = rows.next().expect("the subject is in the pass").clone();
        assert_eq!(rows.next(), None);
        row
    }

    /// Bytes of anonymous memory, counted by the kernel page by page.
    pub(crate) fn anonymous(&self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    fn wait_for_state(&self, state: char) {
        let reached = |_| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
            let now = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(state));
            if !now {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            now
        };
        assert!((0..1000).any(reached), "never in state {state}");
    }

    /// Nanoseconds.
    pub(crate) fn cpu_of_living_threads(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("tasks");
        let of = |path: PathBuf| {
            let text = fs::read_to_string(path.join("schedstat")).expect("schedstat");
            text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("a number")
        };
        tasks.map(|task| of(task.expect("a task").path())).sum()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program prints, line by line; it is killed when this is dropped.
pub(crate) struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Lines {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.lines.next()?.ok()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
