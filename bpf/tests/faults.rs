//! What the fault sampler tells of programs that the test starts.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use mlh_bpf::faults::{DEFAULT_FREQUENCY, Heard, Options, Sampler, Touch, Whom};
use support::allocator::{Image, built_with};
use support::cgroup::{MemoryCgroup, PlainCgroup};
use support::{Subject, can, run, skip};

const PAGE: u64 = 4096;
/// Within this time what has happened has been told, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// The places of the program's verbs.
const TOUCH: u64 = 0x1000_0000_0000;
const THREAD: u64 = 0x2000_0000_0000;
const READ: u64 = 0x3000_0000_0000;
const CROWD: u64 = 0x4000_0000_0000;
const FORK: u64 = 0x5000_0000_0000;

fn program() -> PathBuf {
    built_with("touches", &["-O0", "-fno-omit-frame-pointer"])
}

fn start() -> Subject {
    Subject::from(&mut Command::new(program()))
}

fn options(whom: Whom) -> Options {
    Options { btf_path: None, frequency: DEFAULT_FREQUENCY, whom }
}

fn sample(options: &Options) -> Option<(Sampler, Receiver<Heard>)> {
    let (sender, told) = channel();
    Sampler::open(options, move |heard| drop(sender.send(heard)))
        .map_err(|error| skip(&error.to_string()))
        .ok()
        .map(|sampler| (sampler, told))
}

fn of(subject: &Subject) -> Options {
    options(Whom::Processes(vec![subject.pid()]))
}

/// All that is told until the sampler is dropped; of what was lost nothing is here.
fn all(sampler: Sampler, told: &Receiver<Heard>) -> Vec<Touch> {
    drop(sampler);
    told.iter().filter_map(touch).collect()
}

/// As [`all`], of which nothing was lost.
fn rest(sampler: Sampler, told: &Receiver<Heard>) -> Vec<Touch> {
    drop(sampler);
    let heard: Vec<Heard> = told.iter().collect();
    assert!(!heard.iter().any(|heard| matches!(heard, Heard::Lost(_))), "something was lost");
    heard.into_iter().filter_map(touch).collect()
}

fn touch(heard: Heard) -> Option<Touch> {
    if let Heard::Touch(touch) = heard { Some(touch) } else { None }
}

fn at(touches: &[Touch], place: u64, pages: u64) -> Vec<Touch> {
    let range = place..place + pages * PAGE;
    touches.iter().filter(|touch| range.contains(&touch.address)).cloned().collect()
}

fn weight(touches: &[Touch]) -> u64 {
    touches.iter().map(|touch| touch.weight).sum()
}

fn boot_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock").into()
}

/// The word of a copied stack at this distance from the stack pointer.
fn word(stack: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(stack[at..at + 8].try_into().expect("eight bytes"))
}

/// Minor faults that the kernel has counted for the process, also in threads that have ended.
fn faults_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let rest = stat.rsplit(") ").next().expect("fields");
    rest.split(' ').nth(7).and_then(|field| field.parse().ok()).expect("a number")
}

/// Guarantees: what is told sums up to the faults that there were, by weights up to the last that was told, and by chances about; some
/// tens a second are told, each with its process, thread, time and address, and with the code that touched the page.
/// Needs: eBPF, root, cc.
#[test]
fn samples_stand_for_all_faults() {
    let mut subject = start();
    let Some((sampler, told)) = sample(&of(&subject)) else { return };
    let (before, began, since) = (faults_of(subject.pid()), Instant::now(), boot_time());
    subject.ask("touch 20000 40");
    let (took, until) = (began.elapsed(), boot_time());
    let faults = faults_of(subject.pid()) - before;
    let touches = rest(sampler, &told);
    let mine = at(&touches, TOUCH, 20_000);
    let seen = weight(&touches);
    assert!(faults >= 800_000 && seen <= faults && seen >= faults / 2, "{seen} of {faults}");
    let estimated: u64 = mine.iter().map(|touch| u64::from(touch.one_of)).sum();
    assert!((faults / 3..faults * 3).contains(&estimated), "{estimated} of {faults}");
    // beside those with which it finds out how many are enough
    let most = 100 + 4 * u64::from(DEFAULT_FREQUENCY) * (took.as_secs() + 1);
    assert!((10..most).contains(&(mine.len() as u64)), "{} in {took:?}", mine.len());
    let inner = Image::at(program()).range_in(subject.pid(), "inner");
    for touch in &mine {
        assert_eq!((touch.pid, touch.thread), (subject.pid(), subject.pid()));
        assert!((since..=until).contains(&touch.at), "{touch:?}");
        assert!(inner.contains(&touch.capture.ip) && touch.address % PAGE == 0, "{touch:?}");
        assert!(!touch.capture.truncated && touch.capture.chain.is_empty(), "{touch:?}");
    }
}

