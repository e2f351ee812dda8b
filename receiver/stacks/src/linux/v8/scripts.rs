//! Scripts: their files, and where their lines end.

use std::collections::HashMap;
use std::sync::Arc;

use super::heap::{Heap, Tagged};
use super::text::{Characters, text, whole};
use crate::linux::demangle::clean;

/// Characters of a file's name; a longer one is none.
const MAX_NAME: usize = 4096;
/// Characters of a script that are gone through for its lines: bundles have a few million.
const MAX_SOURCE: usize = 8 << 20;
/// Lines of a script; of one that has more none is told.
const MAX_LINES: usize = 1 << 20;
/// Beside its name and its lines, a script takes so much, bytes.
const PER_SCRIPT: usize = 256;

/// A script by name.
#[derive(Debug)]
pub(super) struct Script {
    /// What tells that the same script is still at its address.
    head: [Tagged; 2],
    /// What is made by `eval` has none.
    pub(super) file: Option<Arc<str>>,
    /// Where lines end, characters; `None` where the source cannot be read.
    ends: Option<Box<[u32]>>,
}

impl Script {
    /// The line of a place in the source.
    pub(super) fn line(&self, at: u32) -> Option<u32> {
        let ends = self.ends.as_ref()?;
        u32::try_from(ends.partition_point(|end| *end < at)).ok()?.checked_add(1)
    }

    /// Bytes that it takes.
    fn size(&self) -> usize {
        let lines = self.ends.as_ref().map_or(0, |ends| size_of_val(&**ends));
        PER_SCRIPT + self.file.as_ref().map_or(0, |file| file.len()) + lines
    }
}

/// Those that are known, by their address.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    known: HashMap<u64, Script>,
    /// Bytes.
    pub(super) size: usize,
}

impl Scripts {
    /// The script at an address.
    pub(super) fn at(&mut self, at: u64, heap: &Heap<'_>) -> Option<&Script> {
        let layout = heap.layout;
        let head = [heap.field(at, layout.script_name)?, heap.field(at, layout.script_source)?];
        if self.known.get(&at).is_none_or(|known| known.head != head) {
            let script = Script {
                head,
                file: text(heap, head[0], MAX_NAME).map(|name| clean(&name).into()),
                ends: whole(heap, head[1], MAX_SOURCE).and_then(|source| ends(&source)),
            };
            if heap.is_exhausted() {
                return None;
            }
            // what it takes the place of stays counted until everything is forgotten
            self.size += script.size();
            self.known.insert(at, script);
        }
        self.known.get(&at)
    }
}

/// As JavaScript counts lines.
fn ends(source: &Characters) -> Option<Box<[u32]>> {
    match source {
        Characters::Narrow(bytes) => line_ends(bytes.iter().map(|byte| u16::from(*byte))),
        Characters::Wide(units) => line_ends(units.iter().copied()),
    }
}

fn line_ends(units: impl Iterator<Item = u16>) -> Option<Box<[u32]>> {
    let (mut ends, mut after_return) = (Vec::new(), false);
    for (at, unit) in (0..u32::MAX).zip(units) {
        match unit {
            // one of the two ends is the line's
            0x0a if after_return => {
                ends.pop();
                ends.push(at);
            }
            0x0a | 0x0d | 0x2028 | 0x2029 => ends.push(at),
            _ => {}
        }
        after_return = unit == 0x0d;
        if ends.len() > MAX_LINES {
            return None;
        }
    }
    Some(ends.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: lines are counted as JavaScript counts them, whatever ends them.
    #[test]
    fn lines() {
        let script = |source: &str| Script {
            head: [Tagged(0); 2],
            file: None,
            ends: ends(&Characters::Wide(source.encode_utf16().collect())),
        };
        let of = |source: &str| {
            let script = script(source);
            (0..source.encode_utf16().count() as u32).filter_map(|at| script.line(at)).collect::<Vec<_>>()
        };
        assert_eq!(of("a\nb\n\nc"), [1, 1, 2, 2, 3, 4]);
        assert_eq!(of("a\r\nb\rc"), [1, 1, 1, 2, 2, 3]);
        assert_eq!(of("a\u{2028}b\u{2029}c"), [1, 1, 2, 2, 3]);
        assert_eq!(ends(&Characters::Narrow(b"a\nb".to_vec())).as_deref(), Some(&[1][..]));
        assert_eq!(ends(&Characters::Narrow(vec![b'\n'; MAX_LINES + 1])), None);
    }
}
