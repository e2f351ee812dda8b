//! One file that is mapped, opened once and kept open: what has been opened stays readable whatever becomes of its name,
//! or of the process. What is in it is read when a stack first leads there.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use super::cfi::{Cfi, Row};
use super::demangle::demangle;
use super::dwarf::{Debug, Named, Room};
use super::elf::Elf;
use super::symbols::Symbols;

/// Bytes of names that are kept by address, and an address counts for this much by itself.
const MAX_NAMED: usize = 4 * 1024 * 1024;
const PER_ADDRESS: usize = 128;

/// A file and what has been learnt of it.
pub(crate) struct Image {
    file: File,
    /// Where the distributor has put the symbols, if not into the file.
    separate: Option<File>,
    /// For its debug information.
    room: Room,
    /// Names come from its symbols alone: there was too much of all.
    without_lines: bool,
    elf: Option<Elf>,
    cfi: Lazy<Cfi>,
    names: Lazy<Names>,
    named: HashMap<u64, Arc<[Named]>>,
    named_size: usize,
}

/// Read, and maybe not found.
enum Lazy<T> {
    Unread,
    Read(Option<T>),
}

impl<T> Lazy<T> {
    fn get(&mut self, read: impl FnOnce() -> Option<T>) -> Option<&mut T> {
        if let Self::Unread = self {
            *self = Self::Read(read());
        }
        match self {
            Self::Read(it) => it.as_mut(),
            Self::Unread => None,
        }
    }

    fn known(&self) -> Option<&T> {
        match self {
            Self::Read(it) => it.as_ref(),
            Self::Unread => None,
        }
    }
}

struct Names {
    symbols: Option<Symbols>,
    debug: Option<Debug>,
}

impl Image {
    /// `separate` is asked for the file of a build id if there are no names in `file` itself.
    pub(crate) fn new(file: File, room: &Room, separate: impl FnOnce(&[u8]) -> Option<File>) -> Self {
        let elf = Elf::read(&file);
        let separate = elf.as_ref().filter(|elf| elf.section(b".symtab").is_none()).and_then(|elf| {
            let id = elf.build_id.as_deref()?;
            let found = separate(id)?;
            Elf::read(&found).filter(|it| it.build_id.as_deref() == Some(id)).map(|_| found)
        });
        Self {
            file,
            separate,
            room: room.clone(),
            without_lines: false,
            elf,
            cfi: Lazy::Unread,
            names: Lazy::Unread,
            named: HashMap::new(),
            named_size: 0,
        }
    }

