//! Files: static, stripped, removed, loaded later.

use std::process::Command;

use mlh_bpf::alloc::point::{Operation, Shape};
use mlh_targets::points::Family;

use crate::listing::Listing;
use crate::program::{C, Running, build, families, image};

const STATIC: [(&str, &str, Family); 3] = [
    ("cc", "-static", Family::Glibc),
    ("cc", "-static-pie", Family::Glibc),
    ("musl-gcc", "-static", Family::Musl),
];

/// Guarantees: in a statically linked program its own C library's functions and system calls are found; once its symbols
/// are stripped, it is said that nothing can be.
/// Needs: glibc's archive, musl-gcc.
#[test]
fn static_programs() {
    for (compiler, flag, family) in STATIC {
        let room = tempfile::tempdir().unwrap();
        let program = build(room.path(), compiler, C, &[flag]);
        let running = Running::start(&mut Command::new(&program));
        let points = running.points();
        assert_eq!(points.blind_spots, [], "{compiler}");
        assert_eq!(families(&points), [family], "{compiler}");
        let found = image(&points, "program");
        let listing = Listing::of(&program);
        listing.check(found);
        assert!(listing.enters(found, Operation::Malloc, "malloc"), "{compiler}");
        assert!(listing.enters(found, Operation::Free, "free"), "{compiler}");
        for shape in [Shape::Map, Shape::Unmap] {
            assert!(found.points.iter().any(|point| point.shape == shape), "{compiler}: {shape:?}");
        }
        drop(running);
        assert!(Command::new("strip").arg(&program).status().unwrap().success());
        let points = Running::start(&mut Command::new(&program)).points();
        assert_eq!(points.images, [], "{compiler}");
        let [blind] = &points.blind_spots[..] else { panic!("{points:?}") };
        assert!(blind.what == "allocations" && blind.reason.contains("stripped"), "{blind:?}");
    }
}

/// Guarantees: a musl program that is linked dynamically is seen in its dynamic linker, which is the C library too.
/// Needs: musl-gcc.
#[test]
fn musl() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "musl-gcc", C, &[]);
    let running = Running::start(&mut Command::new(program));
    let points = running.points();
    assert_eq!(points.blind_spots, []);
    let [libc] = &points.images[..] else { panic!("{points:?}") };
    assert_eq!(libc.family, Family::Musl);
    let listing = Listing::of(&libc.path);
    listing.check(libc);
    for operation in
        [Operation::Malloc, Operation::Calloc, Operation::Realloc, Operation::Free, Operation::LoadedCode]
    {
        assert!(listing.enters(libc, operation, ""), "{operation:?}");
    }
    for (shape, count) in [(Shape::Map, 1), (Shape::Unmap, 2), (Shape::Remap, 1), (Shape::Advise, 1)] {
        // a detached thread unmaps its own stack
        assert_eq!(libc.points.iter().filter(|point| point.shape == shape).count(), count, "{shape:?}");
    }
}

/// Guarantees: an allocator that is linked into the program, static and under another prefix too, is found, also once the
/// program's file has been removed.
/// Needs: libjemalloc's and libtcmalloc's archives.
#[test]
fn linked_and_removed() {
    for (library, family) in [
        ("/usr/lib/x86_64-linux-gnu/libjemalloc.a", Family::Jemalloc),
        ("/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.a", Family::Tcmalloc),
    ] {
        let room = tempfile::tempdir().unwrap();
        let source = format!("#include <new>\n{C}\nint *keep = new int[3];\n");
        let program = build(room.path(), "c++", &source, &[library, "-lm", "-lpthread"]);
        let listing = Listing::of(&program);
        let running = Running::start(&mut Command::new(&program));
        std::fs::remove_file(&program).unwrap();
        let points = running.points();
        assert_eq!(points.blind_spots, [], "{library}");
        let found = image(&points, "program");
        assert_eq!(found.family, family);
        listing.check(found);
        assert!(listing.enters(found, Operation::Malloc, "malloc"), "{library}");
        assert!(listing.enters(found, Operation::New, "_Znwm"), "{library}");
        assert!(std::fs::read(&found.path).is_ok());
    }
}

/// Guarantees: a file that is replaced after it was looked at is still the one that is to be probed.
#[test]
fn replaced_meanwhile() {
    use std::os::unix::fs::MetadataExt as _;
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "cc", C, &["-static"]);
    let points = Running::start(&mut Command::new(&program)).points();
    let [found] = &points.images[..] else { panic!("{points:?}") };
    let inode = |path: &std::path::Path| std::fs::metadata(path).unwrap().ino();
    let before = inode(&program);
    std::fs::copy(&program, room.path().join("new")).unwrap();
    std::fs::rename(room.path().join("new"), &program).unwrap();
    assert_ne!(inode(&program), before);
    assert_eq!(inode(&found.opened.path()), before);
}

