//! A program with more debug information than is ever held.
//!
//! Alone in its process, whose memory it measures.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mlh_stacks::modules::{FileId, Module, Modules, Part};
use mlh_stacks::unwind::{Captured, Unwinder};

const KINDS: usize = 3;
/// What naming may take on top of what a process has anyway.
const MAX_MEMORY: u64 = 48 * 1024 * 1024;
/// What it may take of a file that was made to take much.
const MAX_BOMB: u64 = 64 * 1024 * 1024;

/// Held by whoever measures.
static ALONE: Mutex<()> = Mutex::new(());

/// Each kind is compiled once and copied, each copy with a name of its own: as many units, at once.
fn build(room: &Path, copies: usize) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/large/unit.cc");
    let mut objects = String::from("main.o\n");
    let (mut declared, mut called) = (String::new(), String::new());
    for kind in 0..KINDS {
        let flags =
            [format!("-DKIND={}", 8 + kind), "-std=c++17".into(), "-g".into(), "-O2".into(), "-c".into()];
        run(Command::new("c++").args(flags).arg(&source).args(["-o", "whole.o"]).current_dir(room));
        // Otherwise the linker would keep one of all copies.
        run(Command::new("ld")
            .args(["-r", "--force-group-allocation", "whole.o", "-o", "unit.o"])
            .current_dir(room));
        for copy in 0..copies {
            let (name, object) = (format!("unit_{kind}_{copy}"), format!("unit_{kind}_{copy}.o"));
            let renamed =
                [format!("--redefine-sym=unit_entry={name}"), format!("--keep-global-symbol={name}")];
            run(Command::new("objcopy").args(renamed).args(["unit.o", &object]).current_dir(room));
            objects.push_str(&format!("{object}\n"));
            declared.push_str(&format!("int {name}(int);\n"));
            called.push_str(&format!("sum += {name}(argc);\n"));
        }
    }
    let main = format!(
        "#include <stdio.h>\n{declared}int main(int argc, char **argv) {{ int sum = 0; puts(\"ready\"); fflush(stdout); getchar(); if (argc > 9) {{ {called} }} return sum; }}\n"
    );
    fs::write(room.join("main.c"), main).unwrap();
    fs::write(room.join("objects"), objects).unwrap();
    run(Command::new("cc").args(["-g", "-c", "main.c"]).current_dir(room));
    run(Command::new("c++")
        .args(["-Wl,-z,muldefs", "-Wl,--build-id", "@objects", "-o", "large"])
        .current_dir(room));
    for object in fs::read_to_string(room.join("objects")).unwrap().lines() {
        fs::remove_file(room.join(object)).unwrap();
    }
    room.join("large")
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Where calls are in the program's functions of a name, by what the function is called in its table of symbols.
fn functions(program: &Path, prefix: &str) -> Vec<(String, u64)> {
    let table = Command::new("nm").arg(program).output().unwrap().stdout;
    let lines = String::from_utf8(table).unwrap();
    let all = lines.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let (kind, name) = (words.next()?, words.next()?);
        (kind.eq_ignore_ascii_case("t") && name.starts_with(prefix)).then(|| (name.to_owned(), address))
    });
    all.collect()
}

fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What this thread has run for so far: on a busy machine the clock says little.
fn worked() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

/// Guarantees: a program whose debug information is larger than what is ever held of it is named with file, line and
/// inlined functions in all of its units, in bounded memory and time.
///
/// Needs: c++, ld, objcopy, nm. `LARGE_COPIES` is how often each of three units is linked, 80 times by default: 540 make
/// 500 MB, 1,100 more than 1 GB.
#[test]
fn more_than_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let copies = std::env::var("LARGE_COPIES").map_or(80, |copies| copies.parse().unwrap());
    let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = build(room.path(), copies);
    let size = fs::metadata(&program).unwrap().len();
    let targets = functions(&program, "_ZN3app4Walk3runEi");
    assert!(targets.len() >= KINDS * copies, "{}", targets.len());
    let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let modules = Modules::read(child.id()).unwrap();
    let module = modules.modules.iter().find(|module| module.path == program).unwrap();
    let base = module.parts.iter().map(|part| part.start - part.offset).min().unwrap();

    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let began = Instant::now();
    let mut unwinder = Unwinder::new(child.id(), 64);
    unwinder.refresh(&modules);
    let mut first = Duration::ZERO;
    let (mut lines, mut most) = (HashMap::new(), 0);
    for (at, (_, address)) in targets.iter().enumerate() {
        for within in [5, 40, 130] {
            let captured = Captured { ip: base + address + within, sp: 0x1000, ..Captured::default() };
            let trace = unwinder.trace(&captured);
            let outermost = trace.frames.iter().find(|frame| !frame.inlined).unwrap();
            assert_eq!(outermost.function.as_deref(), Some("app::Walk::run(int)"), "{at}");
            assert!(outermost.file.as_deref().unwrap().ends_with("tests/large/unit.cc"), "{outermost:?}");
            *lines.entry(outermost.line.unwrap()).or_insert(0) += 1;
            most = most.max(trace.frames.len());
        }
        if at == 0 {
            first = began.elapsed();
        }
    }
    let (took, grown) = (began.elapsed(), memory("VmHWM").saturating_sub(before));
    println!(
        "{} MiB, {} units: the first name after {first:?}, {} after {took:?}, {} KiB of memory",
        size >> 20,
        KINDS * copies,
        3 * targets.len(),
        grown >> 10
    );
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(
        most > 3 && lines.len() > 1 && lines.keys().all(|line| (27..=34).contains(line)),
        "{most}, {lines:?}"
    );
    assert!(grown <= MAX_MEMORY, "{grown}");
    // It would prove nothing of a file that fits.
    assert!(size > MAX_MEMORY / 2 * 3, "{size}");
}

