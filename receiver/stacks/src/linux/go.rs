//! A file that Go has linked: where its table of functions is, and what that says.

use std::fs::File;

use gimli::{Encoding, Format};

use super::dwarf::Named;
use super::elf::Elf;
use super::pclntab::{Frame, Table};
use super::row::{FRAME, RETURN, Row, Rule, STACK};
use super::source::{Source as _, Span};

/// Bytes of data, and of relocations, that are gone through for what the runtime knows of the file.
const MAX_SEARCHED: u64 = 64 * 1024 * 1024;
const PIECE: u64 = 256 * 1024;
/// In what the runtime knows of it: where code begins, and where what is said of inlined functions does, since Go 1.20.
const TEXT: u64 = 176;
const INLINED: u64 = 320;
/// A relocation that puts an address of the file there.
const RELATIVE: u64 = if cfg!(target_arch = "aarch64") { 1027 } else { 8 };

/// See the module.
pub(crate) struct Go {
    table: Table,
    place: (u64, u64),
    /// Virtual addresses of its code.
    text: u64,
    end: u64,
    /// In the file.
    inlined: Option<(u64, u64)>,
}

impl Go {
    /// `None` if Go has not linked it, or a Go before 1.16.
    pub(crate) fn read(elf: &Elf, file: &File) -> Option<Self> {
        let names = [b".gopclntab".as_slice(), b".data.rel.ro.gopclntab"];
        let section = names.into_iter().find_map(|name| elf.section(name));
        let (address, place) = match section {
            Some(section) => (section.address, section.place()?),
            None if elf.has_sections() => return None,
            None => search(elf, file)?,
        };
        let span = Span { source: file, offset: place.0, size: place.1 };
        let table = Table::parse(&span)?;
        let known = Known::find(elf, file, address, address.wrapping_add(table.names));
        let text = match table.text {
            _ if table.is_absolute() => 0,
            0 => known
                .as_ref()
                .and_then(|known| known.word(elf, file, TEXT))
                .or_else(|| Some(elf.section(b".text")?.address))?,
            text => text,
        };
        let end = text.checked_add(table.end(&span)?)?;
        let inlined = known
            .filter(|_| table.knows_inlined())
            .and_then(|known| elf.offset_of(known.word(elf, file, INLINED)?));
        Some(Self { table, place, text, end, inlined })
    }

    fn span<'a>(&self, file: &'a File) -> Span<'a, File> {
        Span { source: file, offset: self.place.0, size: self.place.1 }
    }

    /// The code at a virtual address is of a function that it knows.
    pub(crate) fn covers(&self, address: u64) -> bool {
        (self.text..self.end).contains(&address)
    }

    /// How to undo the frame of the code at a virtual address. `None` where only frame pointers can tell.
    pub(crate) fn row(&self, file: &File, address: u64) -> Option<Row> {
        let address = address.checked_sub(self.text).filter(|_| self.covers(address))?;
        let span = self.span(file);
        let function = self.table.function(&span, address)?;
        let frame = self.table.frame(&span, &function, address)?;
        let row = |cfa, registers, framed| Row {
            cfa: Rule::Register(STACK, cfa),
            registers,
            return_address: RETURN,
            signal: false,
            framed,
            encoding: Encoding { address_size: 8, format: Format::Dwarf32, version: 4 },
        };
        let size = match frame {
            Frame::Outermost => return Some(row(8, vec![(RETURN, Rule::Undefined)], false)),
            Frame::Size(size) => i64::from(u32::try_from(size).ok()?),
        };
        if cfg!(target_arch = "aarch64") {
            // The return address lies at the bottom of the frame, the caller's frame pointer below.
            let kept = vec![(RETURN, Rule::Offset(-size)), (FRAME, Rule::Offset(-size - 8))];
            return (size > 0).then(|| row(size, kept, true));
        }
        let mut registers = vec![(RETURN, Rule::Offset(-8))];
        if size > 0 {
            registers.push((FRAME, Rule::Offset(-16)));
        }
        Some(row(size + 8, registers, size > 0))
    }

    /// Who is at a virtual address: innermost first; nobody where it knows nothing.
    pub(crate) fn at(&self, file: &File, address: u64) -> Vec<Named> {
        let Some(address) = address.checked_sub(self.text).filter(|_| self.covers(address)) else {
            return Vec::new();
        };
        let span = self.span(file);
        let Some(function) = self.table.function(&span, address) else { return Vec::new() };
        let inlined = self.inlined.map(|(offset, size)| Span { source: file, offset, size });
        self.table.lines(&span, &function, address, inlined.as_ref())
    }
}

