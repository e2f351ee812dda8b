//! `/tmp/perf-PID.map`: the names that a runtime gives to the code that it has made.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use procfs::process::Process;

use super::demangle::clean;
use super::dwarf::Named;
use super::source::Source as _;
use super::{jit, open};

/// Bytes of it that are looked at, the last ones: what was made last is what runs.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Functions that are known, the latest; large programs make some 100,000.
const MAX_FUNCTIONS: usize = 400_000;
const PIECE: usize = 1024 * 1024;
/// Bytes of a line that are looked at: names of .NET have all of their parameters.
const MAX_LINE: usize = 4096;
/// Functions that are looked through for one that covers an address: what was there before stays in the file.
const MAX_NESTED: usize = 16;

/// The names, as they were when last read: where they are in the file, which is read for each that is asked for.
#[derive(Debug, Default)]
pub(crate) struct PerfMap {
    file: Option<File>,
    /// So much of the file has been read; it only grows.
    read: u64,
    /// Its size then: behind `read` there may be a line that was being written.
    seen: u64,
    /// By address, and by when they were written.
    functions: Vec<Function>,
}

#[derive(Debug, Clone, Copy)]
struct Function {
    start: u64,
    end: u64,
    /// Of its line in the file.
    line: u64,
}

impl PerfMap {
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of(file: File) -> Self {
        Self { file: Some(file), ..Self::default() }
    }

    /// To be called when the process may have begun to write one; nothing is read until a name is asked for.
    pub(crate) fn refresh(&mut self, pid: u32) {
        let path = own_pid(pid).map(|own| format!("/tmp/perf-{own}.map"));
        if let Some(file) = path.and_then(|path| open::in_root_of(pid, Path::new(&path))) {
            let is_another = self.file.as_ref().and_then(id_of) != id_of(&file);
            if is_another {
                *self = Self { file: Some(file), ..Self::default() };
            }
        }
    }

    /// What the code at an address is called, by what has been written until now: another function may have taken its place.
    pub(crate) fn at(&mut self, address: u64) -> Option<Named> {
        self.read_more();
        self.find(address).map(|name| jit::read(&name))
    }

    fn find(&self, address: u64) -> Option<String> {
        let above = self.functions.partition_point(|it| it.start <= address);
        let before = self.functions.get(above.saturating_sub(MAX_NESTED)..above)?;
        let latest = before.iter().filter(|it| address < it.end).max_by_key(|it| it.line)?;
        let line = self.file.as_ref()?.read(latest.line, MAX_LINE);
        let line = line.split(|byte| *byte == b'\n').next()?;
        // It may have been written anew.
        range(line).filter(|range| *range == (latest.start, latest.end))?;
        let name = line.splitn(3, |byte| *byte == b' ').nth(2)?;
        Some(clean(&String::from_utf8_lossy(name)))
    }

    fn read_more(&mut self) {
        let Some(file) = &self.file else { return };
        let size = file.metadata().map_or(0, |it| it.len());
        if std::mem::replace(&mut self.seen, size) == size {
            return;
        }
        if size < self.read {
            (self.read, self.functions) = (0, Vec::new());
        }
        self.read = self.read.max(size.saturating_sub(MAX_BYTES));
        while self.read < size {
            let piece = file.read(self.read, PIECE);
            // A line that is being written is left for the next time.
            let Some(whole) = piece.iter().rposition(|byte| *byte == b'\n') else { break };
            let mut line_at = self.read;
            for line in piece.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
                if let Some((start, end)) = range(line.get(..MAX_LINE.min(line.len())).unwrap_or_default()) {
                    self.functions.push(Function { start, end, line: line_at });
                }
                line_at += line.len() as u64 + 1;
            }
            self.read += whole as u64 + 1;
            if self.functions.len() > 2 * MAX_FUNCTIONS {
                keep_latest(&mut self.functions);
            }
        }
        if self.functions.len() > MAX_FUNCTIONS {
            keep_latest(&mut self.functions);
        }
        self.functions.sort_unstable_by_key(|it| (it.start, it.line));
    }
}

