//! Bytes of large files, a page at a time: what is looked at is read, what has not been looked at for long is let go, and
//! nothing is mapped into memory, where the end of a file that is cut short kills.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gimli::{Error, LittleEndian, ReaderOffsetId, Result};

use super::shelf::lock;
use super::unpacking::Taken;

const PAGE: usize = 16 * 1024;
/// Of all files together: 8 MiB.
const MAX_PAGES: usize = 512;
/// Bytes that are asked for at once.
const MAX_SLICE: usize = 64 * 1024;

type Page = Arc<[u8]>;

/// The pages of all files. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Pages(Arc<Mutex<Kept>>);

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// In two halves: what is not asked for while the younger fills up is let go with the older.
#[derive(Default)]
struct Kept {
    young: HashMap<(u64, u64), Page>,
    old: HashMap<(u64, u64), Page>,
    next_source: u64,
}

impl Kept {
    fn get(&mut self, key: (u64, u64)) -> Option<Page> {
        if let Some(page) = self.young.get(&key) {
            return Some(Arc::clone(page));
        }
        let page = self.old.remove(&key)?;
        self.put(key, Arc::clone(&page));
        Some(page)
    }

    fn put(&mut self, key: (u64, u64), page: Page) {
        if self.young.len() >= MAX_PAGES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, page);
    }
}

/// How many bytes may still be read, each as often as it is: what is read ever again, because whoever wrote the file wants
/// it so, comes to an end. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Allows so many bytes from now on.
    pub(crate) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One thread reads at a time; were there two, they would read somewhat more.
    #[inline]
    pub(crate) fn take(&self, bytes: usize) -> Result<()> {
        let left = self.left().checked_sub(bytes as u64).ok_or(Error::Io)?;
        self.set(left);
        Ok(())
    }
}

/// Where bytes come from.
#[derive(Debug)]
pub(crate) struct Source {
    id: u64,
    file: Arc<File>,
    /// The room that the file takes, if it is one of ours.
    _taken: Option<Taken>,
    pages: Pages,
    meter: Meter,
}

impl Source {
    /// A file; reading from it counts on `meter`.
    pub(crate) fn new(file: Arc<File>, taken: Option<Taken>, pages: &Pages, meter: &Meter) -> Arc<Self> {
        let mut kept = lock(&pages.0);
        kept.next_source += 1;
        let (id, pages, meter) = (kept.next_source, pages.clone(), meter.clone());
        Arc::new(Self { id, file, _taken: taken, pages, meter })
    }

    /// The page around a position, and where it begins.
    fn page(&self, at: u64) -> Result<(u64, Page)> {
        let number = at / PAGE as u64;
        let begin = number * PAGE as u64;
        if let Some(page) = lock(&self.pages.0).get((self.id, number)) {
            return Ok((begin, page));
        }
        let mut bytes = vec![0; PAGE];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, begin + done as u64).map_err(|_| Error::Io)? {
                0 => break,
                read => done += read,
            }
        }
        bytes.truncate(done);
        let page = Page::from(bytes);
        lock(&self.pages.0).put((self.id, number), Arc::clone(&page));
        Ok((begin, page))
    }
}

/// A part of a source, read from its beginning to its end.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    source: Arc<Source>,
    /// The page that was read last, and where it begins.
    page: Option<Page>,
    page_at: u64,
    /// What is left of it, as positions in the source.
    at: u64,
    end: u64,
}

impl Window {
    /// `size` bytes from `at` on. Whether they are there shows when they are read.
    pub(crate) fn new(source: &Arc<Source>, at: u64, size: u64) -> Self {
        Self { source: Arc::clone(source), page: None, page_at: 0, at, end: at.saturating_add(size) }
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.source.meter
    }

    /// What the page at hand has of the rest.
    #[inline]
    fn at_hand(&self) -> &[u8] {
        let page = self.page.as_deref().unwrap_or_default();
        let Some(within) = self.at.checked_sub(self.page_at) else { return &[] };
        let bytes = page.get(usize::try_from(within).unwrap_or(usize::MAX)..).unwrap_or_default();
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        bytes.get(..left).unwrap_or(bytes)
    }

    /// Some bytes of the rest, one at least.
    #[inline]
    fn some(&mut self) -> Result<&[u8]> {
        if self.at_hand().is_empty() {
            self.turn()?;
        }
        Ok(self.at_hand())
    }

    #[cold]
    fn turn(&mut self) -> Result<()> {
        if self.at < self.end {
            let (begin, page) = self.source.page(self.at)?;
            (self.page, self.page_at) = (Some(page), begin);
        }
        if self.at_hand().is_empty() { Err(self.ended()) } else { Ok(()) }
    }

    fn ended(&self) -> Error {
        Error::UnexpectedEof(ReaderOffsetId(self.at))
    }

