//! A whole look, at real processes, with a kernel's side that does as it is told.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{CallSite, Change, Heard, Mapping, ProcessEvent, Slot, StackCopy, Sums, Totals};
use mlh_bpf::alloc::point::Operation;
use mlh_bpf::capture::Capture;
use mlh_pipeline::config::Settings;
use mlh_stacks::debuginfod::Debuginfod;
use mlh_stacks::modules::{Module, Modules};
use mlh_stacks::unwind::Unwind;

use super::investigation::{Investigation, OpenError};
use super::plan::{End, Filters, Origin, Plan, Rung};
use super::testing::{Kernel, SITE, Waiting, open, plan, try_open};
use super::told::Told;
use crate::hunt::scope::Scope;

const MB: u64 = 1 << 20;

/// Ends a look; the sink must go first, as the kernel's would.
fn close(look: Investigation, kernel: &Kernel, now: Duration, end: End) -> super::report::Report {
    kernel.with(|fake| fake.sink = None);
    look.close(now, usize::MAX, end).1
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SLOT: Slot = Slot(1 << 8);

/// Guarantees: a process that is named is taken in with probes, and the report tells of it, of what its stacks hold with
/// their ages, and of the sums.
#[test]
fn a_process() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut look = open(&plan(process.pid(), Rung::Debug), &kernel);
    assert_eq!(look.pids(), [process.pid()]);
    let started = look.started();
    kernel.holds(SLOT, 3, MB, started + seconds(1));
    assert!(look.step(started + seconds(20)).ended.is_none());
    let report = look.report(started + seconds(20), usize::MAX);
    let member = &report.members[0];
    assert_eq!((member.pid, member.command.as_str(), member.gone), (process.pid(), "cat", false));
    assert!(member.probes > 0 && member.allocators.contains(&"glibc".to_owned()), "{member:?}");
    let stack = &report.stacks[0];
    assert_eq!((stack.pid, stack.live_bytes, stack.live_count), (process.pid(), 3 * MB, 3));
    assert_eq!((stack.ages, stack.oldest, stack.largest), ([0, 0, 3, 0, 0, 0], seconds(19), MB));
    assert_eq!((report.totals.live_bytes, report.totals.live_count), (3 * MB, 3));
    assert_eq!(look.report(started + seconds(20), 0).stacks, []);
    let report = close(look, &kernel, started + seconds(21), End::Elapsed);
    assert_eq!((report.ended, report.stacks.len()), (Some(End::Elapsed), 1));
    assert_eq!(kernel.with(|fake| fake.released.clone()), [SLOT]);
}

/// Guarantees: the kernel follows frame pointers where that was asked for, and copies stacks where it was not and the C library
/// keeps none.
#[test]
fn stacks_are_captured_as_asked() {
    for (unwind, walks) in [(Unwind::FramePointers, vec![(SLOT, true)]), (Unwind::Dwarf, vec![])] {
        let (process, kernel) = (Waiting::start(), Kernel::default());
        let mut asked = plan(process.pid(), Rung::Debug);
        asked.filters.unwind = unwind;
        let look = open(&asked, &kernel);
        assert_eq!(kernel.with(|fake| fake.walks.clone()), walks, "{unwind:?}");
        close(look, &kernel, seconds(1), End::Elapsed);
    }
}

