//! Crafted memory: a small JVM, as old and as new versions lay themselves out.

use super::*;
use crate::linux::row::{FRAME, Rule, STACK};

/// Where the variables are: behind each other.
const AT: [u64; VARIABLES.len()] = [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88];
const TEXTS: usize = 0x100;
const TABLES: usize = 0x800;
const POOL: u64 = 0x1900;
const PUT: u64 = 0x1a00;
const GROW: u64 = 0x1a10;
/// Of compiled code, and of the interpreter.
const CODE: u64 = 0x2000;
const BLOB: u64 = CODE + 16;
const COMPILED: u64 = BLOB + 128;
const INTERPRETER: u64 = CODE + 0x400 + 16 + 128;
const ADAPTER: u64 = CODE + 0x600 + 16 + 128;
const MAP: usize = 0x1d00;

struct Machine {
    memory: Vec<u8>,
    texts: usize,
}

impl Machine {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: u64, word: u64) {
        self.put(at, &word.to_le_bytes());
    }

    fn int(&mut self, at: u64, int: u32) {
        self.put(at, &int.to_le_bytes());
    }

    fn half(&mut self, at: u64, half: u16) {
        self.put(at, &half.to_le_bytes());
    }

    fn text(&mut self, text: &str) -> u64 {
        let at = self.texts as u64;
        self.put(at, text.as_bytes());
        self.texts += text.len() + 1;
        at
    }

    /// What a constant is called.
    fn symbol(&mut self, text: &str) -> u64 {
        self.texts = self.texts.next_multiple_of(8);
        let at = self.texts as u64;
        self.half(at + 4, u16::try_from(text.len()).unwrap());
        self.put(at + 6, text.as_bytes());
        self.texts += 6 + text.len();
        at
    }

    fn new(is_new: bool) -> Self {
        let mut it = Self { memory: vec![0; 0x2800], texts: TEXTS };
        it.tables(is_new);
        it.code(is_new);
        it.methods();
        it
    }

    fn tables(&mut self, is_new: bool) {
        let old = [
            ("JDK_Version", "_current", 0, 0x1c00),
            ("CodeBlob", "_code_begin", 8, 0),
            ("CodeBlob", "_code_end", 16, 0),
            ("CompiledMethod", "_method", 32, 0),
            ("CompiledMethod", "_scopes_data_begin", 48, 0),
            ("nmethod", "_dependencies_offset", 60, 0),
            ("nmethod", "_metadata_offset", 64, 0),
        ];
        let new = [
            ("Abstract_VM_Version", "_vm_major_version", 0, 0x1c00),
            ("CodeBlob", "_code_offset", 8, 0),
            ("CodeBlob", "_data_offset", 12, 0),
            ("nmethod", "_method", 32, 0),
            ("nmethod", "_immutable_data", 48, 0),
            ("nmethod", "_scopes_data_offset", 60, 0),
            ("CodeBlob", "_mutable_data", 64, 0),
            ("CodeBlob", "_relocation_size", 72, 0),
        ];
        let all = [
            ("CodeCache", "_heaps", 0, 0x1c08),
            ("GrowableArrayBase", "_len", 0, 0),
            ("GrowableArray<int>", "_data", 8, 0),
            ("CodeHeap", "_memory", 0, 0),
            ("CodeHeap", "_segmap", 16, 0),
            ("CodeHeap", "_log2_segment_size", 32, 0),
            ("VirtualSpace", "_low_boundary", 0, 0),
            ("VirtualSpace", "_high_boundary", 8, 0),
            ("HeapBlock::Header", "_used", 8, 0),
            ("CodeBlob", "_name", 0, 0),
            ("CodeBlob", "_frame_size", 24, 0),
            ("CodeBlob", "_frame_complete_offset", 28, 0),
            ("nmethod", "_compile_id", 40, 0),
            ("nmethod", "_scopes_pcs_offset", 56, 0),
            ("PcDesc", "_pc_offset", 0, 0),
            ("PcDesc", "_scope_decode_offset", 4, 0),
            ("Method", "_constMethod", 8, 0),
            ("ConstMethod", "_constants", 8, 0),
            ("ConstMethod", "_constMethod_size", 16, 0),
            ("ConstMethod", "_flags", 20, 0),
            ("ConstMethod", "_code_size", 22, 0),
            ("ConstMethod", "_name_index", 24, 0),
            ("ConstMethod", "_signature_index", 26, 0),
            ("ConstantPool", "_pool_holder", 8, 0),
            ("ConstantPool", "_length", 16, 0),
            ("ConstantPool", "_source_file_name_index", 20, 0),
            ("Klass", "_name", 8, 0),
            ("Symbol", "_length", 4, 0),
            ("Symbol", "_body", 6, 0),
            ("Universe", "_heap", 0, 0x1c00),
        ];
        let version: &[_] = if is_new { &new } else { &old };
        let mut names = HashMap::new();
        let mut entry = TABLES as u64;
        let values = [entry, 32, 0, 8, 16, 20, 24];
        for (class, field, offset, address) in all.iter().chain(version) {
            let mut name =
                |machine: &mut Self, text| *names.entry(text).or_insert_with(|| machine.text(text));
            let (class, field) = (name(self, class), name(self, field));
            let kind = name(self, if is_new && *offset == 28 { "int16_t" } else { "int" });
            self.word(entry, class);
            self.word(entry + 8, field);
            self.int(entry + 16, u32::try_from(kind).unwrap());
            self.int(entry + 20, *offset);
            self.word(entry + 24, *address);
            entry += 32;
        }
        let types = entry + 32;
        let sizes = [("HeapBlock", 16), ("PcDesc", 16), ("ConstMethod", 48), ("ConstantPool", 32)];
        for (nth, (class, size)) in (0..).zip(sizes) {
            let class = self.text(class);
            self.word(types + nth * 16, class);
            self.word(types + nth * 16 + 8, size);
        }
        for (at, value) in AT.iter().zip(values.into_iter().chain([types, 16, 0, 8])) {
            self.word(*at, value);
        }
        self.int(0x1c00, if is_new { 25 } else { 17 });
    }

    fn code(&mut self, is_new: bool) {
        self.word(0x1c08, 0x1c10);
        self.int(0x1c10, 1);
        self.word(0x1c18, 0x1c20);
        self.word(0x1c20, 0x1c30);
        for (at, range) in [(0x1c30, [CODE, CODE + 0x800]), (0x1c40, [MAP as u64, MAP as u64 + 0x20])] {
            self.word(at, range[0]);
            self.word(at + 8, range[1]);
        }
        self.int(0x1c50, 6);
        // of the first piece each segment leads back to the one before, of the second to its beginning
        self.put(MAP as u64, &[0, 1, 1, 1, 1, 1, 1, 1, FREE, FREE, FREE, FREE, FREE, FREE, FREE, FREE]);
        self.put(MAP as u64 + 16, &[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]);
        for (block, name) in
            [(CODE, "nmethod"), (CODE + 0x400, "Interpreter"), (CODE + 0x600, "I2C/C2I adapters")]
        {
            let (blob, name) = (block + 16, self.text(name));
            self.put(block + 8, &[1]);
            self.word(blob, name);
            if is_new {
                self.int(blob + 8, 128);
                self.int(blob + 12, 0x180);
            } else {
                self.word(blob + 8, blob + 128);
                self.word(blob + 16, blob + 0x180);
            }
        }
        self.int(BLOB + 24, 6);
        self.int(BLOB + 28, 8);
        self.word(BLOB + 32, GROW);
        self.int(BLOB + 40, 7);
        // places, scopes and metadata
        let (places, scopes, metadata) = (0x1e00_u64, 0x1e80_u64, 0x1ec0_u64);
        let behind = |at: u64| u32::try_from(at.wrapping_sub(BLOB) & 0xffff_ffff).unwrap();
        if is_new {
            self.word(BLOB + 48, 0x1df0);
            self.int(BLOB + 56, 0x10);
            self.int(BLOB + 60, 0x90);
            self.word(BLOB + 64, metadata - 8);
            self.int(BLOB + 72, 8);
            // the places end where the scopes begin: the rest of them are behind everything
            for nth in 3..8 {
                self.int(places + nth * 16, 0x7fff_0000);
            }
        } else {
            self.word(BLOB + 48, scopes);
            // all of it lies behind the piece in truth
            for (field, at) in [(56, 0x2380_u64), (60, 0x2380 + 48), (64, 0x23c0)] {
                self.int(BLOB + field, behind(at));
            }
        }
        let (places, metadata) = if is_new { (places, metadata) } else { (0x2380, 0x23c0) };
        for (nth, (pc, scope)) in (0..).zip([(u32::MAX, 0_u32), (0x20, 9), (0x40, 0)]) {
            self.int(places + nth * 16, pc);
            self.int(places + nth * 16 + 4, scope);
        }
        self.word(metadata, GROW);
        self.word(metadata + 8, PUT);
        let more = u8::from(is_new);
        // at 1: `grow` at bytecode 5; at 9: `put` at bytecode 2, called from there
        self.put(scopes + 1, &[0, 1, 6].map(|byte| byte + more));
        self.put(scopes + 9, &[1, 2, 3].map(|byte| byte + more));
    }

    fn methods(&mut self) {
        for (nth, text) in (1..).zip(["grow", "(I)V", "put", "([B)V", "Pool.java"]) {
            let symbol = self.symbol(text);
            self.word(POOL + 32 + nth * 8, symbol);
        }
        let (class, name) = (0x1980, self.symbol("app/Pool"));
        self.word(class + 8, name);
        self.word(POOL + 8, class);
        self.int(POOL + 16, 6);
        self.half(POOL + 20, 5);
        for (method, constant, name, line) in [(GROW, 0x1b00, 1, 21), (PUT, 0x1b80, 3, 7)] {
            self.word(method + 8, constant);
            self.word(constant + 8, POOL);
            self.int(constant + 16, 9);
            self.half(constant + 20, 1);
            self.half(constant + 22, 10);
            self.half(constant + 24, name);
            self.half(constant + 26, name + 1);
            // from bytecode 0 and from bytecode 4 on
            let lines: Vec<u8> = std::iter::repeat_n(7, line / 7).chain([4 << 3 | 1, 0]).collect();
            self.put(constant + 48 + 10, &lines);
        }
    }

    fn with<T>(&self, ask: impl FnOnce(Target<'_>) -> T) -> T {
        let read = |address: u64, to: &mut [u8]| {
            let from = usize::try_from(address).ok().and_then(|at| self.memory.get(at..)?.get(..to.len()));
            from.map(|from| to.copy_from_slice(from)).is_some()
        };
        ask(Target(&read))
    }

    fn read(&self) -> Option<Hotspot> {
        self.with(|target| Hotspot::read(&AT, target))
    }

    /// What a frame is called at an address: the stack holds `stack` below the frame pointer.
    fn names(&self, hotspot: &mut Hotspot, inside: u64, stack: &[(u64, u64)]) -> Vec<(String, Option<u32>)> {
        let place = Place { inside, is_innermost: false, frame: Some(0x1000) };
        let word = |at: u64| stack.iter().find(|(below, _)| 0x1000 - below == at).map(|(_, word)| *word);
        let names = self.with(|target| hotspot.names(place, &word, target));
        let names = names.iter().flat_map(|names| names.iter());
        names.map(|named| (named.function.clone().unwrap_or_default(), named.line)).collect()
    }
}

