//! A heap that is laid out in this process's own memory, as that of version 11.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Words of a chunk, and of its head.
const CHUNK: usize = SIZE as usize / 8;
const HEAD: usize = 0x1148 / 8;
/// Chunks: new ones, new ones that are left when the others are full, old ones.
const NEW: usize = 0;
const OTHER: usize = 1;
const OLD: usize = 2;

/// Words of the heap's own variables, the one that its address is, and where it makes new objects and old ones.
const OWN: usize = 0x18000 / 8;
const HEAP: usize = 0x14000 / 8;
const NEW_AREA: usize = 77;
const OLD_AREA: usize = NEW_AREA + 3;

/// Maps, in the old chunk: that of maps, and another.
const META: usize = HEAD + 8;
const MAP: usize = HEAD + 32;

struct Fake {
    own: Vec<AtomicU64>,
    words: Vec<AtomicU64>,
    /// The first word of the first chunk.
    first: usize,
}

impl Fake {
    fn new() -> Self {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (own, words) = (words(OWN), words(4 * CHUNK));
        let first = (SIZE - words.as_ptr() as u64 % SIZE) as usize / 8;
        let fake = Self { own, words, first };
        for (chunk, flags) in [(NEW, 0x12), (OTHER, 0xa), (OLD, 0x4)] {
            fake.flags(chunk, flags);
            let ends = fake.at(chunk, 0) + SIZE;
            let head = [(0, SIZE), (2, fake.own(HEAP)), (3, fake.at(chunk, HEAD)), (4, ends)].into_iter();
            head.for_each(|(word, to)| fake.set(chunk, word, to));
        }
        for map in [META, MAP] {
            fake.set(OLD, map, fake.at(OLD, META) | 1);
        }
        fake.area(NEW_AREA, NEW, HEAD, HEAD + 2000);
        fake
    }

    fn v8(&self) -> V8 {
        let memory = Memory::of(std::process::id());
        let (heap, area) = (self.own(HEAP), self.own(NEW_AREA));
        let areas = [Area::of(area, heap, Holds::New), Area::of(area + area::SIZE, heap, Holds::Old)];
        V8 { memory, heap, areas, thread: 7, maps: Maps::of(memory), chunks: HashMap::new() }
    }

    fn own(&self, word: usize) -> u64 {
        self.own.as_ptr() as u64 + word as u64 * 8
    }

    fn at(&self, chunk: usize, word: usize) -> u64 {
        self.words.as_ptr() as u64 + (self.first + chunk * CHUNK + word) as u64 * 8
    }

    fn set(&self, chunk: usize, word: usize, to: u64) {
        self.words[self.first + chunk * CHUNK + word].store(to, Ordering::SeqCst);
    }

    fn flags(&self, chunk: usize, flags: u64) {
        self.set(chunk, 1, flags);
    }

    /// Objects are made there from this word up to that one.
    fn area(&self, at: usize, chunk: usize, top: usize, limit: usize) {
        let addresses = [HEAD, top, limit].map(|word| self.at(chunk, word));
        for (place, address) in (at..).zip(addresses) {
            self.own[place].store(address, Ordering::SeqCst);
        }
    }

    /// An object with something in it.
    fn put(&self, chunk: usize, word: usize) {
        self.set(chunk, word, self.at(OLD, MAP) | 1);
        (1..4).for_each(|more| self.set(chunk, word + more, more as u64 * 1000));
    }

    fn object(&self, chunk: usize, word: usize) -> Object {
        Object { at: self.at(chunk, word), ..Object::default() }
    }
}

/// Guarantees: where new objects are made is found, and places lie in what is free there, each for as much as was made since the one
/// before; none where the area is taken, nor where old ones are made if that is nowhere.
#[test]
fn places() {
    let fake = Fake::new();
    let mut v8 = fake.v8();
    assert_eq!(area::find(v8.memory, v8.heap), Some(fake.own(NEW_AREA)));
    let free = fake.at(NEW, HEAD)..fake.at(NEW, HEAD + 2000);
    for dice in [0, 2, 4_000, 123_456_788, u64::MAX - 1] {
        let place = v8.place(dice, &[]).unwrap();
        assert!(free.contains(&place.address) && place.address.is_multiple_of(8), "{dice}: {place:x?}");
        assert_eq!((place.thread, place.bytes, place.area), (7, 0, fake.own(NEW_AREA)));
        assert_eq!(v8.place(dice, &[place.area]), None);
        assert_eq!(v8.place(dice | 1, &[]), None);
    }
    fake.area(NEW_AREA, NEW, HEAD + 100, HEAD + 2000);
    fake.area(OLD_AREA, OLD, HEAD + 500, HEAD + 700);
    assert_eq!(v8.place(0, &[]).map(|place| place.bytes), Some(800));
    assert!(v8.place(1, &[]).is_some_and(|place| v8.has(place.address) && place.area == fake.own(OLD_AREA)));
    fake.area(NEW_AREA, NEW, HEAD + 2100, HEAD + 4000);
    assert_eq!(v8.place(0, &[]).map(|place| place.bytes), Some(1900 * 8));
    fake.area(NEW_AREA, OTHER, HEAD, HEAD + 2000);
    assert_eq!(v8.place(0, &[]), None, "nothing is made where objects are taken away");
    assert!(v8.has(fake.at(OLD, HEAD)) && !v8.has(fake.at(OLD, 0)) && !v8.has(fake.own(HEAP)));
}

