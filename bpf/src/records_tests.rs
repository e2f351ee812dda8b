use zerocopy::IntoBytes as _;

use super::*;
use crate::wire::{CGROUP_NAME_LEN, COMM_LEN, EXECUTABLE_LEN, NODE_NAME_LEN};

pub(crate) fn process() -> ProcessRecord {
    let size = u16::try_from(size_of::<ProcessRecord>()).unwrap();
    let mut comm = [0; COMM_LEN];
    comm[..3].copy_from_slice(b"api");
    let mut executable = [0; EXECUTABLE_LEN];
    executable[..10].copy_from_slice(b"api-server");
    ProcessRecord {
        header: Header { kind: kind::PROCESS, size },
        flags: flag::PERCPU,
        start_ns: 12_500_000_000,
        host_pid: 4321,
        pid: 21,
        own_pid: 1,
        parent: 1,
        base: Pages { anon: 1000, file: 200, shmem: 30, swap: 4 },
        cached: Pages::default(),
        total_vm: 5000,
        page_tables: 65_536,
        cpu_ns: 7,
        ended_cpu_ns: 11,
        cgroup_id: 98_765,
        memory_cgroup_id: 0,
        inode: 77,
        exec_id: 1,
        device: 8,
        threads: 1,
        comm,
        executable,
    }
}

pub(crate) fn thread() -> ThreadRecord {
    let size = u16::try_from(size_of::<ThreadRecord>()).unwrap();
    ThreadRecord {
        header: Header { kind: kind::THREAD, size },
        host_pid: 4321,
        start_ns: 12_500_000_000,
        cpu_ns: 100,
        base: Pages::default(),
        cached: Pages::default(),
    }
}

pub(crate) fn cgroup() -> CgroupRecord {
    let mut name = [0; CGROUP_NAME_LEN];
    name[..11].copy_from_slice(b"api.service");
    let mut node_name = [0; NODE_NAME_LEN];
    node_name[..9].copy_from_slice(b"api-7d4b9");
    CgroupRecord {
        header: Header { kind: kind::CGROUP, size: u16::try_from(size_of::<CgroupRecord>()).unwrap() },
        flags: cgroup_flag::UNIFIED | cgroup_flag::MEMORY,
        id: 5000,
        parent: 17,
        usage: 9000,
        max: 16_384,
        high: i64::MAX.unsigned_abs() / 4096,
        swap: 70,
        swap_max: 0,
        lru: [100, 2000, 30, 4, 5],
        name,
        node_name,
    }
}

pub(crate) fn event(kind: u16) -> EventRecord {
    let size = u16::try_from(size_of::<EventRecord>()).unwrap();
    EventRecord { header: Header { kind, size }, reserved: 0, at_ns: 99_000_000_000, process: process() }
}

/// A header that says `size`, and as many bytes behind it as `body`.
fn raw(kind: u16, size: u16, body: usize) -> Vec<u8> {
    let mut bytes = Header { kind, size }.as_bytes().to_vec();
    bytes.resize(bytes.len() + body, 0);
    bytes
}

fn decode(bytes: &[u8]) -> Vec<Result<Row, WireError>> {
    rows(bytes).collect()
}

/// Guarantees: what is written is read back, wherever in memory it lies.
#[test]
fn reads_rows_back_at_any_alignment() {
    for shift in 0..8 {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(process().as_bytes());
        bytes.extend_from_slice(thread().as_bytes());
        bytes.extend_from_slice(cgroup().as_bytes());
        let [kill, crossing] = [kind::OOM_KILL, kind::CROSSING].map(event);
        bytes.extend_from_slice(kill.as_bytes());
        bytes.extend_from_slice(crossing.as_bytes());
        let expected = [
            Row::Process(process()),
            Row::Thread(thread()),
            Row::Cgroup(cgroup()),
            Row::OomKill(kill),
            Row::Crossing(crossing),
        ];
        assert_eq!(decode(&bytes[shift..]), expected.map(Ok));
    }
    assert_eq!(decode(&[]), []);
}

/// Guarantees: a pass cut anywhere gives the rows before the cut, and one error unless it was cut between rows.
#[test]
fn a_cut_pass_gives_the_rows_before_the_cut() {
    let mut bytes = process().as_bytes().to_vec();
    bytes.extend_from_slice(thread().as_bytes());
    let first = size_of::<ProcessRecord>();
    for cut in 0..bytes.len() {
        let read = decode(&bytes[..cut]);
        let good = read.iter().filter(|row| row.is_ok()).count();
        assert_eq!(good, usize::from(cut >= first), "cut at {cut}");
        assert_eq!(read.len() - good, usize::from(cut != 0 && cut != first), "cut at {cut}");
    }
}

/// Guarantees: a header that leads nowhere ends the iteration with an error that says why.
#[test]
fn a_broken_header_is_the_last() {
    let process = process();
    for (bytes, expected) in [
        (vec![1, 0, 0], WireError::ShortHeader { left: 3 }),
        (raw(1, 0, 300), WireError::BadHeader { kind: 1, size: 0, left: 304 }),
        (raw(1, 3, 300), WireError::BadHeader { kind: 1, size: 3, left: 304 }),
        (raw(1, u16::MAX, 300), WireError::BadHeader { kind: 1, size: u16::MAX, left: 304 }),
    ] {
        let mut all = process.as_bytes().to_vec();
        all.extend_from_slice(&bytes);
        assert_eq!(decode(&all), [Ok(Row::Process(process)), Err(expected)]);
    }
}

