//! Whether a file's code keeps frame pointers, by what its unwind information says of a sample of its functions; of files
//! without any, by how their functions begin.

use std::fs::File;
use std::ops::Range;

use object::elf::{STT_FUNC, Sym64};
use object::read::elf::Sym as _;
use object::{LittleEndian as LE, pod};

use super::cfi::Cfi;
use super::elf::Elf;
use super::row::{Row, Rule, STACK};
use super::source::Source as _;

/// Functions that are looked at, evenly spread.
const SAMPLE: u64 = 256;
/// Of those that count so many in a hundred must keep them: some are assembly in every file.
const SHARE: usize = 95;
/// The same of beginnings, where it cannot be seen which functions call nobody.
const SHARE_OF_BEGINNINGS: usize = 80;
/// Bytes of a function in which it must have set its frame up.
const BEGINNING: usize = 64;
/// Bytes that may stand between the two instructions which set it up.
const SCHEDULED: usize = 16;
/// Bytes before a place in a function in which it is looked for that.
const BEFORE: u64 = 16 * 1024;
/// Shorter functions can do without a frame.
const TINY: u64 = 16;

/// What a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Its functions, as a rule all, have frames that are chained.
    Frames,
    /// They have not, or nothing tells.
    None,
    /// No function of it calls another: whoever is in it is innermost, and no chain leads through it.
    NoCalls,
}

/// What a function tells.
enum Tells {
    Kept,
    Omitted,
    /// It never moves the stack pointer, so that it calls nobody; or it is where threads begin, or a stub of the linker.
    Nothing,
}

/// The same of the functions that its unwind information describes, and of the others; `None` if there are none, or none
/// that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    described: Option<Keeps>,
    others: Option<Keeps>,
}

impl Found {
    /// Looks at a file, but for the code at addresses that are known to keep them.
    pub(crate) fn of(elf: &Elf, file: &File, cfi: Option<&Cfi>, known: impl Fn(u64) -> bool) -> Self {
        let functions = cfi.map_or(0, Cfi::functions);
        let described = cfi.filter(|_| functions > 0).map(|cfi| {
            let all = (0..functions.min(SAMPLE)).map(|nth| spread(nth, functions));
            let told = all.filter_map(|nth| cfi.rows(file, nth)).map(|rows| tells(&rows));
            judge(told, SHARE).unwrap_or(Keeps::NoCalls)
        });
        let is_other = |address| !known(address) && cfi.is_none_or(|cfi| cfi.row(file, address).is_none());
        let others = judge(beginnings(elf, file, is_other).into_iter(), SHARE_OF_BEGINNINGS);
        Self { described, others }
    }

    /// Nothing could be looked at.
    pub(crate) fn is_empty(self) -> bool {
        self.described.is_none() && self.others.is_none()
    }

    /// Of all of its code.
    pub(crate) fn all(self) -> Keeps {
        match (self.described, self.others) {
            (Some(Keeps::None), _) | (_, Some(Keeps::None)) | (None, None) => Keeps::None,
            (Some(Keeps::Frames), _) | (_, Some(Keeps::Frames)) => Keeps::Frames,
            _ => Keeps::NoCalls,
        }
    }
}

/// `None`: nobody counts.
fn judge(told: impl Iterator<Item = Tells>, share: usize) -> Option<Keeps> {
    let (mut kept, mut omitted) = (0, 0);
    // A few hundred looks are not needed to see that a file keeps none.
    let most = usize::try_from(SAMPLE).unwrap_or_default() * (100 - share) / 100;
    for one in told {
        match one {
            Tells::Kept => kept += 1,
            Tells::Omitted => omitted += 1,
            Tells::Nothing => {}
        }
        if omitted > most {
            return Some(Keeps::None);
        }
    }
    let all = kept + omitted;
    (all > 0).then(|| if kept * 100 >= all * share { Keeps::Frames } else { Keeps::None })
}

fn spread(nth: u64, of: u64) -> u64 {
    if of <= SAMPLE { nth } else { nth.saturating_mul(of) / SAMPLE }
}

/// By where the caller's stack pointer is found between beginning and end.
fn tells(rows: &[Row]) -> Tells {
    if rows.iter().any(|row| row.signal || row.is_outermost()) {
        return Tells::Nothing;
    }
    if cfg!(target_arch = "aarch64") {
        // The return address stays in its register in functions that call nobody.
        return match rows.iter().find(|row| row.rule(row.return_address).is_some()) {
            None => Tells::Nothing,
            Some(row) if row.framed => Tells::Kept,
            Some(_) => Tells::Omitted,
        };
    }
    // Behind the return address alone: where a function begins.
    let moved = |row: &&Row| match &row.cfa {
        Rule::Register(register, offset) => *register != STACK || *offset > 8,
        _ => false,
    };
    // Aligned frames are told by a program, on the frame pointer as a rule, and are no news of the others.
    if rows.iter().any(|row| matches!(row.cfa, Rule::ValueExpression(_))) {
        return Tells::Nothing;
    }
    match rows.iter().find(moved) {
        None => Tells::Nothing,
        Some(_) if rows.iter().any(|row| row.framed) => Tells::Kept,
        Some(_) => Tells::Omitted,
    }
}

