//! A program that allocates as it is told, and probes in the C library that it uses.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::{CallSite, Heard, Slot, Sums, Totals};
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SegmentFlags};

use super::{Subject, run, skip};

/// Within this time what has happened has been told, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything is tracked, and nothing told but what always is.
pub(crate) fn debug() -> AllocOptions {
    AllocOptions {
        btf_path: None,
        debug: true,
        min_allocation_size: 0,
        large_allocation_size: 0,
        sampling_rate: 1,
        max_tracked_allocations: 0,
        emit: false,
        max_events_per_second: 0,
    }
}

/// The probes, and what they tell; where they cannot be had, the test is skipped.
pub(crate) fn load(options: &AllocOptions) -> Option<(Probes, Receiver<Heard>)> {
    let (sender, receiver) = channel();
    Probes::load(options, move |heard| drop(sender.send(heard)))
        .map_err(|error| skip(&error.to_string()))
        .ok()
        .map(|probes| (probes, receiver))
}

/// The program `tests/programs/NAME.c`, built once; where that cannot be done, `MLH_TEST_NAME` says where it lies.
pub(crate) fn built(name: &'static str) -> PathBuf {
    built_with(name, &[])
}

/// As [`built`], with further arguments to the compiler.
pub(crate) fn built_with(name: &'static str, further: &[&str]) -> PathBuf {
    if let Some(program) = std::env::var_os(format!("MLH_TEST_{}", name.to_uppercase())) {
        return program.into();
    }
    static BUILT: OnceLock<std::sync::Mutex<std::collections::HashMap<&'static str, PathBuf>>> =
        OnceLock::new();
    let mut built = BUILT.get_or_init(Default::default).lock().expect("nobody panics in here");
    built
        .entry(name)
        .or_insert_with(|| {
            let source =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{name}.c"));
            // of this process alone: others may run what they have built
            let program =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
            run(Command::new("cc")
                .args(["-O2", "-g", "-Wall", "-Wextra"])
                .args(further)
                .arg("-o")
                .arg(&program)
                .arg(source)
                .arg("-lpthread"));
            program
        })
        .clone()
}

pub(crate) fn start() -> Subject {
    Subject::from(&mut Command::new(built("allocates")))
}

/// The file with this name that the process maps.
pub(crate) fn mapped(pid: u32, name: &str) -> PathBuf {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let path = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5));
    let path = path.map(Path::new).find(|path| path.file_name().is_some_and(|file| file == name));
    path.expect("the library is mapped").to_owned()
}

/// The bytes of a library or a program, to look for places in.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
}

impl Image {
    pub(crate) fn libc_of(pid: u32) -> Self {
        Self::at(mapped(pid, "libc.so.6"))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).expect("the image");
        Self { path, bytes }
    }

    fn file(&self) -> object::File<'_> {
        object::File::parse(&*self.bytes).expect("an ELF file")
    }

    /// What a symbol stands for, as the file has it.
    pub(crate) fn address(&self, name: &str) -> u64 {
        let file = self.file();
        let mut symbols = file.dynamic_symbols().chain(file.symbols());
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name) && symbol.is_definition());
        symbol.expect(name).address()
    }

    /// Where a function lies in a process.
    pub(crate) fn range_in(&self, pid: u32, name: &str) -> Range<u64> {
        let file = self.file();
        let mut symbols = file.dynamic_symbols().chain(file.symbols());
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name) && symbol.is_definition()).expect(name);
        let start = self.base_in(pid) + symbol.address();
        start..start + symbol.size()
    }

    /// What a process adds to the file's addresses.
    pub(crate) fn base_in(&self, pid: u32) -> u64 {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
        let path = self.path.to_str().expect("a plain name");
        let first = maps.lines().find(|line| line.ends_with(path)).expect("it is mapped");
        u64::from_str_radix(first.split('-').next().expect("a range"), 16).expect("an address")
    }

    /// Where in the file a function begins.
    pub(crate) fn offset(&self, name: &str) -> u64 {
        let (file, address) = (self.file(), self.address(name));
        let code = file.segments().find(|segment| {
            let SegmentFlags::Elf { p_flags } = segment.flags() else { return false };
            p_flags & 1 != 0 && (segment.address()..segment.address() + segment.size()).contains(&address)
        });
        let code = code.expect("code");
        address - code.address() + code.file_range().0
    }

    /// A probe at the function's first instruction.
    pub(crate) fn point(&self, name: &str, operation: Operation, role: Role, shape: Shape) -> Point {
        let offset = self.offset(name);
        let start = &self.bytes[usize::try_from(offset).expect("it fits")..][..2];
        // push, of either kind
        let emulated =
            (0x50..0x58).contains(&start[0]) || (start[0] == 0x41 && (0x50..0x58).contains(&start[1]));
        Point { offset, role, shape, operation, emulated, to_return_address: 0 }
    }

    /// A probe within a function, which has pushed so many bytes by then.
    pub(crate) fn inside(
        &self,
        name: &str,
        pushed: u16,
        operation: Operation,
        role: Role,
        shape: Shape,
    ) -> Point {
        let offset = self.offset(name);
        Point { offset, role, shape, operation, emulated: true, to_return_address: pushed }
    }

    /// The conditional jump behind the system call of one of libc's bare wrappers.
    pub(crate) fn after_syscall(&self, name: &str, operation: Operation, shape: Shape) -> Point {
        let offset = self.offset(name);
        let code = &self.bytes[usize::try_from(offset).expect("it fits")..][..96];
        // syscall; cmp $-4095 (or -4096), %rax
        let at = code
            .windows(5)
            .position(|at| at == [0x0f, 0x05, 0x48, 0x3d, 0x01] || at == [0x0f, 0x05, 0x48, 0x3d, 0x00]);
        let at = at.expect(name) as u64 + 8;
        // sub $.., %rsp
        let pushed = if code[..3] == [0x48, 0x83, 0xec] { code[3].into() } else { 0 };
        Point {
            offset: offset + at,
            role: Role::AfterSyscall,
            shape,
            operation,
            emulated: true,
            to_return_address: pushed,
        }
    }

    /// The malloc family at its symbols.
    pub(crate) fn family(&self) -> Vec<Point> {
        let entry = |name: &str, operation, shape| self.point(name, operation, Role::Entry, shape);
        vec![
            entry("malloc", Operation::Malloc, Shape::Size { size: 0 }),
            entry("calloc", Operation::Calloc, Shape::Array { count: 0, size: 1 }),
            entry("realloc", Operation::Realloc, Shape::Resize { pointer: 0, size: 1 }),
            entry(
                "reallocarray",
                Operation::Reallocarray,
                Shape::ResizeArray { pointer: 0, count: 1, size: 2 },
            ),
            entry("posix_memalign", Operation::PosixMemalign, Shape::Out { out: 0, size: 2 }),
            entry("aligned_alloc", Operation::AlignedAlloc, Shape::Size { size: 1 }),
            entry("free", Operation::Free, Shape::Free { pointer: 0 }),
        ]
    }

    /// The mapping system calls.
    pub(crate) fn mappings(&self) -> Vec<Point> {
        vec![
            self.after_syscall("mmap", Operation::Mmap, Shape::Map),
            self.after_syscall("munmap", Operation::Munmap, Shape::Unmap),
            self.after_syscall("mremap", Operation::Mremap, Shape::Remap),
            self.after_syscall("madvise", Operation::Madvise, Shape::Advise),
        ]
    }
}

