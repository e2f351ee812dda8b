//! Probes come and go while the program that the test starts works.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::Slot;
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};
use support::allocator::{Image, built, debug, exact, live, load, mapped, observe, start};
use support::{Subject, can, copy_for_everybody, nobody_with, run};

/// A program that is started has begun to run within this, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process has for the library's code.
fn text(pid: u32, library: &str) -> Vec<u8> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let line = maps.lines().find(|line| line.ends_with(library) && line.contains("r-xp")).expect("code");
    let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
    let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).expect("an address"));
    let mut bytes = vec![0; usize::try_from(to - from).expect("it fits")];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    memory.read_exact_at(&mut bytes, from).expect("its code");
    bytes
}

/// Guarantees: 50 rounds of placing all probes and taking them out, while threads allocate, leave the program at work and its code
/// byte for byte as it was; while they are in place the code shows it.
/// Needs: eBPF, root, cc.
#[test]
fn comes_and_goes_without_a_trace() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let libc = Image::libc_of(subject.pid());
    let name = libc.path.to_str().expect("a plain name").to_owned();
    let before = text(subject.pid(), &name);
    subject.ask("churn");
    let mut tracked = 0;
    for _ in 0..50 {
        let slot = probes.admit(subject.pid()).expect("it lives");
        let points = [libc.family(), libc.mappings()].concat();
        let attached = probes.attach(slot, &libc.path, &points).expect("probes");
        assert_eq!(attached.placed, points.len(), "{attached:?}");
        let now = text(subject.pid(), &name);
        let changed = now.iter().zip(&before).filter(|(now, before)| now != before).count();
        assert!((1..=points.len() * 5).contains(&changed), "{changed} bytes");
        // it is at work, if it has a CPU
        while probes.counters().expect("counters").tracked == tracked {
            std::thread::yield_now();
        }
        tracked = probes.counters().expect("counters").tracked;
        probes.release(slot);
        // a test beside this one that starts a program shares all descriptors with it, the probes' among them, until it runs
        let released = Instant::now();
        while text(subject.pid(), &name) != before {
            assert!(released.elapsed() < PATIENCE, "the code has changed");
            std::thread::sleep(Duration::from_millis(1));
        }
        probes.forget(slot);
    }
    subject.ask("still");
    subject.ask("malloc 10 10");
    subject.ask("free");
}

/// Guarantees: where probes are placed while the program works, what it frees in the meantime is not taken for alive.
/// Needs: eBPF, root, cc.
#[test]
fn takes_nothing_freed_for_alive() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    for _ in 0..10 {
        subject.ask("churn");
        let before = probes.counters().expect("counters").tracked;
        let slot = observe(&mut probes, &subject);
        while probes.counters().expect("counters").tracked == before {
            std::thread::yield_now();
        }
        subject.ask("still");
        assert_eq!(live(&probes), (0, 0));
        probes.release(slot);
        probes.forget(slot);
    }
}

/// Guarantees: what is in place already is not placed again, so that nothing is counted twice; two probes at one place are one.
/// Needs: eBPF, root, cc.
#[test]
fn nothing_is_counted_twice() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    assert_eq!(probes.admit(subject.pid()).expect("it is known"), slot);
    let libc = Image::libc_of(subject.pid());
    let again = probes.attach(slot, &libc.path, &libc.family()).expect("probes");
    assert_eq!((again.placed, again.refused.len()), (7, 0));
    let valloc = libc.point("valloc", Operation::Valloc, Role::Entry, Shape::Size { size: 0 });
    let both = probes.attach(slot, &libc.path, &[valloc, valloc]).expect("probes");
    assert_eq!((both.placed, both.refused.len()), (1, 1));
    subject.ask("malloc 10 10");
    assert_eq!(exact(&probes), (10, 100, 0, 0));
}

