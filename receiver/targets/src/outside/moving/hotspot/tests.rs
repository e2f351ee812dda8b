//! A heap that is laid out in this process's own memory.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Words of it: the JVM's own structures, eden, and what is old.
const OWN: usize = 80;
const EDEN: usize = 512;
const OLD: usize = 512;

/// Where things are in it, words.
const ROOT: usize = 0;
const ARRAYS: usize = 16;
const HEAP: usize = 32;
const THREAD: usize = 40;
const EDEN_SPACE: usize = 48;
const OLD_SPACE: usize = 52;
const FROM_SPACE: usize = 56;
const TO_SPACE: usize = 60;

/// Offsets in classes, and in a thread, bytes.
const HELPER: u64 = 8;
const ANCESTORS: u64 = 48;

/// How large objects are, and arrays of bytes.
const INSTANCE: u64 = 24;
const BYTES: u64 = 0xc010_0800;

const PLAIN: u64 = 1;

struct Fake {
    words: Vec<AtomicU64>,
    hotspot: Hotspot,
}

impl Fake {
    fn new() -> Self {
        let words: Vec<AtomicU64> = (0..OWN + EDEN + OLD).map(|_| AtomicU64::new(0)).collect();
        let base = words.as_ptr() as u64;
        let at = |word: usize| base + word as u64 * 8;
        let memory = Memory::of(std::process::id());
        let hotspot = Hotspot {
            memory,
            counter: Counter::fake(memory, at(HEAP)),
            threads: Threads::fake(memory),
            classes: Classes::fake(memory, base, HELPER, ANCESTORS),
            spaces: Spaces::fake(
                memory,
                at(OWN)..at(OWN + EDEN + OLD),
                [EDEN_SPACE, FROM_SPACE, TO_SPACE].map(at),
                at(OLD_SPACE),
            ),
            seen: None,
            given: VecDeque::new(),
        };
        let fake = Self { words, hotspot };
        for (class, helper) in [(ROOT, INSTANCE), (ARRAYS, BYTES)] {
            // the one at the beginning would be 0 in short
            fake.set(class + 9, helper);
            fake.set(class + 14, fake.at(ROOT + 8));
        }
        let eden = fake.at(OWN);
        fake.spaces(eden, eden);
        fake
    }

    /// The address of a word.
    fn at(&self, word: usize) -> u64 {
        self.words.as_ptr() as u64 + word as u64 * 8
    }

    fn set(&self, word: usize, to: u64) {
        self.words[word].store(to, Ordering::SeqCst);
    }

    /// How far eden is handed out, and the piece of the thread ends, by addresses; it begins with eden.
    fn spaces(&self, top: u64, piece_top: u64) {
        let (eden, old) = (OWN, OWN + EDEN);
        for (word, to) in [(0, self.at(eden)), (1, top), (2, self.at(old))] {
            self.set(EDEN_SPACE + word, to);
        }
        for (word, to) in [(0, self.at(old)), (1, self.at(old)), (2, self.at(old + OLD))] {
            self.set(OLD_SPACE + word, to);
        }
        for (word, to) in [(0, self.at(eden)), (1, piece_top), (2, self.at(eden + 128)), (3, 0)] {
            self.set(THREAD + word, to);
        }
    }

    /// Collections so far, and whether there is one now.
    fn collections(&self, all: u64, whole: u64, under_way: bool) {
        self.set(HEAP, u64::from(under_way));
        self.set(HEAP + 1, all | whole << 32);
    }

    /// An object.
    fn put(&self, word: usize, mark: u64, class: usize, length: u64) {
        self.set(word, mark);
        self.set(word + 1, ((class as u64 + 8) * 8) | (length << 32));
    }

    fn object(&self, word: usize) -> Object {
        let collections = Collections { all: 0, whole: 0 }.packed(false);
        Object { at: self.at(word), collections, ..Object::default() }
    }

    fn fate(&mut self, object: &mut Object) -> Fate {
        self.hotspot.look();
        self.hotspot.fate(object)
    }