fn keep_latest(functions: &mut Vec<Function>) {
    functions.sort_unstable_by_key(|it| std::cmp::Reverse(it.line));
    functions.truncate(MAX_FUNCTIONS);
}

fn id_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|it| (it.dev(), it.ino()))
}

fn range(line: &[u8]) -> Option<(u64, u64)> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let word = str::from_utf8(words.next()?).ok()?;
        u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
    };
    let start = number()?;
    Some((start, start.checked_add(number()?)?))
}

/// What the process itself takes for its pid.
fn own_pid(pid: u32) -> Option<i32> {
    let status = Process::new(i32::try_from(pid).ok()?).ok()?.status().ok()?;
    status.nspid.and_then(|pids| pids.last().copied()).or(Some(status.pid))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    fn map(text: &[u8]) -> PerfMap {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        PerfMap::of(file)
    }

    /// Guarantees: the later of two functions in one place is found, lines that come later are seen at once, and one that is
    /// half written when it is whole; what comes later takes the place of what was named before.
    #[test]
    fn grows() {
        let mut map = map(b"1000 20 first\n1000 20 second one\n2000 10 ha");
        assert_eq!(map.at(0x1010).and_then(|it| it.function).as_deref(), Some("second one"));
        assert_eq!((map.at(0x1020), map.at(0xfff), map.at(0x2000)), (None, None, None));
        map.file.as_mut().unwrap().write_all(b"lf\n").unwrap();
        assert_eq!(map.at(0x200f).and_then(|it| it.function).as_deref(), Some("half"));
        map.file.as_mut().unwrap().write_all(b"2000 10 another\n").unwrap();
        assert_eq!(map.at(0x200f).and_then(|it| it.function).as_deref(), Some("another"));
    }

    /// Guarantees: of functions that lay in one place after each other the last one is found, also where it is shorter; of more
    /// than are kept those are that were made last.
    #[test]
    fn latest() {
        let mut map = map(b"1000 100 old\n1010 20 new\n");
        let named = |map: &mut PerfMap, address| map.at(address).and_then(|it| it.function);
        assert_eq!(named(&mut map, 0x1018).as_deref(), Some("new"));
        assert_eq!(named(&mut map, 0x1040).as_deref(), Some("old"));
        let most = MAX_FUNCTIONS as u64 * 2 + 10;
        let lines: String = (0..most).map(|nth| format!("{:x} 10 f{nth}\n", 0x10_0000 + nth * 16)).collect();
        map.file.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
        let last = most - 1;
        assert_eq!(named(&mut map, 0x10_0000 + last * 16), Some(format!("f{last}")));
        assert!(map.functions.len() <= MAX_FUNCTIONS);
        assert_eq!(named(&mut map, 0x1018), None);
    }

    /// Guarantees: a file of any bytes, and one cut short behind what was read, are read without a panic.
    #[test]
    fn hostile_files() {
        for text in [
            &b"\n\n\n \n  \n1\n1 \n1 1\n1 1 \n"[..],
            b"ffffffffffffffff 2 x\n",
            b"-1 2 x\n",
            &[0xff; 4096],
            b"10 10 \x1b[2J\xff\n",
        ] {
            let mut map = map(text);
            drop((map.at(0), map.at(0x10), map.at(u64::MAX)));
        }
        assert_eq!(
            map(b"10 10 \x1b[2J\xff\n").at(0x11).and_then(|it| it.function).as_deref(),
            Some("\u{fffd}[2J\u{fffd}")
        );
        let mut map = map(b"10 10 a\n");
        assert_eq!(map.at(0x10).and_then(|it| it.function).as_deref(), Some("a"));
        let file = map.file.as_mut().unwrap();
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        assert_eq!(map.at(0x99), None);
    }
}
