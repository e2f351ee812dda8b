//! What happens to processes that the test starts, as the listener tells it.
#![cfg(all(target_os = "linux", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use mlh_bpf::error::SweepError;
use mlh_bpf::events::{BlindSpot, Crossings, EventOptions, KernelEvent, Listener, Scope};
use mlh_bpf::pass::ProcessRow;
use mlh_bpf::wire::WATCHED_MAX;
use support::cgroup::MemoryCgroup;
use support::{Subject, can, copy_for_everybody, example, nobody_with, run, skip};

const MIB: u64 = 1 << 20;
/// Within this time what has happened has been told, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn kills() -> EventOptions {
    EventOptions { oom_kills: true, ..EventOptions::default() }
}

fn crossings(scope: Scope) -> EventOptions {
    let crossings = Some(Crossings { threshold_pages: 256, scope });
    EventOptions { crossings, ..EventOptions::default() }
}

/// The listener, and where its events come out; where it cannot be had, the test is skipped.
fn listen(options: &EventOptions) -> Option<(Listener, Receiver<KernelEvent>)> {
    let (sender, receiver): (Sender<KernelEvent>, _) = channel();
    match Listener::open(options, move |event| drop(sender.send(event))) {
        Ok((listener, blind)) => {
            assert_eq!(blind, [] as [BlindSpot; 0]);
            Some((listener, receiver))
        }
        Err(error) => {
            skip(&error.to_string());
            None
        }
    }
}