    /// What lies at a word, of which it was asked as of the beginning.
    fn birth(&mut self, word: usize) -> Birth {
        let (address, owner) = (self.at(word), self.at(THREAD));
        let (from, to) = (self.at(OWN), self.at(OWN + 128));
        let place = Place { address, thread: 1, bytes: 1, area: owner, from, to };
        self.hotspot.given.push_back((place, Collections { all: 0, whole: 0 }));
        self.hotspot.birth(&place)
    }
}

/// Guarantees: an object is told once memory beyond the place is taken and it has a header, by where it begins.
#[test]
fn born() {
    let mut fake = Fake::new();
    let (first, second) = (OWN, OWN + 3);
    assert_eq!(fake.birth(second + 4), Birth::Awaited);
    fake.spaces(fake.at(OWN + 128), fake.at(second + 20));
    assert_eq!(fake.birth(second + 4), Birth::Awaited);
    fake.put(first, PLAIN, ROOT, 0);
    fake.put(second, PLAIN, ARRAYS, 100);
    let expected = Birth::Object(fake.object(second));
    for word in [second, second + 4, second + 14] {
        assert_eq!(fake.birth(word), expected, "{word}");
    }
    assert_eq!(fake.birth(first + 2), Birth::Object(fake.object(first)));
    // what fills the rest of a piece ends beyond it
    fake.put(second, PLAIN, ARRAYS, 1000);
    for word in THREAD..THREAD + 3 {
        fake.set(word, fake.at(OWN + 256));
    }
    assert_eq!(fake.birth(second + 4), Birth::Missed);
    // what was never given is not known
    let elsewhere = Place { address: 8, thread: 1, bytes: 1, area: 8, from: 8, to: 16 };
    assert_eq!(fake.hotspot.birth(&elsewhere), Birth::Missed);
}

/// Guarantees: what a collection has moved before it was asked for is found by where it was, unless memory there is taken again.
#[test]
fn born_before_a_collection() {
    let mut fake = Fake::new();
    fake.put(OWN, fake.at(OWN + EDEN) | 0b11, ARRAYS, 40);
    fake.put(OWN + EDEN, PLAIN, ARRAYS, 40);
    fake.collections(1, 0, false);
    let born = fake.birth(OWN + 4);
    assert_eq!(born, Birth::Object(fake.object(OWN)));
    let Birth::Object(mut object) = born else { return };
    assert_eq!(fake.fate(&mut object), Fate::Old);
    fake.spaces(fake.at(OWN + 64), fake.at(OWN + 64));
    assert_eq!(fake.birth(OWN + 4), Birth::Missed);
    fake.spaces(fake.at(OWN), fake.at(OWN));
    for (all, whole) in [(2, 0), (1, 1)] {
        fake.collections(all, whole, false);
        assert_eq!(fake.birth(OWN + 4), Birth::Missed);
    }
}

/// Guarantees: an object is followed to its copies, until it is an old one; while a collection is under way, or none has been, it is as
/// it was.
#[test]
fn followed() {
    let mut fake = Fake::new();
    let (eden, copy, old) = (OWN, OWN + 200, OWN + EDEN + 16);
    let mut object = fake.object(eden);
    fake.put(eden, PLAIN, ROOT, 0);
    assert_eq!(fake.fate(&mut object), Fate::Young(0));
    fake.put(eden, fake.at(copy) | 0b11, ROOT, 0);
    fake.put(copy, PLAIN, ROOT, 0);
    fake.collections(1, 0, true);
    assert_eq!(fake.fate(&mut object), Fate::Young(0));
    fake.collections(1, 0, false);
    assert_eq!(fake.fate(&mut object), Fate::Young(1));
    assert_eq!(object.address(), fake.at(copy));
    fake.put(copy, fake.at(old) | 0b11, ROOT, 0);
    fake.put(old, PLAIN, ROOT, 0);
    fake.collections(2, 0, false);
    for all in [2, 3, 9] {
        fake.collections(all, 0, false);
        assert_eq!(fake.fate(&mut object), Fate::Old);
        assert_eq!((object.address(), object.survived), (fake.at(old), 2));
    }
    fake.put(old, 0, HEAP, 0);
    fake.collections(10, 0, false);
    assert_eq!(fake.fate(&mut object), Fate::Lost);
}