/// The program under observation, with probes at the whole malloc family.
pub(crate) fn observe(probes: &mut Probes, subject: &Subject) -> Slot {
    let slot = probes.admit(subject.pid()).expect("it lives");
    let library = Image::libc_of(subject.pid());
    let attached = probes.attach(slot, &library.path, &library.family()).expect("probes");
    assert_eq!((attached.placed, attached.refused.as_slice()), (7, [].as_slice()));
    slot
}

/// With further probes in the program itself.
pub(crate) fn observe_also(
    probes: &mut Probes,
    subject: &Subject,
    points: impl FnOnce(&Image) -> Vec<Point>,
) -> Slot {
    let slot = observe(probes, subject);
    let image = Image::at(built("allocates"));
    let points = points(&image);
    let attached = probes.attach(slot, &image.path, &points).expect("probes");
    assert_eq!((attached.placed, attached.refused.as_slice()), (points.len(), [].as_slice()));
    slot
}

/// Allocated, its bytes, freed, its bytes.
pub(crate) fn exact(probes: &Probes) -> (u64, u64, u64, u64) {
    let sites = probes.call_sites().expect("a table");
    sites.iter().fold((0, 0, 0, 0), |sum, (_, Totals { exact, .. })| {
        (
            sum.0 + exact.allocated,
            sum.1 + exact.allocated_bytes,
            sum.2 + exact.freed,
            sum.3 + exact.freed_bytes,
        )
    })
}

/// As [`exact`], of sampled blocks.
pub(crate) fn sampled(probes: &Probes) -> Sums {
    let sites = probes.call_sites().expect("a table");
    sites.iter().fold(Sums::default(), |mut sum, (_, Totals { sampled, .. })| {
        sum.allocated += sampled.allocated;
        sum.allocated_bytes += sampled.allocated_bytes;
        sum.allocated_squares += sampled.allocated_squares;
        sum.freed += sampled.freed;
        sum.freed_bytes += sampled.freed_bytes;
        sum.freed_squares += sampled.freed_squares;
        sum
    })
}

/// Blocks and bytes in the table.
pub(crate) fn live(probes: &Probes) -> (u64, u64) {
    let blocks = probes.live().expect("a table");
    blocks.iter().fold((0, 0), |sum, block| (sum.0 + 1, sum.1 + block.size))
}

/// The call sites that have allocated.
pub(crate) fn sites(probes: &Probes) -> Vec<CallSite> {
    probes.call_sites().expect("a table").into_iter().map(|(site, _)| site).collect()
}

/// The next of what is told of which `of_interest` makes something.
pub(crate) fn next<T>(told: &Receiver<Heard>, mut of_interest: impl FnMut(Heard) -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let heard = told.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
        if let Some(found) = of_interest(heard) {
            return Some(found);
        }
    }
}

/// All that is told until the probes are dropped.
pub(crate) fn rest(probes: Probes, told: &Receiver<Heard>) -> Vec<Heard> {
    drop(probes);
    told.iter().collect()
}
