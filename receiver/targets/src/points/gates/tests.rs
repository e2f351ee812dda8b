use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, Instruction};
use mlh_bpf::alloc::point::{Operation, Point};

use super::super::analysis::analyse;
use super::super::elf::Elf;
use super::super::names::Names;

/// The libraries, the least sizes from which on they have gates, and how many.
const LIBRARIES: [(&str, u64, usize); 4] = [
    ("libc.so.6", 1033, 8),
    ("libjemalloc.so.2", 4097, 2),
    ("libmimalloc.so.2", 1025, 4),
    ("libtcmalloc_minimal.so.4", (256 << 10) + 1, 3),
];

/// Debian 12's builds: what is written down of them, found by hand and by measuring.
const KNOWN: [(&str, &str, u64, &[u64]); 3] = [
    (
        "libc.so.6",
        "93ac61ec5a8eb1396f9fbd350e3169a558528a40",
        1033,
        // behind the second of the two calls where `malloc` tries again lies one for both
        &[0x989cc, 0x98acd, 0x98bae, 0x961d6, 0x98fa3, 0x997b5, 0x99844, 0x99874],
    ),
    ("libjemalloc.so.2", "1d5163c246dc9cd2b4d339f2ac42efd95c6e0ae1", 14_337, &[0x239b0, 0x27d20]),
    (
        "libmimalloc.so.2",
        "d07f4e7dc9a039fcbe7747f416476bd65cb48e8b",
        1025,
        &[0x10bb4, 0x10b54, 0x10cf7, 0x10c87],
    ),
];

fn library(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {name} is not installed");
    }
    path.exists().then_some(path)
}

fn open(file: &File) -> Elf {
    Elf::open(file.try_clone().unwrap()).ok().unwrap()
}

/// The gates, and how many points there are beside them.
fn gates(elf: &Elf, smallest: u64) -> (Vec<Point>, usize) {
    let analysis = analyse(elf, &Names::new(), "it", smallest);
    let gates = analysis.gates;
    let (at_gates, others): (Vec<_>, Vec<_>) =
        analysis.allocator.into_iter().partition(|point| gates.contains(&point.offset));
    (at_gates, others.len())
}

fn operations(gates: &[Point]) -> BTreeSet<Operation> {
    gates.iter().map(|gate| gate.operation).collect()
}

/// The file with other bytes at one place.
fn changed(path: &Path, offset: u64, bytes: &[u8]) -> File {
    let mut copy = tempfile::tempfile().unwrap();
    copy.write_all(&std::fs::read(path).unwrap()).unwrap();
    copy.seek(SeekFrom::Start(offset)).unwrap();
    copy.write_all(bytes).unwrap();
    copy
}

/// The instructions of the function in which something lies, all of it code that lies in the file as in memory.
fn around(elf: &Elf, offset: u64) -> Vec<Instruction> {
    let starts = elf.function_starts();
    let index = starts.partition_point(|start| *start <= offset);
    let (start, end) = (starts[index - 1], starts[index]);
    assert_eq!(elf.code_offset(start), Some(start));
    let bytes = elf.code(start, end - start).unwrap();
    Decoder::with_ip(64, &bytes, start, DecoderOptions::NONE).iter().collect()
}

/// Guarantees: in builds that were looked at by hand, gates are found where they were found then.
/// Needs: Debian 12's glibc, libjemalloc, libmimalloc.
#[test]
fn known_builds() {
    for (name, build, smallest, expected) in KNOWN {
        let Some(path) = library(name) else { continue };
        let elf = open(&File::open(path).unwrap());
        let note = elf.small_section(".note.gnu.build-id").unwrap_or_default();
        let id: String = note.iter().skip(16).map(|byte| format!("{byte:02x}")).collect();
        if id != build {
            eprintln!("SKIPPED: {name} is another build, {id}");
            continue;
        }
        let found: BTreeSet<u64> = gates(&elf, smallest).0.iter().map(|gate| gate.offset).collect();
        assert_eq!(found, expected.iter().copied().collect(), "{name}");
    }
}

/// Guarantees: a jump from anywhere in the function into the middle of a gate's instruction is enough for it not to be used; the
/// function is probed at its entry then.
/// Needs: glibc and, where they are, libjemalloc, libmimalloc, libtcmalloc.
#[test]
fn branches_into_gates() {
    let mut tried = BTreeSet::new();
    for (name, smallest, count) in LIBRARIES {
        let Some(path) = library(name) else { continue };
        let elf = open(&File::open(&path).unwrap());
        let (found, others) = gates(&elf, smallest);
        assert_eq!(found.len(), count, "{name}");
        for gate in &found {
            let jump = around(&elf, gate.offset).into_iter().rfind(|instruction| {
                instruction.is_jcc_near() && found.iter().all(|gate| gate.offset != instruction.ip())
            });
            let Some(jump) = jump else { continue };
            let into =
                u32::try_from((gate.offset + 1).wrapping_sub(jump.next_ip()) & u64::from(u32::MAX)).unwrap();
            let file = changed(&path, jump.next_ip() - 4, &into.to_le_bytes());
            let (left, more) = gates(&open(&file), smallest);
            assert!(left.iter().all(|it| it.offset != gate.offset), "{name}: {gate:x?} by {:x}", jump.ip());
            assert!(!operations(&left).contains(&gate.operation) || name != "libc.so.6", "{name}");
            assert!(more > others, "{name}");
            tried.insert(gate.offset);
        }
    }
    assert!(tried.len() >= 8, "{tried:x?}");
}

/// Guarantees: where the result does not reach the gate, where a route goes past it, and where the cache may hold more than is
/// known of it, glibc's functions are probed at their entries.
/// Needs: glibc.
#[test]
fn routes_past_gates() {
    let Some(path) = library("libc.so.6") else { return };
    let elf = open(&File::open(&path).unwrap());
    let (found, _) = gates(&elf, 1033);
    let entered = |offset, bytes: &[u8]| {
        let (left, _) = gates(&open(&changed(&path, offset, bytes)), 1033);
        assert_eq!(left, [], "{offset:x} {bytes:x?}");
    };
    let mut tried = 0;
    for gate in &found {
        let function = around(&elf, gate.offset);
        let index = function.iter().position(|it| it.ip() == gate.offset).unwrap();
        let before = &function[index - 1];
        // test %rax,%rax
        if before.len() == 3 && elf.code(before.ip(), 3) == Some(vec![0x48, 0x85, 0xc0]) {
            // mov %rcx,%rax
            entered(before.ip(), &[0x48, 0x89, 0xc8]);
            tried += 1;
        }
        if gate.operation == Operation::Malloc {
            // a compare with the number of bins, which is in the file where it is in memory but for the segment's shift
            let bins = function.iter().filter(|it| it.is_ip_rel_memory_operand());
            let bins = bins.map(Instruction::ip_rel_memory_address);
            let bins: BTreeSet<u64> = bins.filter(|at| elf.initial_word(*at) == Some(64)).collect();
            let data = elf.section(".data").unwrap();
            for at in bins {
                entered(at - data.address + data.offset, &[76]);
                tried += 1;
            }
        }
    }
    assert!(tried >= 3, "{tried}");
}
