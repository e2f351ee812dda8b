//! Threads, and the pieces of eden that they make objects in (TLABs).

use std::collections::HashMap;
use std::ops::Range;

use mlh_stacks::java::Published;
use mlh_stacks::memory::Memory;

use super::bytes::Bytes;
use crate::os;

/// So many threads are looked at.
const MAX_THREADS: u64 = 1024;

/// Beyond a piece's top it is watched within so many bytes: a hit comes soon, and yet not always at the beginning of what a thread does
/// once it has waited.
const AHEAD: u64 = 256 << 10;

/// Where less is free nothing is watched, bytes.
const LEAST: u64 = 64;

/// A thread's piece of eden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    /// Here the next object is made.
    pub(super) top: u64,
    pub(super) end: u64,
}

impl Piece {
    /// An address in what is free of it, or in the memory that the next piece will be of, by `dice`; and which of the two. `None`: next to
    /// nothing is free.
    pub(super) fn ahead(&self, next: &Range<u64>, dice: u64) -> Option<(Range<u64>, u64)> {
        let own = self.end.checked_sub(self.top)?;
        let room = own.checked_add(next.end.checked_sub(next.start)?)?.min(AHEAD);
        (room >= LEAST).then_some(())?;
        let distance = dice % (room / 8) * 8;
        let (free, within) = match distance.checked_sub(own) {
            Some(beyond) => (next.clone(), beyond),
            None => (self.top..self.end, distance),
        };
        Some((free.clone(), free.start.checked_add(within)?))
    }
}

