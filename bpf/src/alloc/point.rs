//! Where a probe goes, and what it finds there. Portable: whoever reads binaries makes them, the loader places them.

/// One probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point {
    /// Offset in the file. Always the first byte of an instruction.
    pub offset: u64,
    /// When it is hit.
    pub role: Role,
    /// Where the arguments are.
    pub shape: Shape,
    /// What the record calls it.
    pub operation: Operation,
    /// The kernel can emulate the instruction; else it single-steps it, which costs some ten times as much.
    pub emulated: bool,
    /// Bytes from the stack pointer at the probe to the function's return address. At a `ret` 0.
    pub to_return_address: u16,
}

/// When a probe is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// As the function is entered: the arguments are still in their registers. For an operation that ends in a result,
    /// the loader adds the way back (a return probe) by itself.
    Entry,
    /// As [`Entry`](Self::Entry), and no return probe may be placed: the result comes from [`ReturnSite`](Self::ReturnSite)s.
    EntryOnly,
    /// On a `ret` of a function that may unwind, or a tail jump's: the result is in the return register.
    ReturnSite,
    /// On the conditional jump behind a system call: its result is in the return register, its arguments are still there.
    AfterSyscall,
    /// Nothing but that it was reached ([`Shape::LoadedCode`]).
    Reached,
}

/// Which argument is what; arguments count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `pointer f(.., size, ..)`.
    Size {
        /// Bytes.
        size: u8,
    },
    /// `pointer f(.., count, size, ..)`.
    Array {
        /// Elements.
        count: u8,
        /// Bytes of one.
        size: u8,
    },
    /// `pointer f(pointer, .., size)`: `realloc`.
    Resize {
        /// The old block.
        pointer: u8,
        /// Bytes wanted.
        size: u8,
    },
    /// `pointer f(pointer, count, size)`: `reallocarray`.
    ResizeArray {
        /// The old block.
        pointer: u8,
        /// Elements wanted.
        count: u8,
        /// Bytes of one.
        size: u8,
    },
    /// `int f(pointer *out, .., size)`: `posix_memalign`; 0 is success.
    Out {
        /// Where the pointer is written to.
        out: u8,
        /// Bytes.
        size: u8,
    },
    /// `void f(pointer, ..)`.
    Free {
        /// The block.
        pointer: u8,
    },
    /// glibc's way round its thread cache, behind a call of its slow path: the block (or null) is in the return register,
    /// its size is what the chunk's header says, so usable bytes.
    GlibcMade,
    /// glibc's way round its thread cache for a block to be freed: its chunk is in this register.
    GlibcFreed {
        /// The register.
        chunk: Register,
    },
    /// `mmap`, behind the system call.
    Map,
    /// `munmap`, behind the system call.
    Unmap,
    /// `mremap`, behind the system call.
    Remap,
    /// `brk`, behind the system call.
    Break,
    /// `madvise`, behind the system call.
    Advise,
    /// The dynamic linker has changed what is loaded.
    LoadedCode,
}

/// A register of the machine (x86-64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // the machine's own names
pub enum Register {
    Rax,
    Rbx,
    Rcx,
    Rdx,
    Rsi,
    Rdi,
    Rbp,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// What a record calls an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// `malloc`, whatever the allocator's prefix; the same for those below.
    Malloc = 1,
    /// `calloc`.
    Calloc = 2,
    /// `realloc`.
    Realloc = 3,
    /// `reallocarray`.
    Reallocarray = 4,
    /// `posix_memalign`.
    PosixMemalign = 5,
    /// `aligned_alloc`.
    AlignedAlloc = 6,
    /// `memalign`.
    Memalign = 7,
    /// `valloc`.
    Valloc = 8,
    /// `pvalloc`.
    Pvalloc = 9,
    /// `free`, `cfree`.
    Free = 10,
    /// C++ `operator new`, where the allocator has its own.
    New = 11,
    /// C++ `operator delete`, where the allocator has its own.
    Delete = 12,
    /// jemalloc's `mallocx`.
    Mallocx = 13,
    /// jemalloc's `rallocx`.
    Rallocx = 14,
    /// jemalloc's `dallocx`.
    Dallocx = 15,
    /// jemalloc's `sdallocx`.
    Sdallocx = 16,
    /// `mmap`.
    Mmap = 17,
    /// `munmap`.
    Munmap = 18,
    /// `mremap`.
    Mremap = 19,
    /// `brk`, `sbrk`.
    Brk = 20,
    /// `madvise`.
    Madvise = 21,
    /// USDT `otel_memory:alloc`.
    OtelAlloc = 22,
    /// USDT `otel_memory:free`.
    OtelFree = 23,
    /// The dynamic linker's notice.
    LoadedCode = 24,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Malloc,
        Self::Calloc,
        Self::Realloc,
        Self::Reallocarray,
        Self::PosixMemalign,
        Self::AlignedAlloc,
        Self::Memalign,
        Self::Valloc,
        Self::Pvalloc,
        Self::Free,
        Self::New,
        Self::Delete,
        Self::Mallocx,
        Self::Rallocx,
        Self::Dallocx,
        Self::Sdallocx,
        Self::Mmap,
        Self::Munmap,
        Self::Mremap,
        Self::Brk,
        Self::Madvise,
        Self::OtelAlloc,
        Self::OtelFree,
        Self::LoadedCode,
    ];

    /// Its number on the wire; `None` where there is no such operation.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == number)
    }

    /// As records say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malloc => "malloc",
            Self::Calloc => "calloc",
            Self::Realloc => "realloc",
            Self::Reallocarray => "reallocarray",
            Self::PosixMemalign => "posix_memalign",
            Self::AlignedAlloc => "aligned_alloc",
            Self::Memalign => "memalign",
            Self::Valloc => "valloc",
            Self::Pvalloc => "pvalloc",
            Self::Free => "free",
            Self::New => "new",
            Self::Delete => "delete",
            Self::Mallocx => "mallocx",
            Self::Rallocx => "rallocx",
            Self::Dallocx => "dallocx",
            Self::Sdallocx => "sdallocx",
            Self::Mmap => "mmap",
            Self::Munmap => "munmap",
            Self::Mremap => "mremap",
            Self::Brk => "brk",
            Self::Madvise => "madvise",
            Self::OtelAlloc => "otel_memory_alloc",
            Self::OtelFree => "otel_memory_free",
            Self::LoadedCode => "loaded_code",
        }
    }
}

/// The frame of a function while it waits for a call, on stacks of which this is always so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameSize {
    /// Where the call returns to: an address in the process.
    pub returns_to: u64,
    /// Bytes from the stack pointer, once the call has returned, to the function's own return address.
    pub to_return_address: u32,
    /// Bytes from there to the stack pointer of its caller, once it has returned.
    pub to_caller: u32,
}

/// A call out of a function that only passes allocations on (`operator new`, `strdup`): what called that function is
/// the caller that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wrapper {
    /// Where the call returns to: an address in the process.
    pub returns_to: u64,
    /// Bytes from the stack pointer, once the call has returned, to the function's own return address.
    pub to_return_address: u32,
}
