//! The rung on processes that run, by a clock of the test's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::*;

const MIB: u64 = 1 << 20;

/// Grows by 4 MiB of small blocks for each line that comes in, and with an argument reads all that it has, in any order. It has 40 MiB
/// from the start: more than a processor remembers the places of, so that it is asked for them again.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *blocks[65536];
static unsigned count;

static void grow(unsigned mib) {
    for (unsigned i = 0; i < mib * 1024; i++) {
        blocks[count] = malloc(1000);
        memset(blocks[count++], 1, 1000);
    }
}

int main(int arguments, char **argument) {
    volatile char sum = 0;
    (void)argument;
    setvbuf(stdout, NULL, _IOLBF, 0);
    grow(40);
    puts("done");
    while (getchar() != EOF) {
        grow(4);
        for (unsigned i = 0; arguments > 1 && i < count; i++)
            sum += *blocks[i * 7919ul % count];
        puts("done");
    }
}
"#;

struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, binary) = (folder.path().join("grows.c"), folder.path().join("grows"));
        std::fs::write(&source, PROGRAM).unwrap();
        assert!(Command::new("cc").arg("-O1").arg(source).arg("-o").arg(&binary).status().unwrap().success());
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut new = Self { child, orders, answers, _folder: folder };
        new.wait();
        new
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    fn grow(&mut self) {
        writeln!(self.orders).unwrap();
        self.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What three windows of a program say, and what they cost it.
fn watched(arguments: &[&str], runtime: Runtime) -> (Says, Duration) {
    let mut program = Program::start(arguments);
    let pid = program.child.id();
    let mut look = Coldness::begin(pid, runtime, None, Duration::ZERO, false).unwrap();
    for window in 0..3_u64 {
        let began = Duration::from_secs(100) + (SHORTEST + BETWEEN) * u32::try_from(window).unwrap();
        look.step(began, &[pid]);
        assert!(look.wants_quiet(), "{:?}", look.not_seen());
        program.grow();
        look.step(began + SHORTEST / 2, &[pid]);
        assert!(look.wants_quiet());
        look.step(began + SHORTEST, &[pid]);
        assert!(!look.wants_quiet() && look.not_seen().is_empty(), "{:?}", look.not_seen());
        assert_eq!(look.is_awaited(), window == 0, "two windows tell something");
    }
    let [said] = look.says(None).try_into().unwrap();
    assert_eq!((said.rung, said.source, said.watched.as_secs()), (Rung::Coldness, "references", 62));
    assert!(look.says(Some(pid + 1)).is_empty(), "of another nothing is known");
    look.step(Duration::from_secs(500), &[pid, 1]);
    assert!(look.says(None).is_empty() && look.says(Some(pid)).len() == 1, "nor of a whole group");
    assert!(!look.waited.is_zero() && look.paid().target == look.spent + look.waited);
    (said.says, look.spent)
}

/// Guarantees: a program that keeps what it takes and never looks at it again is told to keep it, as fast as it grows; one that reads
/// it is told to use it, and is charged for all its pages, and the other for hardly any.
/// Needs: cc.
#[test]
fn leaks_and_caches() {
    let (leak, for_nothing) = watched(&[], Runtime::Native);
    let Says::Kept { velocity, share, .. } = leak else { panic!("{leak:?}") };
    let expected = (4 * MIB) as f64 / (SHORTEST + BETWEEN).as_secs_f64();
    assert!((velocity / expected - 1.0).abs() < 0.2 && share > 0.8, "{velocity} of {expected}, {share}");
    let (cache, paid) = watched(&["reads"], Runtime::Native);
    assert_eq!(cache, Says::Spare(Spare::InUse));
    assert!(paid > cost(3 * 32 * MIB) && for_nothing < cost(3 * 8 * MIB), "{paid:?} {for_nothing:?}");
}

/// Guarantees: where a collector walks memory now and then, what it never came to is kept all the same; that something is referenced says
/// nothing there.
/// Needs: cc.
#[test]
fn a_collector_may_have_been_there() {
    let (leak, _) = watched(&[], Runtime::Cpython);
    assert!(matches!(leak, Says::Kept { .. }), "{leak:?}");
    let (cache, _) = watched(&["reads"], Runtime::Cpython);
    assert_eq!(cache, Says::Unclear(WALKED));
}

/// Guarantees: who else reads the memory gets a break once two windows have told something and half of the time from then on, and comes first where they take longer.
/// Needs: cc.
#[test]
fn others_get_their_turn() {
    let program = Program::start(&[]);
    let pid = program.child.id();
    let at_work = |budget| {
        let mut look = Coldness::begin(pid, Runtime::Native, budget, Duration::ZERO, true).unwrap();
        let mut at_work = |second| {
            look.step(Duration::from_secs(second), &[pid]);
            look.wants_quiet()
        };
        [0, 20, 21, 41, 42, 70, 71, 91, 110, 111].map(&mut at_work)
    };
    let third = [true, false, false, true];
    assert_eq!(at_work(None)[..6], [true, false, true, false, false, false]);
    assert_eq!(at_work(None)[6..], third, "from then on half of the time is theirs");
    // a window of forty seconds
    let budget = cost(43 * MIB).as_secs_f64() / 40.0;
    assert_eq!(at_work(Some(budget))[..7], [false, false, false, true, true, true, true]);
}

/// Guarantees: what must not cost anything is not marked, and why is said; a program that is gone is not marked either.
/// Needs: cc.
#[test]
fn refusals() {
    let program = Program::start(&[]);
    let pid = program.child.id();
    let dear = Coldness::begin(pid, Runtime::Native, Some(1e-6), Duration::ZERO, false);
    assert!(dear.is_err_and(|reason| reason.contains("overhead_budget")));
    let mut look = Coldness::begin(pid, Runtime::Native, None, Duration::ZERO, false).unwrap();
    drop(program);
    assert!(look.is_awaited());
    look.step(SHORTEST, &[pid]);
    assert!(!look.is_awaited(), "nothing will come of it");
    assert!(!look.wants_quiet() && look.not_seen().len() == 1, "{:?}", look.not_seen());
}
