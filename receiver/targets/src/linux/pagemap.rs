//! `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst) and the huge pages in `smaps`.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::read_text;
use super::unread::NO_SUCH_PROCESS;
use crate::pagemap::{PageState, PagemapError};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;
/// Number of the page frame; 0 where the kernel hides it.
const FRAME: u64 = (1 << 55) - 1;
/// Bytes of an entry.
const ENTRY: u64 = 8;

/// Pages so close to each other are read with all that lies between them: that costs less than a read of its own.
const GAP: u64 = 64;
/// Entries that one read fetches: a huge page has as many where pages have 64 KiB, fewer elsewhere.
const RUN: u64 = 8192;

/// Where the kernel does not say.
const HUGE: u64 = 2 << 20;
/// Huge pages are looked up in `smaps` this often at most.
const SETTLED: Duration = Duration::from_secs(5);
/// No process has more of it.
const MAX_SMAPS: u64 = 256 << 20;
/// Mappings that hold huge pages, of one process.
const MAX_HUGE: usize = 64 * 1024;
/// Of a mapping's memory in huge pages, so that an address in it counts for huge.
const MOST: f64 = 0.5;

/// See [`Pagemap`](crate::pagemap::Pagemap).
#[derive(Debug)]
pub(crate) struct Pagemap {
    pid: u32,
    file: File,
    page: u64,
    huge: u64,
    /// What `smaps` said last.
    mapped_huge: Option<(Instant, Vec<Range<u64>>)>,
}

impl Pagemap {
    pub(crate) fn open(pid: u32) -> Result<Self, PagemapError> {
        let file = File::open(format!("/proc/{pid}/pagemap")).map_err(|error| why(pid, &error))?;
        let (page, huge) = (procfs::page_size().max(1), huge_page_size());
        Ok(Self { pid, file, page, huge, mapped_huge: None })
    }

    pub(crate) fn states(&self, addresses: &[u64]) -> Result<Vec<PageState>, PagemapError> {
        let pages: Vec<u64> = addresses.iter().map(|address| address / self.page).collect();
        let mut states = Vec::with_capacity(pages.len());
        let mut any = pages.is_empty();
        for run in runs(&pages) {
            let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
            let entries = self.entries(first, last - first + 1)?;
            any |= !entries.is_empty();
            states.extend(run.iter().map(|page| {
                let entry = usize::try_from(page - first).ok().and_then(|index| entries.get(index));
                entry.map_or(PageState::Absent, |entry| state(*entry))
            }));
        }
        // of an address space that is gone nothing can be read, of any other something
        if any { Ok(states) } else { Err(PagemapError::Ended) }
    }

    pub(crate) fn resident(&self, from: u64, to: u64) -> Result<Vec<Range<u64>>, PagemapError> {
        let first = from / self.page;
        let count = to.div_ceil(self.page).saturating_sub(first);
        let entries = self.entries(first, count)?;
        if entries.is_empty() && count > 0 {
            // the process has ended, or no process has such addresses
            self.states(&[0])?;
        }
        Ok(present(&entries, first, self.page))
    }

    pub(crate) fn is_huge(&mut self, address: u64) -> bool {
        let (first, count) = ((address - address % self.huge) / self.page, self.huge / self.page);
        let Ok(entries) = self.entries(first, count) else { return false };
        match area(&entries, count) {
            Area::Huge => true,
            Area::Small => false,
            Area::Unknown => self.huge_mappings().iter().any(|mapping| mapping.contains(&address)),
        }
    }

