use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::*;

/// A generator good enough to spoil bytes with.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn look(file: &File, names: &Names) -> Option<Analysis> {
    Elf::open(file.try_clone().unwrap()).ok().map(|elf| analyse(&elf, names, "it", 10 << 10))
}

/// Guarantees: whatever a file says, it is looked at in a bounded time, without a panic, and no point lies outside it.
/// Spoiled are, at random, headers, tables and code of real allocators.
/// Needs: glibc and, where they are, libjemalloc, libtcmalloc, libmimalloc.
#[test]
fn spoiled_files() {
    let names = Names::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let folder = Path::new("/usr/lib/x86_64-linux-gnu");
    let files = ["libc.so.6", "libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"];
    for file in files.map(|file| folder.join(file)).iter().filter(|file| file.exists()) {
        let whole = std::fs::read(file).unwrap();
        let length = whole.len() as u64;
        let headers = [0..64, 64..1024, length - 64 * 40..length, 0..length, 1024..length / 8];
        for round in 0..40 {
            let mut copy = tempfile::tempfile().unwrap();
            copy.write_all(&whole).unwrap();
            let range = &headers[round % headers.len()];
            for _ in 0..1 + random.below(40) {
                copy.seek(SeekFrom::Start(range.start + random.below(range.end - range.start))).unwrap();
                copy.write_all(&[u8::try_from(random.below(256)).unwrap()]).unwrap();
            }
            if round % 8 == 7 {
                copy.set_len(random.below(length)).unwrap();
            }
            let Some(analysis) = look(&copy, &names) else { continue };
            for point in analysis.allocator.iter().chain(&analysis.mappings) {
                assert!(point.offset < length);
            }
        }
    }
}

/// Guarantees: of another machine's instructions nothing is supposed: functions are probed at their first one, and it is
/// said that neither mappings nor what may unwind can be seen.
/// Needs: glibc.
#[test]
fn aarch64() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&std::fs::read("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap()).unwrap();
    file.seek(SeekFrom::Start(18)).unwrap();
    file.write_all(&[183, 0]).unwrap();
    let analysis = look(&file, &Names::new()).unwrap();
    assert!(analysis.allocator.len() > 8);
    assert!(analysis.allocator.iter().all(|point| !point.emulated && point.to_return_address == 0));
    assert!((&analysis.mappings, &analysis.passing_on) == (&vec![], &vec![]));
    assert!(analysis.blind_spots.iter().any(|spot| spot.what == "mappings by it"), "{analysis:?}");
}

/// Guarantees: tables that claim to be as large as the address space cost neither memory nor time.
#[test]
fn huge_tables() {
    let mut file = tempfile::tempfile().unwrap();
    let mut head = vec![0; 64];
    head[..20].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0]);
    head[32..40].copy_from_slice(&64_u64.to_le_bytes());
    head[40..48].copy_from_slice(&120_u64.to_le_bytes());
    head[56..58].copy_from_slice(&1_u16.to_le_bytes());
    head[60..62].copy_from_slice(&u16::MAX.to_le_bytes());
    let mut segment = vec![0; 56];
    segment[0] = 1;
    segment[4] = 5;
    segment[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut section = vec![0; 64];
    section[4] = 11;
    section[24..32].copy_from_slice(&1_u64.to_le_bytes());
    section[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    file.write_all(&head).unwrap();
    file.write_all(&segment).unwrap();
    for _ in 0..u16::MAX {
        file.write_all(&section).unwrap();
    }
    let analysis = look(&file, &Names::new()).unwrap();
    assert_eq!(analysis.blind_spots[0].reason, "its symbol table is too large to be read");
    assert_eq!(analysis.allocator, []);
}

/// Guarantees: of sections that all have one name, as long as the table of names, none is kept.
#[test]
fn long_section_names() {
    const SECTIONS: u16 = 16_000;
    const NAME: usize = (1 << 20) - 1;
    let mut bytes = vec![0; 64];
    bytes[..20].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0]);
    bytes[40..48].copy_from_slice(&64_u64.to_le_bytes());
    bytes[60..62].copy_from_slice(&SECTIONS.to_le_bytes());
    let mut section = [0; 64];
    section[24..32].copy_from_slice(&(64 + 64 * u64::from(SECTIONS)).to_le_bytes());
    section[32..40].copy_from_slice(&(1_u64 << 20).to_le_bytes());
    bytes.extend(section.repeat(SECTIONS.into()));
    bytes.extend(vec![b'x'; NAME]);
    bytes.push(0);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let elf = Elf::open(file).unwrap();
    assert_eq!(elf.sections.len(), usize::from(SECTIONS));
    assert!(elf.sections.iter().all(|section| section.name.is_empty()));
}