/// Guarantees: servers of debug information are asked, by build id, for the files on a stack where the settings name some; without
/// them nobody is.
#[test]
fn debug_information_is_asked_for_where_servers_are_named() {
    for named in [true, false] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", server.local_addr().unwrap());
        let cache = tempfile::tempdir().unwrap();
        let (process, kernel) = (Waiting::start(), Kernel::default());
        let mut asked = plan(process.pid(), Rung::Debug);
        let cache_dir = cache.path().to_owned();
        let servers = Debuginfod { servers: vec![address], cache_dir, ..Filters::debuginfod() };
        asked.filters.debuginfod = named.then_some(servers);
        let mut look = open(&asked, &kernel);
        let maps = Modules::read(process.pid()).unwrap();
        let code = |module: &&Module| module.path.ends_with("cat") && module.has_code();
        let code = maps.modules.iter().find(code).unwrap().parts.iter().find(|part| part.executable).unwrap();
        let call_site = CallSite { slot: SLOT, ip: code.start + 64, depth: 16 };
        kernel.with(|fake| fake.call_sites.push((call_site, Totals::default())));
        look.step(look.started() + seconds(1));
        look.listened();
        server.set_nonblocking(true).unwrap();
        let until = Instant::now() + seconds(if named { 60 } else { 0 });
        let peer = loop {
            match server.accept() {
                Ok((peer, _)) => break Some(peer),
                Err(_) if Instant::now() >= until => break None,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_eq!(peer.is_some(), named);
        if let Some(mut peer) = peer {
            peer.set_nonblocking(false).unwrap();
            let mut request = [0; 13];
            peer.read_exact(&mut request).unwrap();
            assert_eq!(request, *b"GET /buildid/", "{:?}", request.escape_ascii());
        }
        close(look, &kernel, seconds(2), End::Elapsed);
    }
}

/// Guarantees: what a Python interpreter runs is asked for, and of other programs it is not.
///
/// Needs: python3, 3.8 to 3.14.
#[test]
fn python_is_found() {
    for (process, pythons) in [(Waiting::python(), vec![SLOT]), (Waiting::start(), Vec::new())] {
        let kernel = Kernel::default();
        let mut look = open(&plan(process.pid(), Rung::Debug), &kernel);
        assert_eq!(kernel.with(|fake| fake.pythons.clone()), pythons);
        let report = look.report(seconds(1), 0);
        let hidden = report.members[0].blind_spots.iter().any(|blind| blind.what.contains("of Python"));
        assert!(!hidden, "{:?}", report.members[0].blind_spots);
        close(look, &kernel, seconds(1), End::Elapsed);
    }
}

/// Guarantees: what stacks cannot tell of a program is said whether there are probes or not, what probes cannot see where there are to be
/// some.
///
/// Needs: cc and a static C library.
#[test]
fn blind_spots_of_stacks() {
    let Some(process) = Waiting::nameless() else {
        eprintln!("SKIPPED: no static program can be made here");
        return;
    };
    for (rung, probed) in [(Rung::GrowthStacks, false), (Rung::Debug, true)] {
        let kernel = Kernel::default();
        let mut look = open(&plan(process.pid(), rung), &kernel);
        let told = look.report(look.started(), 0).not_seen;
        let says = |what: &str| {
            told.iter().any(|sentence| sentence.starts_with(&format!("{what} are not seen in nameless: ")))
        };
        assert!(says("callers of the allocator"), "{told:?}");
        assert_eq!(says("allocations"), probed, "{told:?}");
        close(look, &kernel, seconds(1), End::Elapsed);
    }
}

/// Guarantees: the filters are named as whoever asked for the look knows them.
#[test]
fn filters_by_their_names() {
    let process = Waiting::start();
    for (origin, names) in [
        (Origin::Command, ["(--min-allocation-size)", "(--sampling-rate)"]),
        (Origin::Configuration, ["(min_allocation_size)", "(sampling_rate)"]),
    ] {
        let kernel = Kernel::default();
        let mut look = open(&Plan { origin, ..plan(process.pid(), Rung::Targeted) }, &kernel);
        let told = look.report(look.started(), 0).not_seen.join("\n");
        assert!(names.iter().all(|name| told.contains(name)), "{told}");
        close(look, &kernel, seconds(1), End::Elapsed);
    }
}

/// Guarantees: what is older than `min_unfreed_age` is told, once in `stack_dedup_window`, with its oldest block and how
/// many there are; what is younger is not.
#[test]
fn unfreed_memory_is_told() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut asked = plan(process.pid(), Rung::Targeted);
    (asked.filters.min_unfreed_age, asked.filters.stack_dedup_window) = (seconds(30), seconds(60));
    let mut look = open(&asked, &kernel);
    let started = look.started();
    kernel.holds(SLOT, 2, MB, started);
    let mut told_at = Vec::new();
    for second in 1..=100 {
        // the table is read once a second of the real clock
        look.live_is_due();
        for told in look.step(started + seconds(second)).told {
            let Told::Unfreed(unfreed) = told else { panic!("{told:?}") };
            assert_eq!((unfreed.occurrences, unfreed.bytes, unfreed.size), (2, 2 * MB, MB));
            assert_eq!((unfreed.address, unfreed.subject.reading.pid), (0x7000_0000, process.pid()));
            told_at.push(second);
        }
    }
    assert_eq!(told_at, [31, 91]);
}