    /// The entries of so many pages; fewer beyond the end of the address space, none if it is gone.
    fn entries(&self, first: u64, count: u64) -> Result<Vec<u64>, PagemapError> {
        let Some(offset) = first.checked_mul(ENTRY) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; usize::try_from(count.min(RUN) * ENTRY).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // beyond what a process may have
                Err(error) if error.kind() == ErrorKind::InvalidInput => break,
                Err(error) => return Err(why(self.pid, &error)),
            }
        }
        let (entries, _) = bytes[..filled].as_chunks::<{ ENTRY as usize }>();
        Ok(entries.iter().map(|entry| u64::from_ne_bytes(*entry)).collect())
    }

    fn huge_mappings(&mut self) -> &[Range<u64>] {
        if self.mapped_huge.as_ref().is_none_or(|(when, _)| when.elapsed() >= SETTLED) {
            let smaps = File::open(format!("/proc/{}/smaps", self.pid));
            let mappings =
                smaps.map(|file| mostly_huge(BufReader::with_capacity(1 << 16, file.take(MAX_SMAPS))));
            self.mapped_huge = Some((Instant::now(), mappings.unwrap_or_default()));
        }
        self.mapped_huge.as_ref().map_or(&[], |(_, mappings)| mappings)
    }
}

pub(crate) fn huge_page_size() -> u64 {
    let text = read_text(Path::new("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"));
    let size = text.ok().and_then(|text| text.trim().parse::<u64>().ok());
    // on kernels without such pages none is ever found
    size.filter(|size| is_huge_size(*size, procfs::page_size())).unwrap_or(HUGE)
}

/// One read is to see all pages of it.
fn is_huge_size(size: u64, page: u64) -> bool {
    size.is_power_of_two() && (page..=page.saturating_mul(RUN)).contains(&size)
}

fn why(pid: u32, error: &std::io::Error) -> PagemapError {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) | (_, Some(NO_SUCH_PROCESS)) => PagemapError::Ended,
        _ => PagemapError::Unreadable { pid, reason: error.to_string() },
    }
}

/// Pages in order, cut into what is read at once.
fn runs(pages: &[u64]) -> impl Iterator<Item = &[u64]> {
    let mut rest = pages;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let close = |pair: &[u64]| {
            let (before, page) = (pair[0], pair[1]);
            page >= before && page - before <= GAP && page - first < RUN
        };
        let length = 1 + rest.windows(2).take_while(|pair| close(pair)).count();
        let (run, next) = rest.split_at(length);
        rest = next;
        Some(run)
    })
}

/// Of these pages, those in memory.
fn present(entries: &[u64], first: u64, page: u64) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for (number, _) in entries.iter().enumerate().filter(|(_, entry)| *entry & PRESENT != 0) {
        let start = first.saturating_add(number as u64).saturating_mul(page);
        match found.last_mut().filter(|before| before.end == start) {
            Some(before) => before.end = start.saturating_add(page),
            None => found.push(start..start.saturating_add(page)),
        }
    }
    found
}

fn state(entry: u64) -> PageState {
    if entry & (PRESENT | SWAPPED) == 0 {
        PageState::Absent
    } else if entry & FILE_OR_SHARED != 0 {
        PageState::FileOrShared
    } else {
        PageState::Anonymous
    }
}

/// What serves an area as large as a huge page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Huge,
    Small,
    /// All of it is there, and the kernel does not say where.
    Unknown,
}

fn area(entries: &[u64], count: u64) -> Area {
    let whole = entries.len() as u64 == count && entries.iter().all(|entry| entry & PRESENT != 0);
    let Some(frame) = entries.first().map(|entry| entry & FRAME).filter(|_| whole) else {
        return Area::Small;
    };
    if frame == 0 {
        return Area::Unknown;
    }
    let in_order = (frame..).zip(entries).all(|(frame, entry)| entry & FRAME == frame);
    if in_order && frame.is_multiple_of(count) { Area::Huge } else { Area::Small }
}

/// The mappings of which most of the memory is in huge pages. Whatever the lines are.
fn mostly_huge(smaps: impl BufRead) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let (mut mapping, mut anonymous) = (None, 0_u64);
    for line in smaps.split(b'\n').map_while(Result::ok) {
        let Ok(line) = std::str::from_utf8(&line) else { continue };
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let mut kilobytes = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match name {
            "Anonymous:" => anonymous = kilobytes(),
            "AnonHugePages:" => {
                let huge = kilobytes();
                if let Some(range) = mapping.take()
                    && huge > 0
                    && huge as f64 >= MOST * anonymous as f64
                    && found.len() < MAX_HUGE
                {
                    found.push(range);
                }
            }
            name => {
                if let Some(range) = range(name) {
                    (mapping, anonymous) = (Some(range), 0);
                }
            }
        }
    }
    found
}

