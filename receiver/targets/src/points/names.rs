//! The names that are looked for, and what they mean.

use std::collections::HashMap;

use mlh_bpf::alloc::point::{Operation, Shape};

use super::{Family, Runtime};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An allocator's function, in C: nothing unwinds through it.
    Function(Operation, Shape),
    /// An allocator's function that may throw.
    Throwing(Operation, Shape),
    /// A C++ operator: the allocator's own, or one that passes on to `malloc`.
    Operator(Operation, Shape),
    /// A function that hands out what it has allocated for its caller: copies of strings.
    PassesOn,
    /// The same, of what its caller holds: growing strings and vectors.
    Grows,
    /// A function that makes the system calls that change the address space.
    SystemCalls,
    /// The dynamic linker's notice to debuggers.
    LoaderNotice,
    /// An allocator is in there, or the C library that it comes with.
    Family(Family),
    /// It is glibc's dynamic linker.
    Linker,
    /// A runtime is in there.
    Runtime(Runtime),
}

/// A name that is looked for.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) meaning: Meaning,
    /// Whose it can only be.
    pub(super) family: Option<Family>,
    /// So common that a private function may have it too: only a public one counts.
    pub(super) common: bool,
}

/// All of them.
pub(super) struct Names {
    all: Vec<Name>,
    by_ending: HashMap<[u8; 2], Vec<usize>>,
    growing: Name,
}

