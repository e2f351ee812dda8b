//! Which frame is to blame for an allocation: the innermost that is not there to allocate on behalf of others.

use crate::trace::Frame;

/// Allocators, C libraries, dynamic linkers, and C++ runtimes: beginnings of file names.
const LIBRARIES: &[&str] = &[
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
    "libhoard",
    "libsnmalloc",
    "libscudo",
    "libc.",
    "libc-2.",
    "libc_malloc_debug",
    "libm.",
    "libm-2.",
    "libpthread",
    "libdl.",
    "libdl-2.",
    "librt.",
    "librt-2.",
    "ld-linux",
    "ld-musl",
    "ld64.so",
    "ld-2.",
    "libstdc++.",
    "libc++.",
    "libc++abi.",
    "libsupc++.",
    "libgcc_s.",
    "libasan.",
];
/// The same, where their code is part of the program: names of functions.
const FUNCTIONS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "free",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "mmap",
    "mmap64",
    "mremap",
    "brk",
    "sbrk",
    "strdup",
    "strndup",
    "asprintf",
    "vasprintf",
    "mallocx",
    "rallocx",
    "xmalloc",
    "xcalloc",
    "xrealloc",
    "xstrdup",
    "_start",
    "_dl_start_user",
    "clone",
    "clone3",
    "start_thread",
    "__clone",
    "__clone3",
    "__libc_start_main",
    "__libc_start_call_main",
    "g_malloc",
    "g_malloc0",
    "g_realloc",
    "g_try_malloc",
    "g_strdup",
    "rust_alloc",
    "rdl_alloc",
    "rust_realloc",
    "rust_alloc_zeroed",
];
/// Beginnings of such names: namespaces, and families that mark all of their functions.
const PREFIXES: &[&str] = &[
    "operator new",
    "operator delete",
    // C++
    "std::",
    "__gnu_cxx::",
    "__cxxabi",
    "__cxa_",
    "boost::container::",
    // glibc, musl
    "__libc_",
    "__GI_",
    "_int_malloc",
    "_int_realloc",
    "_int_memalign",
    "sysmalloc",
    "tcache_",
    "arena_get",
    "_mid_memalign",
    "__malloc",
    "__libc_start",
    "libc_start_main",
    // jemalloc, tcmalloc, mimalloc
    "je_",
    "_rjem_",
    "jemalloc_",
    "tc_malloc",
    "tc_new",
    "tc_calloc",
    "tc_realloc",
    "tcmalloc::",
    "(anonymous namespace)::do_malloc",
    "mi_",
    "_mi_",
    // Rust
    "__rustc::",
    "__rust_",
    "__rdl_",
    "__rg_",
    "<alloc::",
    "<core::",
    "<std::",
    "hashbrown::",
    "<hashbrown::",
    "tikv_jemallocator::",
    "<tikv_jemallocator::",
    "mimalloc::",
    "<mimalloc::",
    // glib
    "g_malloc_",
    "g_realloc_",
    "g_try_",
    "g_slice_",
    "g_strdup_",
    "g_memdup",
    // Go
    "runtime.",
    "internal/",
    // V8: what JavaScript allocates is to be found there
    "v8::",
    "Builtins_",
    "node::NodeArrayBufferAllocator::",
    // CPython
    "PyMem_",
    "_PyMem_",
    "PyObject_Malloc",
    "PyObject_Calloc",
    "PyObject_Realloc",
    "_PyObject_Malloc",
    // JVM
    "os::malloc",
    "os::realloc",
    "AllocateHeap",
];

/// Rust's, which may also be namespaces of a C++ program.
const CRATES: &[&str] = &["alloc::", "core::"];

/// The frame to blame, innermost first: an index. Where none stands out, the outermost that is in no library of the
/// language, else the first.
#[must_use]
pub fn culprit(frames: &[Frame]) -> Option<usize> {
    let serves = |frame: &Frame| {
        in_library(&frame.module)
            || frame.function.as_deref().is_some_and(is_service)
            || frame.file.as_deref().is_some_and(in_library_source)
    };
    frames
        .iter()
        .position(|frame| !serves(frame))
        .or_else(|| frames.iter().rposition(|frame| !in_library(&frame.module) && !is_entry(frame)))
        .or_else(|| (!frames.is_empty()).then_some(0))
}

fn in_library(module: &str) -> bool {
    let name = module.rsplit('/').next().unwrap_or(module);
    LIBRARIES.iter().any(|library| name.starts_with(library))
}

/// Functions that were inlined have names without their namespace; where they stand in the source is sure.
fn in_library_source(file: &str) -> bool {
    file.contains("/include/c++/") || (file.starts_with("/rustc/") && file.contains("/library/"))
}

fn is_service(function: &str) -> bool {
    let plain = function.trim_start_matches('_');
    FUNCTIONS.iter().any(|name| *name == function || *name == plain)
        || PREFIXES.iter().any(|prefix| function.starts_with(prefix))
        || (CRATES.iter().any(|name| function.starts_with(name)) && !has_parameters(function))
        // A Rust program's own allocator, `<app::Counting as core::alloc::global::GlobalAlloc>::alloc`.
        || function.contains(" as core::alloc::global::GlobalAlloc>::")
}

