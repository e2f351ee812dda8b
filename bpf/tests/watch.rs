//! What the watcher tells of programs that the test starts.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mlh_bpf::watch::{Heard, Options, Watcher, Write};
use support::allocator::{Image, built_with};
use support::{Subject, skip};

/// Where the program writes.
const PLACE: u64 = 0x6000_0000_0000;
/// Within this time what has happened has been told, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> PathBuf {
    built_with("writes", &["-O0", "-fno-omit-frame-pointer"])
}

fn start() -> Subject {
    Subject::from(&mut Command::new(program()))
}

fn watcher(pid: u32) -> Option<(Watcher, Receiver<Heard>)> {
    let (sender, told) = channel();
    Watcher::open(&Options { btf_path: None, pid }, move |heard| drop(sender.send(heard)))
        .map_err(|error| skip(&error.to_string()))
        .ok()
        .map(|watcher| (watcher, told))
}

/// All writes that are told until the watcher is dropped.
fn writes(watcher: Watcher, told: &Receiver<Heard>) -> Vec<Write> {
    drop(watcher);
    let mut writes = Vec::new();
    for heard in told {
        take(heard, &mut writes);
    }
    writes
}

/// Waits until a thread of the process is told to begin, and keeps what was written by then.
fn birth(told: &Receiver<Heard>, writes: &mut Vec<Write>) -> u32 {
    loop {
        let heard = told.recv_timeout(PATIENCE).expect("a beginning");
        if let Some(thread) = take(heard, writes) {
            return thread;
        }
    }
}

/// Keeps a write, and gives a thread that begins. Nothing may be lost.
fn take(heard: Heard, writes: &mut Vec<Write>) -> Option<u32> {
    assert!(!matches!(heard, Heard::Lost(_)), "{heard:?}");
    match heard {
        Heard::Write(write) => writes.push(write),
        Heard::Born { thread, .. } => return Some(thread),
        Heard::Lost(_) => {}
    }
    None
}

/// Guarantees: each write is told once, with its number, process and thread, and with the code behind it: the program's own, also where
/// the kernel writes in its stead, be it byte by byte; with its callers once the kernel is to walk them. What lies beside the address is not told, nor what
/// is written once it is watched no more.
/// Needs: eBPF, root, cc.
#[test]
fn writes_are_told_with_their_code() {
    let mut subject = start();
    let Some((mut watcher, told)) = watcher(subject.pid()) else { return };
    assert_eq!(watcher.watch(7, PLACE, 100).expect("it lives"), 50);
    watcher.watch(8, PLACE + 64, 100).expect("a second one");
    subject.ask("write 3");
    subject.ask("read");
    watcher.walk(true).expect("it can");
    subject.ask("write 1");
    watcher.release(7);
    subject.ask("write 5");
    let image = Image::at(program());
    let (inner, outer) = (image.range_in(subject.pid(), "inner"), image.range_in(subject.pid(), "outer"));
    let told = writes(watcher, &told);
    let expected = (7, subject.pid(), subject.pid());
    assert!(told.iter().all(|write| (write.watch, write.pid, write.thread) == expected));
    let own: Vec<bool> = told.iter().map(|write| inner.contains(&write.capture.ip)).collect();
    let reads = told.len() - 4;
    assert!((1..=8).contains(&reads), "{reads}");
    assert_eq!(own, [vec![true; 3], vec![false; reads], vec![true]].concat());
    let (first, last) = (&told[0].capture, &told[told.len() - 1].capture);
    assert!(!first.stack.is_empty() && first.chain.is_empty());
    assert!(outer.contains(&last.chain[0]), "{:x?}", last.chain);
}

/// Guarantees: however often and fast a program writes, no more is told than was allowed, but for what happens within the microseconds
/// in which the kernel takes the watchpoint off; from then on the address is not watched, whatever becomes of the watcher. It can be
/// watched again.
/// Needs: eBPF, root, cc.
#[test]
fn there_is_a_bound() {
    let mut subject = start();
    let Some((mut watcher, told)) = watcher(subject.pid()) else { return };
    let each = watcher.watch(1, PLACE, 200).expect("it lives");
    subject.ask("write 50000000");
    subject.ask("write 50000000");
    watcher.watch(2, PLACE, 20).expect("again");
    subject.ask("write 5");
    let told = writes(watcher, &told);
    let of = |number| told.iter().filter(|write| write.watch == number).count();
    assert!((each as usize..each as usize + 8).contains(&of(1)), "{} of {each}", of(1));
    assert_eq!(of(2), 5);
}

