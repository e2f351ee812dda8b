//! Go's table of functions, `.gopclntab`, as versions 1.16 to 1.26 write it: names, files, lines, and how large the frame is
//! at each instruction. The runtime needs it, so that it stays when symbols are stripped. It is read where it lies, a few
//! bytes at a time: 100 MB of Go have 30 MB of it.

use super::demangle::clean;
use super::dwarf::Named;
use super::source::Source;

/// Header of the latest; of the earliest the last word is missing.
const HEADER: usize = 8 + 8 * 8;
/// Pairs of the index of functions that are searched at once.
const BLOCK: u64 = 256;
/// Bytes of a name.
const MAX_NAME: usize = 1024;
/// Bytes of a function's table of one kind of value; the largest functions of real programs have some 100 KiB.
const MAX_VALUES: usize = 512 * 1024;
const PIECE: usize = 512;
/// Functions inlined into each other at one address.
const MAX_INLINED: usize = 64;
/// Kinds of values beyond the usual ones, and of other tables, that a function has.
const MAX_KINDS: u32 = 64;
/// Which of a function's tables of values tells what is inlined where, and which of the other tables what that is.
const INLINED_AT: u32 = 2;
const INLINED: u32 = 3;
/// Nobody calls such a function; the caller of such a one cannot be found by the size of its frame.
const OUTERMOST: u8 = 1;
const SWITCHES_STACK: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Version {
    Go116,
    Go118,
    Go120,
}

/// The table: its header. Offsets are from the beginning.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    version: Version,
    /// Bytes by which addresses of instructions differ at least.
    quantum: u64,
    /// Functions.
    count: u64,
    /// Where code begins, where that is told: from Go 1.18 to 1.25, if the linker has not left it to the loader.
    pub(crate) text: u64,
    /// The names of functions.
    pub(crate) names: u64,
    units: u64,
    files: u64,
    values: u64,
    functions: u64,
}

/// A function of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// As the addresses that are asked for count.
    pub(crate) entry: u64,
    name: u32,
    frame_sizes: u32,
    file_numbers: u32,
    lines: u32,
    unit: u32,
    flag: u8,
    /// Where the kinds of values stand, and how many.
    kinds: (u64, u32),
    /// The same of the other tables.
    tables: (u64, u32),
}

/// How large the frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// So many bytes, without the return address.
    Size(u64),
    /// It is nobody's callee.
    Outermost,
}

impl Table {
    /// `None` if there is none of a known version, for a 64-bit little-endian machine.
    pub(crate) fn parse<S: Source + ?Sized>(source: &S) -> Option<Self> {
        let header = source.read(0, HEADER);
        let [a, b, c, d, 0, 0, quantum, 8] = *header.first_chunk()? else { return None };
        let version = match u32::from_le_bytes([a, b, c, d]) {
            0xffff_fffa => Version::Go116,
            0xffff_fff0 => Version::Go118,
            0xffff_fff1 => Version::Go120,
            _ => return None,
        };
        if ![1, 2, 4].contains(&quantum) {
            return None;
        }
        let (words, _) = header.get(8..)?.as_chunks::<8>();
        let word = |at: usize| words.get(at).map(|word| u64::from_le_bytes(*word));
        // Behind the numbers of functions and files.
        let first = if version == Version::Go116 { 2 } else { 3 };
        Some(Self {
            version,
            quantum: u64::from(quantum),
            count: u64::from(u32::try_from(word(0)?).ok()?),
            text: if version == Version::Go116 { 0 } else { word(2)? },
            names: word(first)?,
            units: word(first + 1)?,
            files: word(first + 2)?,
            values: word(first + 3)?,
            functions: word(first + 4)?,
        })
    }

    /// Addresses of functions are those of the file; otherwise they count from where code begins.
    pub(crate) fn is_absolute(&self) -> bool {
        self.version == Version::Go116
    }

    /// What [`lines`](Self::lines) can tell of inlined functions.
    pub(crate) fn knows_inlined(&self) -> bool {
        self.version >= Version::Go120
    }

    fn word_size(&self) -> u64 {
        if self.is_absolute() { 8 } else { 4 }
    }