    /// The text up to the first zero, or the end, or `most` bytes.
    pub(crate) fn text(&self, most: usize) -> String {
        let mut rest = self.clone();
        let mut bytes = Vec::new();
        while bytes.len() < most {
            let Ok(more) = rest.some() else { break };
            let more = more.get(..most - bytes.len()).unwrap_or(more);
            let ends = more.iter().position(|byte| *byte == 0);
            bytes.extend_from_slice(more.get(..ends.unwrap_or(more.len())).unwrap_or_default());
            rest.at += more.len() as u64;
            if ends.is_some() {
                break;
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl gimli::Reader for Window {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        usize::try_from(self.end - self.at).unwrap_or(usize::MAX)
    }

    fn empty(&mut self) {
        self.end = self.at;
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        if len > self.len() {
            return Err(self.ended());
        }
        self.end = self.at + len as u64;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        usize::try_from(self.at.saturating_sub(base.at)).unwrap_or(usize::MAX)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        (self.at..=self.end).contains(&id.0).then(|| usize::try_from(id.0 - self.at).ok()).flatten()
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let mut rest = self.clone();
        loop {
            let more = rest.some()?;
            let (found, length) = (more.iter().position(|it| *it == byte), more.len());
            self.meter().take(found.unwrap_or(length))?;
            rest.at += found.unwrap_or(length) as u64;
            if found.is_some() {
                return Ok(rest.offset_from(self));
            }
        }
    }

    #[inline]
    fn skip(&mut self, len: usize) -> Result<()> {
        if len > self.len() {
            return Err(self.ended());
        }
        self.at += len as u64;
        Ok(())
    }

    #[inline]
    fn split(&mut self, len: usize) -> Result<Self> {
        let mut first = self.clone();
        first.truncate(len)?;
        self.skip(len)?;
        Ok(first)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        if self.len() > MAX_SLICE {
            return Err(Error::Io);
        }
        let mut bytes = vec![0; self.len()];
        self.clone().read_slice(&mut bytes)?;
        Ok(bytes.into())
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        String::from_utf8(self.to_slice()?.into_owned()).map(Cow::Owned).map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        Ok(String::from_utf8_lossy(&self.to_slice()?).into_owned().into())
    }

    #[inline]
    fn read_slice(&mut self, buf: &mut [u8]) -> Result<()> {
        self.meter().take(buf.len())?;
        if buf.len() > self.len() {
            return Err(self.ended());
        }
        let mut rest = buf;
        while !rest.is_empty() {
            let some = self.some()?;
            let much = some.len().min(rest.len());
            let (now, later) = rest.split_at_mut(much);
            now.copy_from_slice(some.get(..much).unwrap_or_default());
            self.at += much as u64;
            rest = later;
        }
        Ok(())
    }

    #[inline]
    fn read_u8(&mut self) -> Result<u8> {
        self.meter().take(1)?;
        let byte = *self.some()?.first().ok_or(Error::Io)?;
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use gimli::Reader as _;

    use super::*;

    fn window(bytes: &[u8]) -> (Window, File, Meter) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let (pages, meter) = (Pages::default(), Meter::default());
        meter.set(u64::MAX);
        let source = Source::new(Arc::new(file.try_clone().unwrap()), None, &pages, &meter);
        (Window::new(&source, 0, bytes.len() as u64), file, meter)
    }

    /// Guarantees: what is read through pages is what the file holds, across their edges; what it does not hold is an
    /// error, also when it is cut short meanwhile, and so is more than was allowed.
    #[test]
    fn pages_of_a_file() {
        let bytes: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
        let (whole, file, meter) = window(&bytes);
        for at in [0, 1, PAGE - 2, PAGE, 3 * PAGE - 1, bytes.len() - 4] {
            let mut rest = whole.clone();
            rest.skip(at).unwrap();
            let expected = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
            assert_eq!((rest.read_u32(), rest.offset_from(&whole)), (Ok(expected), at + 4));
        }
        let mut rest = whole.clone();
        let mut first = rest.split(PAGE + 7).unwrap();
        let mut copy = vec![0; PAGE + 7];
        first.read_slice(&mut copy).unwrap();
        assert_eq!((&copy[..], first.is_empty()), (&bytes[..PAGE + 7], true));
        assert!(first.read_u8().is_err() && first.skip(1).is_err() && rest.truncate(bytes.len()).is_err());
        let needle = bytes[PAGE + 7..].iter().position(|byte| *byte == 0x9c).unwrap();
        assert_eq!(rest.find(0x9c), Ok(needle));
        let longer = Window { end: whole.end + 8, ..whole.clone() };
        let mut rest = longer.clone();
        rest.skip(bytes.len()).unwrap();
        assert!(rest.read_u8().is_err() && longer.find(0xfe).is_ok());
        meter.set(3);
        assert!(whole.clone().read_u32().is_err() && whole.clone().read_u16().is_ok());
        meter.set(u64::MAX);
        file.set_len(10).unwrap();
        let (short, ..) = (Window { page: None, ..whole.clone() }, ());
        lock(&short.source.pages.0).young.clear();
        let mut rest = short.clone();
        assert!(rest.skip(8).is_ok() && rest.read_u16().is_ok() && rest.read_u8().is_err());
    }

    /// Guarantees: of many pages the ones that are not asked for are let go.
    #[test]
    fn few_pages_are_kept() {
        let (whole, file, _) = window(&[]);
        file.set_len(4 * (MAX_PAGES * PAGE) as u64).unwrap();
        let mut rest = Window { end: 4 * (MAX_PAGES * PAGE) as u64, ..whole };
        while !rest.is_empty() {
            rest.read_u8().unwrap();
            rest.skip(PAGE - 1).unwrap();
            assert!(rest.source.page(0).is_ok());
            let kept = lock(&rest.source.pages.0);
            assert!(
                kept.young.len() + kept.old.len() <= MAX_PAGES
                    && kept.young.contains_key(&(rest.source.id, 0))
            );
        }
    }
}
