//! Whoever has called code that says nothing of its frame: the return address is looked for on the stack.
//!
//! The musl C library keeps neither unwind information nor frame pointers. What tells a return address from what earlier
//! calls have left on the stack is the call before it: it must lead to where execution is.

use std::cell::Cell;

use super::calls::{CALL, Jump, Target, calls, jumps, stub};
use super::prologue::Prologue;
use super::registers::{Registers, read};
use crate::unwind::Captured;

/// Words of the stack that are looked through.
const MAX_WORDS: u64 = 256;
/// Bytes of a function that are looked through for jumps to another.
const MAX_BODY: usize = 512;
/// Jumps out of one function that are followed.
const MAX_JUMPS: usize = 16;
/// Functions that pass a call on, one after the other: the linker's stub, one that only adds an argument.
const MAX_PASSED: usize = 3;
/// Functions that are looked at for one return address.
const MAX_FUNCTIONS: u32 = 256;
/// Bytes in which a function saves registers.
const PROLOGUE: usize = 96;

/// What a process has in memory.
pub(crate) trait Memory {
    /// Code from an address on, so many bytes at most; nothing where there is no file of code.
    fn code(&self, address: u64, most: usize) -> Vec<u8>;
    /// Where the function around an address begins.
    fn begin(&self, address: u64) -> Begin;
    /// What lies there now.
    fn word(&self, address: u64) -> Option<u64>;
    /// Functions whose return a probe catches go on there.
    fn catches(&self, address: u64) -> bool;
}

/// Where a function begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    At(u64),
    /// Nobody has named it: not before.
    After(u64),
}

/// A return address on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it lies.
    pub(crate) slot: u64,
    pub(crate) address: u64,
    /// Where the caller's frame pointer lies, if the function has put a value of its own into the register.
    pub(crate) frame: Option<u64>,
}

/// What a call says of where execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leads {
    Elsewhere,
    Somewhere,
    /// To a function that begins there, and goes on to where execution is.
    Here(u64),
}

/// Where the function that is executed at `inside` returns to.
pub(crate) fn seek(
    inside: u64,
    registers: &Registers,
    captured: &Captured<'_>,
    memory: &impl Memory,
) -> Option<Found> {
    let sp = registers.stack()?;
    let here = Here::of(inside, memory);
    let look = |slot: u64| {
        let address = read(captured, slot).ok()?;
        Some((slot, address, here.called_before(address)))
    };
    let known = here.begin.map(|begin| here.prologue(begin));
    let expected = known.and_then(|known| look(sp.checked_add(known.depth)?));
    let expected = expected.filter(|(.., leads)| *leads > Leads::Elsewhere);
    // Where the function has given its frame back, what is looked for lies below where it was before.
    let below = match expected {
        Some((_, _, Leads::Here(_))) => 0,
        Some((slot, ..)) => slot.saturating_sub(sp) / 8,
        None => MAX_WORDS,
    };
    let words = || (0..below.min(MAX_WORDS)).map_while(|nth| look(sp.checked_add(nth * 8)?));
    let sure = words().find(|(.., leads)| matches!(leads, Leads::Here(_)));
    let likely = || words().find(|(.., leads)| *leads == Leads::Somewhere);
    let (slot, address, leads) = sure.or(expected).or_else(likely)?;
    let prologue = match leads {
        Leads::Here(begin) => Some(here.prologue(begin)),
        _ => known,
    };
    let frame = prologue.and_then(|it| slot.checked_sub(it.frame?)).filter(|place| *place >= sp);
    Some(Found { slot, address, frame })
}

/// Where execution is, in a function whose caller is looked for.
struct Here<'a, M> {
    /// Not before.
    from: u64,
    inside: u64,
    /// Where the function begins, if that is known.
    begin: Option<u64>,
    memory: &'a M,
    /// Functions that may still be looked at.
    left: Cell<u32>,
}

impl<'a, M: Memory> Here<'a, M> {
    fn of(inside: u64, memory: &'a M) -> Self {
        let (from, begin) = match memory.begin(inside) {
            Begin::At(begin) => (begin, Some(begin)),
            Begin::After(from) => (from, None),
        };
        Self { from, inside, begin, memory, left: Cell::new(MAX_FUNCTIONS) }
    }

    fn has(&self, address: u64) -> bool {
        (self.from..=self.inside).contains(&address)
    }

    fn prologue(&self, begin: u64) -> Prologue {
        let done = usize::try_from(self.inside.saturating_sub(begin)).unwrap_or(PROLOGUE);
        Prologue::read(&self.memory.code(begin, done.min(PROLOGUE)))
    }