/// Debug information that says little and stands for much, in the assembler's words.
const BOMBS: [(&str, &str); 4] = [
    // Each of many functions is at each of many addresses.
    (
        "functions that share a list of ranges",
        r#"
.section .debug_abbrev,"",@progbits
.uleb128 1, 0x11; .byte 1; .uleb128 0x11, 1, 0x12, 7, 0, 0
.uleb128 2, 0x2e; .byte 0; .uleb128 0x55, 0x17, 0, 0
.byte 0
.section .debug_info,"",@progbits
.long 1f - 0f
0: .short 4; .long 0; .byte 8
.uleb128 1; .quad here, 0x10000
.rept 100000; .uleb128 2; .long 0; .endr
.byte 0
1:
.section .debug_ranges,"",@progbits
.set at, 0
.rept 100000; .quad at, at + 1; .set at, at + 1; .endr
.quad 0, 0
"#,
    ),
    // A byte of it is a source file.
    (
        "a table of nameless files",
        r#"
.section .debug_abbrev,"",@progbits
.uleb128 1, 0x11; .byte 0; .uleb128 0x11, 1, 0x12, 7, 0x10, 0x17, 0, 0
.byte 0
.section .debug_info,"",@progbits
.rept 500
.long 1f - 0f
0: .short 4; .long 0; .byte 8
.uleb128 1; .quad here, 0x10000; .long 0
1:
.endr
.section .debug_line,"",@progbits
.long 1f - 0f
0: .short 5; .byte 8, 0; .long 3f - 2f
2: .byte 1, 1, 1, -5, 14, 1
.byte 1; .uleb128 1, 8; .uleb128 1; .byte 0
.byte 1; .uleb128 1, 8; .uleb128 128000; .fill 128000, 1, 0
3:
1:
"#,
    ),
    // A byte of it is an entry with many attributes, none of which takes a byte.
    (
        "attributes that take no room",
        r#"
.section .debug_abbrev,"",@progbits
.uleb128 1, 0x11; .byte 1; .uleb128 0x11, 1, 0x12, 7, 0, 0
.uleb128 2, 0x2e; .byte 0; .rept 100000; .uleb128 0x3f, 0x19; .endr; .uleb128 0, 0
.byte 0
.section .debug_info,"",@progbits
.long 1f - 0f
0: .short 4; .long 0; .byte 8
.uleb128 1; .quad here, 0x10000
.fill 3000000, 1, 2
.byte 0
1:
"#,
    ),
    // Deeper than any stack.
    (
        "functions within functions",
        r#"
.section .debug_abbrev,"",@progbits
.uleb128 1, 0x11; .byte 1; .uleb128 0x11, 1, 0x12, 7, 0, 0
.uleb128 2, 0x2e; .byte 1; .uleb128 0x11, 1, 0x12, 7, 0, 0
.uleb128 3, 0x1d; .byte 1; .uleb128 0x11, 1, 0x12, 7, 0, 0
.byte 0
.section .debug_info,"",@progbits
.long 1f - 0f
0: .short 4; .long 0; .byte 8
.uleb128 1; .quad here, 0x10000
.uleb128 2; .quad here, 0x10000
.rept 1000000; .uleb128 3; .quad here, 0x10000; .endr
1:
"#,
    ),
];

/// Guarantees: debug information made to stand for far more than it is takes neither much memory nor long, however many
/// addresses are asked for.
///
/// Needs: cc.
#[test]
fn bombs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (what, text) in BOMBS {
        let (source, program) = (room.path().join("it.s"), room.path().join("it"));
        let start = ".text\n.globl _start\n_start:\nhere: .fill 0x10000, 1, 0x90\n";
        fs::write(&source, format!("{start}{text}")).unwrap();
        run(Command::new("cc").args(["-nostdlib", "-static", "-o"]).args([&program, &source]));
        let file = fs::metadata(&program).unwrap();
        let part =
            Part { start: 0x40_0000, end: 0x41_0000, offset: 0x1000, executable: true, writable: false };
        let id = FileId {
            major: u32::try_from(nix::sys::stat::major(file.dev())).unwrap(),
            minor: u32::try_from(nix::sys::stat::minor(file.dev())).unwrap(),
            inode: file.ino(),
        };
        let module = Module { path: program.clone(), deleted: false, file: id, parts: vec![part] };
        let modules = Modules { modules: vec![module], ..Modules::default() };
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let began = worked();
        let mut unwinder = Unwinder::new(std::process::id(), 64);
        unwinder.refresh(&modules);
        for within in 0..20 {
            let captured = Captured { ip: 0x40_0100 + within * 0x100, sp: 0x1000, ..Captured::default() };
            assert!(unwinder.trace(&captured).frames.len() <= 65, "{what}");
        }
        let (took, grown) = (worked() - began, memory("VmHWM").saturating_sub(before));
        println!("{what}: {took:?}, {} KiB of memory", grown >> 10);
        assert!(grown <= MAX_BOMB, "{what}: {grown}");
        assert!(took < Duration::from_secs(60), "{what}: {took:?}");
    }
}
