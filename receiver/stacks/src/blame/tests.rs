use super::*;

fn frame(text: &str) -> Frame {
    let (function, module) = text.rsplit_once("@ ").unwrap();
    let function = function.trim();
    let (function, file) =
        function.split_once(" in ").map_or((function, None), |(name, file)| (name, Some(file)));
    let function = (!function.is_empty()).then(|| function.to_owned());
    Frame { function, module: module.to_owned(), file: file.map(str::to_owned), ..Frame::default() }
}

/// In so many of them nobody is to blame.
const UNMARKED: usize = 13;

/// Stacks, each a frame a line, innermost first: `function in source @ module`, of which the one to blame is marked `>`, if any is.
const CASES: &str = include_str!("cases.txt");

/// Guarantees: of stacks of all sorts of languages, libraries and allocators the frame that is marked is to blame, and nobody where
/// none is: where a runtime does what no frame of the program asked for.
#[test]
fn cases() {
    let stacks: Vec<_> = CASES.split("\n\n").map(str::trim).filter(|stack| !stack.is_empty()).collect();
    for stack in &stacks {
        let lines: Vec<_> = stack.lines().filter(|line| !line.starts_with('#')).collect();
        let marked = lines.iter().position(|line| line.starts_with('>'));
        let frames: Vec<_> = lines.iter().map(|line| frame(line.trim_start_matches(['>', ' ']))).collect();
        assert_eq!(culprit(&frames), marked, "{stack}");
    }
    assert!(stacks.len() >= 60, "{}", stacks.len());
    let marked = stacks.iter().filter(|stack| stack.lines().any(|line| line.starts_with('>'))).count();
    assert_eq!(marked + UNMARKED, stacks.len(), "a mark is missing");
}

/// Guarantees: where a caller is told for a library without names, the library is known; nobody's is where the caller is in the same file,
/// has itself called an allocator or a pool, or a runtime stands between them.
#[test]
fn nameless_libraries() {
    let of = |lines: &[&str]| {
        let frames: Vec<_> = lines.iter().map(|line| frame(line)).collect();
        nameless_library(&frames, culprit(&frames).unwrap()).map(str::to_owned)
    };
    let addon = "/srv/sum.linux-x64-gnu.node";
    let nameless = format!(" @ {addon}");
    let store = "store in /srv/app.js @ [anon]";
    let found = of(&[
        "malloc @ /usr/lib/libc.so.6",
        "napi_create_reference @ /usr/bin/node",
        &nameless,
        &nameless,
        store,
    ]);
    assert_eq!(found.as_deref(), Some(addon));
    assert_eq!(of(&["malloc @ /usr/lib/libc.so.6", " @ /bin/app", "serve @ /bin/app"]), None);
    assert_eq!(of(&["malloc @ /usr/lib/libc.so.6", "serve @ /bin/app"]), None);
    assert_eq!(of(&[" @ /usr/bin/node", store]), None);
    assert_eq!(of(&[" @ /usr/sbin/nginx", "ngx_palloc @ /usr/sbin/nginx", "handle @ /usr/lib/mod.so"]), None);
}

/// Guarantees: without frames nobody is to blame.
#[test]
fn nobody() {
    assert_eq!(culprit(&[]), None);
}

/// Guarantees: allocators are known by their functions, with whatever C libraries, compilers and linkers make of the names,
/// and by their files; who merely uses one, or is called like one, is none.
#[test]
fn allocators() {
    for text in [
        "malloc @ /bin/app",
        "__libc_malloc @ /usr/lib/libc.so.6",
        "__GI___libc_malloc @ /usr/lib/libc.so.6",
        "_int_malloc @ /usr/lib/libc.so.6",
        "sysmalloc.part.0 @ /usr/lib/libc.so.6",
        "__glibc_morecore @ /usr/lib/libc.so.6",
        "malloc@@GLIBC_2.2.5 @ /usr/lib/libc.so.6",
        " @ /usr/lib/libjemalloc.so.2",
        "_rjem_je_arena_malloc @ /bin/app",
        "tcmalloc::ThreadCache::Allocate(unsigned long) @ /bin/app",
        "mi_malloc @ /bin/app",
        "_mi_page_malloc @ /bin/app",
    ] {
        assert!(allocates(&frame(text)), "{text}");
    }
    for text in [
        "strdup @ /usr/lib/libc.so.6",
        "mmap @ /usr/lib/libc.so.6",
        "mi_open @ /usr/sbin/mysqld",
        "_mi_ck_write @ /usr/sbin/mysqld",
        "tc_connect @ /bin/app",
        "std::string::reserve(unsigned long) @ /bin/app",
        "mallocator_fill @ /bin/app",
        " @ /bin/app",
    ] {
        assert!(!allocates(&frame(text)), "{text}");
    }
}

/// Guarantees: a collector is known by its functions, however they were compiled; who is called alike is none.
#[test]
fn collectors() {
    let of = |text| collects(&frame(text));
    assert!(
        of("gc_collect_main @ /usr/bin/python3") && of("collect_generations.constprop.0 @ /usr/bin/python3")
    );
    assert!(of("runtime.(*mcache).refill @ /bin/app") && !of("runtime.mallocgc @ /bin/app"));
    assert!(of("_PyGC_CollectNoFail @ /usr/bin/python3"));
    assert!(!of("collect @ /bin/app") && !of("_PyObject_GC_New @ /usr/bin/python3") && !of(" @ /bin/app"));
}