/// Guarantees: what was not moved is dead; but nothing is told of what lies where memory is taken again, of what has met two collections
/// or one of the whole heap, and of what leads nowhere.
#[test]
fn dead_or_lost() {
    let mut fake = Fake::new();
    let (eden, copy) = (OWN + 8, OWN + 200);
    let fate = |fake: &mut Fake, mark: u64, all, whole| {
        fake.put(eden, mark, ROOT, 0);
        fake.collections(all, whole, false);
        let mut object = fake.object(eden);
        fake.fate(&mut object)
    };
    assert_eq!(fate(&mut fake, PLAIN, 1, 0), Fate::Dead);
    assert_eq!(fate(&mut fake, PLAIN, 2, 0), Fate::Lost);
    assert_eq!(fate(&mut fake, PLAIN, 1, 1), Fate::Lost);
    let to_copy = fake.at(copy) | 0b11;
    assert_eq!(fate(&mut fake, to_copy, 1, 0), Fate::Lost, "there is no copy");
    fake.put(copy, PLAIN, ARRAYS, 8);
    assert_eq!(fate(&mut fake, to_copy, 1, 0), Fate::Lost, "it is of another class");
    fake.put(copy, PLAIN, ROOT, 0);
    assert_eq!(fate(&mut fake, to_copy, 1, 0), Fate::Young(1));
    let to_itself = fake.at(eden) | 0b11;
    for mark in [to_itself, u64::MAX, 0b11, to_copy + 4] {
        assert_eq!(fate(&mut fake, mark, 1, 0), Fate::Lost, "{mark:x}");
    }
    // a space that survivors were in, and could not leave
    for (word, to) in [(0, eden), (1, eden + 1), (2, eden + 16)] {
        fake.set(FROM_SPACE + word, fake.at(to));
    }
    assert_eq!(fate(&mut fake, PLAIN, 1, 0), Fate::Lost);
    fake.set(FROM_SPACE + 1, fake.at(eden));
    assert_eq!(fate(&mut fake, PLAIN, 1, 0), Fate::Dead);
    fake.spaces(fake.at(eden + 1), fake.at(eden + 1));
    assert_eq!(fate(&mut fake, PLAIN, 1, 0), Fate::Lost);
    assert_eq!(fate(&mut fake, to_copy, 1, 0), Fate::Lost);
    let mut elsewhere = Object { at: u64::MAX - 7, ..fake.object(eden) };
    assert_eq!(fake.fate(&mut elsewhere), Fate::Lost);
}

/// Guarantees: whatever the process's memory says, something is told, or nothing.
#[test]
fn any_memory() {
    let mut fake = Fake::new();
    let words = fake.words.len();
    let mut dice = 1_u64;
    for round in 0..400 {
        for word in 0..words {
            dice = mixed(dice.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let nearby = fake.at((dice >> 8) as usize % words);
            let to = match dice % 8 {
                0 => dice,
                1 => u64::MAX - (dice >> 58),
                2 => nearby | 0b11,
                3 => ((ROOT as u64 + 8) * 8) | (dice << 32),
                4 => dice >> 56,
                _ => nearby,
            };
            // half of the time the classes are as they should be
            if word >= ARRAYS + 16 || round % 2 == 0 {
                fake.set(word, to);
            }
        }
        fake.set(HEAP, 0);
        for word in [OWN, OWN + 5, OWN + EDEN + 3] {
            let _ = fake.birth(word);
            let mut object = fake.object(word);
            for _ in 0..3 {
                fake.set(HEAP + 1, dice & 3);
                let _ = fake.fate(&mut object);
            }
            let _ = fake.hotspot.place(dice, &[]);
        }
    }
}
