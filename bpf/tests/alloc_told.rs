//! What the allocation probes tell of a program that the test starts: stacks, mappings, blocks, processes and losses.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]
// `next` hands over what was told
#![allow(clippy::needless_pass_by_value)]

mod support;

use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{Block, Change, Heard, Mapping, ProcessEvent, StackCopy};
use mlh_bpf::alloc::point::Operation;
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use support::allocator::{Image, debug, exact, live, load, next, observe, observe_also, rest, start};
use support::{can, run, skip};

const PAGE: u64 = 4096;

/// Every tracked block is told.
fn emitting() -> AllocOptions {
    AllocOptions { emit: true, ..debug() }
}

fn boot_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock").into()
}

fn stack(heard: Heard) -> Option<StackCopy> {
    if let Heard::Stack(copy) = heard { Some(copy) } else { None }
}

fn block(heard: Heard) -> Option<Block> {
    if let Heard::Block(block) = heard { Some(block) } else { None }
}

fn mapping(heard: Heard) -> Option<Mapping> {
    if let Heard::Mapping(mapping) = heard { Some(mapping) } else { None }
}

fn process(heard: Heard) -> Option<ProcessEvent> {
    if let Heard::Process(event) = heard { Some(event) } else { None }
}

/// Guarantees: the stack of a call site is copied with its first eight hits, from the caller's frame up to where the stack begins, and
/// again with every 64th; of a deeper one as much as a copy holds.
/// Needs: eBPF, root, cc.
#[test]
fn copies_stacks() {
    let Some((mut probes, told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    let began = boot_time();
    subject.ask("malloc 1 10");
    let copy = next(&told, stack).expect("a stack");
    assert_eq!((copy.pid, copy.operation, copy.call_site.slot), (subject.pid(), Operation::Malloc, slot));
    assert!((began..=boot_time()).contains(&copy.at), "{:?}", copy.at);
    assert_eq!(copy.capture.ip, copy.call_site.ip);
    assert!(!copy.capture.truncated);
    assert_eq!(copy.capture.stack.len(), copy.call_site.depth as usize);
    // where the program was entered nothing changes any more
    let memory = std::fs::File::open(format!("/proc/{}/mem", subject.pid())).expect("its memory");
    let mut there = [0; 64];
    memory
        .read_exact_at(&mut there, copy.capture.sp + copy.capture.stack.len() as u64 - 64)
        .expect("its stack");
    assert_eq!(there, copy.capture.stack[copy.capture.stack.len() - 64..]);

    subject.ask("malloc 639 10");
    subject.ask("deeper 100 1 10");
    let copies: Vec<StackCopy> = rest(probes, &told).into_iter().filter_map(stack).collect();
    let again = copies.iter().filter(|other| other.call_site == copy.call_site).count();
    assert_eq!(again, 7 + 10);
    let deep = copies.iter().find(|other| other.call_site.depth > 16_384).expect("the deep one");
    assert!(deep.capture.truncated);
    assert_eq!(deep.capture.stack.len(), 16_384);
}

/// Guarantees: threads' stacks are measured from their own beginning: what four threads do at one place is one call site.
/// Needs: eBPF, root, cc.
#[test]
fn threads_share_call_sites() {
    let Some((mut probes, told)) = load(&debug()) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("threads 10 24");
    // malloc, calloc, realloc
    let sites = probes.call_sites().expect("a table");
    assert_eq!(sites.len(), 3, "{sites:?}");
    assert!(sites.iter().all(|(site, totals)| totals.exact.allocated == 40 && site.depth < 16 << 10));
    let copies: Vec<StackCopy> = rest(probes, &told).into_iter().filter_map(stack).collect();
    assert!(copies.len() >= 3 && copies.iter().all(|copy| !copy.capture.truncated));
}

/// Guarantees: mapping calls that succeed are told in order with what they were given, failures are not, and of advice only that
/// which gives memory back.
/// Needs: eBPF, root, cc, x86-64, glibc.
#[test]
fn tells_mappings() {
    let Some((mut probes, told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = probes.admit(subject.pid()).expect("it lives");
    let libc = Image::libc_of(subject.pid());
    let attached = probes.attach(slot, &libc.path, &libc.mappings()).expect("probes");
    assert_eq!(attached.placed, 4);
    for line in ["mmap 65536", "mmap_fails", "mremap 131072", "madvise 4096", "munmap 8192 4096"] {
        subject.ask(line);
    }
    let all: Vec<Mapping> = rest(probes, &told).into_iter().filter_map(mapping).collect();
    let [map, remap, advise, unmap] = all.as_slice() else { panic!("{all:?}") };
    // private, anonymous; readable and writable
    let Change::Map { address, length: 65_536, protection: 3, flags: 0x22 } = map.change else {
        panic!("{map:?}")
    };
    let Change::Remap { old, old_length: 65_536, new, new_length: 131_072, flags: 1 } = remap.change else {
        panic!("{remap:?}")
    };
    assert_eq!(old, address);
    assert_eq!(advise.change, Change::Advise { address: new, length: 4_096, advice: 4 });
    assert_eq!(unmap.change, Change::Unmap { address: new + 4_096, length: 8_192 });
    for one in &all {
        assert_eq!((one.pid, one.call_site.slot, one.serves_allocation), (subject.pid(), slot, false));
        assert!(one.call_site.ip != 0 && one.rss_pages * PAGE > 128 << 10, "{one:?}");
    }
}

/// Guarantees: a mapping that an allocator makes to serve an allocation says so, and names that allocation's caller.
/// Needs: eBPF, root, cc, x86-64, glibc.
#[test]
fn knows_what_a_mapping_serves() {
    let Some((mut probes, told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    let libc = Image::libc_of(subject.pid());
    probes.attach(slot, &libc.path, &libc.mappings()).expect("probes");
    subject.ask("malloc 1 1000000");
    let heard = next(&told, mapping).expect("a mapping");
    assert!(matches!(heard.change, Change::Map { length: 1_003_520, .. }), "{heard:?}");
    assert!(heard.serves_allocation);
    let block = probes.live().expect("a table")[0];
    assert_eq!((block.size, block.call_site), (1_000_000, heard.call_site));
}

/// Guarantees: every tracked block is told when it is made and when it is given back, and only where that was asked for.
/// Needs: eBPF, root, cc.
#[test]
fn tells_blocks() {
    let Some((mut probes, told)) = load(&emitting()) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("realloc 1 100 70000");
    subject.ask("free");
    let all: Vec<Block> = rest(probes, &told).into_iter().filter_map(block).collect();
    let seen: Vec<_> = all.iter().map(|block| (block.operation, block.freed, block.size)).collect();
    assert_eq!(
        seen,
        [
            (Operation::Malloc, false, 100),
            (Operation::Malloc, false, 16),
            (Operation::Realloc, true, 100),
            (Operation::Realloc, false, 70_000),
            (Operation::Free, true, 70_000),
            (Operation::Free, true, 16),
        ]
    );
    assert_eq!((all[0].address, all[3].address), (all[2].address, all[4].address));
    assert_eq!((all[0].call_site, all[3].call_site), (all[2].call_site, all[4].call_site));
    assert!(all.iter().all(|block| block.weight == 1 && block.pid == subject.pid()));
    assert!(all.iter().all(|block| block.rss_pages * PAGE > 128 << 10), "{all:?}");

    let Some((mut probes, told)) = load(&debug()) else { return };
    observe(&mut probes, &subject);
    subject.ask("malloc 10 10");
    assert_eq!(rest(probes, &told).into_iter().filter_map(block).count(), 0);
}

/// Guarantees: no more blocks are told than the rate allows, with a second's worth to begin with; the rest is counted.
/// Needs: eBPF, root, cc.
#[test]
fn the_rate_of_blocks_is_bounded() {
    let options = AllocOptions { max_events_per_second: 100, ..emitting() };
    let Some((mut probes, told)) = load(&options) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    let began = Instant::now();
    subject.ask("malloc 5000 10");
    let took = began.elapsed();
    let limited = probes.counters().expect("counters").rate_limited;
    let blocks = rest(probes, &told).into_iter().filter_map(block).count() as u64;
    assert_eq!(blocks + limited, 5_000);
    let most = 101.0 + took.as_secs_f64() * 100.0;
    assert!(blocks >= 100 && blocks as f64 <= most, "{blocks} in {took:?}");
}

/// Guarantees: while the sink blocks, what does not fit the ring is counted to the record: what was produced is what arrived and
/// what was dropped.
/// Needs: eBPF, root, cc.
#[test]
fn losses_add_up() {
    let (sender, told) = channel();
    let (go_on, gate) = channel::<()>();
    let sink = move |heard| {
        // until the other end is dropped
        let _ = gate.recv();
        let _ = sender.send(heard);
    };
    let mut probes = match Probes::load(&emitting(), sink) {
        Ok(probes) => probes,
        Err(error) => return skip(&error.to_string()),
    };
    let mut subject = start();
    observe(&mut probes, &subject);
    let pairs = 100_000;
    subject.ask(&format!("pairs {pairs} 64"));
    let counted = probes.counters().expect("counters");
    drop(go_on);
    let (mut arrived, mut dropped) = (0, 0);
    for heard in rest(probes, &told) {
        match heard {
            Heard::Lost(count) => dropped += count,
            _ => arrived += 1,
        }
    }
    // a pair's two blocks, and the stacks: the first eight, and that of every 64th
    let produced = 2 * pairs + 8 + pairs / 64;
    assert_eq!((counted.tracked, counted.untracked), (pairs, pairs));
    assert_eq!((arrived + dropped, counted.ring_full), (produced, dropped));
    assert!(arrived > 10_000 && dropped > 10_000, "{arrived} arrived, {dropped} dropped");
}

/// Guarantees: children are told, and what they free of their copy is not their parent's; an exec begins a new address space, in
/// which nothing is known of the old one, and which stays under observation when the old one is released; the end is told.
/// Needs: eBPF, root, cc.
#[test]
fn follows_a_process_through_its_life() {
    let Some((mut probes, told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    subject.ask("malloc 100 10");
    subject.ask("fork 3");
    for _ in 0..3 {
        let Some(ProcessEvent::Forked { slot: of, child }) = next(&told, process) else {
            panic!("not a child")
        };
        assert!(of == slot && child != 0 && child != subject.pid());
    }
    assert_eq!((exact(&probes), live(&probes)), ((100, 1_000, 0, 0), (100, 1_000)));

    subject.ask("exec");
    let Some(ProcessEvent::Executed { slot: gone, next: now, pid }) = next(&told, process) else {
        panic!("not an exec")
    };
    assert!(gone == slot && now != slot && pid == subject.pid());
    // the library's probes are in the new image as well, and say nothing as they belong to the old one
    subject.ask("malloc 5 10");
    assert_eq!(live(&probes), (100, 1_000));
    assert!(probes.attach(slot, &Image::libc_of(pid).path, &[]).is_err());
    // the old one's end is not that of what is executed now
    probes.release(slot);
    let libc = Image::libc_of(pid);
    probes.attach(now, &libc.path, &libc.family()).expect("probes");
    subject.ask("malloc 7 10");
    let sites = probes.call_sites().expect("a table");
    let of = |slot| {
        sites.iter().filter(move |(site, _)| site.slot == slot).map(|(_, totals)| totals.exact.allocated)
    };
    assert_eq!((of(slot).sum::<u64>(), of(now).sum::<u64>()), (100, 7));
    probes.forget(slot);
    assert_eq!((live(&probes), probes.counters().expect("counters").gone), ((7, 70), 100));

    subject.exits();
    assert_eq!(next(&told, process), Some(ProcessEvent::Exited { slot: now }));
    probes.release(now);
    assert_eq!(live(&probes), (7, 70));
    probes.forget(now);
    let counted = probes.counters().expect("counters");
    assert_eq!((counted.tracked, counted.untracked, counted.gone), (107, 0, 107));
    assert!(live(&probes) == (0, 0) && probes.call_sites().expect("a table").is_empty());
}

/// Guarantees: the dynamic linker's notice is told each time.
/// Needs: eBPF, root, cc.
#[test]
fn tells_that_code_was_loaded() {
    use mlh_bpf::alloc::point::{Role, Shape};
    let Some((mut probes, told)) = load(&debug()) else { return };
    let mut subject = start();
    // any function will do
    let slot = observe_also(&mut probes, &subject, |image| {
        vec![image.point("outer", Operation::LoadedCode, Role::Reached, Shape::LoadedCode)]
    });
    subject.ask("outer 3 10");
    for _ in 0..3 {
        assert_eq!(next(&told, process), Some(ProcessEvent::LoadedCode { slot }));
    }
    assert_eq!(exact(&probes).0, 3);
}

/// Guarantees: inside a pid namespace processes are named, and told, by their pids there.
/// Needs: eBPF, root, cc, unshare.
#[test]
fn pids_are_those_of_the_own_namespace() {
    let Some(_) = load(&debug()) else { return };
    let own = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !can("unshare", &own) {
        return;
    }
    let output = run(Command::new("unshare")
        .args(own)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "follows_a_process_through_its_life", "copies_stacks"])
        .env("MLH_REQUIRE_EBPF", "1"));
    assert!(output.contains("2 passed"), "{output}");
}