/// Guarantees: what cannot be placed is refused with its reason, and the rest is placed.
/// Needs: eBPF, root, cc.
#[test]
fn refuses_with_a_reason() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = probes.admit(subject.pid()).expect("it lives");
    let libc = Image::libc_of(subject.pid());
    let malloc = libc.point("malloc", Operation::Malloc, Role::Entry, Shape::Size { size: 0 });
    let pushed = Point { to_return_address: 8, offset: malloc.offset + 2, ..malloc };
    // far beyond the file's end
    let beyond = Point { offset: 1 << 40, ..malloc };
    let attached = probes.attach(slot, &libc.path, &[pushed, malloc, beyond]).expect("one of them");
    assert_eq!(attached.placed, 1);
    let reason =
        |point| attached.refused.iter().find(|(of, _)| *of == point).map(|(_, reason)| reason.as_str());
    assert!(reason(pushed).is_some_and(|reason| reason.contains("pushed")), "{attached:?}");
    assert!(reason(beyond).is_some(), "{attached:?}");
    subject.ask("malloc 10 10");
    assert_eq!(exact(&probes).0, 10);

    assert!(probes.attach(slot, "/nonexistent".as_ref(), &[malloc]).is_err());
    assert!(probes.attach(Slot(1 << 20), &libc.path, &[malloc]).is_err());
    assert!(probes.attach(slot, &libc.path, &[beyond]).is_err());
    // a thread of the kernel's, and nobody
    assert!(probes.admit(u32::MAX).is_err());
    let none = probes.admit(0).expect_err("there is no such process").to_string();
    assert!(none.contains("no process 0"), "{none}");
}

/// Guarantees: a released process is not seen any more; its tables stay until they are forgotten, and it can be taken again.
/// Needs: eBPF, root, cc.
#[test]
fn a_released_process_is_left_alone() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    subject.ask("malloc 10 10");
    probes.release(slot);
    subject.ask("malloc 10 10");
    assert_eq!(live(&probes), (10, 100));
    let anew = observe(&mut probes, &subject);
    assert_ne!(anew, slot);
    subject.ask("malloc 1 10");
    assert_eq!(live(&probes), (11, 110));
    probes.forget(slot);
    assert_eq!(live(&probes), (1, 10));
}

/// Guarantees: several processes are counted apart.
/// Needs: eBPF, root, cc.
#[test]
fn processes_are_counted_apart() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subjects = [start(), start(), start()];
    let slots = subjects.each_ref().map(|subject| observe(&mut probes, subject));
    for (subject, count) in subjects.iter_mut().zip(1..) {
        subject.ask(&format!("malloc {count}0 10"));
    }
    let blocks = probes.live().expect("a table");
    let of = |slot| blocks.iter().filter(|block| block.call_site.slot == slot).count();
    assert_eq!(slots.map(of), [10, 20, 30]);
}

/// Guarantees: a program that tells of its allocations by the OpenTelemetry contract is counted by what it tells, a sampled block as
/// often as its weight says.
/// Needs: eBPF, root, cc, sys/sdt.h.
#[test]
fn counts_what_a_program_tells() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let program = built("otel");
    let mut subject = Subject::from(&mut Command::new(&program));
    let slot = probes.admit(subject.pid()).expect("it lives");
    let image = mapped(subject.pid(), program.file_name().and_then(|name| name.to_str()).expect("a name"));
    probes.attach_usdt(slot, &image).expect("probes");
    probes.attach_usdt(slot, &image).expect("they are there");
    subject.ask("alloc 4096 100 100");
    subject.ask("alloc 8192 64 6400");
    // nobody gives 0, and no weight is no more than the block
    subject.ask("alloc 12288 50 0");
    assert_eq!(exact(&probes), (102, 100 + 6_400 + 50, 0, 0));
    subject.ask("free  8192");
    subject.ask("free  16384");
    assert_eq!(exact(&probes), (102, 6_550, 100, 6_400));
    assert_eq!(live(&probes), (2, 150));
    assert_eq!(probes.counters().expect("counters").unknown_frees, 1);
}

/// Guarantees: with `CAP_BPF` and `CAP_PERFMON` alone a user other than root places probes, and counts to the byte.
/// Needs: eBPF, root, cc, setpriv, kernel 6.10 (before, some distributions ask for more).
#[test]
fn two_capabilities_are_enough() {
    let Some(_) = load(&debug()) else { return };
    let user = nobody_with("-all,+bpf,+perfmon");
    if !can("setpriv", &user) {
        return;
    }
    let test = copy_for_everybody(&std::env::current_exe().expect("this program"));
    let program = copy_for_everybody(&built("allocates"));
    let output = run(Command::new("setpriv")
        .args(user)
        .arg(test.path())
        .args(["--exact", "processes_are_counted_apart"])
        .env("MLH_TEST_ALLOCATES", program.path())
        .env("MLH_REQUIRE_EBPF", "1"));
    assert!(output.contains("1 passed"), "{output}");
}
