//! A file's table of symbols, by address.

use std::fs::File;
use std::sync::Arc;

use object::elf::{STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym64};
use object::read::elf::Sym as _;
use object::{LittleEndian as LE, pod};

use super::object::Object;
use super::pages::Meter;
use super::scan::Begin;
use super::source::{Source as _, Span};

/// Functions that are kept: 15 MiB. Node has 110,000. A larger table is gone through anew for each address.
const MAX_KEPT: usize = 640 * 1024;
/// Bytes of a table that is gone through.
const MAX_TABLE: u64 = 256 * 1024 * 1024;
/// Bytes that are gone through, of one file, as often as they are: half a minute's work.
const MAX_LIFE: u64 = 64 * 1024 * 1024 * 1024;
const PIECE: usize = 2730 * size_of::<Sym64<LE>>();
/// Bytes of a name: longer ones are cut, and no longer mangled.
const MAX_NAME: usize = 8 * 1024 + 1;
/// Most names are shorter.
const USUAL_NAME: usize = 256;
/// Nested symbols that are looked through for one that covers an address.
const MAX_NESTED: usize = 16;

/// Functions with names.
#[derive(Debug)]
pub(crate) struct Symbols {
    file: Arc<File>,
    /// Where in the file the table is, and the names: offset and size.
    table: (u64, u64),
    names: (u64, u64),
    /// By address; of those that share one the best comes last. `None`: there are too many.
    functions: Option<Vec<Function>>,
    meter: Meter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    address: u64,
    rank: u8,
    /// 0: until the next one.
    size: u64,
    name: u32,
}

impl Function {
    fn covers(&self, address: u64, nearest: u64) -> bool {
        match self.size {
            0 => self.address == nearest,
            size => address.checked_sub(self.address).is_some_and(|behind| behind < size),
        }
    }
}

impl Symbols {
    /// The table of this name. `None` if the file has none with functions in it.
    pub(crate) fn read(object: &Object, section: &[u8]) -> Option<Self> {
        Self::keeping(MAX_KEPT, object, section)
    }

    fn keeping(most: usize, object: &Object, section: &[u8]) -> Option<Self> {
        let section = object.elf.section(section)?;
        let table = section.place().filter(|(_, size)| *size <= MAX_TABLE)?;
        let names = object.elf.section_at(section.link)?.place()?;
        let mut it =
            Self { file: Arc::clone(&object.file), table, names, functions: None, meter: Meter::default() };
        it.meter.set(MAX_LIFE);
        let mut functions = Vec::new();
        it.each(|function| {
            functions.push(function);
            functions.len() <= most
        });
        if functions.is_empty() {
            return None;
        }
        if functions.len() <= most {
            functions.sort_unstable();
            functions.shrink_to_fit();
            it.functions = Some(functions);
        }
        Some(it)
    }

    /// Where the function around a virtual address of the file begins, and its mangled name.
    pub(crate) fn at(&self, address: u64) -> Option<(u64, String)> {
        let found = match &self.functions {
            Some(functions) => {
                let above = functions.partition_point(|it| it.address <= address);
                let before = functions.get(above.saturating_sub(MAX_NESTED)..above)?;
                let nearest = before.last()?.address;
                *before.iter().rev().find(|it| it.covers(address, nearest))?
            }
            None => self.search(address)?,
        };
        self.name(found.name).map(|name| (found.address, name))
    }

    /// Where the function around a virtual address begins, as far as a table tells that is kept.
    pub(crate) fn begin(&self, address: u64) -> Option<Begin> {
        let functions = self.functions.as_ref()?;
        let above = functions.partition_point(|it| it.address <= address);
        let before = functions.get(above.saturating_sub(MAX_NESTED)..above)?;
        let sized = before.iter().rev().find(|it| it.size > 0 && it.covers(address, it.address));
        Some(match sized {
            Some(it) => Begin::At(it.address),
            // Others without a name may follow.
            None => Begin::After(before.iter().map(|it| it.address.saturating_add(it.size)).max()?),
        })
    }

    fn search(&self, address: u64) -> Option<Function> {
        let (mut sized, mut without, mut nearest) = (None::<Function>, None::<Function>, 0);
        self.each(|it| {
            if it.address <= address {
                nearest = nearest.max(it.address);
                if it.size == 0 {
                    without = without.max(Some(it));
                } else if it.covers(address, it.address) {
                    sized = sized.max(Some(it));
                }
            }
            true
        });
        sized.max(without.filter(|it| it.covers(address, nearest)))
    }