/// `7f0000000000-7f0000200000`.
fn range(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: pages close to each other share a read, which never fetches more than its share; all pages are in one.
    #[test]
    fn reads() {
        let cut = |pages: &[u64]| runs(pages).map(<[u64]>::to_vec).collect::<Vec<_>>();
        assert_eq!(cut(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(cut(&[5, 5, 6, 70, 135]), [vec![5, 5, 6, 70], vec![135]]);
        assert_eq!(cut(&[9, 3, u64::MAX]), [vec![9], vec![3], vec![u64::MAX]], "not in order");
        let many: Vec<u64> = (0..10_000).map(|n| 100 + n * 3).collect();
        for run in runs(&many) {
            assert!(run.last().unwrap() - run[0] < RUN);
        }
        assert_eq!(runs(&many).map(<[u64]>::len).sum::<usize>(), many.len());
    }

    /// Guarantees: a huge page is seen whole, whatever the size of pages.
    #[test]
    fn sizes() {
        for (page, huge) in [(4 << 10, 2 << 20), (16 << 10, 32 << 20), (64 << 10, 512 << 20)] {
            assert!(is_huge_size(huge, page) && !is_huge_size(huge + 1, page));
            assert!(huge / page <= RUN);
        }
        assert!(!is_huge_size(1 << 40, 4 << 10) && !is_huge_size(0, 4 << 10));
    }

    /// Guarantees: the bits mean what the kernel says, and a huge page is known by where it lies.
    #[test]
    fn entries() {
        assert_eq!(state(0), PageState::Absent);
        assert_eq!(state(PRESENT | 77), PageState::Anonymous);
        assert_eq!(state(SWAPPED), PageState::Anonymous);
        assert_eq!(state(PRESENT | FILE_OR_SHARED | 1), PageState::FileOrShared);
        let at = |frame: u64| (frame..frame + 512).map(|frame| PRESENT | frame).collect::<Vec<_>>();
        assert_eq!(area(&at(1024), 512), Area::Huge);
        assert_eq!(area(&at(1025), 512), Area::Small);
        assert_eq!(area(&at(1024)[..511], 512), Area::Small);
        assert_eq!(area(&[PRESENT; 512], 512), Area::Unknown);
        assert_eq!(area(&[], 512), Area::Small);
        let mut torn = at(1024);
        torn[200] = PRESENT | 9;
        assert_eq!(area(&torn, 512), Area::Small);
    }

    /// Guarantees: what is in memory is told as stretches; what is swapped out is not in memory.
    #[test]
    fn presence() {
        let entries = [PRESENT | 5, PRESENT | FILE_OR_SHARED, SWAPPED, 0, PRESENT];
        assert_eq!(present(&entries, 2, 4096), [0x2000..0x4000, 0x6000..0x7000]);
        assert_eq!(present(&[], 2, 4096), []);
        assert_eq!(present(&[PRESENT; 2], u64::MAX - 1, 4096).len(), 1, "beyond what an address can be");
    }

    /// Guarantees: mappings in huge pages are found in what the kernel writes, and in no nonsense.
    #[test]
    fn smaps() {
        let text = "7f0000000000-7f0000800000 rw-p 00000000 00:00 0 \nSize: 8192 kB\nAnonymous:  8192 kB\n\
                    AnonHugePages:   6144 kB\nVmFlags: rd wr mr mw me ac hg\n\
                    7f0000900000-7f0000a00000 rw-p 00000000 00:00 0 [heap]\nAnonymous: 900 kB\nAnonHugePages: 0 kB\n";
        let found = mostly_huge(text.as_bytes());
        let mapped = 0x7f00_0000_0000..0x7f00_0080_0000;
        assert_eq!(found, std::slice::from_ref(&mapped));
        for nonsense in ["AnonHugePages: 5 kB", "a-b\nAnonHugePages:", "x-\n-\n \n\0"] {
            assert_eq!(mostly_huge(nonsense.as_bytes()), []);
        }
    }
}
