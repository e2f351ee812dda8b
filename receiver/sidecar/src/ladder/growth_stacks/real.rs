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

/// Within this time three addresses have come to rest, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(300);

struct Program {
    child: Child,
    _orders: ChildStdin,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, binary) = (folder.path().join("keeps.c"), folder.path().join("keeps"));
        std::fs::write(&source, PROGRAM).unwrap();
        let built =
            Command::new("cc").args(["-O0", "-g", "-pthread"]).arg(source).arg("-o").arg(&binary).status();
        assert!(built.unwrap().success());
        let mut child = Command::new(binary).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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

/// Guarantees: at default settings a leak that touches hardly any new memory itself is blamed, and no other, by who wrote last to what
/// stays, within the budget; with `escalation.watchpoints: false` nobody is watched, and nobody blamed in that way.
/// Needs: cc; eBPF with `CAP_BPF` and `CAP_PERFMON`, and watchpoints (else it is skipped, or fails with `MLH_REQUIRE_EBPF=1`).
#[test]
fn a_leak_that_touches_nothing_is_named() {
    let skip = |reason: &str| {
        assert!(std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|v| v != "1"), "cannot run: {reason}");
        eprintln!("SKIPPED: {reason}");
    };
    let program = Program::start();
    let pid = program.child.id();
    let (mut look, mut without) = match (begin(pid, true), begin(pid, false)) {
        (Ok(look), Ok(without)) => (look, without),
        (Err(reason), _) | (_, Err(reason)) => return skip(&reason),
    };
    let began = Instant::now();
    while look.leads_source(None) != WRITERS {
        assert!(began.elapsed() < PATIENCE, "{:?} {:?}", look.writers, look.not_seen);
        if let Some(reason) = look.not_seen.iter().find(|said| said.contains("was not watched")) {
            return skip(reason);
        }
        std::thread::sleep(Duration::from_secs(1));
        for look in [&mut look, &mut without] {
            look.step(now(), &[pid]);
            look.see(now());
        }
    }
    let leads = look.leads(Some(pid));
    let named = |lead: &Lead| lead.frame().and_then(|frame| frame.function.clone());
    assert_eq!(named(&leads[0]).as_deref(), Some("remember"), "{leads:?}");
    let lasted = began.elapsed() + Duration::from_secs(1);
    assert!(look.paid().target <= lasted.mul_f64(0.001) && look.paid().target > without.paid().target);
    assert_eq!((without.leads_source(None), &without.writers[..]), (SOURCE, &[][..]));
    assert!(look.paid().kernel_bytes > without.paid().kernel_bytes);
}