/// The next event of which `of_interest` makes something.
fn next<T>(
    events: &Receiver<KernelEvent>,
    mut of_interest: impl FnMut(KernelEvent) -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                if let Some(found) = of_interest(event) {
                    return Some(found);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Crossings of one process that have been told by now. The marker, a process that grows afterwards, shows when that is.
fn told_of(events: &Receiver<KernelEvent>, pid: u32, marker: &mut Subject) -> Vec<ProcessRow> {
    marker.ask("touch 4");
    let late = marker.anonymous() - 2 * MIB;
    let mut rows = Vec::new();
    let seen = next(events, |event| match event {
        KernelEvent::Crossing { process, .. } if process.pid == pid => {
            rows.push(process);
            None
        }
        // not those of its growth before
        KernelEvent::Crossing { process, .. } if process.pid == marker.pid() && process.anon > late => {
            Some(())
        }
        _ => None,
    });
    assert!(seen.is_some(), "the marker's growth is not told");
    rows
}

fn boot_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock").into()
}

/// Guarantees: the victim of a memory cgroup's limit is told once, with the identity, cgroup, names and memory that the sweep gave
/// it, and the time at which it happened.
/// Needs: eBPF, root, a memory controller.
#[test]
fn an_oom_kill_names_its_victim() {
    let Some((_listener, events)) = listen(&kills()) else { return };
    let Some(mut sweeper) = support::sweeper() else { return };
    let Some(cgroup) = MemoryCgroup::new() else { return };
    cgroup.set_max(16 * MIB);
    cgroup.forbid_swap(16 * MIB);
    let mut victim = Subject::start();
    cgroup.add(victim.pid());
    victim.ask("threads 2");
    let before = victim.row(&support::full(&mut sweeper));
    let began = boot_time();
    victim.dies_of("touch 64");
    let found = next(&events, |event| match event {
        KernelEvent::OomKill { at, process } if process.pid == victim.pid() => Some((at, process)),
        _ => None,
    });
    let (at, process) = found.expect("the kill is told");
    assert!((began..=boot_time()).contains(&at), "{at:?}");
    assert_eq!(
        (process.host_pid, process.start_ns, process.image),
        (before.host_pid, before.start_ns, before.image)
    );
    assert_eq!((process.memory_cgroup_id, process.cgroup_id), (Some(cgroup.id()), before.cgroup_id));
    assert_eq!((process.comm, process.executable), (before.comm, before.executable));
    assert!(process.anon > 8 * MIB && process.anon < 64 * MIB, "{}", process.anon);
    let again = |event| matches!(event, KernelEvent::OomKill { process, .. } if process.pid == victim.pid());
    assert!(!events.try_iter().any(again), "told twice");
}

/// Guarantees: a process that grows by 8 MiB is told about every MiB, and its rows say so; one that does not grow is not told.
/// Needs: eBPF, root.
#[test]
fn growth_is_told_by_the_threshold() {
    let Some((_listener, events)) = listen(&crossings(Scope::Host)) else { return };
    let (mut subject, idle, mut marker) = (Subject::start(), Subject::start(), Subject::start());
    let before = told_of(&events, idle.pid(), &mut marker);
    subject.ask("touch 8");
    let rows = told_of(&events, subject.pid(), &mut marker);
    assert!((6..=9).contains(&rows.len()), "{} crossings", rows.len());
    for pair in rows.windows(2) {
        let grown = pair[1].anon - pair[0].anon;
        // the threshold, and what each CPU may have counted without folding it in, before and after
        assert!(grown.abs_diff(MIB) <= pair[1].slack.max(MIB), "{grown}");
    }
    let last = rows.last().expect("some");
    assert_eq!((last.comm.as_str(), last.executable.as_str()), ("subject", "subject"));
    assert!(last.anon >= 7 * MIB);
    // what it did while it started may have been told
    let idle_rows = told_of(&events, idle.pid(), &mut marker);
    assert!(idle_rows.is_empty(), "{before:?} {idle_rows:?}");
}

/// Guarantees: what was given back is to be gained again: growth is told anew from the lowest point.
/// Needs: eBPF, root.
#[test]
fn the_baseline_follows_what_is_given_back() {
    let Some((_listener, events)) = listen(&crossings(Scope::Host)) else { return };
    let (mut subject, mut marker) = (Subject::start(), Subject::start());
    subject.ask("touch 16");
    assert!(told_of(&events, subject.pid(), &mut marker).len() >= 12);
    subject.ask("drop");
    assert!(told_of(&events, subject.pid(), &mut marker).is_empty());
    subject.ask("touch 8");
    let again = told_of(&events, subject.pid(), &mut marker);
    assert!((6..=9).contains(&again.len()), "{} crossings", again.len());
}

/// Guarantees: a child that a large process forks has not grown, and neither has its parent.
/// Needs: eBPF, root.
#[test]
fn a_fork_is_no_growth() {
    let Some((_listener, events)) = listen(&crossings(Scope::Host)) else { return };
    let (mut subject, mut marker) = (Subject::start(), Subject::start());
    subject.ask("touch 32");
    told_of(&events, subject.pid(), &mut marker);
    subject.ask("fork");
    marker.ask("touch 4");
    let late = marker.anonymous() - 2 * MIB;
    let mut told = 0;
    let seen = next(&events, |event| match event {
        KernelEvent::Crossing { process, .. } => {
            told += u32::from(process.parent == subject.pid() || process.pid == subject.pid());
            (process.pid == marker.pid() && process.anon > late).then_some(())
        }
        _ => None,
    });
    assert!(seen.is_some());
    assert_eq!(told, 0);
}

/// Guarantees: in the watched scope nobody else's growth is told, and the change of who is watched counts at once.
/// Needs: eBPF, root.
#[test]
fn only_the_watched_are_told() {
    let Some((listener, events)) = listen(&crossings(Scope::Watched)) else { return };
    let (mut one, mut other, mut marker) = (Subject::start(), Subject::start(), Subject::start());
    one.ask("touch 4");
    listener.watch(&[one.pid(), marker.pid()]).expect("room");
    // its baseline is where it is first met
    one.ask("touch 1");
    other.ask("touch 8");
    one.ask("touch 8");
    assert!(told_of(&events, one.pid(), &mut marker).len() >= 6);
    listener.watch(&[other.pid(), marker.pid()]).expect("room");
    one.ask("touch 8");
    other.ask("touch 1");
    other.ask("touch 8");
    marker.ask("touch 4");
    let mut pids = Vec::new();
    let both = next(&events, |event| {
        if let KernelEvent::Crossing { process, .. } = event {
            pids.push(process.pid);
        }
        (pids.contains(&other.pid()) && pids.last() == Some(&marker.pid())).then_some(())
    });
    assert!(both.is_some(), "{pids:?}");
    assert!(!pids.contains(&one.pid()), "{pids:?}");
}

/// Guarantees: more than fit cannot be watched, as a value.
/// Needs: eBPF, root.
#[test]
fn too_many_watched_are_refused() {
    let Some((listener, _events)) = listen(&crossings(Scope::Watched)) else { return };
    let pids: Vec<u32> = (1..).take(WATCHED_MAX + 1).collect();
    assert!(matches!(listener.watch(&pids), Err(SweepError::TooManyWatched { .. })));
    listener.watch(&pids[1..]).expect("as many as there are entries");
}

/// Guarantees: while the sink blocks, what does not fit into the ring is counted, and once it goes on the count is told.
/// Needs: eBPF, root.
#[test]
fn what_does_not_fit_is_counted() {
    let (sender, events) = channel();
    let (go_on, gate) = channel::<()>();
    let sink = move |event| {
        // until the other end is dropped
        let _ = gate.recv();
        let _ = sender.send(event);
    };
    let options = EventOptions {
        crossings: Some(Crossings { threshold_pages: 1, scope: Scope::Watched }),
        ..EventOptions::default()
    };
    let (listener, _) = match Listener::open(&options, sink) {
        Ok(opened) => opened,
        Err(error) => return skip(&error.to_string()),
    };
    let mut subject = Subject::start();
    listener.watch(&[subject.pid()]).expect("room");
    // Far more crossings than the ring has room for, also where counts are folded in by batches of 32 pages and by CPU.
    for _ in 0..4 {
        subject.ask("touch 256");
        subject.ask("drop");
    }
    drop(go_on);
    drop(listener);
    let (mut told, mut lost) = (0_u64, 0);
    for event in events {
        match event {
            KernelEvent::Lost(count) => lost += count,
            _ => told += 1,
        }
    }
    assert!(told >= 900 && lost >= 500, "{told} told, {lost} lost");
}

/// Guarantees: both kinds at once, and neither: without anything to listen for there is no error and nothing to do.
/// Needs: eBPF, root.
#[test]
fn both_or_none_can_be_asked_for() {
    let options = EventOptions { oom_kills: true, ..crossings(Scope::Host) };
    let Some((_listener, events)) = listen(&options) else { return };
    let mut marker = Subject::start();
    told_of(&events, 0, &mut marker);
    let (nothing, blind) = Listener::open(&EventOptions::default(), |_| {}).expect("nothing is asked for");
    nothing.watch(&[1]).expect("nothing is watched");
    assert!(blind.is_empty());
}

/// Guarantees: type information that is not there is an error that names the path.
/// Needs: eBPF.
#[test]
fn bad_type_information_is_an_error() {
    let Some(_) = listen(&kills()) else { return };
    let options = EventOptions { btf_path: Some("/nonexistent/btf".into()), ..kills() };
    let refused = Listener::open(&options, |_| {}).map(|_| ());
    assert!(
        matches!(&refused, Err(error @ SweepError::NoBtf { .. }) if error.to_string().contains("/nonexistent/btf")),
        "{refused:?}"
    );
}

/// Guarantees: with `CAP_BPF` and `CAP_PERFMON` alone a user other than root hears of both kinds.
/// Needs: eBPF, root, setpriv, a memory controller, kernel 5.11 (before, memory for BPF needs a raised limit).
#[test]
fn two_capabilities_are_enough() {
    let Some(_) = listen(&kills()) else { return };
    let user = nobody_with("-all,+bpf,+perfmon");
    if !can("setpriv", &user) {
        return;
    }
    let program = copy_for_everybody(&example("listen"));
    let output = run(Command::new("setpriv").args(user).arg(program.path()).arg("0"));
    assert!(output.lines().any(|line| line == "listening"), "{output}");
    assert!(!output.lines().any(|line| line.starts_with("no ")), "{output}");
}

/// Guarantees: inside a pid namespace a victim that is not visible there is told with pid 0 and its host pid.
/// Needs: eBPF, root, unshare, a memory controller.
#[test]
fn a_victim_outside_the_namespace_is_told() {
    let Some(_) = listen(&kills()) else { return };
    let own = ["--pid", "--fork", "--kill-child"];
    if !can("unshare", &own) {
        return;
    }
    let Some(cgroup) = MemoryCgroup::new() else { return };
    cgroup.set_max(16 * MIB);
    cgroup.forbid_swap(16 * MIB);
    let mut victim = Subject::start();
    cgroup.add(victim.pid());
    let mut listener =
        support::Lines::start(Command::new("unshare").args(own).arg(example("listen")).arg("30"));
    assert_eq!(listener.next().as_deref(), Some("listening"));
    victim.dies_of("touch 64");
    let wanted = format!("oom kill of {} here 0 in Some({})", victim.pid(), cgroup.id());
    assert!(listener.any(|line| line == wanted), "not told: {wanted}");
}

/// Guarantees: dropping the listener detaches its programs, gives back every descriptor and ends its thread.
/// Needs: eBPF, root.
#[test]
fn nothing_is_left_behind() {
    // in a process of its own, as other tests open and close theirs meanwhile
    if std::env::var_os("MLH_TEST_ALONE").is_none() {
        let test = std::env::current_exe().expect("this program");
        run(Command::new(test).args(["--exact", "nothing_is_left_behind"]).env("MLH_TEST_ALONE", "1"));
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("it is there").count();
    let listens = || {
        let threads = std::fs::read_dir("/proc/self/task").expect("it is there");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(entry.ok()?.path().join("comm")).ok()
        };
        threads.filter_map(name).any(|name| name.trim() == "mlh-events")
    };
    // a thread takes its name, and leaves /proc, a moment after it began or was joined
    let comes_to = |wanted: bool| {
        (0..1000).any(|_| {
            let now = listens() == wanted;
            if !now {
                std::thread::sleep(Duration::from_millis(10));
            }
            now
        })
    };
    let before = descriptors();
    let options = EventOptions { oom_kills: true, ..crossings(Scope::Watched) };
    let Some((listener, events)) = listen(&options) else { return };
    assert!(descriptors() > before);
    assert!(comes_to(true), "no thread of its name");
    drop(listener);
    assert_eq!(descriptors(), before);
    assert!(comes_to(false), "the thread goes on");
    // the sink went with it
    assert!(matches!(events.recv(), Err(std::sync::mpsc::RecvError)));
}