/// Guarantees: of a process that faults rarely each fault is told.
/// Needs: eBPF, root, cc.
#[test]
fn what_is_rare_is_told_each_time() {
    let mut subject = start();
    let Some((sampler, told)) = sample(&of(&subject)) else { return };
    // long enough ago that all before is forgotten
    let pause = Duration::from_secs(1) / DEFAULT_FREQUENCY * 3;
    for _ in 0..20 {
        std::thread::sleep(pause);
        subject.ask("touch 1 1");
    }
    let touches = rest(sampler, &told);
    let mine = at(&touches, TOUCH, 1);
    assert!(mine.len() >= 15, "{} of 20", mine.len());
    assert!(weight(&mine) >= 20, "{mine:?}");
}

/// Guarantees: threads that are started later are sampled as themselves, also those that end after a few faults.
/// Needs: eBPF, root, cc.
#[test]
fn threads_born_later_are_sampled() {
    let mut subject = start();
    let Some((sampler, told)) = sample(&of(&subject)) else { return };
    subject.ask("thread 20000");
    let touches = rest(sampler, &told);
    let mine = at(&touches, THREAD, 20_000);
    assert!(mine.len() >= 3, "{mine:?}");
    let thread = mine[0].thread;
    assert!(thread != subject.pid() && mine.iter().all(|touch| touch.thread == thread));
    assert!(mine.iter().all(|touch| touch.pid == subject.pid()));

    let Some((sampler, told)) = sample(&of(&subject)) else { return };
    subject.ask("many 100 5");
    let touches = rest(sampler, &told);
    let mut threads: Vec<u32> = at(&touches, THREAD, 5).iter().map(|touch| touch.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    assert!(threads.len() >= 20, "{}", threads.len());
}

/// Guarantees: a page that the kernel touches for the process is told with the code that called into the kernel.
/// Needs: eBPF, root, cc.
#[test]
fn faults_in_the_kernel_are_told() {
    let mut subject = start();
    let Some((sampler, told)) = sample(&of(&subject)) else { return };
    subject.ask("read 20000");
    let touches = rest(sampler, &told);
    let mine = at(&touches, READ, 20_000);
    assert!(mine.len() >= 3, "{mine:?}");
    let (image, libc) = (Image::at(program()), Image::libc_of(subject.pid()));
    let (reader, read) = (image.range_in(subject.pid(), "reader"), libc.range_in(subject.pid(), "read"));
    for touch in mine {
        assert!(read.contains(&touch.capture.ip), "{touch:?}");
        // behind the system call nothing has been pushed
        assert!(reader.contains(&word(&touch.capture.stack, 0)), "{touch:?}");
    }
}

/// Guarantees: where many threads fault at once no more is told of all together than is right for sixteen, and what is told stands for
/// all of it nevertheless.
/// Needs: eBPF, root, cc.
#[test]
fn a_crowd_is_told_in_full() {
    let mut subject = start();
    let Some((mut sampler, told)) = sample(&of(&subject)) else { return };
    // shorter records: the ring is to hold them all, however busy the machine is
    sampler.walk(subject.pid(), true).expect("room");
    let (before, began) = (faults_of(subject.pid()), Instant::now());
    subject.ask("crowd 64 64 300");
    let (took, faults) = (began.elapsed(), faults_of(subject.pid()) - before);
    let mine = at(&rest(sampler, &told), CROWD, 64 * 64);
    assert!(faults >= 64 * 64 * 300, "{faults}");
    let most = 16.0 * f64::from(DEFAULT_FREQUENCY) * (took.as_secs_f64() + 1.0);
    assert!((100..2 * most as usize).contains(&mine.len()), "{} in {took:?}", mine.len());
    let estimated: u64 = mine.iter().map(|touch| u64::from(touch.one_of)).sum();
    println!("{estimated} of {faults}, by {} in {took:?}", mine.len());
    assert!((faults * 3 / 4..faults * 4 / 3).contains(&estimated), "{estimated} of {faults}");
}

/// Guarantees: what a child does that is forked later is told as the child's, without a gap.
/// Needs: eBPF, root, cc.
#[test]
fn children_are_told_as_themselves() {
    let mut subject = start();
    let Some((sampler, told)) = sample(&of(&subject)) else { return };
    subject.ask("fork 20000");
    let touches = rest(sampler, &told);
    let mine = at(&touches, FORK, 20_000);
    assert!(mine.len() >= 3, "{mine:?}");
    assert!(
        mine.iter().all(|touch| touch.pid != subject.pid() && touch.pid == touch.thread && touch.pid != 0)
    );
}

/// Guarantees: in a cgroup its processes are sampled, threads born later included, and nobody else.
/// Needs: eBPF, root, cc, a cgroup v2 hierarchy.
#[test]
fn a_cgroup_is_sampled() {
    let (mut inside, mut outside) = (start(), start());
    let unified = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    let (memory, plain) = if unified { (MemoryCgroup::new(), None) } else { (None, PlainCgroup::new()) };
    let path = match (&memory, &plain) {
        (Some(cgroup), _) => {
            cgroup.add(inside.pid());
            cgroup.path()
        }
        (_, Some(cgroup)) => {
            cgroup.add(inside.pid());
            cgroup.path()
        }
        _ => return,
    };
    let Some((sampler, told)) = sample(&options(Whom::Cgroup(path.to_owned()))) else { return };
    outside.ask("touch 20000 1");
    inside.ask("touch 20000 1");
    inside.ask("thread 20000");
    let touches = rest(sampler, &told);
    assert!(touches.iter().all(|touch| touch.pid == inside.pid()));
    for place in [TOUCH, THREAD] {
        let mine = at(&touches, place, 20_000);
        assert!(mine.len() >= 3, "{mine:?}");
    }
    let pid = inside.pid();
    drop(inside);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// Guarantees: processes come and go while the sampler runs; one that is released is told no more, and one that does not exist is
/// refused, as a cgroup is.
/// Needs: eBPF, root, cc.
#[test]
fn processes_are_followed_and_released() {
    let (mut first, mut second) = (start(), start());
    let Some((mut sampler, told)) = sample(&options(Whom::Processes(Vec::new()))) else { return };
    first.ask("touch 10000 1");
    sampler.follow(first.pid()).expect("it lives");
    sampler.follow(first.pid()).expect("it lives");
    sampler.follow(second.pid()).expect("it lives");
    second.ask("touch 20000 1");
    sampler.release(second.pid());
    first.ask("touch 20000 1");
    second.ask("touch 10000 1");
    let gone = second.pid();
    second.exits();
    assert!(sampler.follow(gone).is_err_and(|error| error.to_string().contains("no process")));
    let touches = rest(sampler, &told);
    let of = |subject: &Subject| {
        touches.iter().filter(|touch| touch.pid == subject.pid()).cloned().collect::<Vec<_>>()
    };
    let (first, second) = (of(&first), of(&second));
    assert!(!first.is_empty() && weight(&first) <= 20_010, "{first:?}");
    assert!(!second.is_empty() && weight(&second) <= 20_010, "{second:?}");
    let nowhere = options(Whom::Cgroup("/nowhere".into()));
    let error = Sampler::open(&nowhere, |_| ()).expect_err("there is none");
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

/// Guarantees: while the sink blocks, what does not fit the ring is counted, and afterwards it goes on.
/// Needs: eBPF, root, cc.
#[test]
fn losses_are_counted() {
    let (sender, told) = channel();
    let (go_on, gate) = channel::<()>();
    let sink = move |heard| {
        // until the other end is dropped
        let _ = gate.recv();
        let _ = sender.send(heard);
    };
    let mut subject = start();
    let options = Options { frequency: 1000, ..of(&subject) };
    let sampler = match Sampler::open(&options, sink) {
        Ok(sampler) => sampler,
        Err(error) => return skip(&error.to_string()),
    };
    subject.ask("many 5000 5");
    drop(go_on);
    // once the ring has been emptied
    let mut lost = 0;
    while lost == 0 {
        match told.recv_timeout(PATIENCE).expect("a loss") {
            Heard::Lost(count) => lost = count,
            Heard::Touch(_) => {}
        }
    }
    subject.ask("touch 20000 1");
    let touches = all(sampler, &told);
    assert!(lost > 100, "{lost}");
    assert_ne!(at(&touches, TOUCH, 20_000), []);
}

/// Guarantees: what the sampler has opened is closed when it is dropped, also after it could not be had in full.
/// Needs: eBPF, root, cc.
#[test]
fn dropping_it_leaves_nothing() {
    // alone, as others open files as well
    if std::env::var_os("MLH_TEST_ALONE").is_none() {
        let Some(_) = sample(&options(Whom::Processes(Vec::new()))) else { return };
        let output = run(Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "dropping_it_leaves_nothing"])
            .env("MLH_TEST_ALONE", "1"));
        assert!(output.contains("1 passed"), "{output}");
        return;
    }
    let open = || fs::read_dir("/proc/self/fd").expect("files").count();
    let mut subject = start();
    let before = open();
    let (mut sampler, told) = sample(&of(&subject)).expect("a sampler");
    sampler.walk(subject.pid(), true).expect("room");
    assert!(open() > before + 5);
    subject.ask("touch 20000 1");
    assert_ne!(rest(sampler, &told), []);
    assert_eq!(open(), before);
    let half = Options { whom: Whom::Processes(vec![subject.pid(), u32::MAX >> 1]), ..of(&subject) };
    Sampler::open(&half, |_| ()).expect_err("one of them does not exist");
    assert_eq!(open(), before);
    subject.ask("touch 100 1");
}

/// Guarantees: inside a pid namespace processes and threads are told by their numbers there.
/// Needs: eBPF, root, cc, unshare.
#[test]
fn pids_are_those_of_the_own_namespace() {
    let Some(_) = sample(&options(Whom::Processes(Vec::new()))) else { return };
    let own = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !can("unshare", &own) {
        return;
    }
    let output = run(Command::new("unshare")
        .args(own)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "threads_born_later_are_sampled", "samples_stand_for_all_faults"])
        .env("MLH_REQUIRE_EBPF", "1"));
    assert!(output.contains("2 passed"), "{output}");
}
