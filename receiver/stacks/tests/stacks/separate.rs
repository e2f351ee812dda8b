//! Debug information that is not in the file itself, or not as it is.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mlh_stacks::debuginfod::{Debuginfod, Options};
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::{Library, Unwind, Unwinder};

use crate::target::{MAX_FRAMES, Target, build, run_tool};

/// Function, file and line of each frame in the program itself.
type Seen = Vec<(Option<String>, Option<String>, Option<u32>, bool)>;

fn seen(trace: &Trace) -> Seen {
    let own = trace.frames.iter().filter(|frame| frame.module.ends_with("/chain"));
    let all = own.map(|it| (it.function.clone(), it.file.clone(), it.line, it.inlined));
    all.collect()
}

fn tool(room: &Path, words: &[&str]) {
    run_tool(Command::new(words[0]).args(&words[1..]).current_dir(room));
}

/// What the program's stack looks like, with all it was built with.
fn whole(room: &Path, flags: &[&str]) -> (PathBuf, Seen) {
    let program = build(room, "chain.c", flags);
    let seen = seen(&Target::run(&program, &[]).trace());
    assert!(seen.len() > 12 && seen[0].3 && seen[0].2.is_some(), "{seen:?}");
    (program, seen)
}

fn look(program: &Path) -> Seen {
    seen(&Target::run(program, &[]).trace())
}

/// Without lines, files and inlined functions.
fn functions_only(seen: &Seen) -> Seen {
    let outer = seen.iter().filter(|(.., inlined)| !inlined);
    outer.map(|(function, ..)| (function.clone(), None, None, false)).collect()
}

/// Guarantees: what was taken out of a program is found by the name that it left, in each of the places where that may be,
/// and only if it is what the name stands for: by build id, or by its sum where there is none.
///
/// Needs: objcopy, strip.
#[test]
fn by_link() {
    let room = tempfile::tempdir().unwrap();
    for id in ["-Wl,--build-id", "-Wl,--build-id=none"] {
        let (program, whole) = whole(room.path(), &["-g", id]);
        tool(room.path(), &["objcopy", "--only-keep-debug", "chain", "chain.dbg"]);
        tool(room.path(), &["strip", "--strip-debug", "chain"]);
        tool(room.path(), &["objcopy", "--add-gnu-debuglink=chain.dbg", "chain"]);
        assert_eq!(look(&program), whole, "{id}");
        fs::create_dir_all(room.path().join(".debug")).unwrap();
        fs::rename(room.path().join("chain.dbg"), room.path().join(".debug/chain.dbg")).unwrap();
        assert_eq!(look(&program), whole, "{id}");
        // Another program's.
        tool(room.path(), &["objcopy", "--only-keep-debug", "/proc/self/exe", ".debug/chain.dbg"]);
        assert_eq!(look(&program), functions_only(&whole), "{id}");
        fs::remove_file(room.path().join(".debug/chain.dbg")).unwrap();
        assert_eq!(look(&program), functions_only(&whole), "{id}");
    }
}

/// Guarantees: sections are read however they are compressed.
///
/// Needs: objcopy; for zstd one that knows it.
#[test]
fn compressed() {
    let room = tempfile::tempdir().unwrap();
    let (program, whole) = whole(room.path(), &["-g"]);
    let known = Command::new("objcopy").arg("--help").output().unwrap().stdout;
    for method in ["zlib", "zstd"] {
        if !String::from_utf8_lossy(&known).contains(method) {
            println!("skipped: objcopy does not know {method}");
            continue;
        }
        tool(room.path(), &["objcopy", &format!("--compress-debug-sections={method}"), "chain"]);
        assert_eq!(look(&program), whole, "{method}");
    }
}

/// Guarantees: the small table of symbols that some distributions leave in a stripped program names its functions,
/// together with what the dynamic linker sees.
///
/// Needs: nm, objcopy, strip, xz.
#[test]
fn symbols_within() {
    let room = tempfile::tempdir().unwrap();
    let (program, whole) = whole(room.path(), &["-g", "-Wl,--no-export-dynamic"]);
    tool(room.path(), &["objcopy", "-S", "--keep-symbol=level_5", "--keep-symbol=level_8", "chain", "small"]);
    tool(room.path(), &["xz", "-k", "small"]);
    tool(room.path(), &["strip", "chain"]);
    tool(room.path(), &["objcopy", "--add-section", ".gnu_debugdata=small.xz", "chain"]);
    let kept =
        |name: &Option<String>| name.clone().filter(|name| ["level_5", "level_8"].contains(&name.as_str()));
    let expected: Seen =
        functions_only(&whole).iter().map(|(name, ..)| (kept(name), None, None, false)).collect();
    let found = look(&program);
    assert_eq!(found, expected);
    assert!(found.iter().filter(|(name, ..)| name.is_some()).count() == 2, "{found:?}");
}

/// Guarantees: functions and lines that a compiler has left in files of their own are found there, and in a package of
/// them; files that are not the ones that were made with the program are not used.
///
/// Needs: cc, llvm-dwp.
#[test]
fn split() {
    let room = tempfile::tempdir().unwrap();
    for version in ["-gdwarf-5", "-gdwarf-4"] {
        let (program, whole) = whole(room.path(), &["-g", "-gsplit-dwarf", version]);
        let dwo = room.path().join("chain-chain.dwo");
        assert!(dwo.exists());
        tool(room.path(), &["llvm-dwp", "-e", "chain", "-o", "chain.dwp"]);
        let kept = fs::read(&dwo).unwrap();
        fs::remove_file(&dwo).unwrap();
        assert_eq!(look(&program), whole, "{version}");
        fs::remove_file(room.path().join("chain.dwp")).unwrap();
        let without = look(&program);
        assert!(!without[0].3 && without[0].2.is_some(), "{without:?}");
        // Of the same name, from another compilation.
        let first = fs::read(&program).unwrap();
        build(room.path(), "chain.c", &["-g", "-gsplit-dwarf", version, "-fno-inline"]);
        assert_ne!(fs::read(&dwo).unwrap(), kept);
        fs::write(&program, first).unwrap();
        assert_eq!(look(&program), without, "{version}");
        fs::write(&dwo, &kept).unwrap();
        assert_eq!(look(&program), whole, "{version}");
        fs::remove_file(&dwo).unwrap();
    }
}