/// How threads are listed.
#[derive(Debug)]
enum List {
    /// The address of a pointer to an array: since 12.
    Array { list: u64, length: u64, threads: u64 },
    /// The address of a pointer to the first, of which each leads to the next.
    Chain { first: u64, next: u64 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Threads {
    pid: u32,
    memory: Memory,
    list: List,
    /// In a thread.
    start: u64,
    top: u64,
    end: u64,
    made: u64,
    os_thread: u64,
    /// In what it has of the system.
    number: u64,
    /// Bytes that each had made, at the last look.
    earlier: HashMap<u64, u64>,
    /// By what the process calls a thread, how it is numbered here.
    numbers: HashMap<u32, u32>,
}

impl Threads {
    pub(super) fn of(pid: u32, memory: Memory, published: &Published) -> Option<Self> {
        let piece = published.offset("Thread", "_tlab")?;
        let of_piece = |name| piece.checked_add(published.offset("ThreadLocalAllocBuffer", name)?);
        let os_thread = published.offset("JavaThread", "_osthread");
        Some(Self {
            pid,
            memory,
            list: list(published)?,
            start: of_piece("_start")?,
            top: of_piece("_top")?,
            end: of_piece("_end")?,
            made: published.offset("Thread", "_allocated_bytes")?,
            os_thread: os_thread.or_else(|| published.offset("Thread", "_osthread"))?,
            number: published.offset("OSThread", "_thread_id")?,
            earlier: HashMap::new(),
            numbers: HashMap::new(),
        })
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn fake(memory: Memory) -> Self {
        Self {
            pid: std::process::id(),
            memory,
            list: List::Chain { first: 0, next: 0 },
            start: 0,
            top: 8,
            end: 16,
            made: 24,
            os_thread: 0,
            number: 0,
            earlier: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    /// One of those that have made something since the last look, the likelier the more it was, and its piece. The first look finds
    /// none.
    pub(super) fn pick(&mut self, dice: u64) -> Option<(u64, Piece)> {
        let mut now = HashMap::new();
        let mut candidates = Vec::new();
        for thread in self.list.all(self.memory) {
            let Some((piece, made)) = self.look(thread) else { continue };
            now.insert(thread, made);
            let earlier = self.earlier.get(&thread).copied().unwrap_or(made);
            let weight = made.saturating_sub(earlier);
            if weight > 0 {
                candidates.push((weight, (thread, piece)));
            }
        }
        self.earlier = now;
        weighted(&candidates, dice)
    }

    /// A thread's piece.
    pub(super) fn piece(&self, thread: u64) -> Option<Piece> {
        self.look(thread).map(|(piece, _)| piece)
    }

    /// A thread's piece, and how many bytes it has made so far.
    fn look(&self, thread: u64) -> Option<(Piece, u64)> {
        let fields = [self.start, self.top, self.end, self.made];
        let bytes = Bytes::around(self.memory, thread, &fields)?;
        let [start, top, end, made] = fields.map(|field| bytes.word(thread.checked_add(field)?));
        let piece = Piece { start: start?, top: top?, end: end? };
        let is_sound = piece.start <= piece.top && piece.top <= piece.end && piece.top.is_multiple_of(8);
        // what lies in the piece is counted only once the thread has another
        is_sound.then(|| Some((piece, made?.wrapping_add(piece.top.wrapping_sub(piece.start)))))?
    }

    /// How a thread is numbered here.
    pub(super) fn number(&mut self, thread: u64) -> Option<u32> {
        let at = self.memory.word(thread.checked_add(self.os_thread)?)?.checked_add(self.number)?;
        let own = Bytes::read(self.memory, at, 4)?.int(at)?;
        let guess = self.numbers.get(&own).copied().unwrap_or(own);
        let is_it = |number: &u32| os::own_number(self.pid, *number) == Some(own);
        if is_it(&guess) {
            return Some(guess);
        }
        let number = os::threads(self.pid).into_iter().find(is_it)?;
        if self.numbers.len() as u64 >= MAX_THREADS {
            self.numbers.clear();
        }
        self.numbers.insert(own, number);
        Some(number)
    }
}

impl List {
    /// Where they are.
    fn all(&self, memory: Memory) -> Vec<u64> {
        match self {
            Self::Array { list, length, threads } => {
                array(memory, *list, *length, *threads).unwrap_or_default()
            }
            Self::Chain { first, next } => {
                let read = |at: u64| memory.word(at).filter(|thread| *thread != 0);
                let chain = std::iter::successors(read(*first), |thread| read(thread.checked_add(*next)?));
                chain.take(MAX_THREADS as usize).collect()
            }
        }
    }
}

fn array(memory: Memory, list: u64, length: u64, threads: u64) -> Option<Vec<u64>> {
    let list = memory.word(list)?;
    let length = list.checked_add(length)?;
    let length = u64::from(Bytes::read(memory, length, 4)?.int(length)?).min(MAX_THREADS);
    let at = memory.word(list.checked_add(threads)?)?;
    let bytes = Bytes::read(memory, at, length * 8)?;
    (0..length).map(|nth| bytes.word(at.checked_add(nth * 8)?)).collect()
}

fn list(published: &Published) -> Option<List> {
    if let Some(first) = published.address("Threads", "_thread_list") {
        return Some(List::Chain { first, next: published.offset("JavaThread", "_next")? });
    }
    Some(List::Array {
        list: published.address("ThreadsSMRSupport", "_java_thread_list")?,
        length: published.offset("ThreadsList", "_length")?,
        threads: published.offset("ThreadsList", "_threads")?,
    })
}

/// One of them, the likelier the more it weighs.
fn weighted<T: Copy>(candidates: &[(u64, T)], dice: u64) -> Option<T> {
    let all = candidates.iter().fold(0_u64, |sum, (weight, _)| sum.saturating_add(*weight));
    let mut left = dice.checked_rem(all)?;
    candidates.iter().find_map(|(weight, it)| {
        let is_it = left < *weight;
        left = left.saturating_sub(*weight);
        is_it.then_some(*it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: each is picked as often as it weighs, and nothing out of nothing.
    #[test]
    fn picked_by_weight() {
        let candidates = [(3, 'a'), (0, 'b'), (1, 'c')];
        let picked: String = (0..8).filter_map(|dice| weighted(&candidates, dice)).collect();
        assert_eq!(picked, "aaacaaac");
        assert_eq!(weighted(&[(u64::MAX, 'a'), (u64::MAX, 'b')], 7), Some('a'));
        assert_eq!(weighted::<char>(&[], 7), None);
        assert_eq!(weighted(&[(0, 'a')], 7), None);
    }

    /// Guarantees: what is watched is a multiple of 8 in what is free of a piece, or else in what the next one will be of, and not far.
    #[test]
    fn ahead_of_the_top() {
        let piece = |top, end| Piece { start: 0x1000, top, end };
        for dice in [0, 1, 7, u64::MAX, 1 << 40] {
            let (free, at) = piece(0x2000, 0x2100).ahead(&(0..0), dice).unwrap();
            assert!(free == (0x2000..0x2100) && free.contains(&at) && at % 8 == 0);
            let (_, at) = piece(0x2000, 0x1000_0000).ahead(&(0..0), dice).unwrap();
            assert!((0x2000..0x2000 + AHEAD).contains(&at));
        }
        assert_eq!(piece(0x2000, 0x2008).ahead(&(0..0), 1), None);
        assert_eq!(piece(0x2000, 0x1000).ahead(&(0..0), 1), None);
        let next = 0x9000..0x9100;
        let ahead = |dice| piece(0x2000, 0x2100).ahead(&next, dice).unwrap();
        assert_eq!([ahead(31), ahead(32)], [(0x2000..0x2100, 0x20f8), (next.clone(), 0x9000)]);
        assert_eq!(ahead(63), (next.clone(), 0x90f8));
    }
}
