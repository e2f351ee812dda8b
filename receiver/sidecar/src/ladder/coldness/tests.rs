//! The rung on processes that run, by a clock of the test's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mlh_detect::{Says, Spare};

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

/// The same in Python, which with another argument has its collector walk all of it.
const PYTHON: &str = r#"
import gc
import random
import sys

kept = []


def grow(mib):
    kept.extend(b"%d" % n + bytes(1000) for n in range(mib * 1000))


grow(40)
gc.collect()
print("done", flush=True)
for line in sys.stdin:
    grow(4)
    if "reads" in sys.argv:
        for item in random.sample(kept, len(kept)):
            assert item[0]
    if "collects" in sys.argv:
        gc.collect()
    print("done", flush=True)
"#;

/// And in Java, by 16 MiB for each line, after a collection.
const JAVA: &str = r#"
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;

public class Grows {
    static final List<byte[]> kept = new ArrayList<>(200_000);
    static long sum;

    static void grow(int mib) {
        for (int i = 0; i < mib * 1024; i++) {
            kept.add(new byte[1000]);
        }
    }

    public static void main(String[] arguments) {
        grow(40);
        System.gc();
        System.out.println("done");
        Scanner orders = new Scanner(System.in);
        while (orders.hasNextLine()) {
            orders.nextLine();
            grow(16);
            for (int i = 0; arguments.length > 0 && i < kept.size(); i++) {
                sum += kept.get((int) (i * 7919L % kept.size()))[0];
            }
            System.out.println("done");
        }
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
        Self::run(Command::new(binary).args(arguments), folder)
    }

    fn start_python(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // not what stands before it on the path, which may start it in its turn
        Self::run(Command::new("/usr/bin/python3").args(["-c", PYTHON]).args(arguments), folder)
    }

    fn start_java(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("Grows.java");
        std::fs::write(&source, JAVA).unwrap();
        let flags = ["-XX:+UseSerialGC", "-Xmn8m", "-Xms400m", "-Xmx400m"];
        let mut new = Self::run(Command::new("java").args(flags).arg(source).args(arguments), folder);
        // what its compiler has left behind comes to rest
        new.grow();
        new
    }

    fn run(command: &mut Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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

/// What four windows of a program say, and what they cost it.
fn watched(mut program: Program, runtime: Runtime) -> (Says, Duration) {
    let pid = program.child.id();
    let mut look = Coldness::begin(pid, runtime, None, Duration::ZERO, false).unwrap();
    for window in 0..4_u64 {
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
    assert_eq!((said.rung, said.source, said.watched.as_secs()), (Rung::Coldness, "references", 83));
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
    let (leak, for_nothing) = watched(Program::start(&[]), Runtime::Native);
    let Says::Kept { velocity, share, .. } = leak else { panic!("{leak:?}") };
    let expected = (4 * MIB) as f64 / (SHORTEST + BETWEEN).as_secs_f64();
    assert!((velocity / expected - 1.0).abs() < 0.2 && share > 0.8, "{velocity} of {expected}, {share}");
    let (cache, paid) = watched(Program::start(&["reads"]), Runtime::Native);
    assert_eq!(cache, Says::Spare(Spare::InUse));
    assert!(paid > cost(4 * 32 * MIB) && for_nothing < cost(4 * 8 * MIB), "{paid:?} {for_nothing:?}");
}

/// Guarantees: where a collector walks memory now and then and tells nobody when, what it never came to is kept all the same; that
/// something is referenced says nothing there.
/// Needs: cc.
#[test]
fn a_collector_may_have_been_there() {
    let (leak, _) = watched(Program::start(&[]), Runtime::Cpython);
    assert!(matches!(leak, Says::Kept { .. }), "{leak:?}");
    let (cache, _) = watched(Program::start(&["reads"]), Runtime::Cpython);
    let Says::Unclear(reason) = cache else { panic!("{cache:?}") };
    assert!(reason.contains("collector"), "{reason}");
}

/// Guarantees: where it tells, what is referenced while it has not walked is in use; where it has, that says nothing. What a program keeps
/// and does not look at is kept.
/// Needs: python3.
#[test]
fn a_collector_tells() {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        println!("SKIPPED: there is no /usr/bin/python3");
        return;
    }
    let (leak, _) = watched(Program::start_python(&[]), Runtime::Cpython);
    assert!(matches!(leak, Says::Kept { .. }), "{leak:?}");
    let (cache, _) = watched(Program::start_python(&["reads"]), Runtime::Cpython);
    assert_eq!(cache, Says::Spare(Spare::InUse));
    let (walked, _) = watched(Program::start_python(&["collects"]), Runtime::Cpython);
    let Says::Unclear(reason) = walked else { panic!("{walked:?}") };
    assert!(reason.contains("collector"), "{reason}");
}

/// Guarantees: of a JVM what its old generation grows by is in use where that is referenced while nothing walked it; of what is not it is only
/// said that it may be garbage.
/// Needs: java.
#[test]
fn the_old_generation() {
    if Command::new("java").arg("-version").output().is_err() {
        println!("SKIPPED: there is no java");
        return;
    }
    let (cache, _) = watched(Program::start_java(&["reads"]), Runtime::Jvm);
    assert_eq!(cache, Says::Spare(Spare::InUse));
    let (leak, _) = watched(Program::start_java(&[]), Runtime::Jvm);
    let Says::Unclear(reason) = leak else { panic!("{leak:?}") };
    assert!(reason.contains("garbage"), "{reason}");
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
