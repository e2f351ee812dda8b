use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::*;

const LAYOUT: CodeLayout = CodeLayout {
    table: LineTable::Positions,
    object_type: 8,
    type_name: 24,
    file: 112,
    name: 128,
    first_line: 72,
    lines: 136,
    instructions: 184,
    text_length: 16,
    text_state: 32,
    text_ascii: 48,
    text_other: 72,
    bytes_size: 16,
    bytes: 32,
};

/// The memory of a process.
#[derive(Default)]
struct Fake {
    objects: RefCell<BTreeMap<u64, Vec<u8>>>,
    reads: Cell<usize>,
}

impl Fake {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        let objects = self.objects.borrow();
        let Some((start, bytes)) = objects.range(..=address).next_back() else { return false };
        let Some(rest) = bytes.get(usize::try_from(address - start).unwrap()..) else { return false };
        let Some(wanted) = rest.get(..to.len()) else { return false };
        to.copy_from_slice(wanted);
        true
    }

    fn put(&self, address: u64, size: usize, words: &[(usize, u64)], tail: &[u8]) {
        let mut bytes = vec![0; size];
        for (offset, word) in words {
            bytes[*offset..offset + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(tail);
        self.objects.borrow_mut().insert(address, bytes);
    }

    fn kind(&self, address: u64, name: &[u8]) {
        self.put(address, 32, &[(24, address + 0x100)], &[]);
        self.put(address + 0x100, 0, &[], &[name, &[0; 8]].concat());
    }

    fn text(&self, address: u64, text: &str) {
        let characters: Vec<char> = text.chars().collect();
        let ascii = text.is_ascii();
        // one byte or two for a character, behind the head
        let (size, state) = if ascii { (48, 0x65) } else { (72, 0x28) };
        let wide = |c: &char| u16::try_from(u32::from(*c)).unwrap().to_le_bytes();
        let tail = if ascii { text.as_bytes().to_vec() } else { characters.iter().flat_map(wide).collect() };
        self.put(address, size, &[(8, 0x2000), (16, characters.len() as u64), (32, state)], &tail);
    }

    /// A process with a function `Box.put` of `/srv/app.py` at 0x10000, whose lines are 40 and, from the fifth instruction on, 41.
    fn process() -> Self {
        let fake = Self::default();
        fake.kind(0x1000, b"code");
        fake.kind(0x2000, b"str");
        fake.kind(0x3000, b"bytes");
        fake.text(0x20000, "/srv/app.py");
        fake.text(0x21000, "Box.put");
        // four units of line 40, then four of the next
        let table = [0x80 | 10 << 3 | 3, 0, 0, 0x80 | 11 << 3 | 3, 0, 0];
        fake.put(0x22000, 32, &[(8, 0x3000), (16, table.len() as u64)], &table);
        fake.code(0x10000, 0x21000);
        fake
    }

    fn code(&self, address: u64, name: u64) {
        let words = [(8, 0x1000), (72, 40), (112, 0x20000), (128, name), (136, 0x22000)];
        self.put(address, 200, &words, &[]);
    }
}

fn frame(code: u64, units: u64) -> PythonFrame {
    PythonFrame { code, instruction: code + 184 + units * 2, is_entry: true }
}

fn lines(code: &mut Code, fake: &Fake, frames: &[PythonFrame]) -> Vec<(String, Option<u32>)> {
    let lines = code.lines(frames, &|address, to| fake.read(address, to));
    lines.iter().map(|line| (line.function.to_string(), line.line)).collect()
}

/// Guarantees: a code object gives function, file and the line of the instruction; a second time it is only looked whether it is still
/// the same; another one at its address is read anew.
#[test]
fn reads_and_remembers() {
    let fake = Fake::process();
    let mut code = Code::new(LAYOUT);
    let named = |name: &str, line| (name.to_owned(), Some(line));
    let first = lines(&mut code, &fake, &[frame(0x10000, 3), frame(0x10000, 4)]);
    assert_eq!(first, [named("Box.put", 40), named("Box.put", 41)]);
    fake.reads.set(0);
    assert_eq!(lines(&mut code, &fake, &[frame(0x10000, 0)]), [named("Box.put", 40)]);
    assert_eq!(fake.reads.get(), 1);
    fake.text(0x23000, "Dose.\u{00f6}ffnen\u{0416}");
    fake.code(0x10000, 0x23000);
    let line = &code.lines(&[frame(0x10000, 7)], &|address, to| fake.read(address, to))[0];
    assert_eq!((&*line.function, line.file.as_deref()), ("Dose.\u{00f6}ffnen\u{0416}", Some("/srv/app.py")));
    assert_eq!((line.line, line.offset), (Some(41), 14));
}

/// Guarantees: an instruction before the first is of the function's first line; one behind the last has none.
#[test]
fn instructions_outside() {
    let fake = Fake::process();
    let mut code = Code::new(LAYOUT);
    let before = PythonFrame { instruction: 0x10000 + 182, ..frame(0x10000, 0) };
    let told = lines(&mut code, &fake, &[before, frame(0x10000, 8), frame(0x10000, u64::from(u32::MAX))]);
    assert_eq!(told.iter().map(|(_, line)| *line).collect::<Vec<_>>(), [Some(40), None, None]);
}

/// Guarantees: what is gone, is something else, or says that it is longer than any name can be, is `<gone>`, and costs no memory.
#[test]
fn what_is_not_there() {
    let gone = ("<gone>".to_owned(), None);
    let told = |fake: &Fake| lines(&mut Code::new(LAYOUT), fake, &[frame(0x10000, 0)])[0].clone();
    for address in [0x1000, 0x1100, 0x2000, 0x3000, 0x10000, 0x20000, 0x21000, 0x22000] {
        let fake = Fake::process();
        fake.objects.borrow_mut().remove(&address);
        assert_eq!(told(&fake), gone, "{address:x}");
        let fake = Fake::process();
        let size = fake.objects.borrow()[&address].len();
        for cut in [0, 8, size / 2] {
            fake.objects.borrow_mut().get_mut(&address).unwrap().truncate(cut);
            if address != 0x1100 {
                assert_eq!(told(&fake), gone, "{address:x} cut to {cut}");
            }
        }
    }
    for (address, offset) in
        [(0x20000, 16), (0x21000, 16), (0x22000, 16), (0x21000, 32), (0x20000, 8), (0x10000, 8)]
    {
        for word in [u64::MAX, 1 << 40, 1 << 21, 0x2000] {
            let fake = Fake::process();
            let place = offset..offset + 8;
            let right = fake.objects.borrow()[&address][place.clone()] == word.to_le_bytes();
            fake.objects.borrow_mut().get_mut(&address).unwrap()[place].copy_from_slice(&word.to_le_bytes());
            // without a table only the first line is known
            let is_long = (address, offset) == (0x22000, 16) && word > MAX_TABLE;
            let wanted = if is_long { ("Box.put".to_owned(), Some(40)) } else { gone.clone() };
            assert!(right || told(&fake) == wanted, "{address:x} {offset} {word:x}");
        }
    }
    let nowhere = PythonFrame { code: u64::MAX, instruction: 0, is_entry: false };
    assert_eq!(lines(&mut Code::new(LAYOUT), &Fake::process(), &[nowhere])[0], gone);
    let far = CodeLayout { lines: u32::MAX, ..LAYOUT };
    assert_eq!(lines(&mut Code::new(far), &Fake::process(), &[frame(0x10000, 0)])[0], gone);
}

/// Guarantees: what is kept stays within bounds, however many functions there are.
#[test]
fn keeps_within_bounds() {
    let fake = Fake::process();
    let table = vec![0x80; 1 << 16];
    fake.put(0x22000, 32, &[(8, 0x3000), (16, table.len() as u64)], &table);
    let mut code = Code::new(LAYOUT);
    for index in 0..400 {
        fake.code(0x100_0000 + index * 0x1000, 0x21000);
        let told = lines(&mut code, &fake, &[frame(0x100_0000 + index * 0x1000, 0)]);
        assert_eq!(told[0].0, "Box.put");
        let held: usize = code.known.all().flat_map(|known| &known.table).map(|table| table.len()).sum();
        assert!(held <= MAX_KEPT);
    }
}

/// Guarantees: one stack has no more gone through than its share of tables; frames behind that are of their functions' first lines.
#[test]
fn one_share_a_stack() {
    let fake = Fake::process();
    // the second unit is of the next line
    let table = [vec![0x80 | 10 << 3, 0, 0x80 | 11 << 3, 0], vec![0; (1 << 16) - 4]].concat();
    fake.put(0x22000, 32, &[(8, 0x3000), (16, table.len() as u64)], &table);
    let mut code = Code::new(LAYOUT);
    let share = MAX_TABLES >> 16;
    for _ in 0..2 {
        let told = lines(&mut code, &fake, &vec![frame(0x10000, 1); share + 3]);
        let lines: Vec<_> = told.iter().filter_map(|(_, line)| *line).collect();
        assert_eq!(lines, [vec![41; share], vec![40; 3]].concat());
    }
}