/// Guarantees: of one thread alone the next write is told, and no other; others that begin are not covered, nor anything else.
/// Needs: eBPF, root, cc.
#[test]
fn one_write_of_one_thread() {
    let mut subject = start();
    let Some((mut watcher, told)) = watcher(subject.pid()) else { return };
    subject.ask("start");
    watcher.watch_once(1, PLACE, subject.pid()).expect("it lives");
    subject.ask("there 2");
    watcher.cover().expect("nothing is to be covered");
    subject.ask("start");
    watcher.cover().expect("nor by now");
    subject.ask("write 3");
    let told: Vec<_> = writes(watcher, &told).iter().map(|write| (write.watch, write.thread)).collect();
    assert_eq!(told, [(1, subject.pid())]);
}

/// Guarantees: of a thread that begins it is told, and once it is covered it is watched as the others are; others than the process's
/// are not told of. Threads that come and go take from what was left for newcomers, and when that is used up nothing is watched any
/// more.
/// Needs: eBPF, root, cc.
#[test]
fn threads_that_come_are_covered() {
    let (mut subject, mut other) = (start(), start());
    let Some((mut watcher, told)) = watcher(subject.pid()) else { return };
    let each = watcher.watch(1, PLACE, 8).expect("it lives");
    assert_eq!(each, 4);
    other.ask("start");
    subject.ask("start");
    let mut told_by_then = Vec::new();
    let thread = birth(&told, &mut told_by_then);
    watcher.cover().expect("there is room");
    subject.ask("there 2");
    subject.ask("start");
    assert_ne!(birth(&told, &mut told_by_then), thread);
    let (gone, error) = watcher.cover().expect_err("there is none left");
    assert!(gone == [1] && error.to_string().contains("more threads came"), "{error}");
    subject.ask("write 3");
    subject.ask("threads 3");
    assert!(watcher.cover().is_ok());
    assert_eq!(writes(watcher, &told), []);
    let by: Vec<_> = told_by_then.iter().map(|write| (write.pid, write.thread)).collect();
    assert_eq!(by, [(subject.pid(), thread); 2]);
}

/// Guarantees: what cannot be watched is refused with a reason, and changes nothing: a fourth address, fewer writes than threads, a
/// process that has ended.
/// Needs: eBPF, root, cc.
#[test]
fn refusals() {
    let mut subject = start();
    let Some((mut watcher, _told)) = watcher(subject.pid()) else { return };
    assert!(watcher.watch(1, PLACE, 1).is_err_and(|error| error.to_string().contains("too few")));
    watcher.watch(1, PLACE, 10).expect("one");
    watcher.watch(2, PLACE + 8, 10).expect("two");
    watcher.watch_once(3, PLACE + 16, subject.pid()).expect("three");
    assert!(watcher.watch(4, PLACE + 24, 10).is_err_and(|error| error.to_string().contains("addresses")));
    subject.exits();
    watcher.release(1);
    assert!(watcher.watch(1, PLACE, 10).is_err_and(|error| error.to_string().contains("no process")));
}

/// Guarantees: a watcher that is killed leaves no watchpoint behind: before, a process has two left for others, and afterwards all four;
/// and it runs on.
/// Needs: eBPF, root, cc.
#[test]
fn killed_it_leaves_nothing() {
    if let Ok(pid) = std::env::var("MLH_TEST_WATCHED") {
        let (mut watcher, _told) = watcher(pid.parse().expect("a pid")).expect("it could be had before");
        for number in 0..2 {
            watcher.watch(number, PLACE + 8 * number, 100).expect("two are free");
        }
        eprintln!("\nWATCHING");
        loop {
            std::thread::park();
        }
    }
    let mut subject = start();
    let (Some((mut first, _told)), Some((mut second, _too))) =
        (watcher(subject.pid()), watcher(subject.pid()))
    else {
        return;
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "killed_it_leaves_nothing", "--nocapture"])
        .env("MLH_TEST_WATCHED", subject.pid().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program");
    let said = BufReader::new(child.stderr.take().expect("piped"));
    assert!(said.lines().any(|line| line.expect("words") == "WATCHING"), "the child watches nothing");
    let mut all_four = || -> Result<(), String> {
        for (number, watcher) in [(0, &mut first), (1, &mut second)] {
            for place in 0..2 {
                let at = PLACE + 8 * (2 * number + place);
                watcher.watch(place, at, 10).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    };
    let refused = all_four().expect_err("two are taken");
    assert!(refused.contains("debugger"), "{refused}");
    child.kill().expect("SIGKILL");
    child.wait().expect("it ends");
    all_four().expect("nothing was left behind");
    subject.ask("write 1");
    subject.exits();
}
