//! A file's variables by name, those that it lets others use.

use object::elf::{STT_OBJECT, Sym64};
use object::read::elf::Sym as _;
use object::{LittleEndian as LE, pod};

use super::object::Object;
use super::source::Source as _;

/// Bytes of the table that are gone through: that of libjvm.so has 30 KiB.
const MAX_TABLE: u64 = 4 * 1024 * 1024;
/// Bytes of all names together.
const MAX_NAMES: u64 = 16 * 1024 * 1024;

/// The virtual addresses of variables, as the file counts. `None` unless all of them are there.
pub(crate) fn variables<const N: usize>(object: &Object, names: [&str; N]) -> Option<[u64; N]> {
    let section = object.elf.section(b".dynsym")?;
    let (table, table_size) = section.place().filter(|(_, size)| *size <= MAX_TABLE)?;
    let (texts, texts_size) = object.elf.section_at(section.link)?.place()?;
    let whole = |at, size: u64| Some(object.file.read(at, usize::try_from(size).ok()?));
    let (table, texts) = (whole(table, table_size)?, whole(texts, texts_size.min(MAX_NAMES))?);
    let count = table.len() / size_of::<Sym64<LE>>();
    let (symbols, _) = pod::slice_from_bytes::<Sym64<LE>>(&table, count).ok()?;
    let mut found = [None; N];
    for symbol in symbols.iter().filter(|symbol| symbol.st_type() == STT_OBJECT && symbol.st_shndx(LE) != 0) {
        let name =
            usize::try_from(symbol.st_name(LE)).ok().and_then(|at| texts.get(at..)).unwrap_or_default();
        let is_called = |wanted: &&str| {
            name.strip_prefix(wanted.as_bytes()).is_some_and(|behind| behind.first() == Some(&0))
        };
        for (place, _) in found.iter_mut().zip(&names).filter(|(_, wanted)| is_called(wanted)) {
            *place = Some(symbol.st_value(LE));
        }
    }
    let mut all = [0; N];
    for (to, found) in all.iter_mut().zip(found) {
        *to = found?;
    }
    Some(all)
}
