//! Allocations of a program that the test starts, as the probes count them.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::collections::HashSet;

use mlh_bpf::alloc::heard::{AllocCounters, LiveBlock};
use mlh_bpf::alloc::point::{Operation, Role, Shape, Wrapper};
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use support::allocator::{
    Image, built, debug, exact, live, load, observe, observe_also, sampled, sites, start,
};

fn counters(probes: &Probes) -> AllocCounters {
    probes.counters().expect("counters")
}

/// Targeted mode without sampling, with room for so many blocks.
fn targeted(room: u32) -> AllocOptions {
    AllocOptions { debug: false, max_tracked_allocations: room, ..debug() }
}

/// Guarantees: each member of the malloc family is counted once, with the bytes that were asked for; failures are not.
/// Needs: eBPF, root, cc.
#[test]
fn counts_to_the_byte() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    for (line, allocated, freed) in [
        ("malloc 100 33", (100, 3_300), (0, 0)),
        ("calloc 10 3 7", (10, 210), (0, 0)),
        // the block, what lies behind it, and the moved one
        ("realloc 10 100 70000", (30, 10 * (100 + 16 + 70_000)), (10, 1_000)),
        ("realloc_null 5 40", (5, 200), (0, 0)),
        ("realloc_fails 5 40", (5, 200), (0, 0)),
        ("realloc_zero 5 40", (5, 200), (5, 200)),
        ("reallocarray 4 6 8", (8, 4 * (48 + 96)), (4, 4 * 48)),
        ("posix_memalign 3 64 100", (3, 300), (0, 0)),
        ("aligned_alloc 3 64 128", (3, 384), (0, 0)),
        ("malloc_fails 5", (0, 0), (0, 0)),
        ("free_null 5", (0, 0), (0, 0)),
    ] {
        let before = exact(&probes);
        subject.ask(line);
        let after = exact(&probes);
        assert_eq!((after.0 - before.0, after.1 - before.1), allocated, "{line}");
        assert_eq!((after.2 - before.2, after.3 - before.3), freed, "{line}");
        assert_eq!(live(&probes), (after.0 - after.2, after.1 - after.3), "{line}");
    }
    let counted = counters(&probes);
    // malloc and calloc, realloc, reallocarray and posix_memalign
    assert_eq!(counted.failed, 10 + 5 + 4 + 3);
    assert_eq!((counted.unknown_frees, counted.table_full, counted.abandoned), (0, 0, 0));
    assert_eq!(counted.largest, 70_000);
    subject.ask("free");
    let (allocated, bytes, freed, freed_bytes) = exact(&probes);
    assert_eq!((allocated, bytes), (freed, freed_bytes));
    assert_eq!(live(&probes), (0, 0));
}

/// Guarantees: blocks are told with their call site, size, operation and age; a call site is a place and a depth of the stack.
/// Needs: eBPF, root, cc.
#[test]
fn tells_call_sites_apart() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    subject.ask("malloc 3 50");
    subject.ask("elsewhere 3 60");
    subject.ask("deeper 0 3 70");
    subject.ask("deeper 5 3 80");
    let blocks = probes.live().expect("a table");
    let site_of = |size: u64| {
        let of_size: Vec<&LiveBlock> = blocks.iter().filter(|block| block.size == size).collect();
        assert_eq!(of_size.len(), 3);
        assert!(of_size.iter().all(|block| block.operation == Operation::Malloc && block.weight == 1));
        let sites: HashSet<_> = of_size.iter().map(|block| block.call_site).collect();
        assert_eq!(sites.len(), 1, "{sites:?}");
        of_size[0].call_site
    };
    let (here, elsewhere, deep, deeper) = (site_of(50), site_of(60), site_of(70), site_of(80));
    assert!([here, elsewhere, deep].iter().all(|site| site.slot == slot && site.ip != 0));
    assert_eq!(here.ip, deep.ip);
    assert_ne!(here.ip, elsewhere.ip);
    assert_eq!(deep.ip, deeper.ip);
    assert!(deeper.depth - deep.depth >= 5 * 256, "{} {}", deep.depth, deeper.depth);
    assert!(here.depth < 64 << 10, "{}", here.depth);
    let now: std::time::Duration =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock").into();
    assert!(blocks.iter().all(|block| now - block.born < std::time::Duration::from_secs(60)));
    assert_eq!(sites(&probes).len(), 4);
}

