//! `/tmp/perf-PID.map`: the names that a runtime gives to the code that it has made.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use procfs::process::Process;

use super::demangle::clean;
use super::open;

/// Some 400,000 functions.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// The names, as they were when last read.
#[derive(Debug, Default)]
pub(crate) struct PerfMap {
    file: Option<File>,
    /// So much of the file is in `text`; it only grows.
    text: Vec<u8>,
    /// By address: where the function begins, where it ends, and where its line is in `text`.
    functions: Vec<(u64, u64, usize)>,
    /// It may have grown since.
    stale: bool,
}

impl PerfMap {
    /// To be called when the process may have made more code; nothing is read until a name is asked for.
    pub(crate) fn refresh(&mut self, pid: u32) {
        if self.file.is_none() {
            self.file = own_pid(pid)
                .and_then(|own| open::in_root_of(pid, Path::new(&format!("/tmp/perf-{own}.map"))));
        }
        self.stale = true;
    }

    /// The name of the code at an address.
    pub(crate) fn at(&mut self, address: u64) -> Option<String> {
        self.find(address).or_else(|| {
            self.read_more();
            self.find(address)
        })
    }

    fn find(&self, address: u64) -> Option<String> {
        let above = self.functions.partition_point(|(start, ..)| *start <= address);
        let (_, end, line) = *self.functions.get(above.checked_sub(1)?)?;
        let line = self.text.get(line..).filter(|_| address < end)?;
        let line = line.split(|byte| *byte == b'\n').next()?;
        let name = line.splitn(3, |byte| *byte == b' ').nth(2)?;
        Some(clean(&String::from_utf8_lossy(name)))
    }

    fn read_more(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| self.stale) else { return };
        self.stale = false;
        let have = self.text.len() as u64;
        let size = file.metadata().map_or(0, |it| it.len()).min(MAX_BYTES);
        if size <= have {
            return;
        }
        let mut more = vec![0; usize::try_from(size - have).unwrap_or_default()];
        if file.read_exact_at(&mut more, have).is_err() {
            return;
        }
        // A line that is being written is left for the next time.
        let Some(whole) = more.iter().rposition(|byte| *byte == b'\n') else { return };
        let mut at = self.text.len();
        self.text.extend(more.get(..=whole).unwrap_or_default());
        while let Some(line) = self.text.get(at..).filter(|rest| !rest.is_empty()) {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            if let Some((start, end)) = range(line) {
                self.functions.push((start, end, at));
            }
            at += line.len() + 1;
        }
        // Stable, so that of two functions at one address the later one is found.
        self.functions.sort_by_key(|(start, ..)| *start);
    }
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
        PerfMap { file: Some(file), stale: true, ..PerfMap::default() }
    }

    /// Guarantees: the later of two functions in one place is found, lines that come later are seen after a refresh, and
    /// one that is half written when it is whole.
    #[test]
    fn grows() {
        let mut map = map(b"1000 20 first\n1000 20 second one\n2000 10 ha");
        assert_eq!(map.at(0x1010).as_deref(), Some("second one"));
        assert_eq!((map.at(0x1020), map.at(0xfff), map.at(0x2000)), (None, None, None));
        map.file.as_mut().unwrap().write_all(b"lf\n").unwrap();
        assert_eq!(map.at(0x2000), None);
        map.stale = true;
        assert_eq!(map.at(0x200f).as_deref(), Some("half"));
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
        assert_eq!(map(b"10 10 \x1b[2J\xff\n").at(0x11).as_deref(), Some("\u{fffd}[2J\u{fffd}"));
        let mut map = map(b"10 10 a\n");
        assert_eq!(map.at(0x10).as_deref(), Some("a"));
        let file = map.file.as_mut().unwrap();
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        map.stale = true;
        assert_eq!(map.at(0x99), None);
    }
}
