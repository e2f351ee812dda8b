use zerocopy::IntoBytes as _;

use super::*;
use crate::records::tests::{cgroup, event, process, thread};
use crate::wire::kind;

const COUNTERS: Counters = Counters { page_size: 4096, online_cpus: 4 };

fn bytes(rows: &[&[u8]]) -> Vec<u8> {
    rows.concat()
}

fn one(rows: &[&[u8]]) -> ProcessRow {
    let pass = collect(&bytes(rows), &COUNTERS);
    assert_eq!((pass.processes.len(), pass.errors), (1, 0));
    pass.processes.into_iter().next().unwrap()
}

/// Guarantees: pages become bytes, zeros become absence, bytes become text.
#[test]
fn describes_a_process() {
    let row = one(&[process().as_bytes()]);
    assert_eq!((row.pid, row.host_pid, row.own_pid, row.parent), (21, 4321, 1, 1));
    assert_eq!((row.anon, row.file, row.shmem, row.swap), (4_096_000, 819_200, 122_880, 16_384));
    assert_eq!((row.virtual_size, row.page_tables), (20_480_000, 65_536));
    assert_eq!((row.cgroup_id, row.memory_cgroup_id), (Some(98_765), None));
    assert_eq!((row.comm.as_str(), row.executable.as_str()), ("api", "api-server"));
    assert_eq!((row.cpu_ns, row.threads), (18, 1));
}

/// Guarantees: the slack is the sum of the three counters' batches on every online CPU, with the kernel's batch; exact rows
/// have none.
#[test]
fn slack_follows_the_batch() {
    let slack = |online_cpus| Counters { page_size: 4096, online_cpus }.percpu_slack();
    assert_eq!(slack(2), 3 * 32 * 2 * 4096);
    assert_eq!(slack(16), 3 * 32 * 16 * 4096);
    assert_eq!(slack(64), 3 * 128 * 64 * 4096);
    assert_eq!(one(&[process().as_bytes()]).slack, slack(4));
    let mut exact = process();
    exact.flags |= flag::EXACT;
    assert_eq!(one(&[exact.as_bytes()]).slack, 0);
    let mut atomic = process();
    atomic.flags = 0;
    assert_eq!(one(&[atomic.as_bytes()]).slack, 0);
}

/// Guarantees: a counter that lags below zero shows as zero, not as a huge number.
#[test]
fn negative_counters_show_as_zero() {
    let mut lagging = process();
    lagging.base.anon = -3;
    lagging.base.swap = -1;
    let row = one(&[lagging.as_bytes()]);
    assert_eq!((row.anon, row.swap), (0, 0));
}

/// Guarantees: CPU time of threads is added wherever their rows stand; threads of no process in the pass, or of another
/// process that had the same pid, change nothing and are no errors.
#[test]
fn threads_join_their_process() {
    let mut stranger = thread();
    stranger.host_pid = 9;
    let mut earlier = thread();
    earlier.start_ns = 1;
    let (process, thread) = (process(), thread());
    let rows =
        [thread.as_bytes(), process.as_bytes(), stranger.as_bytes(), earlier.as_bytes(), thread.as_bytes()];
    assert_eq!(one(&rows).cpu_ns, 218);
}

/// Guarantees: a process whose main thread has ended is one process, its counters taken once.
#[test]
fn several_rows_of_a_process_are_one() {
    let process = process();
    let row = one(&[process.as_bytes(), process.as_bytes()]);
    assert_eq!((row.anon, row.cpu_ns), (4_096_000, 7 + 11 + 7));
}

/// Guarantees: before 6.2 what threads hold back is added, and the slack is what was handed over while the pass went by.
#[test]
fn parts_held_back_by_threads_are_added() {
    let mut main = process();
    main.flags = flag::CACHED;
    main.cached = Pages { anon: 5, file: 1, shmem: 0, swap: 0 };
    let mut other = thread();
    other.base = main.base;
    other.cached = Pages { anon: 10, file: 0, shmem: -2, swap: 0 };
    let still = one(&[main.as_bytes(), other.as_bytes()]);
    assert_eq!((still.anon, still.shmem, still.slack), (1015 * 4096, 28 * 4096, 0));
    other.base.anon += 64;
    assert_eq!(one(&[main.as_bytes(), other.as_bytes()]).slack, 64 * 4096);
    let ending = thread();
    assert_eq!(one(&[main.as_bytes(), ending.as_bytes()]).slack, 0);
}