    /// Pairs from the index of functions: where one begins, and where what is said of it stands. Behind the last one
    /// stands where code ends.
    fn pairs<S: Source + ?Sized>(&self, source: &S, from: u64, count: u64) -> Vec<(u64, u64)> {
        let word = self.word_size();
        let offset = self.functions.saturating_add(from.saturating_mul(2 * word));
        let bytes = source.read(offset, usize::try_from(count * 2 * word).unwrap_or_default());
        if word == 8 {
            let pair = |pair: &[u8; 16]| {
                let [first, second] = pair.as_chunks::<8>().0 else { return (u64::MAX, 0) };
                (u64::from_le_bytes(*first), u64::from_le_bytes(*second))
            };
            return bytes.as_chunks::<16>().0.iter().map(pair).collect();
        }
        let pair = |[a, b, c, d, e, f, g, h]: &[u8; 8]| {
            let (first, second) =
                (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]));
            (u64::from(first), u64::from(second))
        };
        bytes.as_chunks::<8>().0.iter().map(pair).collect()
    }

    /// Where code ends.
    pub(crate) fn end<S: Source + ?Sized>(&self, source: &S) -> Option<u64> {
        let word = usize::try_from(self.word_size()).ok()?;
        let offset = self.functions.checked_add(self.count.checked_mul(2 * self.word_size())?)?;
        let mut bytes = source.read(offset, word);
        (bytes.len() == word).then(|| bytes.resize(8, 0))?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The function around an address.
    pub(crate) fn function<S: Source + ?Sized>(&self, source: &S, address: u64) -> Option<Function> {
        let (mut low, mut high) = (0, self.count);
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            let (begin, _) = *self.pairs(source, middle, 1).first()?;
            if begin <= address { low = middle } else { high = middle }
        }
        // With the end of code, which ends the last function.
        let block = self.pairs(source, low, high - low);
        let above = block.partition_point(|(begin, _)| *begin <= address);
        let (entry, place) = *block.get(above.checked_sub(1)?)?;
        (address < self.end(source)?).then_some(())?;
        self.read_function(source, entry, self.functions.checked_add(place)?)
    }

    fn read_function<S: Source + ?Sized>(&self, source: &S, entry: u64, place: u64) -> Option<Function> {
        let behind = place.checked_add(self.word_size())?;
        let bytes = source.read(behind, 40);
        let (words, _) = bytes.as_chunks::<4>();
        let word = |at: usize| words.get(at).map(|word| u32::from_le_bytes(*word));
        // Since Go 1.20 the line where it begins stands before the rest.
        let last = if self.version >= Version::Go120 { 9 } else { 8 };
        let [_, flag, _, other] = word(last)?.to_le_bytes();
        let kinds = word(6)?.min(MAX_KINDS);
        let at = behind.checked_add(4 * (last as u64 + 1))?;
        Some(Function {
            entry,
            name: word(0)?,
            frame_sizes: word(3)?,
            file_numbers: word(4)?,
            lines: word(5)?,
            unit: word(7)?,
            flag,
            kinds: (at, kinds),
            tables: (at.checked_add(4 * u64::from(word(6)?))?, u32::from(other)),
        })
    }

    /// How large the frame of a function is at an address of it. `None` where that does not tell where its caller is.
    pub(crate) fn frame<S: Source + ?Sized>(
        &self,
        source: &S,
        function: &Function,
        address: u64,
    ) -> Option<Frame> {
        if function.flag & OUTERMOST != 0 {
            return Some(Frame::Outermost);
        }
        if function.flag & SWITCHES_STACK != 0 {
            return None;
        }
        let size = self.value(source, function.frame_sizes, function, address)?;
        Some(Frame::Size(u64::try_from(size).ok()?))
    }

    /// Who is at an address of a function: innermost first, at least one. `inlined` are the functions that are inlined into
    /// others, of the whole program.
    pub(crate) fn lines<S: Source + ?Sized, T: Source + ?Sized>(
        &self,
        source: &S,
        function: &Function,
        address: u64,
        inlined: Option<&T>,
    ) -> Vec<Named> {
        let mut found = Vec::new();
        let mut address = address;
        let tree = inlined.and_then(|inlined| Some((inlined, self.tree(source, function)?)));
        while let Some((inlined, tree)) = tree
            && found.len() < MAX_INLINED
            && let Some((name, within)) = self.inlined_at(source, function, address, inlined, tree)
        {
            found.push(self.line(source, function, address, name));
            address = within;
        }
        found.push(self.line(source, function, address, function.name));
        found
    }

    fn line<S: Source + ?Sized>(&self, source: &S, function: &Function, address: u64, name: u32) -> Named {
        let line = self.value(source, function.lines, function, address);
        Named {
            function: text(source, self.names, name),
            file: self.file(source, function, address),
            line: line.and_then(|line| u32::try_from(line).ok()).filter(|line| *line != 0),
        }
    }

    fn file<S: Source + ?Sized>(&self, source: &S, function: &Function, address: u64) -> Option<String> {
        let number = self.value(source, function.file_numbers, function, address)?;
        let number = u64::try_from(number).ok()?.checked_add(u64::from(function.unit))?;
        let place = source.array(self.units.checked_add(number.checked_mul(4)?)?)?;
        let place = u32::from_le_bytes(place);
        (place != u32::MAX).then(|| text(source, self.files, place))?
    }

    /// Where the functions are that are inlined into this one, in those of the whole program.
    fn tree<S: Source + ?Sized>(&self, source: &S, function: &Function) -> Option<u64> {
        let (place, count) = function.tables;
        (self.knows_inlined() && INLINED < count).then_some(())?;
        let tree = u32::from_le_bytes(source.array(place.checked_add(4 * u64::from(INLINED))?)?);
        (tree != u32::MAX).then_some(u64::from(tree))
    }

    /// The innermost function that is inlined at an address, and where it stands in the next one.
    fn inlined_at<S: Source + ?Sized, T: Source + ?Sized>(
        &self,
        source: &S,
        function: &Function,
        address: u64,
        inlined: &T,
        tree: u64,
    ) -> Option<(u32, u64)> {
        let (place, count) = function.kinds;
        (INLINED_AT < count).then_some(())?;
        let values = u32::from_le_bytes(source.array(place.checked_add(4 * u64::from(INLINED_AT))?)?);
        (values != 0).then_some(())?;
        let nth = u64::try_from(self.value(source, values, function, address)?).ok()?;
        let [_, _, _, _, a, b, c, d, e, f, g, h, _, _, _, _] = inlined.array(tree.checked_add(nth * 16)?)?;
        let within = u64::from(u32::from_le_bytes([e, f, g, h]));
        Some((u32::from_le_bytes([a, b, c, d]), function.entry.checked_add(within)?))
    }

    /// What a table of values says for an address: it is a list of steps, each so much for the value and so far in the code.
    fn value<S: Source + ?Sized>(
        &self,
        source: &S,
        table: u32,
        function: &Function,
        address: u64,
    ) -> Option<i32> {
        let mut steps = Steps {
            source,
            at: self.values.checked_add(u64::from(table))?,
            piece: Vec::new(),
            read: 0,
            left: MAX_VALUES,
        };
        let (mut value, mut at) = (-1_i32, function.entry);
        let mut first = true;
        loop {
            let change = steps.number()?;
            if change == 0 && !first {
                return None;
            }
            first = false;
            let change = (change >> 1).cast_signed() ^ -(change & 1).cast_signed();
            value = value.wrapping_add(change);
            at = at.checked_add(u64::from(steps.number()?).checked_mul(self.quantum)?)?;
            if address < at {
                return Some(value);
            }
        }
    }
}

/// A text that ends with a zero.
fn text<S: Source + ?Sized>(source: &S, texts: u64, at: u32) -> Option<String> {
    let bytes = source.read(texts.checked_add(u64::from(at))?, MAX_NAME);
    let text = bytes.split(|byte| *byte == 0).next().filter(|text| !text.is_empty())?;
    Some(clean(&String::from_utf8_lossy(text)))
}

/// The numbers of a table of values.
struct Steps<'a, S: ?Sized> {
    source: &'a S,
    at: u64,
    piece: Vec<u8>,
    read: usize,
    /// Bytes that may still be read.
    left: usize,
}

impl<S: Source + ?Sized> Steps<'_, S> {
    fn byte(&mut self) -> Option<u8> {
        if self.read == self.piece.len() {
            self.piece = self.source.read(self.at, PIECE.min(self.left));
            self.at = self.at.checked_add(self.piece.len() as u64)?;
            self.left -= self.piece.len();
            self.read = 0;
        }
        let byte = *self.piece.get(self.read)?;
        self.read += 1;
        Some(byte)
    }

    /// In seven bits a byte, the lowest first.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0_u32;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
