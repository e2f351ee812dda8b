//! One file that is mapped, opened once and kept open: what has been opened stays readable whatever becomes of its name,
//! or of the process. What is in it is read when a stack first leads there.
//!
//! How frames are undone and how they are named lie behind locks of their own: names of a large file take seconds, and
//! nobody who unwinds waits for them.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::beside::{Beside, Sum};
use super::demangle::demangle;
use super::dwarf::{Debug, Named};
use super::go::Go;
use super::keeps::Keeps;
use super::object::{Means, Object};
use super::scan::Begin;
use super::shelf::lock;
use super::symbols::Symbols;
use super::undo::{Undo, Undoing};
use super::v8::Metadata;
use super::variables::variables;

/// Bytes of names that are kept by address, and an address counts for this much by itself.
const MAX_NAMED: usize = 4 * 1024 * 1024;
const PER_ADDRESS: usize = 128;

/// A file and what has been learnt of it.
pub(crate) struct Image {
    object: Option<Object>,
    undo: Undo,
    v8: OnceLock<Option<Metadata>>,
    names: Mutex<Names>,
    /// Bytes held for names.
    names_held: AtomicU64,
    /// When names were last asked for, as [`MOMENTS`] counts.
    used: AtomicU64,
    /// Files that it has open.
    files: usize,
}

static MOMENTS: AtomicU64 = AtomicU64::new(0);

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

/// What addresses are called.
struct Names {
    beside: Beside,
    means: Means,
    /// Where the distributor has put the debug information, if not into the file.
    separate: Option<Object>,
    /// What that file must add up to, until it has been seen that it does.
    unchecked: Option<Sum>,
    /// What that has in common with others'.
    supplement: Option<Object>,
    /// What to ask servers for: it is not here.
    wanted: Option<Wanted>,
    tables: Lazy<Tables>,
    named: HashMap<u64, Arc<[Named]>>,
    named_size: usize,
}

/// What is missing, by its build id.
enum Wanted {
    Separate(Vec<u8>),
    Supplement(Vec<u8>),
}

impl Wanted {
    fn of(object: &Object, separate: Option<&Object>, supplement: Option<&Object>) -> Option<Self> {
        if separate.is_none() && !object.has(b".debug_info") {
            return object.elf.build_id.clone().map(Self::Separate);
        }
        let id = Beside::supplement_id(separate.unwrap_or(object)).filter(|_| supplement.is_none());
        id.map(Self::Supplement)
    }
}

struct Tables {
    symbols: Vec<Symbols>,
    debug: Option<Debug>,
    go: Option<Go>,
    /// Bytes of memory that files of our own take.
    files: u64,
}

impl Image {
    /// What belongs to the file is looked for beside it at once, as long as its process is there.
    pub(crate) fn new(file: File, beside: Beside, means: &Means) -> Self {
        let object = Object::read(file);
        let bare = object.as_ref().filter(|object| !object.has(b".debug_info"));
        let (separate, unchecked) = bare.and_then(|object| beside.debug_information(object)).unzip();
        let supplement = separate.as_ref().or(object.as_ref()).and_then(|object| beside.supplement(object));
        let wanted = object.as_ref().filter(|_| means.servers.is_some());
        let wanted = wanted.and_then(|object| Wanted::of(object, separate.as_ref(), supplement.as_ref()));
        let files = 1 + usize::from(separate.is_some()) + usize::from(supplement.is_some());
        let names = Names {
            beside,
            means: means.clone(),
            separate,
            unchecked: unchecked.flatten(),
            supplement,
            wanted,
            tables: Lazy::Unread,
            named: HashMap::new(),
            named_size: 0,
        };
        Self {
            object,
            undo: Undo::default(),
            v8: OnceLock::new(),
            names: Mutex::new(names),
            names_held: AtomicU64::new(0),
            used: AtomicU64::new(0),
            files,
        }
    }

