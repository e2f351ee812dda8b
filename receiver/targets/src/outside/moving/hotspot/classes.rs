//! Headers of objects: of which class they are, and how large.

use std::collections::HashMap;

use mlh_stacks::java::Published;
use mlh_stacks::memory::Memory;

use super::bytes::Bytes;
use super::flags::Flags;

/// Classes that are remembered; then all are forgotten.
const MAX_CLASSES: usize = 4096;
/// Of a class so much is read at most, bytes.
const MAX_CLASS: u64 = 256;

/// A header is no longer, with the length of an array.
pub(super) const HEADER: u64 = 24;

/// The first word of an object: whether it is locked, its hash, its age; and once it was moved, where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Where it was moved to.
    pub(super) fn forwarded(self) -> Option<u64> {
        (self.0 & 0b11 == 0b11).then_some(self.0 & !0b11)
    }
}

/// Where an object says of which class it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClassWord {
    /// By its address, in the second word.
    Whole,
    /// Short, in the second word.
    Short(Short),
    /// Short, in the highest bits of the mark: since 24, if it was told so.
    InMark(Short),
}

/// How a class is said in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short {
    base: u64,
    shift: u32,
}

impl Short {
    fn address(self, short: u64) -> Option<u64> {
        (short != 0).then_some(())?;
        self.base.checked_add(short.checked_shl(self.shift)?)
    }
}

/// A header that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) mark: Mark,
    /// Where its class is.
    pub(super) class: u64,
    /// Bytes of the object.
    pub(super) size: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Classes {
    memory: Memory,
    word: ClassWord,
    /// Objects are as large as a multiple of this.
    alignment: u64,
    /// In a class: how large its objects are, and the first of its ancestors, which is `java.lang.Object`'s.
    helper: u64,
    ancestors: u64,
    /// `java.lang.Object`'s, once it is known.
    root: Option<u64>,
    /// How large their objects are.
    known: HashMap<u64, i32>,
}

