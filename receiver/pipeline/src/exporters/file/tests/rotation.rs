use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Settings;
use crate::exporters::file::rotation::Rotation;
use crate::exporters::file::writer::Writer;

const DAY: u64 = 24 * 3600;

/// 2026-11-25T01:02:03.004Z and some milliseconds.
fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_568_523_004 + milliseconds)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Guarantees: the defaults are those of the Collector's file exporter; every key is read.
#[test]
fn settings() {
    let (rotation, _) = Settings::of_text("", Rotation::read).unwrap();
    let expected = Rotation { max_bytes: 100 << 20, max_age: Duration::ZERO, max_backups: 100 };
    assert_eq!(rotation, expected);
    let yaml = "{max_megabytes: 1, max_days: 2, max_backups: 3, localtime: false}";
    let (rotation, _) = Settings::of_text(yaml, Rotation::read).unwrap();
    let expected = Rotation { max_bytes: 1 << 20, max_age: Duration::from_secs(2 * DAY), max_backups: 3 };
    assert_eq!(rotation, expected);
}

/// Guarantees: a file is moved aside before it would grow beyond its limit, and no chunk is cut or lost.
#[test]
fn by_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let rotation = Rotation { max_bytes: 10, max_age: Duration::ZERO, max_backups: 0 };
    let mut writer = Writer::new(path.clone(), true, Some(rotation));
    for chunk in ["12345\n", "678\n", "next\n", "longer than the limit\n", "last\n"] {
        writer.append(chunk.as_bytes()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "last\n");
    let mut contents: Vec<_> = names(folder.path())
        .iter()
        .filter(|name| *name != "events.jsonl")
        .map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
        .collect();
    contents.sort();
    assert_eq!(contents, ["12345\n678\n", "longer than the limit\n", "next\n"]);
}

/// Guarantees: backups are named by the time in UTC, and two in one millisecond do not overwrite each other.
#[test]
fn names_of_backups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let rotation = Rotation { max_bytes: 1, max_age: Duration::ZERO, max_backups: 0 };
    for _ in 0..2 {
        fs::write(&path, "x").unwrap();
        rotation.rotate(&path, at(0)).unwrap();
    }
    let expected = ["events-2026-11-25T01-02-03.004.jsonl", "events-2026-11-25T01-02-03.005.jsonl"];
    assert_eq!(names(folder.path()), expected);
}

/// Guarantees: the oldest backups go when there are too many or they are too old; other files are never touched.
#[test]
fn surplus_backups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let strangers =
        ["events-old.jsonl", "other-2020-01-01T00-00-00.000.jsonl", "events-2020-01-01T00-00-00.000.txt"];
    for name in strangers {
        fs::write(folder.path().join(name), "keep").unwrap();
    }
    let by_number = Rotation { max_bytes: 1, max_age: Duration::ZERO, max_backups: 2 };
    for n in 0..4 {
        fs::write(&path, "x").unwrap();
        by_number.rotate(&path, at(n * 1000)).unwrap();
    }
    let left = |count| {
        let left: Vec<_> =
            names(folder.path()).into_iter().filter(|name| !strangers.contains(&name.as_str())).collect();
        assert_eq!(left.len(), count, "{left:?}");
        left
    };
    assert_eq!(left(2), ["events-2026-11-25T01-02-05.004.jsonl", "events-2026-11-25T01-02-06.004.jsonl"]);
    let by_age = Rotation { max_bytes: 1, max_age: Duration::from_secs(DAY), max_backups: 0 };
    fs::write(&path, "x").unwrap();
    by_age.rotate(&path, at(3000 + DAY * 1000)).unwrap();
    assert_eq!(left(2), ["events-2026-11-25T01-02-06.004.jsonl", "events-2026-11-26T01-02-06.004.jsonl"]);
    assert_eq!(names(folder.path()).len(), 2 + strangers.len());
}