/// Guarantees: what several threads do at once is counted to the byte, and so is what a storm of short threads does.
/// Needs: eBPF, root, cc.
#[test]
fn counts_in_many_threads() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("threads 5000 24");
    // each of the four: malloc, calloc, and a realloc to twice as much; all freed
    let all = 4 * 5_000;
    assert_eq!(exact(&probes), (3 * all, all * (24 + 24 + 48), 3 * all, all * (24 + 24 + 48)));
    assert_eq!(live(&probes), (0, 0));
    subject.ask("storm 500");
    let counted = counters(&probes);
    assert_eq!((counted.table_full, counted.abandoned, counted.unknown_frees), (0, 0, 0));
    // what libc keeps of the first threads is not given back by the others
    let (kept, bytes) = live(&probes);
    assert!(kept <= 4, "{kept} blocks, {bytes} bytes");
}

/// Guarantees: of operations that call one another, or jump into one another, the outermost is counted, and it alone.
/// Needs: eBPF, root, cc, x86-64.
#[test]
fn the_outermost_operation_counts() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    observe_also(&mut probes, &subject, |image| {
        let size = Shape::Size { size: 0 };
        vec![
            image.point("outer", Operation::Mallocx, Role::Entry, size),
            image.point("jumps", Operation::New, Role::Entry, size),
        ]
    });
    subject.ask("outer 10 100");
    subject.ask("jumps 20 100");
    assert_eq!(exact(&probes), (30, 3_000, 0, 0));
    let blocks = probes.live().expect("a table");
    let of = |operation| blocks.iter().filter(|block| block.operation == operation).count();
    assert_eq!((of(Operation::Mallocx), of(Operation::New)), (10, 20));
    assert_eq!(counters(&probes).abandoned, 0);
    subject.ask("free");
    assert_eq!(live(&probes), (0, 0));
}

/// Guarantees: a function without a return probe is paired at its return; one that is left otherwise is given up, and what the
/// thread does next, deeper in the stack too, is not missed.
/// Needs: eBPF, root, cc, x86-64.
#[test]
fn an_operation_that_never_ends_blinds_nobody() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    observe_also(&mut probes, &subject, |image| {
        let size = Shape::Size { size: 0 };
        vec![
            image.point("throws", Operation::New, Role::EntryOnly, size),
            image.inside("throws_returns", 0, Operation::New, Role::ReturnSite, size),
        ]
    });
    subject.ask("throws 10 100");
    assert_eq!(exact(&probes), (10, 1_000, 0, 0));
    assert_eq!(probes.live().expect("a table")[0].operation, Operation::New);
    assert_eq!(counters(&probes).abandoned, 0);
    // each leaves `throws` once, and allocates a block elsewhere
    subject.ask("throw 50 10");
    assert_eq!(exact(&probes), (60, 1_500, 0, 0));
    assert_eq!(counters(&probes).abandoned, 50);
}

/// Guarantees: the caller of a function that only passes on is the call site, as long as the function is named so.
/// Needs: eBPF, root, cc, x86-64.
#[test]
fn passes_over_wrappers() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    let program = Image::at(built("allocates"));
    let base = program.base_in(subject.pid());
    let inside = base + program.address("wraps_here");
    subject.ask("wraps 3 10");
    assert!(sites(&probes).iter().all(|site| site.ip == inside));
    let wrapper = Wrapper { returns_to: inside, to_return_address: 8 };
    probes.wrappers(slot, &[wrapper]).expect("room");
    subject.ask("wraps 3 10");
    let before: HashSet<_> = sites(&probes).into_iter().collect();
    assert_eq!(before.iter().filter(|site| site.ip == inside).count(), 1);
    let other = before.iter().find(|site| site.ip != inside).expect("its caller");
    let obey = base + program.address("main");
    assert!(other.ip.abs_diff(obey) < 16 << 10, "{:x} {obey:x}", other.ip);
    probes.wrappers(slot, &[]).expect("fewer");
    subject.ask("wraps 3 10");
    assert_eq!(sites(&probes).into_iter().collect::<HashSet<_>>(), before);
}