/// Guarantees: a record that stands alone says that the other threads may hold pages back, where they do so.
#[test]
fn a_lone_record_has_slack_for_its_threads() {
    let mut record = process();
    record.threads = 5;
    assert_eq!(ProcessRow::alone(record, &COUNTERS).slack, COUNTERS.percpu_slack());
    record.flags |= flag::EXACT;
    assert_eq!(ProcessRow::alone(record, &COUNTERS).slack, 0);
    record.flags = flag::CACHED;
    assert_eq!(ProcessRow::alone(record, &COUNTERS).slack, 4 * 64 * 4096);
    record.threads = 0;
    assert_eq!(ProcessRow::alone(record, &COUNTERS).slack, 0);
}

/// Guarantees: the image changes with the file, its device and each exec, and is 0 without a file.
#[test]
fn the_image_tells_programs_apart() {
    let image = |change: fn(&mut ProcessRecord)| {
        let mut record = process();
        change(&mut record);
        one(&[record.as_bytes()]).image
    };
    let same = image(|_| ());
    assert_ne!(same, 0);
    assert_eq!(same, image(|row| row.pid = 22));
    for other in [image(|row| row.inode += 1), image(|row| row.device += 1), image(|row| row.exec_id += 1)] {
        assert_ne!(same, other);
    }
    assert_eq!(image(|row| row.inode = 0), 0);
}

/// Guarantees: names that fill their field, hold no text or hold nothing are no trouble.
#[test]
fn names_may_be_any_bytes() {
    let mut record = process();
    record.comm = [b'x'; 16];
    record.executable = [0xff; 64];
    let row = one(&[record.as_bytes()]);
    assert_eq!(row.comm, "x".repeat(16));
    assert_eq!(row.executable, "\u{fffd}".repeat(64));
    record.comm = [0; 16];
    assert_eq!(one(&[record.as_bytes()]).comm, "");
}

/// Guarantees: a cgroup is told once, as its last row says, in the place of its first; and where two hierarchies share an id, the
/// cgroup of each.
#[test]
fn a_cgroup_is_told_once() {
    let mut first = cgroup();
    first.flags = cgroup_flag::MEMORY;
    let mut above = first;
    (above.id, above.parent) = (17, 0);
    let mut again = first;
    again.usage += 1;
    let mut namesake = first;
    namesake.flags = cgroup_flag::UNIFIED;
    let mut renamed = namesake;
    renamed.name = [b'x'; 256];
    let rows = [&namesake, &first, &above, &again, &renamed].map(zerocopy::IntoBytes::as_bytes);
    let pass = collect(&bytes(&rows), &COUNTERS);
    let told = [&renamed, &again, &above].map(|record| CgroupRow::new(record, &COUNTERS));
    assert_eq!((pass.cgroups, pass.errors), (told.to_vec(), 0));
}

/// Guarantees: an event does not belong into a pass: it is an error, and no process.
#[test]
fn events_are_no_part_of_a_pass() {
    let pass = collect(event(kind::OOM_KILL).as_bytes(), &COUNTERS);
    assert_eq!((pass.processes.len(), pass.errors, pass.first_error), (0, 1, Some(WireError::Misplaced)));
}

/// Guarantees: rows that cannot be read are counted, the first is told, and the others are kept.
#[test]
fn errors_are_counted() {
    let mut bad = process();
    bad.pid = 0;
    let mut other = process();
    other.host_pid = 5;
    let rows = bytes(&[process().as_bytes(), bad.as_bytes(), bad.as_bytes(), other.as_bytes(), &[1]]);
    let pass = collect(&rows, &COUNTERS);
    assert_eq!((pass.processes.len(), pass.errors), (2, 3));
    assert!(matches!(pass.first_error, Some(WireError::Impossible { field: "pid", .. })));
}