/// Guarantees: a look ends when its time is over, and when its process has ended; what an ended process held is told as
/// that, not as held, and what the kernel knows of it is given up.
#[test]
fn ends() {
    let (mut process, kernel) = (Waiting::start(), Kernel::default());
    let asked = Plan { duration: Some(seconds(5)), ..plan(process.pid(), Rung::Debug) };
    let mut look = open(&asked, &kernel);
    let started = look.started();
    kernel.holds(SLOT, 1, MB, started);
    assert_eq!(look.step(started + seconds(4)).ended, None);
    assert_eq!(look.step(started + seconds(5)).ended, Some(End::Elapsed));
    process.end();
    assert_eq!(look.step(started + seconds(4)).ended, Some(End::TargetGone));
    assert_eq!(kernel.with(|fake| fake.forgotten.clone()), [SLOT]);
    let report = close(look, &kernel, started + seconds(6), End::TargetGone);
    assert!(report.members[0].gone && report.stacks[0].gone);
    assert_eq!((report.totals.live_bytes, report.totals.gone_bytes), (0, MB));
    assert_eq!((report.totals.allocated_bytes, report.stacks[0].live_bytes), (MB, MB));
}

/// Guarantees: a process that executes another program is looked at anew under its new address space.
#[test]
fn another_program() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut look = open(&plan(process.pid(), Rung::Debug), &kernel);
    let (started, next) = (look.started(), Slot(SLOT.0 + 1));
    kernel.holds(SLOT, 1, MB, started);
    let pid = process.pid();
    kernel.says(&look, Heard::Process(ProcessEvent::Executed { slot: SLOT, next, pid }));
    assert_eq!(look.step(started + seconds(1)).ended, None);
    kernel.holds(next, 2, MB, started);
    let report = close(look, &kernel, started + seconds(2), End::Elapsed);
    let members: Vec<_> = report.members.iter().map(|member| (member.pid, member.gone)).collect();
    assert_eq!(members, [(pid, false), (pid, true)]);
    assert_eq!((report.totals.live_bytes, report.totals.gone_bytes), (2 * MB, MB));
    assert_eq!(kernel.with(|fake| (fake.admitted.len(), fake.forgotten.clone())), (1, vec![SLOT]));
}

/// Guarantees: what may be spent is said to the kernel's side before the first probe; when that is spent the probes go out, and
/// come back later by themselves. Of the time in between nothing is told: what was there is not held any more, nor freed, and it
/// is said how much of the time was watched. Without a budget none of it happens.
#[test]
fn a_look_goes_on_within_its_budget() {
    for budget in [Some(0.001), None] {
        let (process, kernel) = (Waiting::start(), Kernel::default());
        let mut asked = plan(process.pid(), Rung::Targeted);
        asked.filters.overhead_budget = budget;
        let mut look = open(&asked, &kernel);
        let started = look.started();
        // half of what ten seconds of one CPU allow
        assert_eq!(kernel.with(|fake| fake.allowed), budget.map(|_| Duration::from_millis(5)));
        kernel.holds(SLOT, 3, MB, started);
        let placed = kernel.with(|fake| fake.attached.len());
        kernel.with(|fake| {
            fake.counters.stepped_hits = 600;
            fake.closed = budget.map(|_| started + seconds(4));
        });
        if budget.is_some() {
            // also before it is looked after nothing is told of the time since
            let report = look.report(started + seconds(5), 1);
            assert_eq!((report.stacks[0].oldest, report.cost.watched_share), (seconds(4), 0.8));
        }
        assert_eq!(look.step(started + seconds(6)).ended, None);
        if budget.is_none() {
            assert_eq!(kernel.with(|fake| fake.attached.len()), placed);
            assert_eq!(look.report(started + seconds(6), 1).cost.watched_share, 1.0);
            continue;
        }
        assert_eq!(kernel.with(|fake| (fake.attached.len(), fake.released.len())), (0, 0));
        let report = look.report(started + seconds(8), 1);
        assert_eq!((report.stacks[0].live_count, report.stacks[0].oldest), (3, seconds(4)));
        assert_eq!((report.cost.watched_share, report.cost.bursts), (0.5, 1));
        let mut resumed = None;
        for second in 9..120 {
            assert_eq!(look.step(started + seconds(second)).ended, None);
            if kernel.with(|fake| fake.begun) > 0 {
                resumed = Some(second);
                break;
            }
        }
        let resumed = resumed.expect("the probes come back");
        assert_eq!(kernel.with(|fake| fake.attached.len()), placed);
        let report = look.report(started + seconds(resumed + 4), 1);
        assert_eq!((report.stacks[0].live_count, report.stacks[0].allocated_count), (0, 3));
        assert_eq!((report.stacks[0].freed_count, report.totals.forgone_count), (0, 3));
        assert_eq!(report.cost.bursts, 2);
        let watched = 8.0 / (resumed + 4) as f64;
        assert!((report.cost.watched_share - watched).abs() < 1e-9, "{:?}", report.cost);
        for said in ["in 2 bursts of 4 s on average", "3 blocks and mappings were there when a burst ended"] {
            assert!(report.not_seen.iter().any(|sentence| sentence.contains(said)), "{:?}", report.not_seen);
        }
    }
}

