//! Go, which keeps tables of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mlh_stacks::unwind::{Captured, Library, Unwind, Unwinder};

use crate::target::{MAX_FRAMES, Target, blamed, functions, run_tool};

/// Builds the program in `programs/go`.
fn build(room: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks/programs/go");
    for file in ["leak.go", "here_amd64.s"] {
        fs::copy(sources.join(file), room.join(file)).unwrap();
    }
    fs::write(room.join("go.mod"), "module leak\n\ngo 1.18\n").unwrap();
    // C code, so that the system's linker puts its own code before that of Go.
    let with_c = "package withc\n\n// int one(void) { return 1; }\nimport \"C\"\n\nvar One = int(C.one())\n";
    fs::create_dir_all(room.join("withc")).unwrap();
    fs::write(room.join("withc/withc.go"), with_c).unwrap();
    fs::write(room.join("c.go"), "//go:build withc\n\npackage main\n\nimport _ \"leak/withc\"\n").unwrap();
    let output = room.join(name);
    let mut go = Command::new("go");
    run_tool(go.current_dir(room).args(["build", "-o"]).arg(&output).args(flags).arg("."));
    output
}

const STACK: [&str; 6] = [
    "main.remember",
    "main.inlined",
    "main.(*server).serve",
    "main.main.func1",
    "main.main.gowrap1",
    "runtime.goexit",
];

/// Guarantees: of a Go program stripped of its symbols, position independent or not, the stack has the same functions, the
/// inlined ones among them, files and lines as with them, to its end; by frame pointers, by a copy, or by what the kernel
/// has followed; and it is known that Go keeps frame pointers.
/// Needs: go, cc.
#[test]
fn stripped() {
    let room = tempfile::tempdir().unwrap();
    let variants: [(&str, &[&str]); 6] = [
        ("whole", &[]),
        ("stripped", &["-ldflags=-s -w"]),
        ("pie", &["-buildmode=pie", "-ldflags=-s -w"]),
        ("trimmed", &["-trimpath", "-ldflags=-s -w"]),
        ("with-c", &["-tags=withc", "-ldflags=-s -w"]),
        ("with-c-pie", &["-tags=withc", "-buildmode=pie", "-ldflags=-s -w"]),
    ];
    for (name, flags) in variants {
        let target = Target::run(&build(room.path(), name, flags), &[]);
        let mut unwinder =
            Unwinder::with_library(target.pid(), MAX_FRAMES, Unwind::Auto, &Library::default());
        unwinder.refresh(&target.modules());
        let trace = unwinder.trace(&target.captured());
        let found: Vec<_> = functions(&trace).iter().map(|name| name.trim_end_matches(".abi0")).collect();
        let expected: Vec<_> = STACK.into_iter().filter(|name| found.contains(name)).collect();
        assert!(expected.len() >= 5 && found == expected, "{name}: {found:?}");
        assert_eq!((blamed(&trace), &trace.incomplete), ("main.remember", &None), "{name}: {trace:#?}");
        let places =
            trace.frames[..3].iter().map(|frame| (frame.file.as_deref().unwrap(), frame.line.unwrap()));
        let places: Vec<_> = places.map(|(file, line)| (file.rsplit('/').next().unwrap(), line)).collect();
        assert_eq!(places, [("leak.go", 19), ("leak.go", 29), ("leak.go", 36)], "{name}");
        assert!(trace.frames[1].inlined && !trace.frames[2].inlined, "{name}");
        let chain: Vec<_> =
            trace.frames.iter().filter(|frame| !frame.inlined).skip(1).map(|frame| frame.address).collect();
        let Captured { ip, sp, bp, .. } = target.captured();
        let chained = unwinder.trace(&Captured { ip, sp, bp, chain: &chain, ..Captured::default() });
        assert_eq!(chained, trace, "{name}");
        // The C library of this distribution keeps none.
        let alone = ["whole", "stripped", "trimmed"].contains(&name);
        assert_eq!(unwinder.keeps_frame_pointers(), alone, "{name}");
    }
}
