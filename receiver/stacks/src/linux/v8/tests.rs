use super::crafted::PUBLISHED;
use super::*;

const BASE: u64 = 0x10_0000;
const FRAME: u64 = 0x8000;
const CONTEXT: u16 = 210;
const FUNCTION: u16 = 2066;
const SHARED: u16 = 262;
const SCOPE: u16 = 261;
const SCRIPT: u16 = 167;
const BYTECODE: u16 = 191;
const BYTES: u16 = 190;
const ARRAY: u16 = 175;
const LITERALS: u16 = 240;
const CODE: u16 = 245;
const INSTRUCTIONS: u16 = 244;
const NARROW: u16 = 8;
const WIDE: u16 = 0;
const MAP: u16 = 255;
const PLAIN: u16 = 2058;

/// A process's memory, from [`BASE`] on, and a frame.
struct Fake {
    bytes: Vec<u8>,
    frame: HashMap<u64, u64>,
}

fn number(value: i32) -> u64 {
    u64::from(value.cast_unsigned()) << 32
}

/// A place in a script, of a function that was inlined or not.
fn place(at: u64, inlined: Option<u64>) -> u64 {
    (at + 1) << 1 | inlined.map_or(0, |nth| nth + 1) << 31
}

/// A table of one entry.
fn positions(place: u64) -> Vec<u8> {
    let digits = |mut rest: u64| {
        let mut bytes = vec![rest as u8 & 0x7f];
        while rest > 0x7f {
            *bytes.last_mut().unwrap() |= 0x80;
            rest >>= 7;
            bytes.push(rest as u8 & 0x7f);
        }
        bytes
    };
    [digits(0), digits(place << 1)].concat()
}

impl Fake {
    fn new() -> Self {
        Self { bytes: Vec::new(), frame: HashMap::new() }
    }

    fn names() -> Names {
        let layout = Layout::of(&Published::of(PUBLISHED)).unwrap();
        Names::new(&Metadata(Arc::new(layout)))
    }

    /// Puts bytes where an object may begin.
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = BASE + self.bytes.len() as u64;
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        at
    }

    fn map(&mut self, kind: u16) -> u64 {
        let mut bytes = [0; 16];
        bytes[12..14].copy_from_slice(&kind.to_le_bytes());
        self.put(&bytes) + 1
    }

    /// A reference to an object with these words behind its first.
    fn object(&mut self, kind: u16, words: &[u64]) -> u64 {
        let map = self.map(kind);
        let words: Vec<u8> = [&[map], words].concat().iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&words) + 1
    }

    fn set(&mut self, object: u64, word: usize, value: u64) {
        let at = (object - 1 - BASE) as usize + word * 8;
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn array(&mut self, kind: u16, count: usize, bytes: &[u8]) -> u64 {
        let map = self.map(kind);
        let head = [map, number(i32::try_from(count).unwrap())].map(u64::to_le_bytes).concat();
        self.put(&[&head, bytes].concat()) + 1
    }

    fn bytes(&mut self, bytes: &[u8]) -> u64 {
        self.array(BYTES, bytes.len(), bytes)
    }

    fn words(&mut self, kind: u16, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.array(kind, words.len(), &bytes)
    }

    fn text(&mut self, text: &str) -> u64 {
        let map = self.map(NARROW).to_le_bytes();
        let head = [&map[..], &[0; 4], &(text.len() as u32).to_le_bytes()].concat();
        self.put(&[&head, text.as_bytes()].concat()) + 1
    }

    fn wide(&mut self, text: &str) -> u64 {
        let map = self.map(WIDE).to_le_bytes();
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let head = [&map[..], &[0; 4], &(units.len() as u32 / 2).to_le_bytes()].concat();
        self.put(&[&head, &units[..]].concat()) + 1
    }

    /// Of two others, or part of one.
    fn combined(&mut self, kind: u16, length: u32, words: [u64; 2]) -> u64 {
        self.object(kind, &[u64::from(length) << 32, words[0], words[1]])
    }

    fn script(&mut self, file: &str) -> u64 {
        let (name, source) = (self.text(file), self.wide("one\ntwo\nthr\u{e9}e\nfour\n"));
        self.object(SCRIPT, &[source, name])
    }

    /// What closures share, of a function that begins at a place.
    fn shared(&mut self, name: &str, begin: i32, script: u64) -> u64 {
        let name = self.text(name);
        let scope = self.object(SCOPE, &[0, 0, 0, name, number(-1), number(begin), number(100)]);
        self.object(SHARED, &[0, scope, 0, script])
    }

    /// A frame of the function, which V8 interprets.
    fn interprets(&mut self, shared: u64, at: u64) -> u64 {
        let (context, function) = (self.object(CONTEXT, &[]), self.object(FUNCTION, &[0, 0, shared]));
        let table = self.bytes(&positions(place(at, None)));
        let bytecode = self.object(BYTECODE, &[0, 0, 0, table]);
        let words = [(8, context), (16, function), (32, bytecode), (40, number(53 + 7))];
        self.frame = words.map(|(below, word)| (FRAME - below, word)).into();
        function
    }

    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let from = address.checked_sub(BASE).and_then(|from| usize::try_from(from).ok());
        let from = from.and_then(|from| self.bytes.get(from..)?.get(..to.len()));
        from.map(|from| to.copy_from_slice(from)).is_some()
    }

    fn told(&self, names: &mut Names, inside: u64) -> Option<Vec<(String, String, Option<u32>)>> {
        self.told_within(&Cell::new(MOST_A_STACK), names, inside)
    }

    fn told_within(
        &self,
        left: &Cell<usize>,
        names: &mut Names,
        inside: u64,
    ) -> Option<Vec<(String, String, Option<u32>)>> {
        let read = |address, to: &mut [u8]| self.read(address, to);
        let told = names.at(inside, FRAME, |at| self.frame.get(&at).copied(), &read, left)?;
        let told = told.iter().map(|it| (it.function.clone().unwrap(), it.file.clone().unwrap(), it.line));
        Some(told.collect())
    }
}