/// Guarantees: in a pause a process that joins gets no probes, and one that is there gets them with the next burst.
#[test]
fn who_comes_in_a_pause() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut asked = plan(process.pid(), Rung::Targeted);
    asked.filters.overhead_budget = Some(0.001);
    let mut look = open(&asked, &kernel);
    let started = look.started();
    kernel.with(|fake| fake.counters.stepped_hits = 1500);
    look.step(started + seconds(1));
    let next = Slot(SLOT.0 + 1);
    let pid = process.pid();
    kernel.says(&look, Heard::Process(ProcessEvent::Executed { slot: SLOT, next, pid }));
    look.step(started + seconds(2));
    assert_eq!(kernel.with(|fake| fake.attached.len()), 0);
    let mut second = 2;
    while kernel.with(|fake| fake.begun) == 0 {
        second += 1;
        assert!(second < 200, "the probes do not come back");
        look.step(started + seconds(second));
    }
    let report = look.report(started + seconds(second), 1);
    assert!(!report.members[0].gone && report.members[0].probes > 0, "{:?}", report.members);
}

/// Guarantees: a look of which not even one burst keeps within the budget ends with its probes taken out, and says by how much.
#[test]
fn over_the_budget() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut asked = plan(process.pid(), Rung::Targeted);
    (asked.filters.overhead_budget, asked.duration) = (Some(0.001), Some(seconds(10)));
    let mut look = open(&asked, &kernel);
    let started = look.started();
    kernel.with(|fake| fake.counters.stepped_hits = 30_000);
    assert_eq!(look.step(started + seconds(2)).ended, Some(End::OverBudget));
    assert_eq!(look.over(), Some(0.005));
    assert!(kernel.with(|fake| !fake.released.is_empty()));
    let report = close(look, &kernel, started + seconds(2), End::OverBudget);
    assert!(report.members[0].braked);
    assert_eq!(report.cost.watched_share, 0.2);
}

/// Guarantees: losses make what they touch a lower bound, and are said.
#[test]
fn losses_are_said() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut look = open(&plan(process.pid(), Rung::Debug), &kernel);
    let started = look.started();
    kernel.holds(SLOT, 1, MB, started);
    let now = started + seconds(1);
    assert!(!look.report(now, 1).stacks[0].at_least);
    kernel.with(|fake| fake.counters.table_full = 7);
    kernel.says(&look, Heard::Lost(5));
    let report = look.report(now, 1);
    assert!(report.stacks[0].at_least);
    assert_eq!((report.totals.not_fitted, report.totals.lost), (7, 5));
    for said in ["7 allocations found no room", "5 records were lost"] {
        assert!(report.not_seen.iter().any(|sentence| sentence.starts_with(said)), "{:?}", report.not_seen);
    }
}

/// Guarantees: mappings count from the moment the probes are in place, as memory or as what is merely reserved; those
/// that serve allocations do not count; those from before are not known. They are told as operations where that is
/// wanted, at no more than the rate that is allowed.
#[test]
fn mappings() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut asked = plan(process.pid(), Rung::Debug);
    asked.filters.max_events_per_second = 3;
    let mut look = open(&asked, &kernel);
    let now = look.started() + seconds(1);
    let site = |ip| CallSite { slot: SLOT, ip, depth: 8 };
    let says = |ip, change, serves_allocation| {
        let pid = process.pid();
        let mapping = Mapping { at: now, call_site: site(ip), pid, change, serves_allocation, rss_pages: 10 };
        kernel.says(&look, Heard::Mapping(mapping));
    };
    const BASE: u64 = 0x10_0000_0000;
    let map =
        |n: u64, protection| Change::Map { address: BASE + n * MB, length: MB, protection, flags: 0x22 };
    says(1, map(0, 3), false);
    says(1, map(1, 3), false);
    says(1, Change::Unmap { address: BASE, length: MB / 2 }, false);
    says(2, map(4, 0), false);
    says(3, map(6, 3), true);
    let told = look.told();
    assert_eq!(told.len(), 3, "{told:?}");
    let Told::Operation(first) = &told[0] else { panic!("{told:?}") };
    assert_eq!((first.name, first.freed, first.address, first.size), ("mmap", false, BASE, MB));
    assert_eq!((first.caller_ip, first.rss_pages, first.rss_growth), (1, 10, 0));
    let report = look.report(now, usize::MAX);
    let totals = &report.totals;
    assert_eq!((totals.mapped_bytes, totals.mapped_count), (2 * MB + MB / 2, 3));
    assert_eq!((totals.mapped_anonymous_bytes, totals.mapped_reserved_bytes), (MB + MB / 2, MB));
    assert_eq!((totals.unmapped_bytes, totals.live_bytes, totals.rate_limited), (MB / 2, 0, 2));
    assert_eq!((report.stacks[0].live_bytes, report.stacks[0].mapped), (MB + MB / 2, true));
}