/// The table in a file whose sections nobody has left: its virtual address and its place.
fn search(elf: &Elf, file: &File) -> Option<(u64, (u64, u64))> {
    pieces(elf, file).find_map(|(offset, address, bytes)| {
        let (words, _) = bytes.as_chunks::<8>();
        let is_it =
            |word: &[u8; 8]| matches!(word, [0xfa | 0xf0 | 0xf1, 0xff, 0xff, 0xff, 0, 0, 1 | 2 | 4, 8]);
        let behind = 8 * words.iter().position(is_it)? as u64;
        let address = address.checked_add(behind)?;
        let (_, size) = elf.offset_of(address)?;
        Some((address, (offset.checked_add(behind)?, size)))
    })
}

/// What is loaded and is no code: offsets, virtual addresses and bytes.
fn pieces<'a>(elf: &'a Elf, file: &'a File) -> impl Iterator<Item = (u64, u64, Vec<u8>)> + 'a {
    // For all segments together: there may be many, one over the other.
    let mut left = MAX_SEARCHED;
    elf.data().flat_map(move |(offset, address, size)| {
        let size = size.min(left);
        left -= size;
        let pieces = (0..size).step_by(usize::try_from(PIECE).unwrap_or(1));
        pieces.map(move |behind| {
            let most = usize::try_from(PIECE.min(size - behind)).unwrap_or_default();
            let bytes = file.read(offset.saturating_add(behind), most);
            (offset.saturating_add(behind), address.saturating_add(behind), bytes)
        })
    })
}

/// What the runtime knows of the file: the table's address stands at its beginning, that of the names follows.
enum Known {
    /// At a virtual address.
    Written(u64),
    /// At a virtual address; the loader is to write it, and this is where and what.
    Promised(u64, Vec<(u64, u64)>),
}

impl Known {
    fn find(elf: &Elf, file: &File, table: u64, names: u64) -> Option<Self> {
        let own = elf.section(b".go.module").and_then(|it| Some((it.place()?, it.address)));
        if let Some(((offset, _), address)) = own
            && file.array(offset) == Some(table.to_le_bytes())
        {
            return Some(Self::Written(address));
        }
        let written = pieces(elf, file).find_map(|(_, address, bytes)| {
            let (words, _) = bytes.as_chunks::<8>();
            let is_it = |pair: &[[u8; 8]]| *pair == [table.to_le_bytes(), names.to_le_bytes()];
            address.checked_add(8 * words.windows(2).position(is_it)? as u64)
        });
        written.map(Self::Written).or_else(|| Self::promised(elf, file, table, names))
    }

    fn promised(elf: &Elf, file: &File, table: u64, names: u64) -> Option<Self> {
        let (offset, size) = elf.section(b".rela.dyn").or_else(|| elf.section(b".rela"))?.place()?;
        let relocations = || {
            let step = PIECE / 24 * 24;
            let pieces = (0..size.min(MAX_SEARCHED)).step_by(usize::try_from(step).unwrap_or(1));
            pieces.flat_map(move |behind| {
                let most = usize::try_from(step.min(size - behind)).unwrap_or_default();
                let bytes = file.read(offset.saturating_add(behind), most);
                let relocation = |bytes: &[u8; 24]| {
                    let [place, kind, address] = bytes.as_chunks::<8>().0 else { return None };
                    let [place, kind, address] = [*place, *kind, *address].map(u64::from_le_bytes);
                    (kind == RELATIVE).then_some((place, address))
                };
                bytes.as_chunks::<24>().0.iter().filter_map(relocation).collect::<Vec<_>>()
            })
        };
        let mut before = None;
        let begin = relocations().find_map(|(place, address)| {
            let found = before.filter(|begin: &u64| address == names && begin.checked_add(8) == Some(place));
            before = (address == table).then_some(place);
            found
        })?;
        let range = begin..begin.saturating_add(INLINED + 8);
        Some(Self::Promised(begin, relocations().filter(|(place, _)| range.contains(place)).collect()))
    }