    /// The virtual address, as the file counts, of an offset in it. `None` where there is no code of an ELF file.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        self.object.as_ref()?.elf.address_of(offset)
    }

    /// As the linker wrote it.
    pub(crate) fn build_id(&self) -> Option<&[u8]> {
        self.object.as_ref()?.elf.build_id.as_deref()
    }

    /// How to undo the frame of the code at a virtual address.
    pub(crate) fn undoing(&self, address: u64) -> Option<Undoing> {
        Some(self.undo.at(self.object.as_ref()?, address))
    }

    /// See [`Undo::begin`].
    pub(crate) fn begin(&self, address: u64) -> Option<Begin> {
        Some(self.undo.begin(self.object.as_ref()?, address))
    }

    /// See [`Object::bytes`].
    pub(crate) fn bytes(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        self.object.as_ref()?.bytes(address, most)
    }

    /// It says of its functions how their frames are undone.
    pub(crate) fn has_rows(&self) -> bool {
        self.object.as_ref().is_some_and(|it| self.undo.has_rows(&it.elf, &it.file))
    }

    /// Whether its code keeps frame pointers.
    pub(crate) fn keeps(&self) -> Keeps {
        self.object.as_ref().map_or(Keeps::None, |it| self.undo.keeps(&it.elf, &it.file))
    }

    /// What V8 says of itself, if it is part of the file.
    pub(crate) fn v8(&self) -> Option<&Metadata> {
        self.v8.get_or_init(|| Metadata::read(self.object.as_ref()?)).as_ref()
    }

    /// Who is at a virtual address: innermost first, at least one; and whether more is held since.
    pub(crate) fn names(&self, address: u64) -> (Arc<[Named]>, bool) {
        self.used.store(MOMENTS.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mut names = lock(&self.names);
        names.ask(self.object.as_ref());
        if let Some(known) = names.named.get(&address) {
            return (Arc::clone(known), false);
        }
        let found: Arc<[Named]> = names.look_up(self.object.as_ref(), address).into();
        names.keep(address, &found);
        let held = names.held();
        (found, self.names_held.swap(held, Ordering::Relaxed) < held)
    }

    /// Bytes held of what can be read again.
    pub(crate) fn held(&self) -> u64 {
        self.names_held.load(Ordering::Relaxed) + self.undo.size() as u64
    }

    /// See [`variables`].
    pub(crate) fn variables<const N: usize>(&self, names: [&str; N]) -> Option<[u64; N]> {
        variables(self.object.as_ref()?, names)
    }

    /// Files that it holds open: with what belongs to it.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// When names were last asked for: the later the more.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Lets go of what [`held`](Self::held) counts.
    pub(crate) fn forget(&self) {
        lock(&self.names).forget();
        self.undo.forget();
        self.names_held.store(0, Ordering::Relaxed);
    }
}

impl Names {
    /// Takes what servers have sent, or asks them. What has been named meanwhile is named anew.
    fn ask(&mut self, object: Option<&Object>) {
        let (Some(servers), Some(object)) = (&self.means.servers, object) else { return };
        let found = match &self.wanted {
            None => return,
            Some(Wanted::Separate(id)) => servers.get(id).map(|found| {
                self.supplement = self.beside.supplement(&found);
                self.separate = Some(found);
            }),
            Some(Wanted::Supplement(id)) => servers.get(id).map(|found| self.supplement = Some(found)),
        };
        if found.is_some() {
            self.wanted = Wanted::of(object, self.separate.as_ref(), self.supplement.as_ref());
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.tables, self.named, self.named_size) = (Lazy::Unread, HashMap::new(), 0);
    }

    fn keep(&mut self, address: u64, names: &Arc<[Named]>) {
        let size = PER_ADDRESS + names.iter().map(Named::size).sum::<usize>();
        self.named_size += size;
        if self.named_size > MAX_NAMED {
            self.named.clear();
            self.named_size = size;
        }
        self.named.insert(address, Arc::clone(names));
    }

    /// Lets go of another program's file.
    fn check(&mut self, object: Option<&Object>) {
        let Some(sum) = self.unchecked.take() else { return };
        if self.separate.as_ref().is_some_and(|separate| !sum.is_of(&separate.file)) {
            (self.separate, self.supplement) = (None, None);
            self.wanted =
                self.means.servers.as_ref().and(object).and_then(|object| Wanted::of(object, None, None));
        }
    }

