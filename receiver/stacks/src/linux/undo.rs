//! How the frames of a file's code are undone: by its unwind information, by what Go keeps in its place, or by frame pointers.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex};

use super::cfi::Cfi;
use super::elf::Elf;
use super::go::Go;
use super::keeps::{Found, Keeps, has_frame};
use super::object::Object;
use super::row::Row;
use super::scan::Begin;
use super::shelf::lock;
use super::symbols::Symbols;

/// Addresses of which it is kept what was found.
const MAX_KNOWN: usize = 8 * 1024;
/// Bytes that one takes, roughly.
const PER_ADDRESS: usize = 512;
/// Bytes of a table of symbols in which it is looked where functions begin.
const MAX_SYMBOLS: u64 = 1024 * 1024;
/// Bytes of a function that has no name.
const MAX_FUNCTION: u64 = 4 * 1024;

/// How the frame of the code at an address is undone.
#[derive(Debug, Clone)]
pub(crate) struct Undoing {
    /// What the file says.
    pub(crate) row: Option<Arc<Row>>,
    /// Where it says nothing: the function has made the frame pointer point to its frame.
    pub(crate) has_frame: bool,
    /// Go has made the code, which keeps frame pointers, also from stack to stack.
    pub(crate) is_go: bool,
}

/// What is known of it, behind a lock of its own: nobody who unwinds waits for names.
#[derive(Default)]
pub(crate) struct Undo(Mutex<Known>);

#[derive(Default)]
struct Known {
    tables: Option<Tables>,
    undoings: HashMap<u64, Undoing>,
    found: Option<Found>,
    /// Read only where a caller must be looked for.
    symbols: Option<Option<Symbols>>,
}

struct Tables {
    cfi: Option<Cfi>,
    go: Option<Go>,
}

impl Known {
    fn tables(&mut self, elf: &Elf, file: &File) -> &Tables {
        self.tables.get_or_insert_with(|| Tables { cfi: Cfi::read(elf, file), go: Go::read(elf, file) })
    }

    fn begin(&mut self, object: &Object, address: u64) -> Option<Begin> {
        let symbols = self.symbols.get_or_insert_with(|| {
            let is_small = |name: &&[u8]| object.elf.section(name).is_some_and(|it| it.size() <= MAX_SYMBOLS);
            let mut tables = [b".symtab".as_slice(), b".dynsym"].into_iter().filter(is_small);
            tables.find_map(|name| Symbols::read(object, name))
        });
        symbols.as_ref()?.begin(address)
    }

    fn found(&mut self, elf: &Elf, file: &File) -> Found {
        if let Some(found) = self.found {
            return found;
        }
        let Tables { cfi, go } = self.tables(elf, file);
        // What Go has made keeps them; the sections of C code that is linked to it tell of that code.
        let is_go = |address| go.as_ref().is_some_and(|go| go.covers(address));
        let found = Found::of(elf, file, cfi.as_ref(), is_go);
        self.found = Some(found);
        found
    }
}

impl Undo {
    /// How to undo the frame of the code at a virtual address of the file.
    pub(crate) fn at(&self, object: &Object, address: u64) -> Undoing {
        let (elf, file) = (&object.elf, &*object.file);
        let mut known = lock(&self.0);
        if let Some(known) = known.undoings.get(&address) {
            return known.clone();
        }
        let Tables { cfi, go } = known.tables(elf, file);
        let go = go.as_ref().filter(|go| go.covers(address));
        // Go's own debug information leaves out where the frame pointer is kept.
        let row = go.and_then(|go| go.row(file, address));
        let row = row.or_else(|| cfi.as_ref()?.row(file, address)).map(Arc::new);
        let is_go = go.is_some();
        // Another function's frame counts for nothing.
        let begin = if is_go || row.is_some() { None } else { known.begin(object, address) };
        let from = begin.map_or(0, |begin| match begin {
            Begin::At(from) | Begin::After(from) => from,
        });
        let has_frame = is_go || (row.is_none() && has_frame(elf, file, from..address));
        let undoing = Undoing { row, has_frame, is_go };
        if known.undoings.len() >= MAX_KNOWN {
            known.undoings.clear();
        }
        known.undoings.insert(address, undoing.clone());
        undoing
    }

    /// Where the function around a virtual address begins.
    pub(crate) fn begin(&self, object: &Object, address: u64) -> Begin {
        let least = address.saturating_sub(MAX_FUNCTION);
        match lock(&self.0).begin(object, address) {
            Some(Begin::After(from)) => Begin::After(from.max(least)),
            Some(begin) => begin,
            None => Begin::After(least),
        }
    }

    /// Something says of its functions how their frames are undone.
    pub(crate) fn has_rows(&self, elf: &Elf, file: &File) -> bool {
        let mut known = lock(&self.0);
        let tables = known.tables(elf, file);
        tables.cfi.is_some() || tables.go.is_some()
    }

    /// Whether its code keeps frame pointers.
    pub(crate) fn keeps(&self, elf: &Elf, file: &File) -> Keeps {
        let mut known = lock(&self.0);
        let found = known.found(elf, file);
        let has_go = known.tables(elf, file).go.is_some();
        match found.all() {
            // C code that is linked to Go's tells of itself.
            Keeps::None if has_go && found.is_empty() => Keeps::Frames,
            Keeps::NoCalls if has_go => Keeps::Frames,
            all => all,
        }
    }

    /// Bytes that it holds, at least.
    pub(crate) fn size(&self) -> usize {
        let known = lock(&self.0);
        let tables = known.tables.as_ref().and_then(|it| it.cfi.as_ref()).map_or(0, Cfi::size);
        let symbols = known.symbols.as_ref().and_then(Option::as_ref).map_or(0, Symbols::size);
        tables + symbols + known.undoings.len() * PER_ADDRESS
    }

    /// Lets go of what can be read again.
    pub(crate) fn forget(&self) {
        let mut known = lock(&self.0);
        (known.tables, known.undoings, known.symbols) = (None, HashMap::new(), None);
    }
}