/// Guarantees: at glibc's way round its thread cache blocks are found by their result and their chunk, with usable bytes.
/// Needs: eBPF, root, cc, x86-64, glibc.
#[test]
fn finds_blocks_by_their_chunks() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = probes.admit(subject.pid()).expect("it lives");
    let image = Image::at(built("allocates"));
    let chunk = mlh_bpf::alloc::point::Register::Rbx;
    let points = [
        image.inside("gate_made", 8, Operation::Malloc, Role::ReturnSite, Shape::GlibcMade),
        image.inside("gate_freed", 8, Operation::Free, Role::EntryOnly, Shape::GlibcFreed { chunk }),
    ];
    probes.attach(slot, &image.path, &points).expect("probes");
    subject.ask("gate 10 100");
    assert_eq!(exact(&probes), (10, 10 * 104, 0, 0));
    // large enough for a mapping of its own: whole pages, less the chunk's header
    subject.ask("gate 1 1000000");
    assert_eq!(exact(&probes), (11, 1_040 + 1_003_504, 0, 0));
    let obey = image.base_in(subject.pid()) + image.address("main");
    assert!(sites(&probes).iter().all(|site| site.ip.abs_diff(obey) < 16 << 10));
    subject.ask("gate_free");
    assert_eq!(live(&probes), (0, 0));
}

/// Guarantees: below the least size nothing is tracked, from the large size on everything, and freeing what is not tracked is not
/// taken for freeing something that is.
/// Needs: eBPF, root, cc.
#[test]
fn filters_by_size() {
    let options = AllocOptions {
        min_allocation_size: 100,
        large_allocation_size: 1_000,
        sampling_rate: 1_000_000,
        ..targeted(10_000)
    };
    let Some((mut probes, _told)) = load(&options) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("malloc 10 99");
    subject.ask("malloc 20 100");
    subject.ask("malloc 30 999");
    subject.ask("malloc 40 1000");
    let counted = counters(&probes);
    assert_eq!((counted.too_small, counted.tracked), (10, 40));
    assert_eq!(counted.sampled_out, 50);
    assert_eq!(counted.largest, 1_000);
    assert_eq!(exact(&probes), (40, 40_000, 0, 0));
    // only those whose entry asked for it were trapped on their way back
    assert_eq!(counted.returns, 40);
    subject.ask("free");
    assert_eq!(exact(&probes), (40, 40_000, 40, 40_000));
    assert_eq!(counters(&probes).unknown_frees, 60);
}

/// Guarantees: samples times their weight estimate what was allocated without bias: within four standard deviations, in number and
/// in bytes, also of what was freed.
/// Needs: eBPF, root, cc.
#[test]
fn samples_without_bias() {
    let options = AllocOptions {
        min_allocation_size: 0,
        large_allocation_size: 1 << 20,
        sampling_rate: 10,
        ..targeted(100_000)
    };
    let Some((mut probes, _told)) = load(&options) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    let sizes = [(10_000, 64), (5_000, 1_000), (5_000, 333)];
    for (count, size) in sizes {
        subject.ask(&format!("malloc {count} {size}"));
    }
    let truth: u64 = sizes.iter().map(|(count, _)| count).sum();
    let bytes: u64 = sizes.iter().map(|(count, size)| count * size).sum();
    let squares: u64 = sizes.iter().map(|(count, size)| count * size * size).sum();
    // of a sum of independent draws with probability 1/10, each standing for 10
    let deviation = |squares: u64| 4.0 * (squares as f64 * 9.0).sqrt();
    let sums = sampled(&probes);
    let off = (sums.allocated * 10).abs_diff(truth) as f64;
    assert!(off <= deviation(truth), "{} of {truth}", sums.allocated * 10);
    let off = (sums.allocated_bytes * 10).abs_diff(bytes) as f64;
    assert!(off <= deviation(squares), "{} of {bytes}", sums.allocated_bytes * 10);
    assert!(probes.live().expect("a table").iter().all(|block| block.weight == 10));
    let by_hand: u64 = probes.live().expect("a table").iter().map(|block| block.size * block.size).sum();
    assert_eq!(sums.allocated_squares, by_hand);
    assert_eq!(counters(&probes).sampled_out + sums.allocated, truth);
    subject.ask("free");
    let sums = sampled(&probes);
    assert_eq!(
        (sums.freed, sums.freed_bytes, sums.freed_squares),
        (sums.allocated, sums.allocated_bytes, sums.allocated_squares)
    );
    assert_eq!(exact(&probes), (0, 0, 0, 0));
}