    /// Goes through the functions in the table until there is no more, or none is wanted.
    fn each(&self, mut tell: impl FnMut(Function) -> bool) {
        let (at, size) = self.table;
        let table = Span { source: &*self.file, offset: at, size };
        let mut done = 0;
        loop {
            let piece = table.read(done, PIECE);
            done += piece.len() as u64;
            let count = piece.len() / size_of::<Sym64<LE>>();
            let Ok((symbols, _)) = pod::slice_from_bytes::<Sym64<LE>>(&piece, count) else { return };
            if symbols.is_empty()
                || self.meter.take(piece.len()).is_err()
                || !symbols.iter().filter_map(function).all(&mut tell)
            {
                return;
            }
        }
    }

    fn name(&self, at: u32) -> Option<String> {
        let names = Span { source: &*self.file, offset: self.names.0, size: self.names.1 };
        let text = |most| {
            let mut bytes = names.read(at.into(), most);
            let end = bytes.iter().position(|byte| *byte == 0);
            bytes.truncate(end.unwrap_or(most));
            (bytes, end.is_some())
        };
        let (usual, is_whole) = text(USUAL_NAME);
        let name = if is_whole { usual } else { text(MAX_NAME).0 };
        Some(String::from_utf8_lossy(&name).into_owned()).filter(|name| !name.is_empty())
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.functions.as_ref().map_or(0, |functions| functions.len() * size_of::<Function>())
    }
}

/// Functions, and what assembly leaves without a type.
fn function(symbol: &Sym64<LE>) -> Option<Function> {
    let kind = symbol.st_type();
    let is_code = [STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE].contains(&kind);
    if !is_code || symbol.st_shndx(LE) == 0 || symbol.st_value(LE) == 0 || symbol.st_name(LE) == 0 {
        return None;
    }
    let bind = match symbol.st_bind() {
        STB_GLOBAL => 2,
        STB_LOCAL => 0,
        _ => 1,
    };
    let rank = bind + if kind == STT_NOTYPE { 0 } else { 3 };
    Some(Function { address: symbol.st_value(LE), size: symbol.st_size(LE), name: symbol.st_name(LE), rank })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Guarantees: a table that is too large to be kept names every address as one that is kept does, here of this very
    /// program; and no more of it is read than was allowed.
    #[test]
    fn without_being_kept() {
        let object = Object::read(File::open("/proc/self/exe").unwrap()).unwrap();
        let (kept, gone_through) =
            (Symbols::read(&object, b".symtab").unwrap(), Symbols::keeping(10, &object, b".symtab").unwrap());
        assert!(kept.size() > 10_000 && gone_through.size() == 0);
        let code = object.elf.code().remove(0);
        let mut named = 0;
        for address in code.step_by(40_009) {
            let found = kept.at(address);
            assert_eq!(gone_through.at(address), found, "{address:#x}");
            named += usize::from(found.is_some());
        }
        assert!(named > 20, "{named}");
        let address = kept.functions.as_ref().unwrap()[100].address;
        assert!(gone_through.at(address).is_some());
        gone_through.meter.set(1000);
        assert_eq!(gone_through.at(address), None);
    }

    /// Guarantees: of symbols at one address and around it the one that the linker knows best names it; what has no size
    /// goes on until the next.
    ///
    /// Needs: cc.
    #[test]
    fn which_of_several() {
        let room = tempfile::tempdir().unwrap();
        let source = room.path().join("it.s");
        let text = "
            .text
            outer: .type outer, @function; .size outer, 64; .fill 16, 1, 0x90
            .globl global
            local: .type local, @function; .size local, 8
            global: .type global, @function; .size global, 8; .fill 8, 1, 0x90
            .fill 40, 1, 0x90
            bare: .fill 16, 1, 0x90
            .globl _start; _start: .type _start, @function; .size _start, 4; .fill 4, 1, 0x90
            .fill 4, 1, 0x90\n";
        std::fs::write(&source, text).unwrap();
        let program = room.path().join("it");
        let mut cc = Command::new("cc");
        assert!(
            cc.args(["-nostdlib", "-static", "-o"]).args([&program, &source]).status().unwrap().success()
        );
        let object = Object::read(File::open(&program).unwrap()).unwrap();
        let start = object.elf.section(b".text").unwrap().address;
        for most in [MAX_KEPT, 0] {
            let symbols = Symbols::keeping(most, &object, b".symtab").unwrap();
            let at = |offset| symbols.at(start + offset).map(|(_, name)| name);
            let expected =
                [(0, "outer"), (16, "global"), (23, "global"), (24, "outer"), (63, "outer"), (64, "bare")];
            for (offset, name) in expected {
                assert_eq!(at(offset).as_deref(), Some(name), "{offset}");
            }
            assert_eq!((at(79).as_deref(), at(80).as_deref(), at(84)), (Some("bare"), Some("_start"), None));
        }
    }
}
