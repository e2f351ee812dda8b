//! An ELF file that stays open, and its sections as they are read bit by bit.

use std::fs::File;
use std::sync::Arc;

use super::elf::Elf;
use super::fetching::Client;
use super::pages::{Meter, Pages, Source, Window};
use super::source::Source as _;
use super::unpacking::{Scratch, Taken};

/// What files are read by, shared by all. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Means {
    pub(crate) pages: Pages,
    pub(crate) scratch: Scratch,
    pub(crate) servers: Option<Client>,
}

/// A file that is open.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) file: Arc<File>,
    pub(crate) elf: Elf,
    /// The room that it takes, if it is one of ours.
    taken: Option<Taken>,
}

impl Object {
    /// `None` for anything that is no ELF file.
    pub(crate) fn read(file: File) -> Option<Self> {
        Some(Self { elf: Elf::read(&file)?, file: Arc::new(file), taken: None })
    }

    /// The small file of symbols that some distributions leave within a stripped one.
    pub(crate) fn within(&self, means: &Means) -> Option<Self> {
        let (offset, size) = self.elf.section(b".gnu_debugdata")?.place()?;
        let unpacked = means.scratch.unpack_xz(&self.file, offset, size)?;
        Some(Self { elf: Elf::read(&unpacked.file)?, file: unpacked.file, taken: Some(unpacked.taken) })
    }

    /// It has anything in a section of this name.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.elf.section(name).is_some_and(|section| section.size() > 0)
    }

    /// What is loaded from a virtual address on, so many bytes at most.
    pub(crate) fn bytes(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        let (offset, rest) = self.elf.offset_of(address)?;
        Some(self.file.read(offset, most.min(usize::try_from(rest).unwrap_or(most))))
    }

    /// What reads its sections; whatever is read counts on `meter`.
    pub(crate) fn sections(&self, means: &Means, meter: &Meter) -> Sections<'_> {
        let source = Source::new(Arc::clone(&self.file), None, &means.pages, meter);
        Sections { object: self, source, means: means.clone(), meter: meter.clone() }
    }

    /// Bytes of memory that the file itself takes.
    pub(crate) fn size(&self) -> u64 {
        self.taken.as_ref().map_or(0, Taken::size)
    }
}

/// See [`Object::sections`].
pub(crate) struct Sections<'a> {
    object: &'a Object,
    source: Arc<Source>,
    means: Means,
    meter: Meter,
}

impl Sections<'_> {
    /// A section, unpacked; an empty one if there is none. `None` if there is no room to unpack it.
    pub(crate) fn window(&self, name: &[u8]) -> Option<Window> {
        let Some(section) = self.object.elf.section(name) else { return Some(self.empty()) };
        let Some(packed) = section.packed(&self.object.file) else {
            let (offset, size) = section.place()?;
            return Some(Window::new(&self.source, offset, size));
        };
        let packed = packed?;
        let size = packed.size;
        let unpacked = self.means.scratch.unpack(packed)?;
        let source = Source::new(unpacked.file, Some(unpacked.taken), &self.means.pages, &self.meter);
        Some(Window::new(&source, 0, size))
    }

    /// Nothing.
    pub(crate) fn empty(&self) -> Window {
        Window::new(&self.source, 0, 0)
    }
}