/// Guarantees: unknown kinds, wrong sizes and impossible values are errors of their own row; the next one is read.
#[test]
fn a_bad_row_does_not_hide_the_next() {
    let size = u16::try_from(size_of::<ProcessRecord>()).unwrap();
    let with = |change: fn(&mut ProcessRecord)| {
        let mut record = process();
        change(&mut record);
        record.as_bytes().to_vec()
    };
    let impossible = |field| WireError::Impossible { kind: kind::PROCESS, field };
    let wrong =
        |size| WireError::WrongSize { kind: kind::PROCESS, size, expected: size_of::<ProcessRecord>() };
    for (bytes, expected) in [
        (raw(9, 40, 36), WireError::UnknownKind { kind: 9 }),
        (raw(0, 4, 0), WireError::UnknownKind { kind: 0 }),
        (raw(1, size - 8, usize::from(size) - 12), wrong(size - 8)),
        (raw(1, size + 8, usize::from(size) + 4), wrong(size + 8)),
        (raw(1, 4, 0), wrong(4)),
        (with(|row| row.pid = 0), impossible("pid")),
        (with(|row| row.host_pid = 0), impossible("pid")),
        (with(|row| row.flags = 1 << 31), impossible("flag")),
        (with(|row| row.base.anon = i64::MIN), impossible("number of pages")),
        (with(|row| row.cached.swap = i64::MAX), impossible("number of pages")),
        (with(|row| row.total_vm = u64::MAX), impossible("number of pages")),
        (with(|row| row.page_tables = u64::MAX), impossible("number of pages")),
    ] {
        let mut all = bytes;
        all.extend_from_slice(thread().as_bytes());
        assert_eq!(decode(&all), [Err(expected), Ok(Row::Thread(thread()))]);
    }
    let mut bad = thread();
    bad.host_pid = 0;
    let expected = WireError::Impossible { kind: kind::THREAD, field: "pid" };
    assert_eq!(decode(bad.as_bytes()), [Err(expected)]);
    let mut bad = thread();
    bad.base.shmem = i64::MAX;
    let expected = WireError::Impossible { kind: kind::THREAD, field: "number of pages" };
    assert_eq!(decode(bad.as_bytes()), [Err(expected)]);
}

/// Guarantees: impossible values of a cgroup's row are errors: no id, one that is its own parent, an unknown flag, more pages
/// than there can be. A limit may be any number.
#[test]
fn a_cgroup_is_checked() {
    let with = |change: fn(&mut CgroupRecord)| {
        let mut record = cgroup();
        change(&mut record);
        decode(record.as_bytes())
    };
    let impossible = |field| [Err(WireError::Impossible { kind: kind::CGROUP, field })];
    assert_eq!(with(|row| row.id = 0), impossible("id"));
    assert_eq!(with(|row| row.parent = row.id), impossible("id"));
    assert_eq!(with(|row| row.flags = 1 << 3), impossible("flag"));
    assert_eq!(with(|row| row.usage = u64::MAX), impossible("number of pages"));
    assert_eq!(with(|row| row.swap = u64::MAX), impossible("number of pages"));
    assert_eq!(with(|row| row.lru[4] = i64::MIN), impossible("number of pages"));
    assert!(matches!(with(|row| row.max = u64::MAX)[..], [Ok(Row::Cgroup(_))]));
}

/// Guarantees: an event's process may be one that the listener's pid namespace does not show, and is checked in all else.
#[test]
fn an_event_is_checked() {
    let mut record = event(kind::OOM_KILL);
    record.process.pid = 0;
    assert_eq!(decode(record.as_bytes()), [Ok(Row::OomKill(record))]);
    record.process.host_pid = 0;
    let impossible = |field| [Err(WireError::Impossible { kind: kind::PROCESS, field })];
    assert_eq!(decode(record.as_bytes()), impossible("pid"));
    let mut record = event(kind::CROSSING);
    record.process.base.anon = i64::MAX;
    assert_eq!(decode(record.as_bytes()), impossible("number of pages"));
}

/// Guarantees: no bytes make decoding or joining panic or run on, and no more rows come out than fit in.
#[test]
fn random_mutations_never_panic() {
    let mut good = Vec::new();
    for _ in 0..4 {
        good.extend_from_slice(process().as_bytes());
        good.extend_from_slice(thread().as_bytes());
        good.extend_from_slice(cgroup().as_bytes());
        good.extend_from_slice(event(kind::CROSSING).as_bytes());
    }
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let counters = crate::pass::Counters { page_size: u64::MAX, online_cpus: u32::MAX };
    let mut damaged = 0;
    for _ in 0..5_000 {
        let mut bytes = good.clone();
        for _ in 0..=random(24) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        bytes.truncate(random(bytes.len() + 1));
        let read = rows(&bytes).count();
        assert!(read <= bytes.len() / size_of::<Header>() + 1);
        let pass = crate::pass::collect(&bytes, &counters);
        assert!(pass.processes.len() + pass.cgroups.len() <= read);
        damaged += usize::from(pass.errors > 0);
    }
    assert!(damaged > 1_000, "the mutations do damage: {damaged}");
}