/// Guarantees: a stack that is copied gets its name, and what its call sites hold is one.
#[test]
fn call_sites_of_one_stack() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut look = open(&plan(process.pid(), Rung::Debug), &kernel);
    let now = look.started() + seconds(1);
    for depth in [16, 32] {
        let call_site = CallSite { slot: SLOT, ip: SITE, depth };
        let exact = Sums { allocated: 1, allocated_bytes: 100, ..Sums::default() };
        kernel.with(|fake| fake.call_sites.push((call_site, Totals { exact, ..Totals::default() })));
    }
    assert_eq!(look.report(now, usize::MAX).stacks.len(), 2);
    for depth in [16, 32] {
        let call_site = CallSite { slot: SLOT, ip: SITE, depth };
        let copy = StackCopy {
            at: now,
            call_site,
            operation: Operation::Calloc,
            pid: process.pid(),
            capture: Capture { ip: SITE, sp: 0x7ff0_0000, ..Capture::default() },
        };
        kernel.says(&look, Heard::Stack(copy));
    }
    let report = look.report(now, usize::MAX);
    assert_eq!(report.stacks.len(), 1, "{:?}", report.stacks);
    let stack = &report.stacks[0];
    assert_eq!((stack.operation, stack.live_bytes, stack.live_count), ("calloc", 200, 2));
}

/// Guarantees: what is not there, is the sidecar itself, is left out by `exclude`, or refuses all probes is refused with
/// its reason, and nothing stays behind.
#[test]
fn refusals() {
    let kernel = Kernel::default();
    let refused = |plan: &Plan, scope: &Scope| match try_open(plan, scope, &kernel) {
        Err(error) => error,
        Ok(_) => panic!("{plan:?} is looked at"),
    };
    let everybody = Scope::default();
    let mut ended = Waiting::start();
    ended.end();
    let absent = refused(&plan(ended.pid(), Rung::Debug), &everybody);
    let said = format!("no process with the pid {}; `ps -e` lists", ended.pid());
    assert!(absent.to_string().contains(&said), "{absent}");
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    let waits = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
    while !waits(zombie.id()) {
        std::thread::yield_now();
    }
    let absent = refused(&plan(zombie.id(), Rung::Debug), &everybody);
    let said = format!("true (pid {}) has ended, and its parent (pid {})", zombie.id(), std::process::id());
    assert!(absent.to_string().contains(&said), "{absent}");
    zombie.wait().unwrap();
    // the one that makes the others
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let absent = refused(&plan(2, Rung::Debug), &everybody);
        assert!(absent.to_string().contains("kthreadd (pid 2) is a thread of the kernel"), "{absent}");
    }
    let itself = refused(&plan(std::process::id(), Rung::Debug), &everybody);
    assert!(itself.to_string().contains("the sidecar itself"), "{itself}");
    let process = Waiting::start();
    let scope = Settings::of_text("exclude: {executables: ['^cat$', coreutils]}", Scope::read).unwrap().0;
    let excluded = refused(&plan(process.pid(), Rung::Debug), &scope);
    assert!(excluded.to_string().contains("left out by include or exclude"), "{excluded}");
    kernel.with(|fake| fake.refuses = Some("the kernel says no"));
    let unprobed = refused(&plan(process.pid(), Rung::Debug), &everybody);
    assert!(
        matches!(&unprobed, OpenError::Host(reason) if reason.contains("the kernel says no")),
        "{unprobed}"
    );
    let (admitted, forgotten) = kernel.with(|fake| (fake.admitted.len(), fake.forgotten.len()));
    assert_eq!((admitted, forgotten), (1, 1));
}
