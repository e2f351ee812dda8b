use std::time::Duration;

use mlh_detect::leaks::{Place, Program, Sighting};
use mlh_detect::{About, ContainerKey, ProcessKey};

use super::*;
use crate::leaks::Leaks;

fn sighting(pid: u32, name: &'static str) -> Sighting<'static> {
    let key = ProcessKey { pid, start_ns: 7 };
    let container = pid.is_multiple_of(2);
    Sighting {
        at: Duration::from_secs(1_795_575_600 + u64::from(pid)),
        about: if container { About::Container(ContainerKey(u64::from(pid))) } else { About::Process(key) },
        process: Some(key),
        container: container.then_some("4f1e"),
        started: Some(Duration::from_secs(1_795_570_000)),
        program: Program { build_id: None, executable: "/bin/ä\n\"api\"", command: "api", service: None },
        place: Some(Place::Class(name)),
        velocity: 0.1 + f64::from(pid),
        bytes: u64::MAX,
    }
}

fn registry(count: u32) -> Registry {
    let names: &[&str] = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let mut registry = Registry::default();
    for pid in 0..count {
        registry.sighted(&sighting(pid, names[pid as usize % names.len()]));
    }
    registry
}

fn store(folder: &Path, max_size: u64) -> Store {
    Store::new(folder.join("kept/state.jsonl"), max_size, Some("this boot".to_owned()))
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("kept")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Guarantees: what was kept is what is known again, to the bit; the folder is made, nothing is left beside the file, and
/// nobody else may read it.
#[test]
fn what_is_kept_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1 << 20);
    assert_eq!(store.open(), Ok((Known::default(), None)));
    let known = registry(9);
    assert_eq!(store.save(&known).unwrap(), 0);
    assert_eq!(files(folder.path()), ["state.jsonl"]);
    let (read, damage) = store.open().unwrap();
    assert_eq!((read.boot.as_deref(), damage), (Some("this boot"), None));
    assert_eq!(read.leaks, known.leaks().into_iter().cloned().collect::<Vec<_>>());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.path().join("kept/state.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

/// Guarantees: the file is never larger than `max_size`; leaks for which there is no room are counted, and those of now and
/// the newest stay.
#[test]
fn the_file_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (small, known) = (store(folder.path(), 2000), registry(16));
    small.open().unwrap();
    let left = small.save(&known).unwrap();
    let size = fs::metadata(folder.path().join("kept/state.jsonl")).unwrap().len();
    assert!((1..=2000).contains(&size) && left > 0, "{size} bytes, {left} left");
    let read = small.open().unwrap().0.leaks;
    assert_eq!(read.len() + left, 16);
    assert_eq!(read[0], *known.leaks()[0]);
}

/// Guarantees: of another boot nobody lives; leaks are known all the same.
#[test]
fn another_boot() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1 << 20);
    store.open().unwrap();
    store.save(&registry(3)).unwrap();
    for (boot, members) in [(Some("this boot"), 1), (Some("another"), 0), (None, 0)] {
        let leaks = Leaks::default();
        let of_boot = Store { boot: boot.map(str::to_owned), ..store.clone() };
        store.save(&registry(3)).unwrap();
        assert_eq!(leaks.open(&of_boot), Ok(None));
        let told = leaks.messages();
        assert_eq!((told.len(), told[0].members.len()), (3, members), "{boot:?}");
    }
}