fn named(name: &str, file: &str, line: u32) -> (String, String, Option<u32>) {
    (name.to_owned(), file.to_owned(), Some(line))
}

/// Guarantees: a function that is interpreted is told by its name, its script and the line of the instruction; also where the collector
/// has just moved it; and by another name when another one has taken its place.
#[test]
fn interpreted() {
    let (mut fake, mut names) = (Fake::new(), Fake::names());
    let script = fake.script("/srv/app.js");
    let shared = fake.shared("serve", 0, script);
    let function = fake.interprets(shared, 9);
    let expected = Some(vec![named("serve", "/srv/app.js", 3)]);
    assert_eq!(fake.told(&mut names, 0), expected);
    let moved = fake.object(FUNCTION, &[0, 0, shared]);
    fake.set(function, 0, moved - 1);
    assert_eq!(fake.told(&mut names, 0), expected);
    let other = fake.shared("other", 0, script);
    for word in [2, 4] {
        let at = (other - 1 - BASE) as usize + word * 8;
        let value = u64::from_le_bytes(*fake.bytes[at..].first_chunk().unwrap());
        fake.set(shared, word, value);
    }
    assert_eq!(fake.told(&mut names, 0), Some(vec![named("other", "/srv/app.js", 3)]));
}

/// Guarantees: one stack has no more read than its share, whatever it leads to; what was not read for it is read for the next one.
#[test]
fn one_share_a_stack() {
    let (mut fake, mut names) = (Fake::new(), Fake::names());
    let script = fake.script("/srv/app.js");
    let shared = fake.shared("serve", 0, script);
    fake.interprets(shared, 9);
    let left = Cell::new(MOST_A_STACK);
    let expected = fake.told_within(&left, &mut Fake::names(), 0);
    let needed = MOST_A_STACK - left.get();
    assert!(expected.is_some() && needed > 20);
    assert_eq!(fake.told_within(&Cell::new(needed - 1), &mut names, 0), None);
    assert_eq!(fake.told(&mut names, 0), expected);
}

/// Guarantees: compiled code whose instructions are not known to come from anywhere is told by where its function begins; a function
/// without a name by one that was guessed, or by that there is none.
#[test]
fn without_an_instruction() {
    let (mut fake, mut names) = (Fake::new(), Fake::names());
    let script = fake.script("/srv/app.js");
    let shared = fake.shared("serve", 5, script);
    fake.interprets(shared, 9);
    fake.frame.insert(FRAME - 40, fake.frame[&(FRAME - 8)]);
    assert_eq!(fake.told(&mut names, 0), Some(vec![named("serve", "/srv/app.js", 2)]));
    let (nothing, guessed, around) = (fake.text(""), fake.text("guessed"), fake.object(SCOPE, &[]));
    let locals = [0, 0, number(1), guessed, number(0)];
    for (words, name) in [
        (&[nothing, number(-1), guessed, number(5), number(9)][..], "guessed"),
        (&[nothing, number(4), number(5), number(9)], "(anonymous)"),
        (&[guessed, number(5), number(9)], "guessed"),
        (&[number(5), number(9)], "(anonymous)"),
    ] {
        let scope = fake.object(SCOPE, &[&locals, words, &[around]].concat());
        let shared = fake.object(SHARED, &[0, scope, 0, script]);
        fake.interprets(shared, 9);
        fake.frame.remove(&(FRAME - 40));
        assert_eq!(fake.told(&mut names, 0), Some(vec![named(name, "/srv/app.js", 2)]));
    }
}