const FREE: u8 = 0xff;

fn named(name: &str, line: u32) -> (String, Option<u32>) {
    (name.to_owned(), Some(line).filter(|line| *line != 0))
}

/// Guarantees: an address in compiled code leads to its method, and where the tables say so to what was inlined into it and to lines,
/// in the layouts of old and new versions; where they say nothing, to the method alone.
#[test]
fn compiled() {
    for machine in [false, true].map(Machine::new) {
        let mut hotspot = machine.read().unwrap();
        let mut at = |into: u64| machine.names(&mut hotspot, COMPILED + into, &[]);
        let both = [named("app.Pool.put(byte[])", 7), named("app.Pool.grow(int)", 22)];
        assert_eq!([at(1), at(0x1f), at(0x20)], [both.clone(), both.clone(), both]);
        assert_eq!(at(0x30), [named("app.Pool.grow(int)", 0)]);
        assert_eq!([at(0x200), at(0x1000)], [[], []]);
        let names = machine.with(|target| {
            let place = Place { inside: COMPILED + 1, is_innermost: false, frame: None };
            hotspot.names(place, &|_| None, target).unwrap()
        });
        assert_eq!(names[0].file.as_deref(), Some("Pool.java"));
    }
}

/// Guarantees: a frame of the interpreter is called as the method that it runs, with the line of the bytecode; without one on the
/// stack as the interpreter.
#[test]
fn interpreted() {
    let machine = Machine::new(true);
    let mut hotspot = machine.read().unwrap();
    let mut with = |stack: &[(u64, u64)]| machine.names(&mut hotspot, INTERPRETER + 4, stack);
    let [_, words] = BYTECODE;
    assert_eq!(with(&[(METHOD, GROW), (words * 8, 0x1b00 + 48 + 4)]), [named("app.Pool.grow(int)", 22)]);
    assert_eq!(with(&[(METHOD, PUT), (words * 8, 0x1b00)]), [named("app.Pool.put(byte[])", 0)]);
    for nonsense in [0, 3, 0x1a08, 0x2_0000, u64::MAX] {
        assert_eq!(with(&[(METHOD, nonsense)]), [named("Interpreter", 0)], "{nonsense:#x}");
    }
    assert_eq!(with(&[]), [named("Interpreter", 0)]);
    assert_eq!(machine.names(&mut hotspot, ADAPTER, &[]), [named("Stub:I2C/C2I adapters", 0)]);
}