/// Guarantees: a file that was damaged anywhere, cut, of a later version or something else is set aside with the reason, and
/// nothing is known then; the next one can be kept. No byte in it makes the program fail.
#[test]
fn damage_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1 << 20);
    store.open().unwrap();
    store.save(&registry(5)).unwrap();
    let path = folder.path().join("kept/state.jsonl");
    let good = fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let mut bad: Vec<(String, Vec<u8>)> = vec![
        ("empty".into(), Vec::new()),
        ("no text".into(), vec![0xff, b'\n']),
        ("something else".into(), text.replacen("memory-leak-hunter", "another", 1).into()),
        ("a later version".into(), text.replacen("\"version\":1", "\"version\":2", 1).into()),
        ("nested".into(), "[".repeat(1 << 20).into()),
    ];
    bad.extend((1..good.len()).step_by(7).map(|at| (format!("cut at {at}"), good[..at].to_vec())));
    bad.extend((0..good.len()).step_by(3).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        (format!("a bit of byte {at}"), bytes)
    }));
    for (what, bytes) in bad {
        fs::write(&path, &bytes).unwrap();
        let (known, damage) = store.open().unwrap();
        // some bits change a name in the head that nobody depends on, such as that of the boot
        if damage.is_none() {
            assert_eq!(known.leaks.len(), 5, "{what}");
            continue;
        }
        assert_eq!(known, Known::default(), "{what}");
        assert!(damage.unwrap().contains("state.jsonl.damaged"), "{what}");
        assert_eq!(files(folder.path()), ["state.jsonl.damaged"], "{what}");
        assert_eq!(fs::read(folder.path().join("kept/state.jsonl.damaged")).unwrap(), bytes, "{what}");
    }
    store.save(&registry(1)).unwrap();
    assert_eq!(store.open().unwrap().0.leaks.len(), 1);
}

/// Guarantees: figures that no program of ours writes are refused or harmless, although the sum is right.
#[test]
fn figures_of_somebody_else() {
    let leak = |change: &dyn Fn(&str) -> String| {
        let known = registry(1);
        let (text, _) = stored::write(None, &known.leaks(), 1 << 20).unwrap();
        let body = change(text.split_once('\n').unwrap().1);
        let mut crc = flate2::Crc::new();
        crc.update(body.as_bytes());
        let head = format!(r#"{{"format":"memory-leak-hunter state","version":1,"crc32":{}}}"#, crc.sum());
        stored::read(&format!("{head}\n{body}"))
    };
    assert_eq!(leak(&str::to_owned).unwrap().leaks.len(), 1);
    for (from, to) in [
        ("\"id\":\"", "\"id\":\"z"),
        ("\"secs\":1795575600", "\"secs\":18446744073709551616"),
        ("\"occurrences\":1", "\"occurrences\":-1"),
        ("\"velocity\":0.1", "\"velocity\":NaN"),
        ("\"velocity\":0.1", "\"velocity\":null"),
    ] {
        let read = leak(&|body| body.replacen(from, to, 1));
        assert!(read.unwrap_err().starts_with("line 2: "), "{to}");
    }
    let absurd = leak(&|body| body.replace("\"secs\":1795575600", "\"secs\":18446744073709551615")).unwrap();
    let leaks = Leaks::default();
    leaks.registry().restore(absurd.leaks);
    assert!(leaks.messages()[0].first_seen.starts_with("2554-"));
    let again = leaks.registry().sighted(&sighting(0, "a"));
    assert_eq!(again.occurrences, 1);
}

/// Guarantees: where nothing can be kept the reason is told, with what to do where the folder is missing; what is no file is
/// left alone.
#[test]
fn where_nothing_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Store::new(folder.path().join("a/b/state"), 1 << 20, None).open().unwrap_err();
    assert!(missing.contains("cannot be made") && missing.contains("make it, writable"), "{missing}");
    fs::create_dir_all(folder.path().join("kept/state.jsonl")).unwrap();
    let store = store(folder.path(), 1 << 20);
    assert!(store.open().unwrap_err().ends_with("state.jsonl: it is no file"));
    assert!(store.save(&registry(1)).is_err());
    assert_eq!(files(folder.path()), ["state.jsonl"], "what was begun is gone");
}

/// Guarantees: what a program that was killed had begun to write is gone at the next start, and nothing else.
#[test]
fn what_was_begun_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1 << 20);
    store.open().unwrap();
    for name in [".state.jsonl.abc.part", ".other.abc.part", "state.jsonl.part"] {
        fs::write(folder.path().join("kept").join(name), "").unwrap();
    }
    store.open().unwrap();
    assert_eq!(files(folder.path()), [".other.abc.part", "state.jsonl.part"]);
}
