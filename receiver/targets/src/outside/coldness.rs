//! Which of its anonymous memory a process has referenced since the kernel was told to forget it: what leaks is never referenced again.
//!
//! A processor notes in the page table that a page was referenced. [`Coldness::mark`] clears these notes (`/proc/PID/clear_refs`), and
//! [`Coldness::read`] sums up those that have come since (`Referenced` in `/proc/PID/smaps`). What that does to the target: each marked
//! page that it references later costs it a walk of the page table by the processor; from Linux 5.11 on who asks for new memory waits
//! while marks are made, a fifth of a microsecond a page; and the kernel takes the marked pages for old ones when memory gets short.
//!
//! What it does not tell: no processor is told to forget addresses that it has translated before, so what a program references so
//! often that they are never displaced (some MiB at most) counts as not referenced. Of a huge page there is one note. Who reads the
//! target's memory from outside has the kernel note that as well: meanwhile nobody is to do so.

use std::io::{self, BufRead, BufReader, Read};

use super::OutsideError;
use super::target::Target;
use crate::os;

/// Of `smaps` so much is read, bytes: some sixty thousand mappings.
const MOST_TEXT: u64 = 64 << 20;

/// Waiting for memory takes so much of the last ten seconds, percent: then it is short.
const SHORT: f64 = 1.0;

/// One process, for as long as it runs the same program.
#[derive(Debug)]
pub struct Coldness {
    target: Target,
}

/// Its private anonymous memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anonymous {
    /// In memory.
    pub resident: u64,
    /// Of that: referenced since it was last marked, or never marked.
    pub referenced: u64,
    /// Of what is in memory: in huge pages.
    pub huge: u64,
    /// Swapped out.
    pub swapped: u64,
}

impl Coldness {
    /// Nothing is done to it yet.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { target: Target::of(pid) }
    }

    /// Marks all its anonymous memory as not referenced.
    ///
    /// # Errors
    /// See [`OutsideError`].
    pub fn mark(&self) -> Result<(), OutsideError> {
        self.of_target(os::clear_referenced(self.target.pid), "clear_refs")
    }

    /// What it has referenced since.
    ///
    /// # Errors
    /// See [`OutsideError`].
    pub fn read(&self) -> Result<Anonymous, OutsideError> {
        let read = os::smaps(self.target.pid).and_then(|file| Anonymous::sum(file, MOST_TEXT));
        let sum = self.of_target(read, "smaps")?;
        sum.ok_or_else(|| OutsideError::Unknown("it maps too much to be summed up".to_owned()))
    }

    /// Why it would do harm to mark it now, in a few words: memory is short, and the kernel looks for pages that are old. Where there is
    /// no swap space it has nowhere to put them, old or not.
    #[must_use]
    pub fn harm(&self) -> Option<&'static str> {
        if os::memory().is_ok_and(|memory| memory.swap_total == 0) {
            return None;
        }
        let is_short = os::memory_pressure(self.target.pid).iter().any(|text| is_short(text));
        is_short.then_some("memory is short, and what is marked would be taken for old")
    }

    /// What could not be done to a process that is gone could not because it is gone.
    fn of_target<T>(&self, done: io::Result<T>, file: &str) -> Result<T, OutsideError> {
        if !self.target.is_there() {
            return Err(OutsideError::Gone);
        }
        done.map_err(|why| OutsideError::Refused(format!("/proc/{}/{file}: {why}", self.target.pid)))
    }
}

impl Anonymous {
    /// Of `smaps`, as the kernel writes it. `None`: it is longer than `most` bytes.
    fn sum(text: impl Read, most: u64) -> io::Result<Option<Self>> {
        let mut lines = BufReader::with_capacity(64 << 10, text).take(most);
        let (mut sum, mut line, mut counts) = (Self::default(), Vec::new(), false);
        while lines.read_until(b'\n', &mut line)? > 0 {
            match Line::of(&line) {
                Some(Line::Mapping { anonymous }) => counts = anonymous,
                Some(Line::Value { key, bytes }) if counts => sum.add(key, bytes),
                Some(Line::Value { .. }) | None => {}
            }
            line.clear();
        }
        Ok((lines.limit() > 0).then_some(sum))
    }

