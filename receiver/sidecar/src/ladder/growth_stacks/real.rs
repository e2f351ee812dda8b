//! The rung on a process that runs, by the kernel's own hand.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use mlh_targets::host::HostClock;

use super::*;
use crate::hunt::settings::HuntSettings;

/// Keeps a small block forty times a second, beside buffers that come and go and touch nearly all new memory first. Ends with its input.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APART __attribute__((noinline, noipa))

char *kept[1 << 20];
static unsigned count;

APART void remember(void) {
    kept[count] = malloc(600);
    memset(kept[count++], 'k', 600);
}

APART void answer(void) {
    char *buffers[40];
    for (int i = 0; i < 40; i++) {
        size_t size = 100 + rand() % 4000;
        buffers[i] = malloc(size);
        memset(buffers[i], 'a', size);
    }
    for (int i = 0; i < 40; i++)
        free(buffers[i]);
}

static void *ends(void *unused) {
    getchar();
    _exit(0);
    return unused;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, ends, NULL);
    puts("ready");
    fflush(stdout);
    for (;;) {
        answer();
        remember();
        remember();
        usleep(50000);
    }
}
"#;

/// Keeps a few objects twenty times a second among many that it does not; all have their texts from one function. Ends with its input.
const SCRIPT: &str = r#"
const sessions = [];
let sink;

function text(length) {
    return Buffer.alloc(length, 'x').toString('latin1');
}

function remember() {
    sessions.push({ user: text(600), seen: [1.5, 2.5, 3.5] });
}

function answer() {
    for (let i = 0; i < 200; i++) sink = { name: text(50 + i) };
}

setInterval(() => {
    answer();
    for (let i = 0; i < 5; i++) remember();
}, 50);
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
console.log('ready');
"#;

/// The same in Java.
const JAVA: &str = r#"
import java.util.ArrayList;
import java.util.List;

public class Keeps {
    static final List<byte[]> SESSIONS = new ArrayList<>(1 << 20);
    static Object sink;

    static byte[] bytes(int length) {
        return new byte[length];
    }

    static void remember() {
        SESSIONS.add(bytes(600));
    }

    static void answer() {
        for (int i = 0; i < 400; i++) sink = bytes(50 + i);
    }

    public static void main(String[] arguments) throws Exception {
        Thread ends = new Thread(() -> {
            try {
                System.in.read();
            } catch (java.io.IOException error) {
                // it ends all the same
            }
            System.exit(0);
        });
        ends.setDaemon(true);
        ends.start();
        System.out.println("ready");
        while (true) {
            answer();
            for (int i = 0; i < 10; i++) remember();
            Thread.sleep(20);
        }
    }
}
"#;

/// Within this time three addresses have come to rest, or objects stay, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(300);

struct Program {
    child: Child,
    _orders: ChildStdin,
    _folder: tempfile::TempDir,
}

impl Program {
    fn native() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, binary) = (folder.path().join("keeps.c"), folder.path().join("keeps"));
        std::fs::write(&source, PROGRAM).unwrap();
        let built =
            Command::new("cc").args(["-O0", "-g", "-pthread"]).arg(source).arg("-o").arg(&binary).status();
        assert!(built.unwrap().success());
        Self::start(&mut Command::new(binary), folder)
    }

    /// `None`: there is no Node.js.
    fn node() -> Option<Self> {
        Command::new("node").arg("--version").stdout(Stdio::null()).status().ok()?;
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("keeps.js");
        std::fs::write(&script, SCRIPT).unwrap();
        Some(Self::start(Command::new("node").arg(script), folder))
    }

    /// `None`: there is no Java that runs sources.
    fn java() -> Option<Self> {
        Command::new("javac").arg("--version").stdout(Stdio::null()).status().ok()?;
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("Keeps.java");
        std::fs::write(&source, JAVA).unwrap();
        let flags = ["-Xmx128m", "-Xmn4m", "-XX:+UseSerialGC"];
        Some(Self::start(Command::new("java").args(flags).arg(source), folder))
    }

    fn start(command: &mut Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, _orders: orders, _folder: folder }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> Duration {
    HostClock::now_boot().unwrap()
}