    /// The virtual address, as the file counts, of an offset in it. `None` where there is no code of an ELF file.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        self.elf.as_ref()?.address_of(offset)
    }

    /// As the linker wrote it.
    pub(crate) fn build_id(&self) -> Option<&[u8]> {
        self.elf.as_ref()?.build_id.as_deref()
    }

    /// How to undo the frame of the code at a virtual address.
    pub(crate) fn row(&mut self, address: u64) -> Option<Arc<Row>> {
        let (elf, file) = (self.elf.as_ref()?, &self.file);
        self.cfi.get(|| Cfi::read(elf, file))?.row(address)
    }

    /// It says of its functions how their frames are undone.
    pub(crate) fn has_rows(&self) -> bool {
        self.cfi.known().is_some()
    }

    /// Who is at a virtual address: innermost first, at least one.
    pub(crate) fn names(&mut self, address: u64) -> Arc<[Named]> {
        if let Some(known) = self.named.get(&address) {
            return Arc::clone(known);
        }
        let names: Arc<[Named]> = self.look_up(address).into();
        let size = PER_ADDRESS + names.iter().map(Named::size).sum::<usize>();
        self.named_size += size;
        if self.named_size > MAX_NAMED {
            self.named.clear();
            self.named_size = size;
        }
        self.named.insert(address, Arc::clone(&names));
        names
    }

    fn look_up(&mut self, address: u64) -> Vec<Named> {
        let (file, separate) = (&self.file, self.separate.as_ref());
        let read = || {
            let own = self.elf.as_ref()?;
            let other = separate.and_then(|file| Some((Elf::read(file)?, file)));
            let (elf, file) = other.as_ref().map_or((own, file), |(elf, file)| (elf, *file));
            let symbols = Symbols::read(elf, file).or_else(|| Symbols::read(own, &self.file));
            let debug = if self.without_lines { None } else { Debug::read(elf, file, &self.room) };
            Some(Names { symbols, debug })
        };
        let Some(names) = self.names.get(read) else { return vec![Named::default()] };
        let mut found = names.debug.as_ref().map(|debug| debug.at(address)).unwrap_or_default();
        if found.is_empty() {
            found.push(Named::default());
        }
        let symbol = names.symbols.as_ref().and_then(|symbols| symbols.at(address));
        // Debug information has the bare names of local types' functions; their symbols have the whole.
        let is_whole = |name: &&str| name.starts_with("_Z") || name.starts_with("_R");
        if let Some(outermost) = found.last_mut() {
            let better = symbol.filter(|name| outermost.function.is_none() || is_whole(name));
            outermost.function = better.map(demangle).or(outermost.function.take());
        }
        found
    }

    /// Bytes held of what can be read again.
    pub(crate) fn held(&self) -> u64 {
        let names = self.names.known();
        let symbols = names.and_then(|it| it.symbols.as_ref()).map_or(0, Symbols::size);
        let debug = names.and_then(|it| it.debug.as_ref()).map_or(0, Debug::size);
        debug + (symbols + self.cfi.known().map_or(0, Cfi::size)) as u64
    }

    /// Lets go of lines for good.
    pub(crate) fn forgo_lines(&mut self) {
        let Lazy::Read(Some(names)) = &mut self.names else { return };
        self.without_lines |= names.debug.take().is_some();
    }

    /// Lets go of what [`held`](Self::held) counts.
    pub(crate) fn forget(&mut self) {
        (self.names, self.cfi) = (Lazy::Unread, Lazy::Unread);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn run(program: &str, arguments: &[&Path]) {
        assert!(Command::new(program).args(arguments).status().unwrap().success());
    }

    /// The address of a function, from the file that has its symbols.
    fn address_of(file: &Path, function: &str) -> u64 {
        let table = Command::new("nm").arg(file).output().unwrap().stdout;
        let table = String::from_utf8(table).unwrap();
        let line = table.lines().find(|line| line.ends_with(&format!(" {function}"))).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    }

    /// Guarantees: names come from the separate file that belongs to a stripped one, compressed or not, and from no other;
    /// what was let go is read again.
    ///
    /// Needs: cc, nm, objcopy, strip.
    #[test]
    fn separate_debug_information() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        let flag = |text| Path::new(text);
        for (name, body) in
            [("a.c", "int wanted(int n) { return n * 2; }"), ("b.c", "int wanted(int n) { return n; }")]
        {
            std::fs::write(at(name), format!("{body}\nint main(int n, char **v) {{ return wanted(n); }}\n"))
                .unwrap();
            let program = at(name).with_extension("");
            run(
                "cc",
                &[
                    flag("-g"),
                    flag("-O1"),
                    flag("-fno-inline"),
                    flag("-Wl,--build-id"),
                    &at(name),
                    flag("-o"),
                    &program,
                ],
            );
            let debug = at(name).with_extension("debug");
            run(
                "objcopy",
                &[flag("--only-keep-debug"), flag("--compress-debug-sections=zlib"), &program, &debug],
            );
        }
        let address = address_of(&at("a"), "wanted");
        run("strip", &[&at("a")]);
        let names = |debug: &str| {
            let debug = File::open(at(debug)).ok();
            let mut image = Image::new(File::open(at("a")).unwrap(), &Room::default(), |_| debug);
            let names = image.names(address);
            let held = image.held();
            image.forget();
            image.named.clear();
            assert_eq!((image.held(), image.names(address), image.held()), (0, names.clone(), held));
            names
        };
        let named = names("a.debug");
        assert_eq!((named[0].function.as_deref(), named[0].line), (Some("wanted"), Some(1)));
        assert!(named[0].file.as_deref().unwrap().ends_with("/a.c"));
        assert_eq!(names("b.debug")[..], [Named::default()]);
        assert_eq!(names("none")[..], [Named::default()]);
    }

    /// Guarantees: lines are let go before anything else and for good, the name stays; the room that they took is free again.
    ///
    /// Needs: cc.
    #[test]
    fn lines_are_forgone() {
        let room = tempfile::tempdir().unwrap();
        let (source, program) = (room.path().join("a.c"), room.path().join("a"));
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        run("cc", &[Path::new("-g"), &source, Path::new("-o"), &program]);
        let address = address_of(&program, "main");
        let ample = Room::default();
        let left = ample.left();
        let image = |room: &Room| Image::new(File::open(&program).unwrap(), room, |_| None);
        let named = |image: &mut Image| {
            image.named.clear();
            let names = image.names(address);
            (names[0].function.clone().unwrap(), names[0].line)
        };
        let mut first = image(&ample);
        assert_eq!(named(&mut first), ("main".to_owned(), Some(1)));
        let taken = left - ample.left();
        assert!(taken > 0 && first.held() >= taken);
        let narrow = Room::of(taken - 1);
        assert_eq!(named(&mut image(&narrow)), ("main".to_owned(), None));
        assert_eq!(narrow.left(), taken - 1);
        let just = Room::of(taken);
        let mut one = image(&just);
        assert_eq!(named(&mut one).1, Some(1));
        assert_eq!(named(&mut image(&just)).1, None);
        drop(one);
        assert_eq!(named(&mut image(&just)).1, Some(1));
        first.forgo_lines();
        assert_eq!((ample.left(), named(&mut first)), (left, ("main".to_owned(), None)));
        first.forget();
        assert_eq!(named(&mut first).1, None);
        assert!(first.held() > 0);
    }
}