    /// One of the addresses in it.
    fn word(&self, elf: &Elf, file: &File, at: u64) -> Option<u64> {
        match self {
            Self::Written(begin) => {
                let (offset, _) = elf.offset_of(begin.checked_add(at)?)?;
                file.array(offset).map(u64::from_le_bytes)
            }
            Self::Promised(begin, all) => {
                let place = begin.checked_add(at)?;
                all.iter().find(|(known, _)| *known == place).map(|(_, address)| *address)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    /// Guarantees: of a file whose segments are many and say that they are large, no more is gone through than of any other.
    #[test]
    fn many_segments() {
        let words = |words: &[u64]| words.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
        // 64 bits, little-endian; a program of this machine, whose program headers follow: 200 of 56 bytes.
        let magic = u64::from_le_bytes(*b"\x7fELF\x02\x01\x01\0");
        let mut head = words(&[magic, 0, 2 | 62 << 16 | 1 << 32, 0, 64, 0, 64 << 32 | 56 << 48, 200]);
        head.extend((0..200).flat_map(|nth| words(&[1 | 6 << 32, 0, nth << 41, 0, 1 << 40, 1 << 40, 4096])));
        let file = tempfile::tempfile().unwrap();
        file.write_at(&head, 0).unwrap();
        file.set_len(3 << 20).unwrap();
        let elf = Elf::read(&file).unwrap();
        assert!(elf.data().count() == 128 && elf.data().all(|(_, _, size)| size == 3 << 20));
        let read: usize = pieces(&elf, &file).map(|(_, _, bytes)| bytes.len()).sum();
        assert_eq!(read as u64, MAX_SEARCHED);
        assert!(Go::read(&elf, &file).is_none());
    }

    /// Guarantees: whatever the bytes of the table, or of what leads to it, are, it is read without a panic and in no time.
    /// Needs: go.
    #[test]
    fn tables_of_any_bytes() {
        let room = tempfile::tempdir().unwrap();
        std::fs::write(room.path().join("go.mod"), "module it\n").unwrap();
        let program = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(1) }\n";
        std::fs::write(room.path().join("main.go"), program).unwrap();
        let go =
            Command::new("go").current_dir(room.path()).args(["build", "-o", "it", "."]).status().unwrap();
        assert!(go.success());
        let file = File::options().read(true).write(true).open(room.path().join("it")).unwrap();
        let elf = Elf::read(&file).unwrap();
        let go = Go::read(&elf, &file).unwrap();
        let (offset, size) = go.place;
        let whole = file.read(offset, usize::try_from(size).unwrap());
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
        let mut roll = move |below: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % below
        };
        let (mut named, mut lost) = (0, 0);
        for round in 0..300 {
            let began = Instant::now();
            // The header and the index of functions lie in front.
            let range = [80, 64 * 1024, size][round % 3];
            let changed: Vec<_> = (0..=roll(64)).map(|_| roll(range.min(size))).collect();
            for at in &changed {
                file.write_at(&[[0, 1, 0x7f, 0x80, 0xff, roll(256) as u8][roll(6) as usize]], offset + at)
                    .unwrap();
            }
            if let Some(go) = Go::read(&elf, &file) {
                for _ in 0..20 {
                    let address = go.text.wrapping_add(roll(go.end.wrapping_sub(go.text).max(1)));
                    drop(go.row(&file, address));
                    let names = go.at(&file, address);
                    assert!(names.len() <= 65);
                    named += names.len();
                }
            } else {
                lost += 1;
            }
            for at in changed {
                file.write_at(&[whole[usize::try_from(at).unwrap()]], offset + at).unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(60), "round {round}");
        }
        assert!(named > 1000 && lost > 10, "{named} named, {lost} lost");
        let main = Go::read(&elf, &file).unwrap();
        let address = main.text + 64;
        assert_eq!(main.at(&file, address), go.at(&file, address));
    }
}
