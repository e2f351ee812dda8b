use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;

/// The interpreter of Python 3.`minor`: by its name, or below `~/.pyenv/versions`.
fn interpreter(minor: u8) -> Option<PathBuf> {
    let name = format!("python3.{minor}");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path)
        // those of pyenv in the path run whichever version is chosen
        .filter(|folder| !folder.ends_with("shims"))
        .map(|folder| folder.join(&name))
        .find(|path| path.exists());
    let versions = std::env::home_dir().map(|home| home.join(".pyenv/versions"));
    let installed = || {
        let folders = std::fs::read_dir(versions?).ok()?;
        folders.flatten().map(|folder| folder.path().join("bin").join(&name)).find(|path| path.exists())
    };
    installed().or(named)
}

struct Running(Child);

impl Running {
    fn start(python: &Path, program: &str) -> Self {
        let mut command = Command::new(python);
        let mut child =
            command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const WAITS: &str = "import threading, sys
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(1, flush=True)
sys.stdin.read()";

fn find_in(running: &Running) -> Result<Option<Python>, PythonError> {
    let pid = running.0.id();
    find(pid, &Modules::read(pid).unwrap())
}

/// What `offsets.c` prints when it is compiled for an interpreter. `None`: its headers are not there.
fn offsets(python: &Path) -> Option<HashMap<String, u64>> {
    let says = "import sysconfig; print(sysconfig.get_paths()['include'])";
    let include = Command::new(python).args(["-c", says]).output().unwrap().stdout;
    let include = PathBuf::from(String::from_utf8(include).unwrap().trim());
    if !include.join("internal").is_dir() {
        return None;
    }
    let room = tempfile::tempdir().unwrap();
    let (source, program) = (room.path().join("offsets.c"), room.path().join("offsets"));
    std::fs::write(&source, include_str!("offsets.c")).unwrap();
    let compiled = Command::new("cc")
        .args(["-w", "-DPy_BUILD_CORE", "-I"])
        .arg(&include)
        .arg("-I")
        .arg(include.join("internal"))
        .arg("-o")
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(compiled.success());
    let text = String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap();
    let pair =
        |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
    Some(text.lines().filter_map(pair).collect())
}

/// As `offsets.c` says them.
fn described(minor: u8, version: &Version, runtime: u64) -> HashMap<String, u64> {
    let (layout, code) = (&version.layout, &version.code);
    let current = layout.current.wrapping_sub(runtime);
    let mut said = vec![
        ("interpreters", layout.interpreters.wrapping_sub(runtime)),
        ("interpreter_next", layout.interpreter_next.into()),
        ("thread_next", layout.thread_next.into()),
        ("thread_interpreter", version.thread_interpreter),
        ("thread_id", layout.thread_id.into()),
        ("threads", layout.threads.into()),
        ("frame", layout.frame.into()),
        ("caller", layout.caller.into()),
        ("code", layout.code.into()),
        ("instruction", layout.instruction.into()),
        ("file", code.file.into()),
        ("first_line", code.first_line.into()),
        ("lines", code.lines.into()),
        ("type", code.object_type.into()),
        ("type_name", code.type_name.into()),
        ("text_length", code.text_length.into()),
        ("text_state", code.text_state.into()),
        ("text_ascii", code.text_ascii.into()),
        ("text_other", code.text_other.into()),
        ("bytes_size", code.bytes_size.into()),
        ("bytes", code.bytes.into()),
    ];
    if minor < 12 {
        said.push(("current", current));
    } else {
        said.extend([("main_interpreter", current), ("current", layout.holder.into())]);
    }
    if minor < 11 {
        said.push(("name", code.name.into()));
    } else {
        said.extend([
            ("qualified_name", code.name.into()),
            ("instructions", code.instructions.into()),
            ("entry", layout.entry.into()),
        ]);
    }
    if layout.is_indirect != 0 {
        said.push(("current_frame", layout.current_frame.into()));
    }
    said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Guarantees: all offsets of a version, those of the tables and those that the interpreter tells itself, are those of its own headers.
/// Needs: cc, python3.8 to python3.13 with their headers, those that there are.
#[test]
fn offsets_are_those_of_the_headers() {
    let mut compared = 0;
    for minor in 8..=13 {
        let Some((python, told)) = interpreter(minor).and_then(|it| offsets(&it).map(|told| (it, told)))
        else {
            eprintln!("SKIPPED: there are no headers of python3.{minor}");
            continue;
        };
        let version = tables::of(minor).unwrap_or_else(|| {
            let running = Running::start(&python, WAITS);
            let pid = running.0.id();
            let modules = Modules::read(pid).unwrap();
            let mut of_files = modules.modules.iter().filter(|module| module.has_code());
            let (symbols, bias) = of_files.find_map(|module| look_up(module, pid)).unwrap();
            let memory = Memory::of(pid);
            let number = memory.word(symbols.version.unwrap() + bias).unwrap();
            of_number(number, symbols.runtime.unwrap() + bias, &memory).unwrap().1
        });
        let mut said = described(minor, &version, 0);
        if cfg!(target_arch = "aarch64") && minor < 12 {
            said.remove("current");
        }
        for (name, offset) in said {
            assert_eq!(told.get(&name), Some(&offset), "{name} of 3.{minor}");
        }
        compared += 1;
    }
    assert!(compared > 0, "there is no Python with headers at all");
}

/// Guarantees: of every version that runs, shared, static or stripped, the interpreter is found with its version; a program that is
/// none has none.
/// Needs: python3.8 to python3.13, those that there are; root or the same user.
#[test]
fn versions_that_run() {
    let mut found = 0;
    for minor in 8..=13 {
        let Some(python) = interpreter(minor) else {
            eprintln!("SKIPPED: there is no python3.{minor}");
            continue;
        };
        let running = Running::start(&python, WAITS);
        let it = find_in(&running).unwrap().unwrap();
        assert_eq!(it.minor, minor);
        assert!(is_named_so(&it.module), "{}", it.module.display());
        found += 1;
    }
    assert!(found > 0, "there is no Python at all");
    if Path::new("/usr/bin/python3").exists() {
        let running = Running::start(Path::new("/usr/bin/python3"), WAITS);
        assert!(find_in(&running).unwrap().is_some());
    }
    let me = std::process::id();
    assert_eq!(find(me, &Modules::read(me).unwrap()), Ok(None));
}

/// Guarantees: of an interpreter that is too old to be known it is said so, and which are; it is not taken for no interpreter.
/// Needs: python3.6 or python3.7; root or the same user.
#[test]
fn versions_that_are_too_old() {
    let old: Vec<PathBuf> = [6, 7].into_iter().filter_map(interpreter).collect();
    if old.is_empty() {
        eprintln!("SKIPPED: there is neither python3.6 nor python3.7");
    }
    for python in old {
        let refused = find_in(&Running::start(&python, WAITS)).unwrap_err();
        assert_eq!(refused, PythonError::TooOld, "{}", python.display());
        assert!(refused.to_string().contains("3.8 to 3.14"), "{refused}");
    }
}

/// Guarantees: a version that is taken for another one is found out, or has no thread that could be followed, for each pair of those
/// that differ in where threads are.
/// Needs: python3.8 to python3.12, those that there are; root or the same user.
#[test]
fn wrong_versions_are_found_out() {
    let threads = |minor: u8| tables::of(minor).unwrap().layout.threads;
    for minor in 8..=12 {
        let Some(python) = interpreter(minor) else { continue };
        let running = Running::start(&python, WAITS);
        let memory = Memory::of(running.0.id());
        let right = find_in(&running).unwrap().unwrap();
        let runtime = right.layout.interpreters - tables::of(minor).unwrap().layout.interpreters;
        for other in (8..=12).filter(|other| threads(*other) != threads(minor)) {
            let mut version = tables::of(other).unwrap();
            version.layout.interpreters += runtime;
            version.layout.current += runtime;
            let first = memory.word(version.layout.interpreters).unwrap() + u64::from(threads(other));
            let found_out = try_out(&version, &memory).is_err() || memory.word(first) == Some(0);
            assert!(found_out, "3.{minor} as 3.{other}");
        }
    }
}

/// Of which words of 3.13 and 3.14 the sizes of structures are, and of which fields in them.
const SIZES: [&[usize]; 2] = [&[6, 19, 28, 34, 67], &[6, 22, 31, 39, 77]];
const FIELDS: [&[usize]; 2] = [
    &[8, 9, 18, 21, 22, 23, 24, 29, 30, 31, 33, 35, 37, 38, 39, 68, 69, 70],
    &[8, 9, 19, 24, 25, 26, 27, 32, 33, 34, 36, 40, 42, 43, 44, 78, 79, 80],
];

/// Words of an interpreter of 3.`minor` as they could be.
fn words(minor: u64) -> Vec<u64> {
    let mut words = vec![0_u64; debug_offsets::SIZE / 8];
    words[0] = u64::from_le_bytes(*b"xdebugpy");
    words[1] = 3 << 24 | minor << 16 | 0x00f0;
    let version = usize::from(minor > 13);
    SIZES[version].iter().for_each(|index| words[*index] = 4096);
    FIELDS[version].iter().for_each(|index| words[*index] = *index as u64 * 8);
    // of a frame only the beginning is read
    let frame = SIZES[version][2];
    [(1, 8), (2, 0), (3, 56), (5, 74)].iter().for_each(|(field, offset)| words[frame + field] = *offset);
    words
}

fn read(words: &[u64]) -> Result<Version, PythonError> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    debug_offsets::read(&bytes, words[1])
}

/// Guarantees: what the interpreter says of itself is taken as its version means it, also of 3.14; a free-threaded one, one that
/// nobody knows, and one that contradicts itself anywhere are refused.
#[test]
fn what_it_says_of_itself() {
    let version = read(&words(14)).unwrap();
    assert_eq!((version.layout.frame, version.layout.holder, version.layout.entry), (26 * 8, 19 * 8, 74));
    assert_eq!(
        (version.code.name, version.code.first_line, version.code.text_other),
        (42 * 8, 44 * 8, 80 * 8 + 16)
    );
    assert_eq!(read(&words(13)).unwrap().layout.frame, 23 * 8);
    let changed = |minor, index: usize, value| {
        let mut words = words(minor);
        words[index] = value;
        read(&words)
    };
    assert_eq!(changed(13, 2, 1), Err(PythonError::FreeThreaded));
    assert_eq!(read(&words(15)), Err(PythonError::UnknownVersion { major: 3, minor: 15 }));
    assert!(matches!(changed(13, 0, 0), Err(PythonError::Strange { .. })));
    for (minor, version) in [(13, 0), (14, 1)] {
        for index in FIELDS[version] {
            for value in [u64::MAX, u64::MAX - 7, 1 << 40, 4096] {
                let read = changed(minor, *index, value);
                assert!(
                    matches!(read, Err(PythonError::Strange { .. })),
                    "3.{minor}: {index} {value} {read:?}"
                );
            }
        }
        for index in SIZES[version] {
            for value in [0, 8, u64::MAX] {
                let read = changed(minor, *index, value);
                assert!(
                    matches!(read, Err(PythonError::Strange { .. })),
                    "3.{minor}: {index} {value} {read:?}"
                );
            }
        }
    }
    let whole: Vec<u8> = words(14).iter().flat_map(|word| word.to_le_bytes()).collect();
    for length in 0..whole.len() {
        assert!(debug_offsets::read(&whole[..length], words(14)[1]).is_err(), "{length}");
    }
}
