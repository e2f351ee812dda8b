//! Heaps made by hand, as glibc lays them out.

use std::ops::Range;

use super::arena::{Arena, ring, search};
use super::bytes::Made;
use super::cache::{Caches, Heaps};
use super::chunk::Chunk;
use super::mapped::{Account, blocks};
use super::walk::{Block, Span, Start, Walked, walk};
use mlh_stacks::modules::{Anonymous, Modules};

const AT: u64 = 0x5555_5000_0000;

/// Memory from [`AT`] on, to be written to by words.
struct Room(Vec<u8>);

impl Room {
    fn new(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }

    fn put(&mut self, at: u64, word: u64) {
        let from = usize::try_from(at - AT).unwrap();
        self.0[from..from + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// Lays chunks of these sizes one behind the other, in use or not; tells where each is, and where they end.
    fn chunks(&mut self, sizes: impl IntoIterator<Item = (u64, bool)>) -> (Vec<u64>, u64) {
        let (mut at, mut before, mut places) = (AT, (0, true), Vec::new());
        for (size, in_use) in sizes {
            places.push(at);
            self.put(at, if before.1 { 7 } else { before.0 });
            self.put(at + 8, size | u64::from(before.1));
            (at, before) = (at + size, (size, in_use));
        }
        self.put(at, if before.1 { 7 } else { before.0 });
        self.put(at + 8, 0x1000 | u64::from(before.1));
        (places, at)
    }

    fn made(&self, holes: &[Range<u64>]) -> Made<'_> {
        Made { at: AT, bytes: &self.0, holes: holes.to_vec() }
    }
}

/// All chunks of a span, those in use, and what became of the walk.
fn walked(bytes: &Made<'_>, range: Range<u64>, start: Start, end: u64) -> (Vec<u64>, Vec<u64>, Walked) {
    let (mut all, mut used) = (Vec::new(), Vec::new());
    let span = Span { range, start, end, main: true };
    let walked = walk(bytes, &mut Block::default(), &span, &mut || true, &mut |chunk, in_use| {
        all.push(chunk.at);
        used.extend(in_use.then_some(chunk.at));
    });
    (all, used, walked)
}

/// Sizes from 32 bytes to some KiB; every fifth is free.
fn sizes() -> impl Iterator<Item = (u64, bool)> {
    (0..4000_u64).map(|number| (32 + 16 * (number * 37 % 61), number % 5 != 3))
}

/// Guarantees: every chunk is seen once, in use if the next one says so, from whatever place in the heap the walk begins, up to the
/// end of a window.
#[test]
fn a_heap() {
    let mut room = Room::new(4 << 20);
    let (places, end) = room.chunks(sizes());
    let (all, used, whole) = walked(&room.made(&[]), AT..end, Start::Chunk, end);
    assert_eq!(all, places);
    assert_eq!(used.len(), 3200);
    assert_eq!(whole, Walked { seen: end - AT, ..Walked::default() });
    let middle = AT + (1 << 20) + 16;
    let (first, _, _) = walked(&room.made(&[]), AT..middle, Start::Chunk, end);
    let (second, _, window) = walked(&room.made(&[]), middle..end, Start::Within, end);
    assert_eq!([first, second].concat(), places);
    assert_eq!(window, Walked { seen: end - middle, ..Walked::default() });
    // a program's own bytes before the first chunk
    let (all, _, unknown) = walked(&room.made(&[]), places[9] + 16..end, Start::Unknown, end);
    assert_eq!(all, places[10..]);
    assert_eq!((unknown.lost, unknown.times_lost), (places[10] - places[9] - 16, 1));
}

/// Guarantees: where a header is torn the walk goes on behind it, and counts what it has passed over; where memory is absent likewise,
/// and chunks that only reach over absent pages are seen. A walk whose time is up ends.
#[test]
fn disturbed() {
    let mut room = Room::new(4 << 20);
    let (places, end) = room.chunks(sizes());
    let (torn, next) = (places[1000], places[1001]);
    room.put(torn + 8, 0x1234_5678_9abc);
    let (all, _, lost) = walked(&room.made(&[]), AT..end, Start::Chunk, end);
    assert_eq!([&all[..1000], &all[1000..]], [&places[..1000], &places[1001..]]);
    assert_eq!((lost.lost, lost.times_lost), (next - torn, 1));
    room.chunks(sizes());
    let hole = AT + (64 << 10)..AT + (72 << 10);
    let (all, _, absent) = walked(&room.made(std::slice::from_ref(&hole)), AT..end, Start::Chunk, end);
    let missing: Vec<_> = places.iter().filter(|at| !all.contains(at)).collect();
    assert!(!missing.is_empty() && missing.iter().all(|at| **at > hole.start - 32 && **at < hole.end + 2048));
    assert!(absent.absent > 7 << 10 && absent.absent <= 8 << 10 && absent.lost < 2048, "{absent:?}");
    let (large, end) = room.chunks([(64, true), (256 << 10, true), (64, true)]);
    let (all, used, spanned) = walked(&room.made(&[hole]), AT..end, Start::Chunk, end);
    assert_eq!((all.as_slice(), used.as_slice(), spanned.absent), (&large[..], &large[..], 0));
    let span = Span { range: AT..end, start: Start::Chunk, end, main: true };
    let hurried = walk(&room.made(&[]), &mut Block::default(), &span, &mut || false, &mut |_, _| panic!());
    assert_eq!(hurried, Walked::default());
}

/// Guarantees: chunks in the cache of a thread are known by the key that its lists agree on, or by its own address before glibc 2.34;
/// what is no cache teaches nothing.
#[test]
fn caches() {
    for by_thread in [false, true] {
        let mut room = Room::new(1 << 16);
        let (places, end) = room.chunks([(0x290, true), (48, true), (48, true), (64, true), (0x290, true)]);
        let key = if by_thread { places[0] + 16 } else { 0x1234_5678_9abc_def0 };
        let lists = places[0] + 16 + 128;
        let user = |number: usize| places[number] + 16;
        // the list of 48 bytes has two, the first leading to the second
        room.put(lists + 8, user(1));
        room.put(user(1), if by_thread { user(2) } else { user(2) ^ (user(1) >> 12) });
        room.put(user(2), if by_thread { 0 } else { user(2) >> 12 });
        room.put(user(1) + 8, key);
        room.put(user(2) + 8, key);
        // as large as a cache, with a list of the wrong size
        room.put(user(4) + 128, user(3));
        room.put(user(3) + 8, 99);
        let bytes = room.made(&[]);
        let heaps = Heaps::new(vec![Range { start: AT, end }]);
        let chunk = |at: u64| Chunk::new(at, words(&bytes, at));
        let mut caches = Caches::default();
        caches.begin();
        caches.learn(&bytes, &heaps, &chunk(places[4]));
        assert!(!caches.are_known());
        caches.learn(&bytes, &heaps, &chunk(places[0]));
        assert!(caches.are_known());
        let held: Vec<bool> = places.iter().map(|at| caches.hold(&heaps, &chunk(*at))).collect();
        assert_eq!(held, [false, true, true, false, false]);
    }
}

fn words<const N: usize>(bytes: &Made<'_>, at: u64) -> [u64; N] {
    super::bytes::Bytes::words(bytes, at).unwrap()
}

/// An arena at an address, with empty bins; the first of its fast bins.
fn arena(room: &mut Room, at: u64, top: u64, fast: u64, next: u64) {
    room.put(at + 16, fast);
    room.put(at + 96, top);
    for bin in 0..127 {
        room.put(at + 112 + 16 * bin, at + 96 + 16 * bin);
        room.put(at + 112 + 16 * bin + 8, at + 96 + 16 * bin);
    }
    room.put(at + 2160, next);
    room.put(at + 2184, 0x21000);
}

/// Guarantees: an arena is found among other words by its bins, used or not, and what only resembles it is not; the ring of arenas is
/// followed, and a broken one is known as such. Chunks of fast bins are free, however their links are written.
#[test]
fn arenas() {
    for mangled in [false, true] {
        let mut room = Room::new(1 << 16);
        let (places, end) = room.chunks((0..20).map(|_| (48, true)));
        let (main, other) = (AT + 0x8000, AT + 0xa000);
        arena(&mut room, main, end, places[3], other);
        arena(&mut room, other, AT + 0xf000, 0, main);
        let link = |from: u64, to: u64| if mangled { to ^ ((from + 16) >> 12) } else { to };
        for pair in [[places[3], places[11]], [places[11], places[5]], [places[5], 0]] {
            room.put(pair[0] + 16, link(pair[0], pair[1]));
        }
        assert_eq!(search(&room.made(&[]), &(AT..AT + (1 << 16))), [main, other]);
        let (arenas, broken) = ring(&room.made(&[]), main).unwrap();
        assert_eq!(
            arenas.iter().map(|arena| (arena.at, arena.system, arena.used)).collect::<Vec<_>>(),
            [(main, 0x21000, true), (other, 0x21000, true)]
        );
        assert!(!broken && !arenas[1].is_in_heap());
        let mut caches = Caches::default();
        let heaps = Heaps::new(vec![Range { start: AT, end }]);
        caches.list(&room.made(&[]), &heaps, &arenas);
        let bytes = room.made(&[]);
        let held = |at: &&u64| caches.hold(&heaps, &Chunk::new(**at, words(&bytes, **at)));
        let held: Vec<u64> = places.iter().filter(held).copied().collect();
        assert_eq!(held, [places[3], places[5], places[11]]);
        // seen from 16 bytes further on, bins look the same
        for (place, word) in [(2144, 8), (2152, 8), (2176, 0x1000)] {
            room.put(main + place, word);
        }
        assert!(Arena::read(&room.made(&[]), main + 16).is_some());
        assert_eq!(search(&room.made(&[]), &(AT..AT + (1 << 16))), [main, other]);
        room.put(other + 2160, AT + 0x100);
        assert!(ring(&room.made(&[]), main).unwrap().1);
        // nobody has used it: no bin yet, alone in its ring
        let mut blank = Room::new(1 << 14);
        blank.put(AT + 0x100 + 2160, AT + 0x100);
        blank.put(AT + 0x100 + 2176, 1);
        assert_eq!(search(&blank.made(&[]), &(AT..AT + (1 << 14))), [AT + 0x100]);
        assert!(!Arena::read(&blank.made(&[]), AT + 0x100).unwrap().used);
        blank.put(AT + 0x100 + 112, 0x1000);
        assert_eq!(search(&blank.made(&[]), &(AT..AT + (1 << 14))), []);
    }
}

/// Guarantees: whatever is in memory, a reading of it ends, and with no panic.
#[test]
fn nonsense() {
    let mut room = Room::new(1 << 14);
    let (places, end) =
        room.chunks((0..20).map(|number| (if number == 0 { 0x290 } else { 64 }, number % 4 != 3)));
    arena(&mut room, AT + 0x1000, end, places[3], AT + 0x2000);
    arena(&mut room, AT + 0x2000, AT + 0x3f00, 0, AT + 0x1000);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..3000 {
        let mut bytes = room.0.clone();
        for _ in 0..random() % 8 {
            let at = usize::try_from(random() % (bytes.len() as u64 - 8)).unwrap();
            let word = match random() % 5 {
                0 => random(),
                1 => AT + random() % (1 << 14),
                2 => u64::MAX - random() % 64,
                3 => random() % 4096,
                _ => 1 << (random() % 64),
            };
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        super::fuzz(&bytes, AT, random());
    }
    super::fuzz(&[], u64::MAX, u64::MAX);
}

/// Guarantees: malloc's account of its mappings is read in both of its layouts, and not out of what resembles it; mapped blocks are
/// found behind each other, and nothing behind what is none.
#[test]
fn mappings() {
    let heap = 0x6000_0000..0x6010_0000;
    for counts in [[5 | 65536 << 32, 9, 0], [5 << 32, 65536 | 9 << 32, 0]] {
        let mut room = Room::new(1 << 14);
        let at = if counts[0] >> 32 == 5 { AT + 0x100 } else { AT + 0x108 };
        for (place, word) in counts.iter().enumerate() {
            room.put(at + 8 * place as u64, *word);
        }
        for (place, word) in [0x5000, 0x9000, heap.start].into_iter().enumerate() {
            room.put(AT + 0x118 + 8 * place as u64, word);
        }
        let found = Account::search(&room.made(&[]), &(AT..AT + (1 << 14)), &heap).unwrap();
        assert_eq!((found.bytes, found.heap), (0x5000, heap.start));
        assert_eq!(Account::read(&room.made(&[]), found.at, &heap), Some(found));
        room.put(AT + 0x118, 0xa000);
        assert_eq!(Account::search(&room.made(&[]), &(AT..AT + (1 << 14)), &heap), None, "more than ever");
    }
    let mut room = Room::new(1 << 16);
    for (at, size) in [(0, 0x3002), (0x3000, 0x2002), (0x6000, 0x1002), (0xa000, 0x1003)] {
        room.put(AT + at + 8, size);
    }
    let part = |from: u64, to: u64, name: &str| Anonymous {
        start: AT + from,
        end: AT + to,
        name: name.to_owned(),
        executable: false,
    };
    let anonymous = vec![part(0, 0x6000, ""), part(0xa000, 0xb000, ""), part(0x6000, 0x7000, "[stack]")];
    let modules = Modules { anonymous, ..Modules::default() };
    let found = blocks(&room.made(&[]), &modules, &[]);
    assert_eq!((found.blocks, found.more), (vec![0x3000, 0x2000], false));
    let heaps = [Range { start: AT, end: AT + 0x100 }];
    assert_eq!(blocks(&room.made(&[]), &modules, &heaps).blocks, Vec::<u64>::new());
}