    fn add(&mut self, key: &[u8], bytes: u64) {
        let sum = match key {
            b"Rss" => &mut self.resident,
            b"Referenced" => &mut self.referenced,
            b"AnonHugePages" => &mut self.huge,
            b"Swap" => &mut self.swapped,
            _ => return,
        };
        *sum = sum.saturating_add(bytes);
    }
}

/// A line of `smaps`.
enum Line<'a> {
    Mapping { anonymous: bool },
    Value { key: &'a [u8], bytes: u64 },
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let first = words.next()?;
        if let Some(key) = first.strip_suffix(b":") {
            let kib: u64 = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
            return (words.next() == Some(b"kB"))
                .then_some(Self::Value { key, bytes: kib.checked_mul(1024)? });
        }
        // addresses, permissions, offset, device, inode, and a name where it has one
        let (permissions, inode) = (words.next()?, words.nth(2)?);
        let is_memory =
            |name: &[u8]| name == b"[heap]" || name.starts_with(b"[stack") || name.starts_with(b"[anon:");
        let anonymous = permissions.ends_with(b"p") && inode == b"0" && words.next().is_none_or(is_memory);
        Some(Self::Mapping { anonymous })
    }
}

/// Whether somebody waits for memory: `some avg10=0.00 avg60=...`.
fn is_short(pressure: &str) -> bool {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let last = some.and_then(|some| some.split_whitespace().find_map(|word| word.strip_prefix("avg10=")));
    last.and_then(|share| share.parse::<f64>().ok()).is_some_and(|share| share >= SHORT)
}

#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = Anonymous::sum(bytes, MOST_TEXT);
    let _ = std::str::from_utf8(bytes).map(is_short);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d14bfd3000-55d14bfd4000 r--p 00000000 fe:00 1234 /bin/api
Rss:                 900 kB
Referenced:          900 kB
55d14c000000-55d14d000000 rw-p 00000000 00:00 0                          [heap]
Size:              16384 kB
Rss:                 100 kB
Referenced:           40 kB
AnonHugePages:         0 kB
Swap:                  8 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Rss:                2048 kB
Referenced:         2048 kB
AnonHugePages:      2048 kB
7f1000000000-7f1000400000 rw-s 00000000 00:01 77 /dev/zero (deleted)
Rss:                 512 kB
7ffd881c9000-7ffd881cd000 r--p 00000000 00:00 0                          [vvar]
Rss:                  16 kB
";

    /// Guarantees: private memory of no file counts, whatever its name; files, shared memory and the kernel's own pages do not; more
    /// than is read at most is not half read, and lines that make no sense are passed over.
    #[test]
    fn of_the_kernel() {
        let sum = |text: &str, most| Anonymous::sum(text.as_bytes(), most).unwrap();
        let expected =
            Anonymous { resident: 2148 << 10, referenced: 2088 << 10, huge: 2048 << 10, swapped: 8 << 10 };
        assert_eq!(sum(TEXT, 4096), Some(expected));
        assert_eq!(sum(TEXT, 400), None);
        let broken = TEXT.replace("2048 kB", "18446744073709551615 kB").replace("100 kB", "-1 kB");
        assert_eq!(sum(&broken, 4096).map(|sum| (sum.resident, sum.referenced)), Some((0, 40 << 10)));
    }

    /// Guarantees: who waits for memory for a hundredth of the time is short of it; what tells nothing is not.
    #[test]
    fn shortness() {
        let pressure = |share| format!("some avg10={share} avg60=9.00 avg300=0.00 total=1\nfull avg10=9.00");
        assert!(is_short(&pressure("1.00")) && is_short(&pressure("37.5")));
        assert!(!is_short(&pressure("0.99")) && !is_short("") && !is_short("some avg60=9.00"));
    }
}