/// The C family; an argument's number behind each.
const C: [(&str, Operation, Shape); 17] = [
    ("malloc", Operation::Malloc, Shape::Size { size: 0 }),
    ("calloc", Operation::Calloc, Shape::Array { count: 0, size: 1 }),
    ("realloc", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("reallocarray", Operation::Reallocarray, Shape::ResizeArray { pointer: 0, count: 1, size: 2 }),
    ("posix_memalign", Operation::PosixMemalign, Shape::Out { out: 0, size: 2 }),
    ("aligned_alloc", Operation::AlignedAlloc, Shape::Size { size: 1 }),
    ("memalign", Operation::Memalign, Shape::Size { size: 1 }),
    ("valloc", Operation::Valloc, Shape::Size { size: 0 }),
    ("pvalloc", Operation::Pvalloc, Shape::Size { size: 0 }),
    ("free", Operation::Free, Shape::Free { pointer: 0 }),
    ("cfree", Operation::Free, Shape::Free { pointer: 0 }),
    ("free_sized", Operation::Free, Shape::Free { pointer: 0 }),
    ("free_aligned_sized", Operation::Free, Shape::Free { pointer: 0 }),
    ("mallocx", Operation::Mallocx, Shape::Size { size: 0 }),
    ("rallocx", Operation::Rallocx, Shape::Resize { pointer: 0, size: 1 }),
    ("dallocx", Operation::Dallocx, Shape::Free { pointer: 0 }),
    ("sdallocx", Operation::Sdallocx, Shape::Free { pointer: 0 }),
];

/// What is put before the C names, and by whom.
const PREFIXES: [(&str, Option<Family>); 7] = [
    ("", None),
    ("__libc_", None),
    ("je_", Some(Family::Jemalloc)),
    ("_rjem_", Some(Family::Jemalloc)),
    ("_rjem_je_", Some(Family::Jemalloc)),
    ("tc_", Some(Family::Tcmalloc)),
    ("mi_", Some(Family::Mimalloc)),
];

/// mimalloc's own, behind `mi_`.
const MIMALLOC: [(&str, Operation, Shape); 45] = [
    ("zalloc", Operation::Calloc, Shape::Size { size: 0 }),
    ("malloc_small", Operation::Malloc, Shape::Size { size: 0 }),
    ("zalloc_small", Operation::Calloc, Shape::Size { size: 0 }),
    ("mallocn", Operation::Malloc, Shape::Array { count: 0, size: 1 }),
    ("reallocn", Operation::Reallocarray, Shape::ResizeArray { pointer: 0, count: 1, size: 2 }),
    ("reallocf", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("rezalloc", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("recalloc", Operation::Reallocarray, Shape::ResizeArray { pointer: 0, count: 1, size: 2 }),
    ("malloc_aligned", Operation::AlignedAlloc, Shape::Size { size: 0 }),
    ("malloc_aligned_at", Operation::AlignedAlloc, Shape::Size { size: 0 }),
    ("zalloc_aligned", Operation::AlignedAlloc, Shape::Size { size: 0 }),
    ("zalloc_aligned_at", Operation::AlignedAlloc, Shape::Size { size: 0 }),
    ("calloc_aligned", Operation::Calloc, Shape::Array { count: 0, size: 1 }),
    ("calloc_aligned_at", Operation::Calloc, Shape::Array { count: 0, size: 1 }),
    ("realloc_aligned", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("realloc_aligned_at", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("rezalloc_aligned", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("rezalloc_aligned_at", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    ("recalloc_aligned", Operation::Reallocarray, Shape::ResizeArray { pointer: 0, count: 1, size: 2 }),
    ("recalloc_aligned_at", Operation::Reallocarray, Shape::ResizeArray { pointer: 0, count: 1, size: 2 }),
    ("free_size", Operation::Free, Shape::Free { pointer: 0 }),
    ("free_size_aligned", Operation::Free, Shape::Free { pointer: 0 }),
    ("free_aligned", Operation::Free, Shape::Free { pointer: 0 }),
    ("heap_malloc", Operation::Malloc, Shape::Size { size: 1 }),
    ("heap_zalloc", Operation::Calloc, Shape::Size { size: 1 }),
    ("heap_calloc", Operation::Calloc, Shape::Array { count: 1, size: 2 }),
    ("heap_mallocn", Operation::Malloc, Shape::Array { count: 1, size: 2 }),
    ("heap_malloc_small", Operation::Malloc, Shape::Size { size: 1 }),
    ("heap_realloc", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_reallocn", Operation::Reallocarray, Shape::ResizeArray { pointer: 1, count: 2, size: 3 }),
    ("heap_reallocf", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_rezalloc", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_recalloc", Operation::Reallocarray, Shape::ResizeArray { pointer: 1, count: 2, size: 3 }),
    ("heap_malloc_aligned", Operation::AlignedAlloc, Shape::Size { size: 1 }),
    ("heap_malloc_aligned_at", Operation::AlignedAlloc, Shape::Size { size: 1 }),
    ("heap_zalloc_aligned", Operation::AlignedAlloc, Shape::Size { size: 1 }),
    ("heap_zalloc_aligned_at", Operation::AlignedAlloc, Shape::Size { size: 1 }),
    ("heap_calloc_aligned", Operation::Calloc, Shape::Array { count: 1, size: 2 }),
    ("heap_calloc_aligned_at", Operation::Calloc, Shape::Array { count: 1, size: 2 }),
    ("heap_realloc_aligned", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_realloc_aligned_at", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_rezalloc_aligned", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_rezalloc_aligned_at", Operation::Realloc, Shape::Resize { pointer: 1, size: 2 }),
    ("heap_recalloc_aligned", Operation::Reallocarray, Shape::ResizeArray { pointer: 1, count: 2, size: 3 }),
    (
        "heap_recalloc_aligned_at",
        Operation::Reallocarray,
        Shape::ResizeArray { pointer: 1, count: 2, size: 3 },
    ),
];

/// C functions that call a handler which may throw.
const THROWING: [(&str, Family, Operation, Shape); 28] = [
    ("mi_new", Family::Mimalloc, Operation::New, Shape::Size { size: 0 }),
    ("mi_new_aligned", Family::Mimalloc, Operation::New, Shape::Size { size: 0 }),
    ("mi_new_nothrow", Family::Mimalloc, Operation::New, Shape::Size { size: 0 }),
    ("mi_new_aligned_nothrow", Family::Mimalloc, Operation::New, Shape::Size { size: 0 }),
    ("mi_new_n", Family::Mimalloc, Operation::New, Shape::Array { count: 0, size: 1 }),
    ("mi_new_realloc", Family::Mimalloc, Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
    (
        "mi_new_reallocn",
        Family::Mimalloc,
        Operation::Reallocarray,
        Shape::ResizeArray { pointer: 0, count: 1, size: 2 },
    ),
    ("mi_heap_alloc_new", Family::Mimalloc, Operation::New, Shape::Size { size: 1 }),
    ("mi_heap_alloc_new_n", Family::Mimalloc, Operation::New, Shape::Array { count: 1, size: 2 }),
    ("tc_new", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_newarray", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_new_nothrow", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_newarray_nothrow", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_new_aligned", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_newarray_aligned", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_new_aligned_nothrow", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_newarray_aligned_nothrow", Family::Tcmalloc, Operation::New, Shape::Size { size: 0 }),
    ("tc_malloc_skip_new_handler", Family::Tcmalloc, Operation::Malloc, Shape::Size { size: 0 }),
    ("tc_delete", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_deletearray", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_delete_nothrow", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_deletearray_nothrow", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_delete_sized", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_deletearray_sized", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_delete_aligned", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_deletearray_aligned", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_delete_sized_aligned", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
    ("tc_deletearray_sized_aligned", Family::Tcmalloc, Operation::Delete, Shape::Free { pointer: 0 }),
];

/// `operator new` in all its forms: the size is the first argument of each.
const NEW: [&str; 8] = [
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
];

/// `operator delete` in all its forms.
const DELETE: [&str; 12] = [
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
];

const PASS_ON: [&str; 4] = ["strdup", "__strdup", "strndup", "__strndup"];

/// Of C libraries, and of the Go runtime.
const SYSTEM_CALLS: [&str; 21] = [
    "__unmapself",
    "mmap",
    "mmap64",
    "__mmap",
    "__mmap64",
    "munmap",
    "__munmap",
    "mremap",
    "__mremap",
    "brk",
    "__brk",
    "sbrk",
    "__sbrk",
    "madvise",
    "__madvise",
    "runtime.sysMmap",
    "runtime.sysMunmap",
    "runtime.madvise",
    "runtime.sysMmap.abi0",
    "runtime.sysMunmap.abi0",
    "runtime.madvise.abi0",
];

/// Names that only one has.
const MARKS: [(&str, Meaning); 18] = [
    ("gnu_get_libc_version", Meaning::Family(Family::Glibc)),
    ("__libc_setup_tls", Meaning::Family(Family::Glibc)),
    ("_rtld_global", Meaning::Linker),
    ("__libc_malloc_impl", Meaning::Family(Family::Musl)),
    ("__malloc_donate", Meaning::Family(Family::Musl)),
    ("__stdio_exit_needed", Meaning::Family(Family::Musl)),
    ("__optreset", Meaning::Family(Family::Musl)),
    ("mi_version", Meaning::Family(Family::Mimalloc)),
    ("TCMallocInternalMalloc", Meaning::Family(Family::Tcmalloc)),
    ("_dl_debug_state", Meaning::LoaderNotice),
    ("JNI_CreateJavaVM", Meaning::Runtime(Runtime::Jvm)),
    ("Py_Initialize", Meaning::Runtime(Runtime::Cpython)),
    ("_ZN4node5StartEiPPc", Meaning::Runtime(Runtime::Node)),
    ("ruby_init", Meaning::Runtime(Runtime::Ruby)),
    ("php_module_startup", Meaning::Runtime(Runtime::Php)),
    ("coreclr_initialize", Meaning::Runtime(Runtime::Dotnet)),
    ("runtime.rt0_go", Meaning::Runtime(Runtime::Go)),
    ("runtime.rt0_go.abi0", Meaning::Runtime(Runtime::Go)),
];

impl Names {
    /// No name is longer, but for those of [`GROWING`](Self::GROWING).
    pub(super) const LONGEST: usize = 64;
    /// The number of all names that are known by their form.
    pub(super) const GROWING: usize = usize::MAX;

    pub(super) fn new() -> Self {
        let mut all: Vec<Name> = Vec::new();
        let mut add = |text: String, meaning, family, common| {
            all.push(Name { text, meaning, family, common });
        };
        for (prefix, family) in PREFIXES {
            for (name, operation, shape) in C {
                add(
                    format!("{prefix}{name}"),
                    Meaning::Function(operation, shape),
                    family,
                    prefix.is_empty(),
                );
            }
        }
        for (name, operation, shape) in MIMALLOC {
            add(format!("mi_{name}"), Meaning::Function(operation, shape), Some(Family::Mimalloc), false);
        }
        for (name, family, operation, shape) in THROWING {
            add(name.to_owned(), Meaning::Throwing(operation, shape), Some(family), false);
        }
        for name in NEW {
            let meaning = Meaning::Operator(Operation::New, Shape::Size { size: 0 });
            add(name.to_owned(), meaning, None, false);
        }
        for name in DELETE {
            let meaning = Meaning::Operator(Operation::Delete, Shape::Free { pointer: 0 });
            add(name.to_owned(), meaning, None, false);
        }
        for name in PASS_ON {
            add(name.to_owned(), Meaning::PassesOn, None, true);
        }
        for name in SYSTEM_CALLS {
            add(name.to_owned(), Meaning::SystemCalls, None, !name.starts_with("runtime."));
        }
        for (name, meaning) in MARKS {
            add(name.to_owned(), meaning, None, false);
        }
        let mut by_ending: HashMap<[u8; 2], Vec<usize>> = HashMap::new();
        for (index, name) in all.iter().enumerate() {
            if let [.., before, last] = name.text.as_bytes() {
                by_ending.entry([*before, *last]).or_default().push(index);
            }
        }
        let growing = Name { text: String::new(), meaning: Meaning::Grows, family: None, common: false };
        Self { all, by_ending, growing }
    }

    /// By its number.
    pub(super) fn get(&self, name: usize) -> Option<&Name> {
        if name == Self::GROWING { Some(&self.growing) } else { self.all.get(name) }
    }

    /// Those that these bytes end in, with their lengths.
    pub(super) fn ending<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        let ending = bytes.last_chunk::<2>().and_then(|ending| self.by_ending.get(ending));
        ending.into_iter().flatten().filter_map(|index| {
            let text = self.all.get(*index)?.text.as_bytes();
            bytes.ends_with(text).then_some((*index, text.len()))
        })
    }
}