/// Guarantees: an object is told once what is made has passed its place, by where it begins; nothing where no object is found.
#[test]
fn births() {
    let fake = Fake::new();
    let mut v8 = fake.v8();
    let place = Place { address: fake.at(NEW, HEAD + 13), ..v8.place(0, &[]).unwrap() };
    fake.put(NEW, HEAD + 4);
    fake.put(NEW, HEAD + 10);
    assert_eq!(v8.birth(&place), Birth::Awaited);
    fake.area(NEW_AREA, NEW, HEAD + 14, HEAD + 2000);
    assert_eq!(v8.birth(&place), Birth::Object(fake.object(NEW, HEAD + 10)));
    fake.area(NEW_AREA, NEW, HEAD + 14, HEAD + 4000);
    let before = Place { address: fake.at(NEW, HEAD + 9), ..place };
    assert_eq!(v8.birth(&before), Birth::Object(fake.object(NEW, HEAD + 4)));
    let nothing = Place { address: fake.at(NEW, HEAD + 3), ..place };
    assert_eq!(v8.birth(&nothing), Birth::Missed);
    let far = Place { address: fake.at(NEW, HEAD + 13) + LONGEST + 64, ..place };
    assert_eq!(v8.birth(&far), Birth::Missed);
}

/// Guarantees: an object is followed to where a collection has moved it, and is dead where it was not moved at several looks; an old one
/// is there as long as most of its beginning is what it was.
#[test]
fn fates() {
    let fake = Fake::new();
    let mut v8 = fake.v8();
    let (mut kept, mut dead) = (fake.object(NEW, HEAD), fake.object(NEW, HEAD + 8));
    [HEAD, HEAD + 8].into_iter().for_each(|word| fake.put(NEW, word));
    assert_eq!([&mut kept, &mut dead].map(|object| v8.fate(object)), [Fate::Young(0); 2]);
    fake.flags(NEW, 0xa);
    fake.flags(OTHER, 0x12);
    assert_eq!(v8.fate(&mut dead), Fate::Young(0), "as of when the look began");
    v8.look();
    assert_eq!(v8.fate(&mut dead), Fate::Young(0), "a collection may be under way");
    fake.put(OTHER, HEAD + 40);
    fake.set(NEW, HEAD, fake.at(OTHER, HEAD + 40));
    assert_eq!((v8.fate(&mut kept), kept.at), (Fate::Young(1), fake.at(OTHER, HEAD + 40)));
    assert_eq!([v8.fate(&mut dead), v8.fate(&mut dead)], [Fate::Young(0), Fate::Dead]);
    fake.flags(OTHER, 0xa);
    v8.look();
    fake.put(OLD, HEAD + 400);
    fake.set(OTHER, HEAD + 40, fake.at(OLD, HEAD + 400));
    assert_eq!((v8.fate(&mut kept), kept.at), (Fate::Old, fake.at(OLD, HEAD + 400)));
    fake.set(OLD, HEAD + 401, 5);
    assert_eq!(v8.fate(&mut kept), Fate::Old, "it is still being filled");
    fake.set(OLD, HEAD + 401, 6);
    assert_eq!(v8.fate(&mut kept), Fate::Old, "its hash");
    fake.set(OLD, HEAD + 402, 7);
    assert_eq!(v8.fate(&mut kept), Fate::Dead);
    let mut lost = [fake.object(NEW, 0), Object::default(), fake.object(OTHER, HEAD + 3)];
    assert_eq!(lost.each_mut().map(|object| v8.fate(object)), [Fate::Lost; 3]);
}

/// Guarantees: whatever stands in the process's memory, nothing panics, and what is told lies in the heap.
#[test]
fn any_memory() {
    let fake = Fake::new();
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        for _ in 0..40 {
            let word = if dice.bool() { dice.usize(..8) } else { HEAD + dice.usize(..64) };
            let near = fake.at(dice.usize(..3), dice.usize(..HEAD + 64));
            let to = [dice.u64(..), near, near | 1, dice.u64(..64)][dice.usize(..4)];
            fake.set(dice.usize(..3), word, to);
            fake.own[NEW_AREA + dice.usize(..6)].store(to & !u64::from(dice.bool()), Ordering::SeqCst);
        }
        let mut v8 = fake.v8();
        let _ = area::find(v8.memory, v8.heap);
        for _ in 0..8 {
            let Some(place) = v8.place(dice.u64(..), &[]) else { continue };
            fake.own[NEW_AREA + 1].store(dice.u64(..), Ordering::SeqCst);
            if let Birth::Object(mut object) = v8.birth(&place) {
                let _ = v8.fate(&mut object);
            }
        }
        let _ = v8.fate(&mut fake.object(dice.usize(..3), HEAD + dice.usize(..64)));
    }
}
