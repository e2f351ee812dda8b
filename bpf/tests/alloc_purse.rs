//! What the probes may cost, as the programs heed it.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::Slot;
use mlh_bpf::alloc::probes::Probes;
use support::Subject;
use support::allocator::{Image, debug, exact, live, load, observe, start};

fn now() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock").into()
}

fn hits(probes: &Probes) -> u64 {
    let counters = probes.counters().expect("counters");
    counters.emulated_hits + counters.stepped_hits
}

/// As [`observe`] has placed them.
fn place_again(probes: &mut Probes, slot: Slot, subject: &Subject) {
    let library = Image::libc_of(subject.pid());
    let attached = probes.attach(slot, &library.path, &library.family()).expect("probes");
    assert_eq!((attached.placed, attached.refused.len()), (7, 0));
}

/// Guarantees: once all is spent that the probes may cost, they see nothing more, at once, and are out a moment later; what they had
/// seen by then stays. Before that, and without a limit, all is seen.
/// Needs: eBPF, root, cc.
#[test]
fn who_has_spent_all_sees_nothing_more() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    observe(&mut probes, &subject);
    subject.ask("malloc 1000 24");
    probes.allow(Some(Duration::from_secs(60))).expect("allowed");
    subject.ask("malloc 1000 24");
    assert_eq!((live(&probes), probes.closed_since().expect("read")), ((2000, 48_000), None));
    let before = now();
    probes.allow(Some(Duration::from_micros(200))).expect("allowed");
    // some ten thousand hits of at least 100 ns each
    subject.ask("malloc 20000 24");
    let since = probes.closed_since().expect("read").expect("it is spent");
    assert!(before < since && since <= now());
    let (seen, _) = live(&probes);
    assert!((2000..22_000).contains(&seen), "{seen}");
    let until = Instant::now() + Duration::from_secs(60);
    while {
        let hits_before = hits(&probes);
        subject.ask("malloc 100 24");
        hits(&probes) > hits_before
    } {
        assert!(Instant::now() < until, "the probes are still there");
    }
    assert_eq!(live(&probes).0, seen, "what was seen stays");
}

/// Guarantees: across a pause no block is taken for one that is there: those from before are forgotten, and what is freed of them
/// later is nobody's; what the call sites had done stays, and all is seen again.
/// Needs: eBPF, root, cc.
#[test]
fn nothing_is_known_across_a_pause() {
    let Some((mut probes, _told)) = load(&debug()) else { return };
    let mut subject = start();
    let slot = observe(&mut probes, &subject);
    subject.ask("malloc 10 24");
    probes.pause(now()).expect("paused");
    let hits_before = hits(&probes);
    subject.ask("free");
    subject.ask("malloc 5 24");
    assert_eq!((hits(&probes), live(&probes)), (hits_before, (10, 240)), "nothing is seen");
    // nor do probes come before it begins anew
    let library = Image::libc_of(subject.pid());
    drop(probes.attach(slot, &library.path, &library.family()));
    subject.ask("malloc 5 24");
    assert_eq!(hits(&probes), hits_before);
    probes.pause(now()).expect("paused");
    probes.begin().expect("begun");
    place_again(&mut probes, slot, &subject);
    assert_eq!(live(&probes), (0, 0));
    subject.ask("malloc 3 50");
    assert_eq!(live(&probes), (3, 150));
    subject.ask("free");
    assert_eq!(live(&probes), (0, 0));
    assert_eq!(exact(&probes), (13, 390, 3, 150));
    let counted = probes.counters().expect("counters");
    assert_eq!((counted.unknown_frees, counted.gone, counted.tracked - counted.untracked), (10, 10, 10));
}
