//! The cgroups of a pass, compared with the cgroup file system for cgroups that the test makes.
#![cfg(all(target_os = "linux", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::process::Command;

use mlh_bpf::cgroup::{CgroupMemoryRow, CgroupRow};
use mlh_bpf::error::SweepError;
use mlh_bpf::pass::Pass;
use mlh_bpf::records::{Row, rows};
use mlh_bpf::sweep::{Sweeper, WatchedCgroup};
use mlh_bpf::wire::WATCHED_CGROUPS_MAX;
use support::cgroup::MemoryCgroup;
use support::{Subject, can, copy_for_everybody, example, full, nobody_with, run, sweeper, watched};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

fn row<'a>(pass: &'a Pass, cgroup: &MemoryCgroup) -> Option<&'a CgroupRow> {
    pass.cgroups.iter().find(|row| row.id == cgroup.id())
}

fn memory(pass: &Pass, cgroup: &MemoryCgroup) -> CgroupMemoryRow {
    row(pass, cgroup).and_then(|row| row.memory).expect("the cgroup, with its memory")
}

fn through(cgroup: &MemoryCgroup, pid: u32) -> WatchedCgroup {
    WatchedCgroup { id: cgroup.id(), through: pid }
}

/// The kernel brings its lists up to date every two seconds: looks again until they say what the test waits for.
fn settles(mut reached: impl FnMut() -> bool) -> bool {
    (0..100).any(|_| {
        let now = reached();
        if !now {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        now
    })
}

/// Guarantees: id, name, parent, hierarchy, limits, usage and lists of a cgroup and of the one above are those of its files.
/// Needs: eBPF, root, a memory controller.
#[test]
fn describes_cgroups_as_their_files_do() {
    let Some(mut sweeper) = sweeper() else { return };
    let Some(outer) = MemoryCgroup::new() else { return };
    let inner = outer.below("inner-with-a-name");
    inner.set_max(256 * MIB);
    if outer.is_unified() {
        outer.set_high(512 * MIB);
    }
    let mut subject = Subject::start();
    inner.add(subject.pid());
    subject.ask("touch 32");
    let pass = full(&mut sweeper);
    let (lower, upper) = (row(&pass, &inner).expect("it is there"), row(&pass, &outer).expect("it is there"));
    assert_eq!((lower.name.clone(), upper.name.clone()), (inner.name(), outer.name()));
    assert_eq!(lower.parent, outer.id());
    assert_eq!((lower.unified, upper.unified), (inner.is_unified(), inner.is_unified()));
    let root = pass.cgroups.iter().find(|row| row.id == upper.parent).expect("the root");
    assert_eq!((root.parent, root.name.as_str()), (0, ""));
    let (lower, upper) = (memory(&pass, &inner), memory(&pass, &outer));
    assert_eq!((lower.max, lower.high, lower.swap), (Some(256 * MIB), None, 0));
    assert_eq!((upper.max, upper.high), (None, outer.is_unified().then_some(512 * MIB)));
    assert_eq!((lower.swap_max, lower.total_max), (None, None));
    assert!(lower.usage >= 32 * MIB && lower.usage.abs_diff(inner.usage()) <= 64 * 2 * PAGE, "{lower:?}");
    assert!(upper.usage >= lower.usage);
    let settled = settles(|| {
        // reading the statistics brings them up to date
        let anon = inner.lists(&["inactive_anon", "active_anon", "unevictable"]);
        let file = inner.lists(&["inactive_file", "active_file"]);
        let pass = full(&mut sweeper);
        let (lower, upper) = (memory(&pass, &inner), memory(&pass, &outer));
        anon >= 32 * MIB - lower.slack
            && (lower.anon, lower.file) == (anon, file)
            && (upper.anon, upper.file) == (anon, file)
    });
    assert!(settled, "{:?}", memory(&full(&mut sweeper), &inner));
    let process = subject.row(&full(&mut sweeper));
    let pass = full(&mut sweeper);
    let now = memory(&pass, &inner);
    assert!(now.anon.abs_diff(process.anon) <= now.slack + process.slack + MIB, "{now:?} holds {process:?}");
    assert_eq!(process.memory_cgroup_id, Some(inner.id()));
}

/// Guarantees: limits on swap are told as the hierarchy counts them.
/// Needs: eBPF, root, a memory controller that accounts for swap.
#[test]
fn tells_the_limit_on_swap() {
    let Some(mut sweeper) = sweeper() else { return };
    let Some(cgroup) = MemoryCgroup::new() else { return };
    cgroup.set_max(64 * MIB);
    cgroup.forbid_swap(96 * MIB);
    let subject = Subject::start();
    cgroup.add(subject.pid());
    let memory = memory(&full(&mut sweeper), &cgroup);
    let expected = if cgroup.is_unified() { (Some(0), None) } else { (None, Some(96 * MIB)) };
    assert_eq!((memory.swap_max, memory.total_max), expected);
}

/// Guarantees: however many processes are in it, a cgroup is written once, and so is the one above it.
/// Needs: eBPF, root, a memory controller.
#[test]
fn a_cgroup_is_written_once() {
    let Some(mut sweeper) = sweeper() else { return };
    let Some(outer) = MemoryCgroup::new() else { return };
    let inner = [outer.below("a"), outer.below("b")];
    let subjects: Vec<Subject> = (0..6).map(|_| Subject::start()).collect();
    for (at, subject) in subjects.iter().enumerate() {
        inner[at % 2].add(subject.pid());
    }
    let mut bytes = Vec::new();
    for _ in 0..2 {
        sweeper.full(&mut bytes).expect("a pass");
        for cgroup in [&outer, &inner[0], &inner[1]] {
            let written = rows(&bytes)
                .filter(|row| matches!(row, Ok(Row::Cgroup(record)) if record.id == cgroup.id()))
                .count();
            assert_eq!(written, 1, "{}", cgroup.name());
        }
    }
}

/// Guarantees: cgroups are not lost where a pass takes more than the kernel's buffer, so that some are written a second time.
/// Needs: eBPF, root, a memory controller.
#[test]
fn a_long_pass_holds_every_cgroup() {
    let Some(mut sweeper) = sweeper() else { return };
    let Some(outer) = MemoryCgroup::new() else { return };
    let cgroups: Vec<MemoryCgroup> = (0..250).map(|n| outer.below(&format!("c{n}"))).collect();
    let subjects: Vec<Subject> = cgroups.iter().map(|_| Subject::start()).collect();
    for (cgroup, subject) in cgroups.iter().zip(&subjects) {
        cgroup.add(subject.pid());
    }
    let pass = full(&mut sweeper);
    let lost: Vec<String> =
        cgroups.iter().filter(|cgroup| row(&pass, cgroup).is_none()).map(MemoryCgroup::name).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Guarantees: the node name is that of the UTS namespace of the processes in the cgroup, and elsewhere the host's.
/// Needs: eBPF, root, a memory controller, unshare.
#[test]
fn the_node_name_is_that_of_its_processes() {
    let Some(mut sweeper) = sweeper() else { return };
    let (Some(pod), Some(other)) = (MemoryCgroup::new(), MemoryCgroup::new()) else { return };
    if !can("unshare", &["--uts"]) {
        return;
    }
    let script = r#"echo api-7d4b9c-x2x4k > /proc/sys/kernel/hostname && exec "$0""#;
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", script]).arg(example("subject"));
    let (inside, outside) = (Subject::from(&mut command), Subject::start());
    pod.add(inside.pid());
    other.add(outside.pid());
    let pass = full(&mut sweeper);
    let host = nix::sys::utsname::uname().expect("a name").nodename().to_string_lossy().into_owned();
    assert_eq!(row(&pass, &pod).expect("it is there").node_name, "api-7d4b9c-x2x4k");
    assert_eq!(row(&pass, &other).expect("it is there").node_name, host);
}

/// Guarantees: a watched pass shows the watched cgroups and no others, with no process that is not watched; through whichever
/// process they are looked for, also one that has ended or was never known; one without processes is absent, and is found again
/// after a full pass.
/// Needs: eBPF, root, a memory controller; 6.1 for the passes over one process (before, the same holds of the pass over all).
#[test]
fn a_watched_pass_shows_the_watched_cgroups() {
    let Some(mut sweeper) = sweeper() else { return };
    let (Some(one), Some(other)) = (MemoryCgroup::new(), MemoryCgroup::new()) else { return };
    let crowd: Vec<Subject> = (0..40).map(|_| Subject::start()).collect();
    let mut subject = Subject::start();
    one.add(subject.pid());
    other.add(crowd[0].pid());
    subject.ask("touch 8");
    let ids = |pass: &Pass| pass.cgroups.iter().map(|row| row.id).collect::<Vec<u64>>();
    // at first over all, then, once it is known how many there are, through the process
    for look in [watched, full, watched, watched] {
        sweeper.watch(&[], &[through(&one, subject.pid())]).expect("room");
        let pass = look(&mut sweeper);
        assert!(memory(&pass, &one).usage >= 8 * MIB);
        if ids(&pass).len() == 1 {
            assert!(pass.processes.is_empty(), "{pass:?}");
        } else {
            assert!(pass.processes.len() > 40);
        }
    }
    assert_eq!(ids(&watched(&mut sweeper)), [one.id()]);
    for pid in [0, 999_999_999, crowd[1].pid()] {
        sweeper.watch(&[crowd[2].pid()], &[through(&other, pid)]).expect("room");
        let pass = watched(&mut sweeper);
        assert_eq!(ids(&pass), [other.id()], "through {pid}");
        assert_eq!(pass.processes.iter().map(|row| row.pid).collect::<Vec<u32>>(), [crowd[2].pid()]);
    }
    sweeper.watch(&[], &[through(&one, subject.pid())]).expect("room");
    drop(subject);
    assert!(ids(&watched(&mut sweeper)).is_empty());
    one.add(crowd[3].pid());
    full(&mut sweeper);
    assert_eq!(ids(&watched(&mut sweeper)), [one.id()]);
    sweeper.watch(&[], &[]).expect("room");
    assert!(ids(&watched(&mut sweeper)).is_empty());
}

/// Guarantees: as many as the map has entries can be watched; one more is refused as a value and changes nothing.
/// Needs: eBPF.
#[test]
fn too_many_watched_cgroups_are_refused() {
    let Some(mut sweeper) = sweeper() else { return };
    let mut cgroups: Vec<WatchedCgroup> = (0..u64::try_from(WATCHED_CGROUPS_MAX).expect("small"))
        .map(|n| WatchedCgroup { id: u64::MAX - n, through: 0 })
        .collect();
    sweeper.watch(&[], &cgroups).expect("as many as there are entries");
    cgroups.push(WatchedCgroup { id: 1, through: 0 });
    let refused = sweeper.watch(&[std::process::id()], &cgroups);
    assert!(matches!(refused, Err(SweepError::TooManyWatched { what: "cgroups", .. })), "{refused:?}");
    assert!(watched(&mut sweeper).processes.is_empty());
}

/// Guarantees: a process that the memory controller leaves in its root is found in its v2 cgroup, of which no memory is told.
/// Needs: eBPF, root, memory in v1 and an own v2 hierarchy beside it.
#[test]
fn without_a_memory_cgroup_the_v2_one_is_told() {
    let Some(mut sweeper) = sweeper() else { return };
    let Some(cgroup) = support::cgroup::PlainCgroup::new() else { return };
    let subject = Subject::start();
    cgroup.add(subject.pid());
    let pass = full(&mut sweeper);
    let row = pass.cgroups.iter().find(|row| row.id == cgroup.id() && row.unified).expect("it is there");
    assert_eq!((row.memory, row.name.clone()), (None, cgroup.name()));
}

/// Guarantees: with `CAP_BPF` and `CAP_PERFMON` alone a user other than root sees the cgroups and their numbers.
/// Needs: eBPF, root, setpriv, a memory controller, kernel 5.11 (before, memory for BPF needs a raised limit).
#[test]
fn two_capabilities_show_the_cgroups() {
    let Some(_) = sweeper() else { return };
    let Some(cgroup) = MemoryCgroup::new() else { return };
    cgroup.set_max(123 * MIB);
    let subject = Subject::start();
    cgroup.add(subject.pid());
    let user = nobody_with("-all,+bpf,+perfmon");
    if !can("setpriv", &user) {
        return;
    }
    let program = copy_for_everybody(&example("pass"));
    let output = run(Command::new("setpriv").args(user).arg(program.path()).arg("cgroups"));
    let line = output.lines().find(|line| line.contains(&cgroup.name())).expect("its line");
    assert!(line.contains(&format!("max: Some({})", 123 * MIB)), "{line}");
}

/// Guarantees: dropping the sweep gives back every descriptor, also those of passes over one process.
/// Needs: eBPF.
#[test]
fn nothing_is_left_behind() {
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("it is there");
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().contains("bpf")).count()
    };
    // in a process of its own, as other tests open and close theirs meanwhile
    if std::env::var_os("MLH_TEST_ALONE").is_none() {
        let test = std::env::current_exe().expect("this program");
        run(Command::new(test).args(["--exact", "nothing_is_left_behind"]).env("MLH_TEST_ALONE", "1"));
        return;
    }
    let Some(mut sweeper): Option<Sweeper> = sweeper() else { return };
    let crowd: Vec<Subject> = (0..40).map(|_| Subject::start()).collect();
    full(&mut sweeper);
    sweeper.watch(&[crowd[0].pid()], &[WatchedCgroup { id: 1, through: crowd[1].pid() }]).expect("room");
    watched(&mut sweeper);
    assert!(open() > 0);
    drop(sweeper);
    assert_eq!(open(), 0);
}