/// Guarantees: what a program loads after it was looked at is found when it is looked at again.
#[test]
fn loaded_later() {
    let room = tempfile::tempdir().unwrap();
    let library = "void *mi_malloc(unsigned long size) { static char room[4096]; return room + size; }\n";
    std::fs::write(room.path().join("late.c"), library).unwrap();
    let late = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "late.c", "-o", "liblate.so"])
        .current_dir(room.path())
        .status()
        .unwrap();
    assert!(late.success());
    let step = "-DSTEP=dlopen(\"./liblate.so\",RTLD_NOW)";
    let program = build(room.path(), "cc", C, &[step, "-include", "dlfcn.h"]);
    let mut running = Running::start(Command::new(program).current_dir(room.path()));
    assert!(!families(&running.points()).contains(&Family::Mimalloc));
    running.step();
    assert!(families(&running.points()).contains(&Family::Mimalloc));
}

/// Guarantees: a function of which the program chooses one of several as it starts is not probed, and that is said.
#[test]
fn chosen_at_start() {
    let room = tempfile::tempdir().unwrap();
    let source = r#"
        #include <stddef.h>
        static char area[4096];
        static void *one(size_t size) { return area + size; }
        static void *(*choose(void))(size_t) { return one; }
        void *mi_malloc(size_t size) __attribute__((ifunc("choose")));
    "#;
    let program = build(room.path(), "cc", &format!("{source}{C}"), &["-Wl,--export-dynamic"]);
    let points = Running::start(&mut Command::new(program)).points();
    let [blind] = &points.blind_spots[..] else { panic!("{points:?}") };
    assert_eq!(blind.what, "some calls of malloc in program");
    assert!(!families(&points).contains(&Family::Mimalloc));
}

/// Guarantees: a variable that has an allocator's name is not taken for code, also where a linker has put both into one
/// segment.
#[test]
fn variables() {
    let room = tempfile::tempdir().unwrap();
    let variable = "const char mi_malloc[64] = \"no code\";\n";
    let source = format!("{variable}{C}");
    let program = build(room.path(), "cc", &source, &["-Wl,-z,noseparate-code", "-Wl,--export-dynamic"]);
    let points = Running::start(&mut Command::new(program)).points();
    assert_eq!((families(&points), points.blind_spots), (vec![Family::Glibc, Family::Other], vec![]));
}

/// Guarantees: an allocator that is linked into a program whose symbols are gone is named as a blind spot.
/// Needs: libjemalloc's archive.
#[test]
fn hidden_allocator() {
    let room = tempfile::tempdir().unwrap();
    let library = "/usr/lib/x86_64-linux-gnu/libjemalloc.a";
    let arguments = [library, "-Wl,--exclude-libs,ALL", "-lstdc++", "-lm", "-s"];
    let program = build(room.path(), "cc", C, &arguments);
    let points = Running::start(&mut Command::new(program)).points();
    assert_eq!(families(&points), [Family::Glibc, Family::Other]);
    let [blind] = &points.blind_spots[..] else { panic!("{points:?}") };
    assert_eq!(blind.what, "allocations by jemalloc in program");
}

/// Guarantees: where a program offers the probes of OpenTelemetry's memory profiling, both of them, no allocator is probed in
/// the whole process; mappings still are.
/// Needs: sys/sdt.h.
#[test]
fn otel_memory() {
    let both = "-DSTEP=DTRACE_PROBE3(otel_memory,alloc,block,1,1);DTRACE_PROBE1(otel_memory,free,block)";
    for (probes, offered) in [(both, true), ("-DSTEP=DTRACE_PROBE3(otel_memory,alloc,block,1,1)", false)] {
        let room = tempfile::tempdir().unwrap();
        let program = build(room.path(), "cc", C, &[probes, "-include", "sys/sdt.h"]);
        let points = Running::start(&mut Command::new(program)).points();
        assert_eq!(points.images.iter().any(|image| image.usdt), offered);
        let libc = image(&points, "libc.so.6");
        assert_eq!(libc.points.iter().any(|point| point.operation == Operation::Malloc), !offered);
        assert!(libc.points.iter().any(|point| point.operation == Operation::Mmap));
    }
}

const THIRTY_TWO_BIT: &str = r#"
__asm__(
    ".globl _start\n_start:\n"
    "mov $4, %eax\nmov $1, %ebx\nmov $said, %ecx\nmov $6, %edx\nint $0x80\n"
    "again: mov $29, %eax\nint $0x80\njmp again\n"
    "said: .ascii \"ready\\n\"\n");
"#;

/// Guarantees: a 32-bit program is a blind spot as a whole.
/// Needs: a compiler that knows `-m32`, and a kernel that runs such programs.
#[test]
fn thirty_two_bit() {
    let room = tempfile::tempdir().unwrap();
    let program =
        build(room.path(), "cc", THIRTY_TWO_BIT, &["-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie"]);
    let points = Running::start(&mut Command::new(program)).points();
    assert_eq!(points.images, []);
    assert!(points.blind_spots.iter().any(|spot| spot.reason.contains("32-bit")), "{points:?}");
}