/// Guarantees: a compiled frame is undone by its size, before it is made by nothing but the return address; the interpreter's by
/// its frame pointer, and the stack pointer that it has kept.
#[test]
fn frames() {
    for machine in [false, true].map(Machine::new) {
        let mut hotspot = machine.read().unwrap();
        let mut row = |inside, is_innermost| {
            let place = Place { inside, is_innermost, frame: None };
            machine.with(|target| hotspot.row(place, target))
        };
        let compiled = row(COMPILED + 4, false).unwrap();
        assert_eq!(
            (&compiled.cfa, compiled.rule(FRAME)),
            (&Rule::Register(STACK, 48), Some(&Rule::Offset(-16)))
        );
        assert_eq!(row(COMPILED + 8, true).unwrap(), compiled);
        let unmade = row(COMPILED + 4, true).unwrap();
        assert_eq!((&unmade.cfa, unmade.rule(FRAME)), (&Rule::Register(STACK, 8), None));
        let interpreter = row(INTERPRETER, false).unwrap();
        assert!(interpreter.framed);
        assert_eq!(interpreter.rule(STACK), Some(&Rule::Offset(-24)));
        assert_eq!(row(ADAPTER, true).unwrap().cfa, Rule::Register(STACK, 8));
        assert_eq!([row(CODE, false), row(CODE + 0x210, false), row(7, false)], [None, None, None]);
    }
}