impl Classes {
    pub(super) fn of(memory: Memory, published: &Published, flags: &Flags) -> Option<Self> {
        let of_class = |name| published.offset("Klass", name).filter(|at| *at <= MAX_CLASS);
        let word = if flags.is_on("UseCompactObjectHeaders") {
            ClassWord::InMark(short(memory, published)?)
        } else if flags.is_on("UseCompressedClassPointers") {
            ClassWord::Short(short(memory, published)?)
        } else {
            ClassWord::Whole
        };
        let alignment = flags.number("ObjectAlignmentInBytes").map_or(8, u64::from);
        Some(Self {
            memory,
            word,
            alignment: Some(alignment).filter(|it| it.is_power_of_two() && (8..=256).contains(it))?,
            helper: of_class("_layout_helper")?,
            ancestors: of_class("_primary_supers[0]")?,
            root: None,
            known: HashMap::new(),
        })
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn fake(memory: Memory, base: u64, helper: u64, ancestors: u64) -> Self {
        let word = ClassWord::Short(Short { base, shift: 0 });
        Self { memory, word, alignment: 8, helper, ancestors, root: None, known: HashMap::new() }
    }

    /// The header at an address, of which all of [`HEADER`] was read. `None`: there is none.
    pub(super) fn header(&mut self, bytes: &Bytes, at: u64) -> Option<Header> {
        let mark = Mark(bytes.word(at)?);
        let class = match (self.word, mark.forwarded()) {
            (ClassWord::Whole, _) => bytes.word(at.checked_add(8)?)?,
            (ClassWord::Short(short), _) => short.address(bytes.int(at.checked_add(8)?)?.into())?,
            (ClassWord::InMark(short), None) => short.address(mark.0 >> 42)?,
            // where it was moved to is written over it
            (ClassWord::InMark(short), Some(moved)) => {
                let moved = Mark(self.memory.word(moved).filter(|mark| Mark(*mark).forwarded().is_none())?);
                short.address(moved.0 >> 42)?
            }
        };
        let helper = self.helper(class)?;
        let length = bytes.int(at.checked_add(self.word.length_at())?)?;
        Some(Header { mark, class, size: size(helper, length, self.alignment)? })
    }

    /// Reads it at an address.
    pub(super) fn read(&mut self, at: u64) -> Option<Header> {
        self.header(&Bytes::read(self.memory, at, HEADER)?, at)
    }

    /// How large objects of a class are, if it is one.
    fn helper(&mut self, class: u64) -> Option<i32> {
        if let Some(helper) = self.known.get(&class) {
            return Some(*helper);
        }
        let (helper, root) = self.class(class)?;
        let is_root = |root| self.class(root).is_some_and(|(_, its)| its == root);
        (self.root == Some(root) || self.root.is_none() && is_root(root)).then_some(())?;
        self.root = Some(root);
        if self.known.len() >= MAX_CLASSES {
            self.known.clear();
        }
        self.known.insert(class, helper);
        Some(helper)
    }

    /// What a class says of its objects' size, and who is the first of its ancestors: all classes of objects have the same, and it is its
    /// own.
    fn class(&self, at: u64) -> Option<(i32, u64)> {
        (at != 0 && at.is_multiple_of(8)).then_some(())?;
        let bytes = Bytes::around(self.memory, at, &[self.helper, self.ancestors])?;
        let helper = bytes.int(at.checked_add(self.helper)?)?.cast_signed();
        Some((helper, bytes.word(at.checked_add(self.ancestors)?)?))
    }
}

impl ClassWord {
    /// Where the length of an array is.
    fn length_at(self) -> u64 {
        match self {
            Self::Whole => 16,
            Self::Short(_) => 12,
            Self::InMark(_) => 8,
        }
    }
}

/// How classes are said in short: the variables have had three names.
fn short(memory: Memory, published: &Published) -> Option<Short> {
    let names = [
        ("CompressedKlassPointers", "_base", "_shift"),
        ("CompressedKlassPointers", "_narrow_klass._base", "_narrow_klass._shift"),
        ("Universe", "_narrow_klass._base", "_narrow_klass._shift"),
    ];
    let (base, shift) = names.into_iter().find_map(|(class, base, shift)| {
        Some((published.address(class, base)?, published.address(class, shift)?))
    })?;
    let shift = Bytes::read(memory, shift, 4)?.int(shift).filter(|shift| *shift < 32)?;
    Some(Short { base: memory.word(base)?, shift })
}

/// Bytes of an object: of an array, with so many elements.
fn size(helper: i32, length: u32, alignment: u64) -> Option<u64> {
    let bits = helper.cast_unsigned();
    if helper > 0 {
        // the lowest bit says how it is made
        return Some(u64::from(bits & !0b111)).filter(|size| *size > 0);
    }
    let (header, log2_element) = (u64::from(bits >> 16 & 0xff), bits & 0x3f);
    let is_array = helper < 0 && header >= 12 && log2_element <= 3 && length <= i32::MAX.cast_unsigned();
    is_array.then_some(())?;
    let elements = u64::from(length).checked_shl(log2_element)?;
    header.checked_add(elements)?.checked_next_multiple_of(alignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: objects and arrays are as large as their class says, and what no class says is no size.
    #[test]
    fn sizes() {
        assert_eq!(size(24, 0, 8), Some(24));
        assert_eq!(size(40 | 1, 7, 8), Some(40));
        let bytes = 0xc010_0800_u32.cast_signed();
        assert_eq!(size(bytes, 0, 8), Some(16));
        assert_eq!(size(bytes, 1, 8), Some(24));
        assert_eq!(size(bytes, 1, 16), Some(32));
        let longs = 0xc010_0b03_u32.cast_signed();
        assert_eq!(size(longs, 1000, 8), Some(8016));
        assert_eq!(size(longs, u32::MAX, 8), None);
        assert_eq!(
            (size(0, 1, 8), size(1, 1, 8), size(i32::MIN, 1, 8), size(-1, 1, 8)),
            (None, None, None, None)
        );
    }

    /// Guarantees: a mark that says where an object was moved to is told from those of objects that are locked, or are not.
    #[test]
    fn marks() {
        assert_eq!(Mark(0x7f00_1003).forwarded(), Some(0x7f00_1000));
        let others = [0b000, 0b001, 0b010, 0b101, 0x1234_5601, 0x7ffe_1230];
        assert!(others.iter().all(|mark| Mark(*mark).forwarded().is_none()));
    }

    /// Guarantees: no class is 0 in short, and none is beyond the address space.
    #[test]
    fn in_short() {
        let short = Short { base: 0x8_0000_0000, shift: 3 };
        assert_eq!((short.address(0x10), short.address(0)), (Some(0x8_0000_0080), None));
        assert_eq!(Short { base: u64::MAX, shift: 0 }.address(1), None);
    }
}