    fn look_up(&mut self, object: Option<&Object>, address: u64) -> Vec<Named> {
        self.check(object);
        let (separate, supplement) = (self.separate.as_ref(), self.supplement.as_ref());
        let read = |object| Tables::read(object, separate, supplement, &self.beside, &self.means);
        let (Some(object), Some(tables)) = (object, self.tables.get(|| object.map(read))) else {
            return vec![Named::default()];
        };
        let mut found = tables.debug.as_mut().map(|debug| debug.at(address)).unwrap_or_default();
        if found.is_empty() {
            found = tables.go.as_ref().map(|go| go.at(&object.file, address)).unwrap_or_default();
        }
        if found.is_empty() {
            found.push(Named::default());
        }
        let nearest =
            tables.symbols.iter().filter_map(|symbols| symbols.at(address)).max_by_key(|(at, _)| *at);
        let symbol = nearest.map(|(_, name)| name);
        // Debug information has the bare names of local types' functions; their symbols have the whole.
        let is_whole = |name: &str| name.starts_with("_Z") || name.starts_with("_R");
        if let Some(outermost) = found.last_mut() {
            let better = symbol.filter(|name| outermost.function.is_none() || is_whole(name));
            outermost.function = better.map(|name| demangle(&name)).or(outermost.function.take());
        }
        found
    }

    fn held(&self) -> u64 {
        let Some(tables) = self.tables.known() else { return self.named_size as u64 };
        let symbols = tables.symbols.iter().map(Symbols::size).sum::<usize>();
        (symbols + self.named_size) as u64 + tables.files + tables.debug.as_ref().map_or(0, Debug::size)
    }
}

impl Tables {
    fn read(
        object: &Object,
        separate: Option<&Object>,
        supplement: Option<&Object>,
        beside: &Beside,
        means: &Means,
    ) -> Self {
        let full = |object| Symbols::read(object, b".symtab");
        let mut symbols: Vec<_> = separate.and_then(full).or_else(|| full(object)).into_iter().collect();
        let mut files = 0;
        if symbols.is_empty() {
            // What the dynamic linker sees is not said once more there.
            let small = object.within(means);
            symbols.extend(small.as_ref().and_then(full));
            symbols.extend(Symbols::read(object, b".dynsym"));
            files = small.as_ref().map_or(0, Object::size);
        }
        let debug = Debug::read(separate.unwrap_or(object), supplement, object.elf.code(), beside, means);
        Self { symbols, debug, go: Go::read(&object.elf, &object.file), files }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::linux::shelf::hex;

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
            let flags = ["-g", "-O1", "-fno-inline", "-Wl,--build-id", "-o"].map(flag);
            run("cc", &[&flags[..], &[&program, &at(name)]].concat());
            let debug = at(name).with_extension("debug");
            run(
                "objcopy",
                &[flag("--only-keep-debug"), flag("--compress-debug-sections=zlib"), &program, &debug],
            );
        }
        let address = address_of(&at("a"), "wanted");
        run("strip", &[&at("a")]);
        let names = |debug: &str| {
            let folder = at("debug");
            let _ = std::fs::remove_dir_all(&folder);
            let file = File::open(at("a")).unwrap();
            let id = hex(&Object::read(file.try_clone().unwrap()).unwrap().elf.build_id.unwrap());
            let place = folder.join(".build-id").join(&id[..2]);
            std::fs::create_dir_all(&place).unwrap();
            let _ = std::fs::copy(at(debug), place.join(format!("{}.debug", &id[2..])));
            let beside = Beside::with_folder(std::process::id(), &at("a"), &folder);
            let image = Image::new(file, beside, &Means::default());
            let (names, held) = (image.names(address).0, image.held());
            image.forget();
            let again = (image.held(), image.names(address).0, image.held());
            assert_eq!(again, (0, names.clone(), held));
            names
        };
        let named = names("a.debug");
        assert_eq!((named[0].function.as_deref(), named[0].line), (Some("wanted"), Some(1)));
        assert!(named[0].file.as_deref().unwrap().ends_with("/a.c"));
        assert_eq!(names("b.debug")[..], [Named::default()]);
        assert_eq!(names("none")[..], [Named::default()]);
    }

    /// Guarantees: whoever unwinds does not wait for whoever names, which may take long.
    #[test]
    fn rows_while_names_are_read() {
        let path = std::env::current_exe().unwrap();
        let beside = Beside::new(std::process::id(), &path);
        let image = Image::new(File::open(&path).unwrap(), beside, &Means::default());
        let address = address_of(&path, "main");
        let naming = lock(&image.names);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| tell.send((image.undoing(address).is_some(), image.held() > 0)).unwrap());
            let unwound = told.recv_timeout(std::time::Duration::from_secs(60));
            drop(naming);
            assert_eq!(unwound, Ok((true, true)));
        });
    }
}