/// Guarantees: what `dwz` has moved into a file that several have in common is found there, and names are the same.
///
/// Needs: objcopy, dwz; without it the test says so and passes.
#[test]
fn in_common() {
    if Command::new("dwz").arg("--version").output().is_err() {
        println!("skipped: there is no dwz");
        return;
    }
    let room = tempfile::tempdir().unwrap();
    let (program, whole) = whole(room.path(), &["-g", "-gdwarf-4"]);
    fs::copy(&program, room.path().join("second")).unwrap();
    tool(room.path(), &["dwz", "-m", "common", "-M", "common", "chain", "second"]);
    let table = Command::new("readelf").arg("-SW").arg(&program).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&table).contains(".gnu_debugaltlink"));
    assert_eq!(look(&program), whole);
    fs::remove_file(room.path().join("common")).unwrap();
    assert_ne!(look(&program), whole);
}

/// Guarantees: names are the same however a program is linked, and a file in the place of another is not taken for it.
///
/// Needs: a static C library.
#[test]
fn linked_in_any_way() {
    let room = tempfile::tempdir().unwrap();
    let (_, expected) = whole(room.path(), &["-g"]);
    let levels = |seen: &Seen| seen.iter().take(12).cloned().collect::<Vec<_>>();
    for flags in [&["-g", "-static-pie"][..], &["-g", "-static"], &["-g", "-no-pie"]] {
        let (program, seen) = whole(room.path(), flags);
        assert_eq!(levels(&seen), levels(&expected), "{flags:?}");
        let target = Target::run(&program, &[]);
        let other = room.path().join("other");
        fs::copy("/proc/self/exe", &other).unwrap();
        fs::rename(&other, &program).unwrap();
        assert_eq!(levels(&self::seen(&target.trace())), levels(&expected), "{flags:?}");
    }
}

/// Guarantees: what belongs to a program is looked for where the process would find it, not where we would.
///
/// Needs: unshare and the right to mount; without it the test says so and passes.
#[test]
fn in_another_mount_namespace() {
    let room = tempfile::tempdir().unwrap();
    let (_, whole) = whole(room.path(), &["-g"]);
    tool(room.path(), &["objcopy", "--only-keep-debug", "chain", "chain.dbg"]);
    tool(room.path(), &["strip", "--strip-debug", "chain"]);
    tool(room.path(), &["objcopy", "--add-gnu-debuglink=chain.dbg", "chain"]);
    fs::create_dir(room.path().join("inside")).unwrap();
    let script = "mount -t tmpfs none inside && cp chain chain.dbg inside/ && exec ./inside/chain";
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "--propagation", "private", "sh", "-c", script]).current_dir(room.path());
    let may = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|done| done.status.success());
    if !may {
        println!("skipped: no right to a mount namespace");
        return;
    }
    let target = Target::start(&mut unshare);
    fs::remove_file(room.path().join("chain.dbg")).unwrap();
    assert!(!room.path().join("inside/chain").exists());
    assert_eq!(seen(&target.trace()), whole);
}

/// Guarantees: where servers are named a stripped program is at first as it is, and has lines once one has sent them; no
/// trace waits for that. Where none are named, none is asked.
///
/// Needs: objcopy, strip.
#[test]
fn by_server() {
    let room = tempfile::tempdir().unwrap();
    let (program, whole) = whole(room.path(), &["-g"]);
    tool(room.path(), &["objcopy", "--only-keep-debug", "chain", "chain.dbg"]);
    tool(room.path(), &["strip", "--strip-debug", "chain"]);
    let bytes = fs::read(room.path().join("chain.dbg")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (allow, allowed) = mpsc::channel();
    let target = Target::run(&program, &[]);
    assert_eq!(seen(&target.trace()), functions_only(&whole));
    let id = target.trace().frames[0].build_id.clone().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let is_it = head.next().is_some_and(|line| line.contains(&format!("/buildid/{id}/debuginfo ")));
            let _ = head.find(String::is_empty);
            let answer = if is_it {
                allowed.recv().unwrap();
                [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes(), &bytes]
                    .concat()
            } else {
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()
            };
            let _ = stream.write_all(&answer);
        }
    });
    let debuginfod = Debuginfod {
        servers: vec![address],
        cache_dir: room.path().join("cache"),
        max_bytes: 1 << 24,
        timeout: Duration::from_secs(60),
    };
    let library = Library::with(Options { debuginfod: Some(debuginfod) });
    let mut unwinder = Unwinder::with_library(target.pid(), MAX_FRAMES, Unwind::Auto, &library);
    unwinder.refresh(&target.modules());
    let mut look = || seen(&unwinder.trace(&target.captured()));
    assert_eq!(look(), functions_only(&whole));
    allow.send(()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while look() != whole {
        assert!(Instant::now() < deadline, "{:?}", look());
        std::thread::yield_now();
    }
}