/// Guarantees: in optimised code those are told, innermost first, that were inlined where the instruction is, with the lines where
/// each calls the next; elsewhere the function alone.
#[test]
fn optimised() {
    let (mut fake, mut names) = (Fake::new(), Fake::names());
    let script = fake.script("/srv/app.js");
    let [outer, middle, inner] = ["outer", "middle", "inner"].map(|name| fake.shared(name, 0, script));
    fake.interprets(outer, 0);
    fake.frame.remove(&(FRAME - 32));
    let list = [place(5, None), 0, place(9, Some(0)), 1];
    let list = fake.bytes(&list.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
    let literals = fake.words(LITERALS, &[middle, inner + 2]);
    let data = fake.words(ARRAY, &[0, 0, literals, 0, 0, 0, outer, list]);
    let table = fake.bytes(&positions(place(14, Some(1))));
    let code = fake.object(CODE, &[0, data, table, 0, 0, 0, 0]);
    let instructions = fake.object(INSTRUCTIONS, &[code]);
    let begin = fake.put(&[0x90; 4096]);
    fake.set(code, 5, begin);
    fake.set(code, 7, 4096);
    let inlined = [("inner", 4), ("middle", 3), ("outer", 2)];
    let inlined: Vec<_> = inlined.iter().map(|(name, line)| named(name, "/srv/app.js", *line)).collect();
    for _ in 0..2 {
        assert_eq!(fake.told(&mut names, begin + 4001), Some(inlined.clone()));
    }
    let alone = Some(vec![named("outer", "/srv/app.js", 1)]);
    assert_eq!(fake.told(&mut names, begin + 4096), alone, "behind it");
    fake.set(instructions, 0, 0);
    assert_eq!(fake.told(&mut Fake::names(), begin + 4001), alone, "it is not found");
}

impl Fake {
    /// A map of objects of so many words with this prototype.
    fn map_of(&mut self, kind: u16, words: u8, prototype: u64) -> u64 {
        let of_maps = self.map(MAP);
        let head = [of_maps, u64::from(words) | u64::from(kind) << 32, 0, prototype].map(u64::to_le_bytes);
        self.put(&head.concat()) + 1
    }

    /// An object as that map says.
    fn made(&mut self, map: u64, words: &[u64]) -> u64 {
        self.put(&[&[map], words].concat().iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()) + 1
    }
}

/// Guarantees: a method is told as one of its class, in the object or beside it, also where it is called for what a class that is derived from
/// it makes; a function that is a property of nobody's prototype, a class itself, and a method of a class without a name are told as they are
/// called; and so is a method of which it is not to be seen, until it is.
#[test]
fn methods() {
    let (mut fake, mut names) = (Fake::new(), Fake::names());
    let script = fake.script("/srv/app.js");
    let [set, store, nameless] = ["set", "Store", ""].map(|name| fake.shared(name, 0, script));
    let method = fake.interprets(set, 9);
    let prototypes = fake.map_of(PLAIN, 5, 0);
    let (of_derived, of_class) = (fake.made(prototypes, &[0; 4]), fake.made(prototypes, &[0; 4]));
    let initial = fake.map_of(PLAIN, 3, of_class);
    let functions = fake.map_of(FUNCTION, 8, 0);
    let class = fake.made(functions, &[0, 0, store, 0, 0, 0, initial]);
    let derived = fake.made(functions, &[0, 0, nameless, 0, 0, 0, of_derived]);
    let instance = fake.made(initial, &[0; 2]);
    let of_derived_class = fake.map_of(PLAIN, 3, of_derived);
    let instance_of_derived = fake.made(of_derived_class, &[0; 2]);
    let from_derived = fake.map_of(PLAIN, 5, of_class);
    fake.set(of_derived, 0, from_derived);
    let beside = fake.words(ARRAY, &[number(3), method]);
    let told = |fake: &mut Fake, names: &mut Names, receiver: u64| {
        fake.frame.insert(FRAME + 16, receiver);
        fake.told(names, 0).unwrap().remove(0).0
    };
    assert_eq!(told(&mut fake, &mut names, instance), "set", "it is nobody's");
    fake.set(of_class, 1, beside);
    assert_eq!(told(&mut fake, &mut Fake::names(), instance), "set", "nobody's prototype");
    fake.set(of_class, 3, class);
    for receiver in [instance, instance_of_derived] {
        assert_eq!(told(&mut fake, &mut Fake::names(), receiver), "Store.set");
    }
    assert_eq!(told(&mut fake, &mut names, number(7)), "set", "a number has no methods");
    assert_eq!(told(&mut fake, &mut names, instance), "Store.set");
    assert_eq!(told(&mut fake, &mut names, number(7)), "Store.set", "as it is known by now");
    fake.set(of_derived, 2, method);
    fake.set(of_derived, 3, derived);
    assert_eq!(told(&mut fake, &mut Fake::names(), instance_of_derived), "set", "of a class without a name");
    fake.set(of_derived, 2, 0);
    fake.set(from_derived, 3, of_derived);
    assert_eq!(told(&mut fake, &mut Fake::names(), instance_of_derived), "set", "round and round");
    fake.frame.insert(FRAME - 16, class);
    assert_eq!(told(&mut fake, &mut Fake::names(), instance), "Store", "a class is no method of itself");
}

/// Guarantees: where anything is not what it must be, nobody is told.
#[test]
fn nobody_for_sure() {
    let (mut fake, mut names) = (Fake::new(), Fake::names());
    let script = fake.script("/srv/app.js");
    let shared = fake.shared("serve", 0, script);
    let function = fake.interprets(shared, 9);
    let (whole, other) = (fake.frame.clone(), fake.object(ARRAY, &[number(0)]));
    for (below, word) in
        [(8, number(22)), (8, other), (16, other), (16, 0), (16, u64::MAX), (16, BASE * 9 + 1)]
    {
        fake.frame.insert(FRAME - below, word);
        assert_eq!(fake.told(&mut names, 0), None, "{below} {word:x}");
        fake.frame = whole.clone();
    }
    for (object, word) in [(function, 3), (shared, 2), (shared, 4)] {
        let bytes = fake.bytes.clone();
        fake.set(object, word, other);
        assert_eq!(fake.told(&mut names, 0), None, "{word}");
        fake.bytes = bytes;
    }
    assert!(fake.told(&mut names, 0).is_some());
}

/// Guarantees: texts are read however they are kept; none that is longer than it may be, or made up of itself.
#[test]
fn texts() {
    let mut fake = Fake::new();
    let layout = Layout::of(&Published::of(PUBLISHED)).unwrap();
    let (caf, wide) = (fake.text("caf\u{e9}"), fake.wide("\u{40b}ac\u{2028}k"));
    let outside = fake.put(b"outside");
    let ends = fake.combined(1, 0, [0, 0]);
    fake.set(ends, 2, ends);
    fake.set(ends, 3, ends);
    let cases = [
        (wide, Some("\u{40b}ac\u{2028}k")),
        (fake.combined(1, 8, [wide, wide]), Some("\u{40b}ac\u{2028}k\u{40b}ac\u{2028}k")),
        (fake.combined(5, 0, [wide, 0]), Some("\u{40b}ac\u{2028}k")),
        (fake.combined(3, 2, [wide, number(1)]), Some("ac")),
        (fake.combined(2 | NARROW, 7, [0, outside]), Some("outside")),
        (fake.combined(2 | NARROW | 16, 7, [0, outside]), None),
        (fake.combined(3, 2, [ends, number(1)]), None),
        (ends, None),
        (fake.object(ARRAY, &[]), None),
        (number(7), None),
    ];
    let maps = Maps::default();
    let read = |address, to: &mut [u8]| fake.read(address, to);
    let left = Cell::new(MOST_A_STACK);
    let heap = Heap { layout: &layout, maps: &maps, read: &read, left: &left };
    for (of, expected) in cases {
        assert_eq!(text::text(&heap, Tagged(of), 10).as_deref(), expected);
    }
    assert_eq!(text::text(&heap, Tagged(wide), 4), None);
    // two bytes in UTF-8, which are two characters to a text of one byte each
    assert_eq!(text::text(&heap, Tagged(caf), 10).as_deref(), Some("caf\u{c3}\u{a9}"));
}

/// Guarantees: what publishes too little, or keeps references otherwise, is none.
#[test]
fn layouts() {
    assert!(Layout::of(&Published::of(PUBLISHED)).is_some());
    assert_eq!(Layout::of(&Published::of(&PUBLISHED[1..])), None);
    for odd in [
        ("TaggedSize", 4),
        ("SmiShiftSize", 0),
        ("off_fp_function", 1 << 20),
        ("class_Script__name__Object", -8),
    ] {
        let numbers: Vec<_> =
            PUBLISHED.iter().copied().filter(|(name, _)| *name != odd.0).chain([odd]).collect();
        assert_eq!(Layout::of(&Published::of(&numbers)), None, "{odd:?}");
    }
}
