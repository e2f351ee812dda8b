//! Gates: where they are, and that what passes them is all that they are for.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mlh_bpf::alloc::heard::Slot;
use mlh_bpf::alloc::point::Operation;
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Family, Image, Points, Wish, find};

use crate::listing::Listing;
use crate::program::image;

/// Blocks of so many bytes and fewer that no block of [`Allocator::smallest`] bytes can be made of.
const SOURCE: &str = include_str!("churn.c");
/// Of blocks that are below the least size, as many calls are made.
const PAIRS: u64 = 10_000;

/// How the program comes to its allocator, and what its gates are for.
struct Allocator {
    name: &'static str,
    compiler: &'static [&'static str],
    preloaded: Option<&'static str>,
    /// The image that has it.
    image: &'static str,
    family: Family,
    smallest: u64,
    /// From this size on their frees pass gates as well.
    exact_from: u64,
    /// No larger ones are small.
    low: u64,
    gated: &'static [Operation],
    /// A probe sees the chunk, not what was asked for.
    usable: bool,
}

const GLIBC: Allocator = Allocator {
    name: "glibc",
    compiler: &["cc"],
    preloaded: None,
    image: "libc.so.6",
    family: Family::Glibc,
    smallest: 1033,
    exact_from: 1033,
    low: 1000,
    gated: &[Operation::Malloc, Operation::Calloc, Operation::Free],
    usable: true,
};

const ALLOCATORS: [Allocator; 7] = [
    GLIBC,
    Allocator { name: "glibc, static", compiler: &["cc", "-static"], image: "churn", ..GLIBC },
    Allocator {
        name: "glibc, stripped of symbols",
        compiler: &["cc", "-s"],
        smallest: 10 << 10,
        exact_from: 10 << 10,
        low: 10_000,
        ..GLIBC
    },
    Allocator {
        name: "jemalloc",
        preloaded: Some("libjemalloc.so.2"),
        image: "libjemalloc",
        family: Family::Jemalloc,
        smallest: 4097,
        exact_from: 14_337,
        low: 4000,
        gated: &[Operation::Malloc, Operation::Free],
        usable: false,
        ..GLIBC
    },
    Allocator {
        name: "jemalloc, above its slabs",
        preloaded: Some("libjemalloc.so.2"),
        image: "libjemalloc",
        family: Family::Jemalloc,
        smallest: 14_337,
        exact_from: 14_337,
        low: 14_000,
        gated: &[Operation::Malloc, Operation::Free],
        usable: false,
        ..GLIBC
    },
    Allocator {
        name: "mimalloc",
        preloaded: Some("libmimalloc.so.2"),
        image: "libmimalloc",
        family: Family::Mimalloc,
        smallest: 1025,
        exact_from: 1025,
        low: 1000,
        gated: &[Operation::Malloc],
        usable: false,
        ..GLIBC
    },
    Allocator {
        name: "tcmalloc",
        preloaded: Some("libtcmalloc_minimal.so.4"),
        image: "libtcmalloc",
        family: Family::Tcmalloc,
        smallest: (256 << 10) + 1,
        exact_from: (256 << 10) + 1,
        low: 250_000,
        gated: &[Operation::Malloc],
        usable: false,
        ..GLIBC
    },
];