/// Functions of C++ are told with their parameters, those of Rust are not.
fn has_parameters(function: &str) -> bool {
    let bare = function.split_once(" [clone").map_or(function, |(bare, _)| bare);
    bare.ends_with(')') || bare.ends_with(") const")
}

fn is_entry(frame: &Frame) -> bool {
    frame
        .function
        .as_deref()
        .is_some_and(|function| ["_start", "clone", "clone3", "start_thread"].contains(&function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        let (function, module) = text.split_once('@').unwrap();
        let function = (!function.is_empty()).then(|| function.to_owned());
        Frame { function, module: module.to_owned(), ..Frame::default() }
    }

    fn blamed<'a>(stack: &[&'a str]) -> Option<&'a str> {
        let frames: Vec<_> = stack.iter().copied().map(frame).collect();
        culprit(&frames).map(|index| stack[index])
    }

    /// Guarantees: allocators and libraries are passed over by the name of their file, also versioned ones, and functions
    /// by theirs where everything is in one file; a program's own functions are not, though their names resemble.
    #[test]
    fn innermost_that_is_not_passed_over() {
        let cases: [(&[&str], &str); 14] = [
            (
                &["strdup@/usr/lib/x86_64-linux-gnu/libc.so.6", "load@/bin/app", "main@/bin/app"],
                "load@/bin/app",
            ),
            (&["@/lib/libjemalloc.so.2", "@/lib/libc-2.31.so", "@/bin/app"], "@/bin/app"),
            (&["@/lib/ld-musl-x86_64.so.1", "serve@/bin/app"], "serve@/bin/app"),
            (
                &[
                    "malloc@/bin/app",
                    "operator new(unsigned long)@/bin/app",
                    "std::string::reserve@/bin/app",
                    "f@/bin/app",
                ],
                "f@/bin/app",
            ),
            (
                &[
                    "__rust_alloc@/a",
                    "alloc::raw_vec::finish_grow@/a",
                    "<alloc::vec::Vec<u8>>::push@/a",
                    "app::put@/a",
                ],
                "app::put@/a",
            ),
            (&["<app::A as core::alloc::global::GlobalAlloc>::alloc@/a", "app::put@/a"], "app::put@/a"),
            (&["g_malloc0@/usr/lib/libglib-2.0.so.0", "window_new@/bin/app"], "window_new@/bin/app"),
            (&["runtime.mmap@/bin/go", "runtime.mallocgc@/bin/go", "main.leak@/bin/go"], "main.leak@/bin/go"),
            (
                &["PyMem_RawMalloc@/usr/bin/python3", "list_resize@/usr/bin/python3"],
                "list_resize@/usr/bin/python3",
            ),
            (
                &[
                    "v8::internal::Heap::Allocate@/bin/node",
                    "Builtins_CEntry@/bin/node",
                    "JS:*serve app.js:2@[anon]",
                ],
                "JS:*serve app.js:2@[anon]",
            ),
            (&["mallocator_fill@/bin/app", "main@/bin/app"], "mallocator_fill@/bin/app"),
            (
                &["core::Cache::put(int) const [clone .cold]@/bin/app", "main@/bin/app"],
                "core::Cache::put(int) const [clone .cold]@/bin/app",
            ),
            (
                &["mail_open@/usr/lib/libc-client.so.2007e", "f@/bin/app"],
                "mail_open@/usr/lib/libc-client.so.2007e",
            ),
            (
                &["stdlib_wrapper@/usr/lib/libcurl.so.4", "main@/bin/app"],
                "stdlib_wrapper@/usr/lib/libcurl.so.4",
            ),
        ];
        for (stack, expected) in cases {
            assert_eq!(blamed(stack), Some(expected), "{stack:?}");
        }
    }

    /// Guarantees: where every frame is passed over the outermost in the program is blamed, not its entry; without one the
    /// first; without frames nobody.
    #[test]
    fn nobody_stands_out() {
        let only_services =
            ["malloc@/bin/app", "std::call@/bin/app", "__libc_start_main@/lib/libc.so.6", "_start@/bin/app"];
        assert_eq!(blamed(&only_services), Some("std::call@/bin/app"));
        assert_eq!(blamed(&["@/lib/libc.so.6", "@/lib/ld-linux-x86-64.so.2"]), Some("@/lib/libc.so.6"));
        assert_eq!(blamed(&[]), None);
    }

    /// Guarantees: inlined functions of the libraries, whose names have no namespace, are known by where they stand.
    #[test]
    fn by_source() {
        let inlined = |file: &str| Frame { file: Some(file.to_owned()), ..frame("_M_invoke@/bin/app") };
        let frames = [
            inlined("/usr/include/c++/12/bits/std_function.h"),
            inlined("/rustc/abc/library/core/src/ops.rs"),
            inlined("/src/app.cc"),
        ];
        assert_eq!(culprit(&frames), Some(2));
    }
}