/// Functions of the table of symbols, of those addresses that count.
fn beginnings(elf: &Elf, file: &File, counts: impl Fn(u64) -> bool) -> Vec<Tells> {
    let table = [b".symtab".as_slice(), b".dynsym"].into_iter().find_map(|name| {
        let (offset, size) = elf.section(name)?.place()?;
        (size >= 24).then_some((offset, size / 24))
    });
    let Some((offset, count)) = table else { return Vec::new() };
    let function = |nth: u64| {
        let bytes: [u8; 24] = file.array(offset.checked_add(spread(nth, count).checked_mul(24)?)?)?;
        let (symbol, _) = pod::from_bytes::<Sym64<LE>>(&bytes).ok()?;
        if symbol.st_type() != STT_FUNC || symbol.st_shndx(LE) == 0 || symbol.st_size(LE) < TINY {
            return None;
        }
        counts(symbol.st_value(LE)).then_some(())?;
        let (offset, _) = elf.offset_of(symbol.st_value(LE))?;
        let size = usize::try_from(symbol.st_size(LE)).unwrap_or(BEGINNING);
        let code = file.read(offset, size.min(BEGINNING));
        Some(if sets_frame(&code) { Tells::Kept } else { Tells::Omitted })
    };
    (0..count.min(SAMPLE)).filter_map(function).collect()
}

/// The function around the end of a range of virtual addresses, and no other's before the range, has set up a frame before it
/// comes there, as far as the code before it tells.
pub(crate) fn has_frame(elf: &Elf, file: &File, range: Range<u64>) -> bool {
    let Some((offset, _)) = elf.offset_of(range.end) else { return false };
    let size = range.end.saturating_sub(range.start).min(BEFORE).min(offset);
    sets_frame_last(&file.read(offset - size, usize::try_from(size).unwrap_or_default()))
}

/// The same of code up to a place in a function: nothing behind the last beginning of a frame looks like a function's end.
fn sets_frame_last(code: &[u8]) -> bool {
    if cfg!(target_arch = "aarch64") {
        let words: Vec<_> = code.rchunks_exact(4).filter_map(|word| word.first_chunk()).collect();
        let word = |at: usize| words.get(at).map(|word| u32::from_le_bytes(**word));
        let Some(begin) = words.iter().position(|word| is_frame_word(u32::from_le_bytes(**word))) else {
            return false;
        };
        // ret, and what is between functions: nothing, or nop. The nearest comes first.
        let ends = |at: usize| word(at + 1) == Some(0xd65f_03c0) && matches!(word(at), Some(0 | 0xd503_201f));
        return !(0..begin).any(ends);
    }
    let Some(begin) = (0..code.len()).rfind(|at| sets_frame_at(code, *at)) else { return false };
    // ret, and int3 or one of the forms of nop
    let behind = code.get(begin..).unwrap_or_default();
    let is_end = |four: &[u8]| {
        let [0xc3, first, second, _] = four else { return false };
        matches!((first, second), (0xcc | 0x90, _) | (0x0f, 0x1f) | (0x66, 0x0f | 0x2e | 0x66 | 0x90))
    };
    !behind.windows(4).any(is_end)
}

/// Code that makes the frame pointer point to a frame of its own.
fn sets_frame(code: &[u8]) -> bool {
    if cfg!(target_arch = "aarch64") {
        return code.as_chunks::<4>().0.iter().any(|word| is_frame_word(u32::from_le_bytes(*word)));
    }
    (0..code.len()).any(|at| sets_frame_at(code, at))
}

/// mov %rsp,%rbp, which can be written in two ways, and not far before it push %rbp.
fn sets_frame_at(code: &[u8], at: usize) -> bool {
    let moves = matches!(code.get(at..at.saturating_add(3)), Some([0x48, 0x89, 0xe5] | [0x48, 0x8b, 0xec]));
    moves && code.get(at.saturating_sub(SCHEDULED)..at).is_some_and(|before| before.contains(&0x55))
}

/// add x29, sp, #so much
fn is_frame_word(word: u32) -> bool {
    word & 0xffc0_03ff == 0x9100_03fd
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Guarantees: a frame counts as long as no function has ended behind where it was set up, whatever stands in between.
    #[test]
    fn frames_by_code() {
        let (push, set, other, call) = ([0x55], [0x48, 0x89, 0xe5], [0x6b, 0xc7, 0x64], [0xe8, 1, 2, 3, 4]);
        let code = |parts: &[&[u8]]| sets_frame_last(&parts.concat());
        assert!(code(&[&push, &set, &call]) && code(&[&push, &other, &set, &call, &other]));
        assert!(code(&[&push, &set, &[0x5d, 0xc3], &other]), "a function may return in its middle");
        assert!(!code(&[&set, &call]) && !code(&[&push, &other, &call]) && !code(&[]));
        for padding in
            [&[0xcc, 0xcc, 0xcc][..], &[0x90, 0x90, 0x90], &[0x0f, 0x1f, 0x00], &[0x66, 0x90, 0x66]]
        {
            assert!(!code(&[&push, &set, &[0x5d, 0xc3], padding, &other]));
            assert!(code(&[&[0xc3], padding, &push, &set, &other]));
        }
    }
}