fn begin(pid: u32, watchpoints: bool) -> Result<GrowthStacks, String> {
    let mut wanted = Wanted::of(&HuntSettings::default());
    wanted.escalation.watchpoints = watchpoints;
    GrowthStacks::begin(&Target::Pid(pid), &wanted, &[pid], pid, now())
}

/// A look at it, and one that may watch nothing, once the first one has named somebody by this source; and how long that took. `None`: not
/// here, which has been said.
fn named_by(program: &Program, source: &str) -> Option<(GrowthStacks, GrowthStacks, Duration)> {
    let skip = |reason: &str| {
        assert!(std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|v| v != "1"), "cannot run: {reason}");
        eprintln!("SKIPPED: {reason}");
        None
    };
    let pid = program.child.id();
    let (mut look, mut without) = match (begin(pid, true), begin(pid, false)) {
        (Ok(look), Ok(without)) => (look, without),
        (Err(reason), _) | (_, Err(reason)) => return skip(&reason),
    };
    let began = Instant::now();
    while look.leads_source(None) != source {
        assert!(began.elapsed() < PATIENCE, "{:?} {:?}", shown(&look), look.not_seen);
        if let Some(reason) = look.not_seen.iter().find(|said| said.contains("was not watched")) {
            return skip(reason);
        }
        std::thread::sleep(Duration::from_secs(1));
        for look in [&mut look, &mut without] {
            look.step(now(), &[pid]);
            look.see(now());
        }
    }
    Some((look, without, began.elapsed() + Duration::from_secs(1)))
}

/// Who was seen to write or to make what, by the innermost frames.
fn shown(look: &GrowthStacks) -> Vec<String> {
    let stacks = look.writers.iter().chain(&look.makers);
    let shown = stacks.map(|stack| {
        let names: Vec<_> =
            stack.trace.frames.iter().take(12).filter_map(|it| it.function.as_deref()).collect();
        let Figures { votes, made, made_bytes, .. } = &stack.figures;
        format!("{votes} votes, {made:?} for {made_bytes} bytes: {names:?}")
    });
    shown.collect()
}

fn first(look: &GrowthStacks) -> Option<String> {
    look.leads(None).first()?.frame()?.function.clone()
}

/// Guarantees: at default settings a leak that touches hardly any new memory itself is blamed, and no other, by who wrote last to what
/// stays, within the budget; with `escalation.watchpoints: false` nobody is watched, and nobody blamed in that way.
/// Needs: cc; eBPF with `CAP_BPF` and `CAP_PERFMON`, and watchpoints (else it is skipped, or fails with `MLH_REQUIRE_EBPF=1`).
#[test]
fn a_leak_that_touches_nothing_is_named() {
    let program = Program::native();
    let Some((look, without, lasted)) = named_by(&program, WRITERS) else { return };
    assert_eq!(first(&look).as_deref(), Some("remember"), "{:?}", look.leads(None));
    assert!(look.paid().target <= lasted.mul_f64(0.001) && look.paid().target > without.paid().target);
    assert_eq!((without.leads_source(None), &without.writers[..]), (SOURCE, &[][..]));
    assert!(look.paid().kernel_bytes > without.paid().kernel_bytes);
}

/// Guarantees: at default settings who makes objects that stay is blamed in a heap whose collector moves them, though what does so serves
/// others as well, within the budget; with `escalation.watchpoints: false` nobody is. With V8 and HotSpot.
/// Needs: node, java; eBPF as above.
#[test]
fn who_makes_what_stays_is_named() {
    for (name, program) in [("node", Program::node()), ("java", Program::java())] {
        let Some(program) = program else {
            eprintln!("SKIPPED: there is no {name}");
            continue;
        };
        let Some((look, without, lasted)) = named_by(&program, MAKERS) else { return };
        let named = first(&look).is_some_and(|name| name.contains("remember"));
        assert!(named, "{name}: {:#?} {:?}", shown(&look), look.not_seen);
        assert!(look.paid().target <= lasted.mul_f64(0.001), "{name}");
        assert!(look.paid().target > without.paid().target, "{name}");
        assert_ne!(without.leads_source(None), MAKERS, "{name}");
    }
}