/// Guarantees: what takes the place of code, or of a method, is told from then on; what has been freed is not.
#[test]
fn changes() {
    let mut machine = Machine::new(true);
    let mut hotspot = machine.read().unwrap();
    assert_eq!(machine.names(&mut hotspot, COMPILED, &[]).len(), 2);
    machine.word(BLOB + 32, PUT);
    machine.int(BLOB + 40, 8);
    assert_eq!(machine.names(&mut hotspot, COMPILED, &[]), [named("app.Pool.put(byte[])", 0)]);
    machine.half(0x1b80 + 24, 1);
    machine.half(0x1b80 + 26, 2);
    machine.int(BLOB + 40, 9);
    assert_eq!(machine.names(&mut hotspot, COMPILED, &[]), [named("app.Pool.grow(int)", 0)]);
    machine.put(CODE + 8, &[0]);
    machine.int(BLOB + 40, 10);
    assert_eq!(machine.names(&mut hotspot, COMPILED, &[]), []);
}

/// Guarantees: whatever stands in any word of it, reading ends, without a panic.
#[test]
fn hostile_memory() {
    let sound = Machine::new(true);
    let words = (0..sound.memory.len() as u64).step_by(8);
    let changes = words
        .flat_map(|at| [0, 1, at, u64::MAX, 0x8000_0000_0000_0000, 0x0101_0101_0101_0101].map(|to| (at, to)));
    let mut read = 0;
    for (at, to) in changes {
        let mut machine = Machine { memory: sound.memory.clone(), texts: 0 };
        machine.word(at, to);
        let Some(mut hotspot) = machine.read() else { continue };
        read += 1;
        for inside in [COMPILED, COMPILED + 0x21, INTERPRETER, ADAPTER] {
            drop(machine.names(&mut hotspot, inside, &[(METHOD, PUT), (64, to)]));
            let place = Place { inside, is_innermost: true, frame: None };
            drop(machine.with(|target| hotspot.row(place, target)));
        }
    }
    assert!(read > 1000, "{read}");
    for size in (0..sound.memory.len()).step_by(64) {
        let machine = Machine { memory: sound.memory[..size].to_vec(), texts: 0 };
        let Some(mut hotspot) = machine.read() else { continue };
        drop(machine.names(&mut hotspot, COMPILED, &[]));
    }
}