    /// What the call before a return address says.
    fn called_before(&self, address: u64) -> Leads {
        if self.memory.catches(address) {
            return Leads::Somewhere;
        }
        let Some(from) = address.checked_sub(CALL as u64) else { return Leads::Elsewhere };
        let Ok(code) = <[u8; CALL]>::try_from(self.memory.code(from, CALL)) else { return Leads::Elsewhere };
        let leads = |target| match target {
            Target::At(at) => self.passed_on(at, MAX_PASSED),
            Target::By(place) => self.passed_by(place, MAX_PASSED),
            Target::Unknown => Leads::Somewhere,
        };
        // The likeliest reading that is no nonsense.
        let is_sound = |target: &Target| match target {
            Target::At(at) => !self.memory.code(*at, 1).is_empty(),
            Target::By(_) | Target::Unknown => true,
        };
        let leads = calls(&code, address).find(is_sound).map_or(Leads::Elsewhere, leads);
        match leads {
            // What lies in the function itself has called it only if it calls itself, from its beginning on.
            Leads::Somewhere if self.has(address) => Leads::Elsewhere,
            Leads::Here(begin) if self.has(address) && self.begin.is_some_and(|known| known != begin) => {
                Leads::Elsewhere
            }
            leads => leads,
        }
    }

    /// What a call of the function at an address comes to: it may jump on.
    fn passed_on(&self, at: u64, most: usize) -> Leads {
        if self.has(at) {
            return Leads::Here(at);
        }
        let (Some(most), Some(left)) = (most.checked_sub(1), self.left.get().checked_sub(1)) else {
            return Leads::Elsewhere;
        };
        self.left.set(left);
        let code = self.memory.code(at, MAX_BODY);
        if let Some(place) = stub(&code, at) {
            return self.passed_by(place, most);
        }
        let is_own = |address: u64| match self.memory.begin(address) {
            Begin::At(begin) => begin == at,
            Begin::After(least) => least <= at && at <= address,
        };
        let find = |counts: &dyn Fn(&Jump) -> bool| jumps(&code, at).find(|it| counts(it) && is_own(it.from));
        let leads_here = |jump: &Jump| jump.to.is_some_and(|to| self.has(to));
        if let Some(to) = find(&leads_here).and_then(|jump| jump.to) {
            return Leads::Here(to);
        }
        let far = jumps(&code, at).filter(|jump| !jump.is_short && is_own(jump.from));
        let far = far.filter_map(|jump| jump.to).filter(|to| !is_own(*to)).take(MAX_JUMPS);
        let leads = far.map(|to| self.passed_on(to, most)).max().unwrap_or(Leads::Elsewhere);
        let is_open = leads == Leads::Elsewhere && find(&|jump| jump.to.is_none()).is_some();
        if is_open { Leads::Somewhere } else { leads }
    }

