//! Allocators: linked, preloaded, static.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use mlh_bpf::alloc::point::{Operation, Role, Shape};
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Family, Points, Runtime};

use crate::listing::Listing;
use crate::program::{C, Running, build, families, image};

/// Guarantees: of a C program with glibc the whole malloc family, the system calls behind it and the linker's notice are
/// found, each at an instruction where a probe may stand, and nothing is said to be hidden.
#[test]
fn glibc() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "cc", C, &[]);
    let running = Running::start(&mut Command::new(program));
    let points = running.points();
    assert_eq!(points.runtime, Runtime::Native);
    assert_eq!(points.blind_spots, []);
    let libc = image(&points, "libc.so.6");
    assert_eq!(libc.family, Family::Glibc);
    let listing = Listing::of(&libc.path);
    listing.check(libc);
    for (operation, name) in [
        (Operation::Malloc, "malloc"),
        (Operation::Calloc, "calloc"),
        (Operation::Realloc, "realloc"),
        (Operation::Reallocarray, "reallocarray"),
        (Operation::PosixMemalign, "posix_memalign"),
        (Operation::AlignedAlloc, "aligned_alloc"),
        (Operation::Valloc, "valloc"),
        (Operation::Pvalloc, "pvalloc"),
        (Operation::Free, "free"),
    ] {
        assert!(listing.enters(libc, operation, name), "{name}");
    }
    for shape in [Shape::Map, Shape::Unmap, Shape::Remap, Shape::Break, Shape::Advise] {
        let point = libc.points.iter().find(|point| point.shape == shape).unwrap();
        assert!(point.emulated && point.role == Role::AfterSyscall, "{point:?}");
    }
    let linker = image(&points, "ld-linux");
    let listing = Listing::of(&linker.path);
    listing.check(linker);
    assert!(listing.enters(linker, Operation::LoadedCode, "_dl_debug_state"));
    assert_eq!(linker.points.len(), 1);
}

/// The libraries that are preloaded, with their families. The tests of them need the libraries.
const PRELOADED: [(&str, Family); 4] = [
    ("libjemalloc.so.2", Family::Jemalloc),
    ("libtcmalloc.so.4", Family::Tcmalloc),
    ("libtcmalloc_minimal.so.4", Family::Tcmalloc),
    ("libmimalloc.so.2", Family::Mimalloc),
];

/// Guarantees: an allocator that is preloaded is found beside the C library's, its C functions and its C++ operators, each
/// where a probe may stand, and the ends of what may throw are known.
/// Needs: libjemalloc, libtcmalloc (both), libmimalloc.
#[test]
fn preloaded() {
    let room = tempfile::tempdir().unwrap();
    let program = build(room.path(), "cc", C, &[]);
    for (library, family) in PRELOADED {
        let running = Running::start(Command::new(&program).env("LD_PRELOAD", library));
        let points = running.points();
        assert_eq!(points.blind_spots, [], "{library}");
        let found = image(&points, library.split_once(".so").unwrap().0);
        assert_eq!(found.family, family, "{library}");
        assert!(families(&points).contains(&Family::Glibc), "{library}");
        let listing = Listing::of(&found.path);
        listing.check(found);
        for (operation, name) in [
            (Operation::Malloc, "malloc"),
            (Operation::Calloc, "calloc"),
            (Operation::Realloc, "realloc"),
            (Operation::PosixMemalign, "posix_memalign"),
            (Operation::Free, "free"),
            (Operation::New, "_Znwm"),
        ] {
            assert!(listing.enters(found, operation, name), "{library}: {name}");
        }
        let ends = found.points.iter().filter(|point| point.role == Role::ReturnSite).count();
        let entries = found.points.iter().filter(|point| point.role == Role::EntryOnly).count();
        assert!(entries > 0 && ends >= entries, "{library}: {ends} ends of {entries} entries");
        println!("{library}: {} points, {ends} ends of {entries}", found.points.len());
    }
}

/// Of the calls that are passed over: the functions that they are in. Each returns behind a call, and the way to the caller is
/// as the unwind tables say.
fn passed_over(running: &Running, points: &Points) -> BTreeSet<String> {
    let modules = Modules::read(running.pid()).unwrap();
    let mut listings = BTreeMap::new();
    let (mut callers, mut known) = (BTreeSet::new(), 0);
    for wrapper in &points.wrappers {
        let (module, part) = modules.at(wrapper.returns_to).unwrap();
        let listing = listings.entry(&module.path).or_insert_with(|| Listing::of(&module.path));
        let offset = part.offset_of(wrapper.returns_to).unwrap();
        assert!(listing.instruction_before(offset).starts_with("call"), "{wrapper:?}");
        if let Some(expected) = listing.to_return_address(offset) {
            assert_eq!(u64::from(wrapper.to_return_address), expected, "{wrapper:?}");
            known += 1;
        }
        callers.extend(listing.names(offset - 1));
    }
    assert!(known > 5, "{known} of {}", points.wrappers.len());
    callers
}

/// Guarantees: a C++ program's `operator new` is not probed where it passes on to `malloc`: the calls in it are known, with
/// the way to the caller, and so are those in what makes strings and vectors grow.
/// Needs: libstdc++.
#[test]
fn operator_new() {
    let room = tempfile::tempdir().unwrap();
    let source = format!("#include <vector>\n{C}\nvoid push(std::vector<int> &v) {{ v.push_back(1); }}\n");
    let program = build(room.path(), "c++", &source, &[]);
    let running = Running::start(&mut Command::new(program));
    let points = running.points();
    assert_eq!(points.blind_spots, []);
    assert!(
        points.images.iter().all(|image| image.points.iter().all(|point| point.operation != Operation::New))
    );
    let callers = passed_over(&running, &points);
    for name in
        ["_Znwm", "_ZnwmRKSt9nothrow_t", "_ZnwmSt11align_val_t", "strdup", "_M_mutate", "_M_realloc_insert"]
    {
        assert!(callers.iter().any(|caller| caller.contains(name)), "{name} in {callers:?}");
    }
}

const RUST: &str = r#"
fn main() {
    let mut line = String::new();
    loop {
        println!("ready");
        line.push_str("and so on");
        if std::io::stdin().read_line(&mut line).unwrap() == 0 {
            return;
        }
    }
}
"#;

/// Guarantees: in a Rust program what makes vectors and strings grow is passed over.
/// Needs: rustc.
#[test]
fn rust() {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("main.rs");
    std::fs::write(&source, RUST).unwrap();
    let program = room.path().join("program");
    let built = Command::new("rustc").arg("-O").arg(&source).arg("-o").arg(&program).status().unwrap();
    assert!(built.success());
    let running = Running::start(&mut Command::new(program));
    let points = running.points();
    assert_eq!(points.blind_spots, []);
    let callers = passed_over(&running, &points);
    for name in ["finish_grow", "grow_one", "do_reserve_and_handle"] {
        assert!(callers.iter().any(|caller| caller.contains(name)), "{name} in {callers:?}");
    }
}
