//! `inspect` as people run it: on a program that knows what it keeps.

#![cfg(all(target_os = "linux", feature = "ebpf"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets the unexpected is to fail")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const SIDECAR: &str = env!("CARGO_BIN_EXE_memory-leak-hunter");

/// For each line that comes in: 500 blocks of 1,000 bytes, a hundred of which are freed again, and 300 of 16 bytes that
/// stay. Says so when it is done.
const PROGRAM: &str = r#"
#include <stdlib.h>
#include <unistd.h>
static void *kept[500];
static void *volatile last;
__attribute__((noinline)) void remember(int at) { kept[at] = malloc(1000); last = kept[at]; }
__attribute__((noinline)) void trifle(void) { last = calloc(2, 8); __asm__ volatile(""); }
int main(void) {
    char order;
    while (read(0, &order, 1) == 1) {
        for (int at = 0; at < 500; at++) { remember(at); if (at % 5 == 0) free(kept[at]); }
        for (int n = 0; n < 300; n++) trifle();
        if (write(1, "\n", 1) != 1) return 1;
    }
    return 0;
}
"#;

/// The program, waiting for a line.
struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Target {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (source, program) = (directory.path().join("keeper.c"), directory.path().join("keeper"));
        std::fs::write(&source, PROGRAM).unwrap();
        compile(&source, &program);
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, _directory: directory }
    }

    fn allocate(&mut self) {
        self.input.write_all(b"\n").unwrap();
        let mut line = String::new();
        assert_eq!(self.output.read_line(&mut line).unwrap(), 1, "the program ended");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compile(source: &Path, program: &Path) {
    let compiled =
        Command::new("cc").args(["-g", "-O1", "-fno-builtin", "-o"]).arg(program).arg(source).status();
    assert!(compiled.expect("a C compiler").success());
}

/// Looks at the target while it allocates, and ends the look as Ctrl-C does. `None` where this host has no eBPF.
fn look(target: &mut Target, arguments: &[&str]) -> Option<Output> {
    let pid = target.child.id().to_string();
    let mut command = Command::new(SIDECAR);
    command.args(["inspect", "--duration", "10m", "--pid", &pid]).args(arguments);
    let mut sidecar = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(sidecar.stderr.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("probes are in place\n") {
        if stderr.read_line(&mut said).unwrap() == 0 {
            let code = sidecar.wait().unwrap().code();
            let is_required = std::env::var_os("MLH_REQUIRE_EBPF").is_some_and(|value| value == "1");
            assert!(code == Some(2) && !is_required, "{said}");
            eprintln!("SKIPPED: {said}");
            return None;
        }
    }
    target.allocate();
    kill(Pid::from_raw(i32::try_from(sidecar.id()).unwrap()), Signal::SIGINT).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let output = sidecar.wait_with_output().unwrap();
    Some(Output { stderr: said.into_bytes(), ..output })
}

/// Guarantees: in debug mode the report names the functions that keep memory, with their bytes and counts to the last one,
/// also when it is ended early; standard output holds the report alone.
///
/// Needs: eBPF with `CAP_BPF` and `CAP_PERFMON` (else it is skipped, or fails with `MLH_REQUIRE_EBPF=1`), and a C compiler.
#[test]
fn every_byte_is_told() {
    let mut target = Target::start();
    let Some(output) = look(&mut target, &["--mode", "debug", "-o", "json"]) else { return };
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = |function: &str| {
        let culprits = report["culprits"].as_array().unwrap();
        let of = culprits.iter().filter(|culprit| culprit["function"] == function);
        let figures = |culprit: &Value| {
            ["live_count", "live_bytes", "allocated_count", "freed_count"]
                .map(|name| culprit[name].as_u64().unwrap())
        };
        of.map(figures).fold([0; 4], |sum, figures| std::array::from_fn(|at| sum[at] + figures[at]))
    };
    assert_eq!(told("remember"), [400, 400_000, 500, 100], "{report:#}");
    assert_eq!(told("trifle"), [300, 4800, 300, 0], "{report:#}");
    assert_eq!((&report["totals"]["live_bytes"], &report["ended"]), (&404_800.into(), &"interrupted".into()));
    assert_eq!(report["culprits"][0]["line"], 6);
    assert_eq!(report["target"]["pid"], target.child.id());
    assert_eq!((&report["mode"], &report["verdict"]["kind"]), (&"debug".into(), &"unknown".into()));
}

/// Guarantees: in targeted mode what is smaller than the filter is left out, and the text says so; the text begins with the
/// verdict and names the culprit with file and line.
///
/// Needs: as above.
#[test]
fn people_are_told() {
    let mut target = Target::start();
    let arguments = ["--min-allocation-size", "100", "--sampling-rate", "1", "--overhead-budget", "100%"];
    let Some(output) = look(&mut target, &arguments) else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(&format!("Whether keeper (pid {}) leaks is not known: ", target.child.id())),
        "{text}"
    );
    for said in
        ["400 blocks of 400.0 kB live", "remember (keeper.c:6)", "allocations below 100 B were left out"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("trifle"), "{text}");
}

/// Guarantees: without a target that exists there is no report, the exit code says so, and the reason is told.
///
/// Needs: nothing.
#[test]
fn nobody_is_no_target() {
    // beyond the largest pid of any Linux
    let output = Command::new(SIDECAR).args(["inspect", "--pid", "4194305"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), b"".as_slice()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: ") && said.contains("4194305"), "{said}");
}