/// The program, running.
struct Churn {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Churn {
    fn start(folder: &Path, allocator: &Allocator) -> Self {
        let source = folder.join("churn.c");
        std::fs::write(&source, SOURCE).unwrap();
        let program = folder.join("churn");
        let [compiler, arguments @ ..] = allocator.compiler else { panic!("no compiler") };
        let mut build = Command::new(compiler);
        build.args(["-O2", "-pthread"]).args(arguments);
        build.arg(format!("-DLOW={}", allocator.low)).arg(format!("-DHIGH={}", allocator.exact_from));
        build.args(allocator.usable.then_some("-DUSABLE"));
        let output = build.arg(&source).arg("-o").arg(&program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut command = Command::new(program);
        command.envs(allocator.preloaded.map(|library| ("LD_PRELOAD", library)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut churn = Self { child, input, output: BufReader::new(output) };
        churn.answer();
        churn
    }

    /// What it holds of large blocks: how many, and of how many bytes.
    fn answer(&mut self) -> (u64, u64) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (blocks, bytes) = line.trim().split_once(' ').unwrap_or_else(|| panic!("it said {line:?}"));
        (blocks.parse().unwrap(), bytes.parse().unwrap())
    }

    fn ask(&mut self, what: &str) -> (u64, u64) {
        if let Err(error) = self.input.write_all(format!("{what}\n").as_bytes()) {
            panic!("{what}: {error}, {:?}", self.child.wait());
        }
        self.answer()
    }

    fn points(&self, smallest: u64) -> Points {
        let pid = self.child.id();
        find(pid, &Modules::read(pid).unwrap(), &Wish { min_allocation_size: smallest })
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which operations pass gates.
fn gated(image: &Image) -> BTreeSet<Operation> {
    let gates = image.points.iter().filter(|point| image.gates.contains(&point.offset));
    gates.map(|point| point.operation).collect()
}

fn library(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {name} is not installed");
    }
    path.exists().then_some(path)
}

/// Guarantees: where the thread cache hides what is small, gates are found for what allocates and frees, at jumps and calls that
/// the kernel emulates, as far from the return address as the unwind tables say; none for a byte less than the cache
/// hides; functions without a gate keep their entries. Where frees of some sizes pass none, that is said.
/// Needs: libjemalloc, libmimalloc, libtcmalloc.
#[test]
fn places() {
    for allocator in &ALLOCATORS {
        if allocator.preloaded.is_some_and(|name| library(name).is_none()) {
            continue;
        }
        let room = tempfile::tempdir().unwrap();
        let churn = Churn::start(room.path(), allocator);
        let name = allocator.name;
        let points = churn.points(allocator.smallest);
        let found = image(&points, allocator.image);
        assert_eq!(found.family, allocator.family, "{name}");
        let exact = allocator.exact_from == allocator.smallest;
        assert_eq!(points.least, if exact { 0 } else { allocator.exact_from }, "{name}");
        let said = points.blind_spots.iter().any(|spot| spot.what == "allocations of 4097 to 14336 bytes");
        assert_eq!(said, !exact, "{name}: {:?}", points.blind_spots);
        assert!(
            allocator.gated.iter().all(|operation| gated(found).contains(operation)),
            "{name}: {found:#?}"
        );
        let listing = Listing::of(&found.path);
        listing.check(found);
        for point in found.points.iter().filter(|point| found.gates.contains(&point.offset)) {
            let text = listing.instruction(point.offset);
            assert!(point.emulated && (text.starts_with('j') || text.starts_with("call")), "{name}: {text}");
        }
        let entered = |operation| {
            let point = |point: &&mlh_bpf::alloc::point::Point| point.operation == operation;
            found.points.iter().any(|it| point(&it) && !found.gates.contains(&it.offset))
        };
        assert!(entered(Operation::Realloc) && entered(Operation::PosixMemalign), "{name}");
        assert_eq!(entered(Operation::Free), !allocator.gated.contains(&Operation::Free), "{name}");
        assert_eq!(gated(image(&churn.points(0), allocator.image)), BTreeSet::new(), "{name}");
    }
}

/// Guarantees: the least size from which on there are gates is what the allocator's cache hides, to the byte.
/// Needs: libjemalloc, libmimalloc, libtcmalloc.
#[test]
fn least_sizes() {
    let room = tempfile::tempdir().unwrap();
    for (allocator, operation) in [
        (&ALLOCATORS[0], Operation::Malloc),
        (&ALLOCATORS[0], Operation::Free),
        (&ALLOCATORS[3], Operation::Malloc),
        (&ALLOCATORS[3], Operation::Free),
        (&ALLOCATORS[5], Operation::Malloc),
        (&ALLOCATORS[6], Operation::Malloc),
    ] {
        if allocator.preloaded.is_some_and(|name| library(name).is_none()) {
            continue;
        }
        let churn = Churn::start(room.path(), allocator);
        let has = |smallest| gated(image(&churn.points(smallest), allocator.image)).contains(&operation);
        assert!(has(allocator.smallest), "{}", allocator.name);
        assert!(!has(allocator.smallest - 1), "{}", allocator.name);
    }
}

/// Guarantees: with gates every large block is counted, and its free: each call once, whichever thread frees it, of whatever
/// function, at any size, as its own mapping or not, in the order of chance; a failed call leaves nothing; and blocks that the
/// cache serves cost no hit.
/// Needs: eBPF, root, libjemalloc, libmimalloc, libtcmalloc.
#[test]
fn counts() {
    for allocator in &ALLOCATORS {
        if allocator.preloaded.is_some_and(|name| library(name).is_none()) {
            continue;
        }
        let name = allocator.name;
        let options = AllocOptions {
            btf_path: None,
            debug: false,
            min_allocation_size: allocator.smallest,
            large_allocation_size: allocator.smallest,
            sampling_rate: 1,
            max_tracked_allocations: 100_000,
            emit: false,
            max_events_per_second: 0,
        };
        let mut probes = match Probes::load(&options, drop) {
            Ok(probes) => probes,
            Err(error) => {
                assert!(
                    std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|it| it != "1"),
                    "cannot run: {error}"
                );
                eprintln!("SKIPPED: {error}");
                return;
            }
        };
        let room = tempfile::tempdir().unwrap();
        let mut churn = Churn::start(room.path(), allocator);
        let slot = probes.admit(churn.child.id()).unwrap();
        let points = churn.points(allocator.smallest);
        if points.least > 0 {
            probes.least(slot, points.least).unwrap();
        }
        for image in &points.images {
            let attached = probes.attach(slot, &image.opened.path(), &image.points).unwrap();
            assert_eq!(attached.refused, [], "{name}");
        }
        let hits = |probes: &Probes| probes.counters().unwrap().emulated_hits;
        let before = hits(&probes);
        churn.ask("p");
        let after = hits(&probes) - before;
        let frees = if allocator.gated.contains(&Operation::Free) { 0 } else { PAIRS };
        // some allocators look after their cache now and then
        assert!((frees..frees + PAIRS / 100).contains(&after), "{name}: {after} hits");
        for step in ["m", "s", "o", "s", "t", "m", "f", "s", "s"] {
            let held = churn.ask(step);
            assert_eq!(held, live(&probes, slot), "{name}: {step}");
            assert_eq!(held, net(&probes, slot), "{name}: {step}");
            assert!(!matches!(step, "m" | "s") || held.0 > 50, "{name}: {step} {held:?}");
        }
        let counted = probes.counters().unwrap();
        assert_eq!((counted.table_full, counted.call_sites_full, counted.abandoned), (0, 0, 0), "{name}");
        assert!(counted.tracked > 10_000, "{name}: {counted:?}");
    }
}

/// Blocks in the table, and their bytes.
fn live(probes: &Probes, slot: Slot) -> (u64, u64) {
    let live = probes.live().unwrap();
    let of = live.iter().filter(|block| block.call_site.slot == slot);
    of.fold((0, 0), |(blocks, bytes), block| (blocks + 1, bytes + block.size))
}

/// The same by what the call sites have done.
fn net(probes: &Probes, slot: Slot) -> (u64, u64) {
    let sites = probes.call_sites().unwrap();
    let sums = sites.iter().filter(|(site, _)| site.slot == slot).map(|(_, totals)| totals.exact);
    sums.fold((0, 0), |(blocks, bytes), of| {
        (blocks + of.allocated - of.freed, bytes + of.allocated_bytes - of.freed_bytes)
    })
}