/// Guarantees: an operation that is not among the sampled ones is not drawn again as what it calls.
/// Needs: eBPF, root, cc.
#[test]
fn the_dice_are_thrown_once() {
    let options = AllocOptions { large_allocation_size: 1 << 20, sampling_rate: 2, ..targeted(10_000) };
    let Some((mut probes, _told)) = load(&options) else { return };
    let mut subject = start();
    observe_also(&mut probes, &subject, |image| {
        vec![image.point("outer", Operation::Mallocx, Role::Entry, Shape::Size { size: 0 })]
    });
    subject.ask("outer 2000 100");
    let (sums, counted) = (sampled(&probes), counters(&probes));
    assert_eq!(counted.sampled_out + sums.allocated, 2_000);
    // four standard deviations of 2,000 draws
    assert!(sums.allocated.abs_diff(1_000) < 90, "{}", sums.allocated);
    let blocks = probes.live().expect("a table");
    assert!(blocks.iter().all(|block| block.operation == Operation::Mallocx));
}

/// Guarantees: below the size from which a process's probes see every free, nothing of it is tracked, whatever was asked for; of the
/// others they are.
/// Needs: eBPF, root, cc.
#[test]
fn leaves_out_what_its_probes_do_not_see_freed() {
    let Some((mut probes, _told)) = load(&targeted(1_000)) else { return };
    let (mut subject, mut other) = (start(), start());
    let slot = observe(&mut probes, &subject);
    observe(&mut probes, &other);
    probes.least(slot, 100).expect("it lives");
    for subject in [&mut subject, &mut other] {
        subject.ask("malloc 10 99");
        subject.ask("malloc 20 100");
    }
    assert_eq!((exact(&probes), counters(&probes).too_small), ((50, 4_990, 0, 0), 10));
    probes.release(slot);
    assert!(probes.least(slot, 100).is_err());
}

/// Guarantees: what the table of bounded size forgets is counted and not taken for freed.
/// Needs: eBPF, root, cc.
#[test]
fn evictions_are_no_frees() {
    let Some((mut probes, _told)) = load(&targeted(1_000)) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("malloc 5000 32");
    let (counted, present) = (counters(&probes), live(&probes).0);
    assert_eq!((counted.tracked, counted.untracked), (5_000, 0));
    assert!((500..=1_000).contains(&present), "{present}");
    let evicted = counted.tracked - counted.untracked - present;
    assert_eq!(exact(&probes), (5_000, 160_000, 0, 0));
    subject.ask("free");
    let counted = counters(&probes);
    assert_eq!(counted.unknown_frees, evicted);
    assert_eq!(exact(&probes), (5_000, 160_000, present, present * 32));
}

/// Guarantees: in debug mode what does not fit the table is counted and is in no sum; all maps together stay below 100 MB.
/// Needs: eBPF, root, cc.
#[test]
fn a_full_table_is_counted() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    assert!((40 << 20..100_000_000).contains(&probes.kernel_bytes()), "{}", probes.kernel_bytes());
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("malloc 250000 16");
    subject.ask("forget");
    subject.ask("malloc 250000 16");
    let counted = counters(&probes);
    assert_eq!(counted.tracked + counted.table_full, 500_000);
    assert!((400_000..401_000).contains(&counted.tracked), "{}", counted.tracked);
    assert_eq!(live(&probes), (counted.tracked, counted.tracked * 16));
    assert_eq!(exact(&probes), (counted.tracked, counted.tracked * 16, 0, 0));
}

/// Guarantees: call sites that do not fit their table are counted together, and nothing of what they do is missing.
/// Needs: eBPF, root, cc.
#[test]
fn too_many_call_sites_are_one() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    subject.ask("depths 17000 8");
    assert_eq!(exact(&probes), (17_000, 136_000, 0, 0));
    let all = probes.call_sites().expect("a table");
    let (rest, own): (Vec<_>, Vec<_>) = all.into_iter().partition(|(site, _)| site.ip == 0);
    let [(site, totals)] = rest.as_slice() else { panic!("{rest:?}") };
    assert_eq!((site.slot, site.depth), (slot, 0));
    assert!(own.len() >= 16_000 && own.iter().all(|(_, totals)| totals.exact.allocated == 1));
    assert_eq!(totals.exact.allocated + own.len() as u64, 17_000);
    assert_eq!(counters(&probes).call_sites_full, totals.exact.allocated);
    subject.ask("free");
    assert_eq!(exact(&probes), (17_000, 136_000, 17_000, 136_000));
}