    /// What a call of what lies at an address comes to.
    fn passed_by(&self, place: u64, most: usize) -> Leads {
        self.memory.word(place).map_or(Leads::Somewhere, |at| self.passed_on(at, most))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SP: u64 = 0x7000;
    /// A function that saves three registers and takes 16 bytes, and where in it execution is.
    const BIG: u64 = 0x1000;
    const IN_BIG: u64 = BIG + 0x10;
    /// A function that saves nothing.
    const LEAF: u64 = 0x1800;

    /// Code by address, and words.
    #[derive(Default)]
    struct Fake {
        code: BTreeMap<u64, Vec<u8>>,
        words: BTreeMap<u64, u64>,
        nameless: bool,
    }

    impl Fake {
        fn new() -> Self {
            let mut it = Self::default();
            it.add(BIG, &[0x41, 0x54, 0x55, 0x53, 0x48, 0x83, 0xec, 0x10, 0x90, 0x90, 0x90, 0x90]);
            it.add(LEAF, &[0x90; 16]);
            it
        }

        fn add(&mut self, at: u64, code: &[u8]) {
            let mut bytes = code.to_vec();
            bytes.resize(bytes.len().max(0x20), 0xcc);
            self.code.insert(at, bytes);
        }

        /// A function that calls directly; where it goes on.
        fn calls(&mut self, at: u64, to: u64) -> u64 {
            let next = at + 13;
            let distance = i32::try_from(to.cast_signed() - next.cast_signed()).unwrap();
            let call = [&[0x90; 8][..], &[0xe8], &distance.to_le_bytes()].concat();
            self.add(at, &call);
            next
        }

        fn seek(&self, inside: u64, words: &[u64]) -> Option<Found> {
            let stack: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let captured =
                Captured { ip: inside, interrupted: true, sp: SP, stack: &stack, ..Captured::default() };
            seek(inside, &Registers::of(&captured), &captured, self)
        }
    }

    impl Memory for Fake {
        fn code(&self, address: u64, most: usize) -> Vec<u8> {
            let Some((at, bytes)) = self.code.range(..=address).next_back() else { return Vec::new() };
            let from = usize::try_from(address - at).unwrap();
            bytes.get(from..).map(|rest| rest[..most.min(rest.len())].to_vec()).unwrap_or_default()
        }

        fn begin(&self, address: u64) -> Begin {
            let at = self.code.range(..=address).next_back().map_or(address, |(at, _)| *at);
            if self.nameless { Begin::After(at.saturating_sub(0x100)) } else { Begin::At(at) }
        }

        fn word(&self, address: u64) -> Option<u64> {
            self.words.get(&address).copied()
        }

        fn catches(&self, address: u64) -> bool {
            address == 0x9000
        }
    }

    fn found(slot: u64, address: u64, frame: Option<u64>) -> Option<Found> {
        Some(Found { slot: SP + slot * 8, address, frame: frame.map(|word| SP + word * 8) })
    }

    /// Guarantees: among what earlier calls have left on the stack the address is taken whose call leads here, wherever the
    /// function begins; with it goes where the function keeps the frame pointer.
    #[test]
    fn among_stale_words() {
        for nameless in [false, true] {
            let mut it = Fake { nameless, ..Fake::new() };
            let (truth, stale) = (it.calls(0x2000, BIG), it.calls(0x3000, LEAF));
            it.add(0x4000, &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd3, 0x90]);
            let open = 0x4007;
            // no code, data, not behind a call, in the function itself
            let junk = [0, 0x5000, 0x2005, IN_BIG + 2, u64::MAX];
            let big = [open, stale, junk[1], 0xb9, junk[3], truth, open, truth];
            assert_eq!(it.seek(IN_BIG, &big), found(5, truth, Some(3)), "{nameless}");
            // where it has given its frame back
            assert_eq!(
                it.seek(IN_BIG, &[truth, stale, open, 0, 0, open]),
                found(0, truth, None),
                "{nameless}"
            );
            let leaf = it.calls(0x2100, LEAF);
            assert_eq!(it.seek(LEAF + 4, &[leaf, truth, open]), found(0, leaf, None));
            assert_eq!(it.seek(IN_BIG, &junk), None);
            assert_eq!(it.seek(IN_BIG, &[stale; 300]), None);
            let mut far = vec![stale; 255];
            far.push(truth);
            assert_eq!(it.seek(IN_BIG, &far).map(|found| found.address), Some(truth));
            far.insert(0, stale);
            assert_eq!(it.seek(IN_BIG, &far), None, "it is looked no further");
        }
    }

    /// Guarantees: calls by stubs, by tables and through functions that jump on are followed; where it cannot be told where
    /// one led, it counts as long as there is no better one.
    #[test]
    fn passed_on_calls() {
        let mut it = Fake::new();
        it.add(0x2800, &[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0xf6, 0x3f, 0, 0]);
        let place = 0x2800 + 10 + 0x3ff6;
        let by_stub = it.calls(0x2000, 0x2800);
        let leaf = LEAF + 4;
        assert_eq!(it.seek(leaf, &[by_stub]), found(0, by_stub, None), "nobody can tell");
        it.words.insert(place, LEAF);
        assert_eq!(it.seek(leaf, &[by_stub]), found(0, by_stub, None));
        it.words.insert(place, 0x2000);
        assert_eq!(it.seek(leaf, &[by_stub]), None);
        // je, and it jumps on to the leaf
        it.add(0x5000, &[0x74, 0x01, 0x90, 0xe9, 0xf8, 0xc7, 0xff, 0xff]);
        let passed = it.calls(0x2100, 0x5000);
        assert_eq!(it.seek(leaf, &[0, passed]), found(1, passed, None));
        it.add(0x6000, &[0xff, 0xe0]);
        let open = it.calls(0x2200, 0x6000);
        assert_eq!(it.seek(leaf, &[0, open, 0, passed]), found(3, passed, None));
        assert_eq!(it.seek(leaf, &[0, open, 0]), found(1, open, None));
        assert_eq!(it.seek(leaf, &[0x9000, passed]), found(0, 0x9000, None), "a probe catches its return");
        // two that jump to each other
        it.add(0x6800, &[0xe9, 0xfb, 0x07, 0, 0]);
        it.add(0x7000, &[0xe9, 0xfb, 0xf7, 0xff, 0xff]);
        let endless = it.calls(0x2300, 0x6800);
        assert_eq!(it.seek(leaf, &[endless; 256]), None);
    }
}
