use super::*;

/// Counters as a JVM publishes them.
fn published(entries: &[(&str, i64)]) -> Vec<u8> {
    let mut bytes = vec![0xca, 0xfe, 0xc0, 0xc0, 1, 2, 0, 1];
    bytes.resize(24, 0);
    bytes.extend(32_i32.to_le_bytes());
    bytes.extend(i32::try_from(entries.len()).unwrap().to_le_bytes());
    for (name, value) in entries {
        let value_at = (20 + name.len() + 1).next_multiple_of(8);
        for number in [value_at + 8, 20, 0] {
            bytes.extend(i32::try_from(number).unwrap().to_le_bytes());
        }
        bytes.extend([b'J', 1, 2, 3]);
        bytes.extend(i32::try_from(value_at).unwrap().to_le_bytes());
        bytes.extend(name.bytes());
        bytes.resize(bytes.len() + value_at - 20 - name.len(), 0);
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

const HEAP: [(&str, i64); 12] = [
    ("sun.gc.collector.0.invocations", 50),
    ("sun.gc.collector.1.invocations", 1),
    ("sun.gc.collector.2.invocations", 6),
    ("sun.gc.generation.0.capacity", 1000),
    ("sun.gc.generation.0.space.0.capacity", 700),
    ("sun.gc.generation.1.capacity", 5000),
    ("sun.gc.generation.1.space.0.used", 3000),
    ("sun.gc.metaspace.used", 400),
    ("sun.gc.metaspace.capacity", 600),
    ("java.cls.loadedClasses", 90),
    ("java.cls.unloadedClasses", 30),
    ("java.cls.sharedLoadedClasses", 7),
];

/// Guarantees: what lives is the old generation and the metaspace, what is held are the generations, whose spaces do not count twice, and
/// young collections are none that tell what lives.
#[test]
fn of_a_heap() {
    let bytes = published(&HEAP);
    let reading = reading(&Counters::read(&bytes).unwrap()).unwrap();
    assert_eq!(reading.in_use, Some(3400));
    assert_eq!(reading.held, Some(6600));
    assert_eq!(reading.collections, Some(7));
    let classes: Vec<_> = reading.classes.iter().map(|it| (it.name.as_str(), it.bytes, it.count)).collect();
    assert_eq!(classes, [("old generation", 3000, 0), ("metaspace", 400, 67), ("threads", 0, 0)]);
    assert_eq!(reading.not_seen, [ELSEWHERE]);
}

/// A text as a JVM publishes it, behind the counters.
fn with_text(mut bytes: Vec<u8>, name: &str, value: &str) -> Vec<u8> {
    let value_at = (20 + name.len() + 1).next_multiple_of(8);
    let length = (value_at + value.len() + 1).next_multiple_of(8);
    let begin = bytes.len();
    for number in [length, 20, value.len() + 1] {
        bytes.extend(i32::try_from(number).unwrap().to_le_bytes());
    }
    bytes.extend([b'B', 1, 5, 3]);
    bytes.extend(i32::try_from(value_at).unwrap().to_le_bytes());
    bytes.extend(name.bytes());
    bytes.resize(begin + value_at, 0);
    bytes.extend(value.bytes());
    bytes.resize(begin + length, 0);
    bytes[28] += 1;
    bytes
}

/// Guarantees: a collector that walks what is old seldom tells how often, what is old, and whether it is at work; of any other, and of one
/// that is not named, nothing is known.
#[test]
fn walks_of_the_old_generation() {
    let of = |policy, cause| {
        let bytes = with_text(published(&HEAP), "sun.gc.policy.name", policy);
        let bytes = with_text(bytes, "sun.gc.cause", cause);
        walks(&Counters::read(&bytes).unwrap())
    };
    let walked = Walked { count: 7, under_way: false, old: Some(3000) };
    for policy in ["Copy:MSC", "ParScav:MSC", "GarbageFirst"] {
        assert_eq!(of(policy, "No GC"), Some(walked));
    }
    assert_eq!(of("Copy:MSC", "Allocation Failure"), Some(Walked { under_way: true, ..walked }));
    assert_eq!(of("ParNew:CMS", "No GC"), None);
    assert_eq!(walks(&Counters::read(&published(&HEAP)).unwrap()), None);
}

/// Guarantees: what is young is told where the collector keeps its counters up to date between collections, with the collections of all kinds;
/// of another, and where there is no young generation, it is not.
#[test]
fn the_young_generation() {
    let of = |policy, entries: &[(&str, i64)]| {
        let bytes = with_text(published(entries), "sun.gc.policy.name", policy);
        reading(&Counters::read(&bytes).unwrap()).unwrap().young
    };
    let spaces = [("sun.gc.generation.0.space.0.used", 20), ("sun.gc.generation.0.space.1.used", 4)];
    let entries = [&HEAP[..], &spaces].concat();
    let expected = Young { used: 24, room: 700, collections: 57, old: 3000 };
    assert_eq!(of("GarbageFirst", &entries), Some(expected));
    assert_eq!(of("Z", &entries), None);
    assert_eq!(of("GarbageFirst", &HEAP), None);
}

/// Guarantees: counters that are not there yet, of another version or of no JVM are said to be so, and such without an old
/// generation tell nothing.
#[test]
fn that_cannot_be_read() {
    let why = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = published(&HEAP);
        change(&mut bytes);
        Counters::read(&bytes).err().unwrap_or_default()
    };
    assert_eq!(why(&|_| {}), "");
    assert!(why(&|bytes| bytes[7] = 0).contains("not there yet"));
    assert!(why(&|bytes| bytes[5] = 3).contains("version"));
    assert!(why(&|bytes| bytes[0] = 0).contains("are none"));
    assert!(why(&|bytes| bytes.truncate(20)).contains("damaged"));
    let bytes = published(&HEAP[..6]);
    assert_eq!(reading(&Counters::read(&bytes).unwrap()), None);
}

/// Guarantees: whatever single bytes are, and wherever the counters end, reading them ends, and does not panic.
#[test]
fn any_bytes() {
    let bytes = with_text(published(&HEAP), "sun.gc.policy.name", "Copy:MSC");
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let _ = Counters::read(&changed).map(|counters| (reading(&counters), walks(&counters)));
        }
        let _ = Counters::read(&bytes[..at]).map(|counters| reading(&counters));
    }
}
