//! A mapping of code: how to get on from there, and how it is called.

use std::fmt;
use std::slice;
use std::sync::{Arc, Mutex};

use super::dwarf::Named;
use super::hash::Hash;
use super::keeps::Keeps;
use super::perf_map::PerfMap;
use super::scan::Begin;
use super::shelf::{Shared, hex, lock};
use super::undo::Undoing;
use super::walk::{Pointers, Step, Way};
use crate::modules::FileId;
use crate::trace::Frame;
use crate::unwind::Unwind;

/// The kernel's own code in every process: another with each kernel.
pub(crate) const VDSO: &str = "[vdso]";
/// Code that was made at run time, in every process.
pub(crate) const MADE: &str = "[anon]";

/// A mapping of code.
#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Of the file, at the beginning.
    pub(crate) offset: u64,
    /// `[anon]` where there is no file.
    pub(crate) module: Arc<str>,
    pub(crate) file: FileId,
    pub(crate) image: Option<Shared>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x} {}", self.start, self.end, self.module)
    }
}

impl Code {
    /// How to get from an address to its caller. `by_kernel`: frame pointers have been followed.
    pub(crate) fn way(&self, address: u64, unwind: Unwind, by_kernel: bool) -> Way {
        let undoing = self.inside(address).and_then(|(image, inside)| Some((image, image.undoing(inside)?)));
        let Some((image, Undoing { row, has_frame, is_go })) = undoing else {
            // Runtimes that make code keep frame pointers, as a rule. It is for what comes of it to tell.
            let pointers = match unwind {
                Unwind::Auto if self.is_made() => Pointers::Instead,
                Unwind::FramePointers => Pointers::Only,
                Unwind::Auto | Unwind::Dwarf => Pointers::Never,
            };
            return Way { row: None, pointers, keeps: None };
        };
        let keeps = match unwind {
            _ if is_go || row.is_none() => Some(has_frame),
            Unwind::Auto if by_kernel => Some(image.keeps() == Keeps::Frames),
            Unwind::FramePointers => Some(image.keeps() == Keeps::Frames),
            Unwind::Auto | Unwind::Dwarf => None,
        };
        let pointers = match unwind {
            Unwind::Dwarf => Pointers::Never,
            Unwind::FramePointers => Pointers::Only,
            Unwind::Auto if is_go => Pointers::First,
            // V8's own functions that it has compiled before are part of the file: nothing says that they keep frame pointers.
            Unwind::Auto if row.is_none() && image.v8().is_some() => Pointers::Instead,
            // Calls are known by their bytes on this machine alone.
            Unwind::Auto if cfg!(target_arch = "x86_64") && row.is_none() && !has_frame => Pointers::Absent,
            Unwind::Auto if keeps == Some(false) => Pointers::Never,
            Unwind::Auto => Pointers::Instead,
        };
        Way { row, pointers, keeps }
    }

    pub(crate) fn is_go(&self, address: u64) -> bool {
        let undoing = self.inside(address).and_then(|(image, inside)| image.undoing(inside));
        undoing.is_some_and(|undoing| undoing.is_go)
    }

    /// No chain of frame pointers is broken by it.
    pub(crate) fn keeps_chains(&self) -> bool {
        match &self.image {
            Some(image) => image.keeps() != Keeps::None,
            // It calls nobody.
            None => &*self.module == VDSO,
        }
    }

    /// Where nothing says how its frames are undone, they may be those of functions of JavaScript.
    pub(crate) fn may_run_javascript(&self) -> bool {
        self.image.as_ref().map_or_else(|| self.is_made(), |image| image.v8().is_some())
    }

    /// No file is behind it.
    pub(crate) fn is_made(&self) -> bool {
        self.file == FileId::default() && &*self.module != VDSO
    }

    pub(crate) fn has_rows(&self) -> bool {
        self.image.as_ref().is_some_and(|image| image.has_rows())
    }

    /// The file, and the virtual address in it of an address.
    fn inside(&self, address: u64) -> Option<(&Shared, u64)> {
        let image = self.image.as_ref()?;
        let offset = self.offset.checked_add(address.checked_sub(self.start)?)?;
        Some((image, image.address_of(offset)?))
    }

    /// Where the function around an address begins.
    pub(crate) fn begin(&self, address: u64) -> Option<Begin> {
        let (image, inside) = self.inside(address)?;
        let back = |begin: u64| Some(address.saturating_sub(inside.checked_sub(begin)?).max(self.start));
        Some(match image.begin(inside)? {
            Begin::At(begin) => Begin::At(back(begin)?),
            Begin::After(from) => Begin::After(back(from)?),
        })
    }

    /// Its bytes from an address on, so many at most.
    pub(crate) fn bytes(&self, address: u64, most: usize) -> Vec<u8> {
        self.inside(address).and_then(|(image, inside)| image.bytes(inside, most)).unwrap_or_default()
    }

    /// Appends the frames of one step, and what it adds to the identity of the stack. True if names had to be read. `names`: what a
    /// runtime has said itself of code that it has made. `perf_map` is taken only where there is no file: names of a file may take
    /// seconds, and whoever looks at the mappings waits for it.
    pub(crate) fn name(
        &self,
        step: Step,
        names: Option<&[Named]>,
        perf_map: &Mutex<PerfMap>,
        frames: &mut Vec<Frame>,
        hash: &mut Hash,
    ) -> bool {
        let within = step.inside.saturating_sub(self.start);
        let frame = Frame { address: step.address, module: self.module.to_string(), ..Frame::default() };
        let place = self.inside(step.inside);
        let is_unnamed = names.is_none() && place.is_none();
        let mapped = is_unnamed.then(|| lock(perf_map).at(step.inside)).flatten();
        let mapped = mapped.as_ref().filter(|named| named.function.is_some());
        if let Some(names) = names.or(mapped.map(slice::from_ref)) {
            for named in names {
                hash.add(MADE.as_bytes());
                hash.add(named.function.as_deref().unwrap_or_default().as_bytes());
                hash.add(named.file.as_deref().map_or(b"", base_name));
            }
            let made = Frame { module: MADE.to_owned(), offset: within, ..frame };
            frames.extend(with_names(&made, names));
            return false;
        }
        let Some((image, offset)) = place else {
            hash.add(base_name(&self.module));
            // Code that is made anew by each process has no place to know it by, nor has the kernel's.
            if self.file != FileId::default() {
                hash.add(&self.offset.saturating_add(within).to_le_bytes());
            }
            frames.push(Frame { offset: within, ..frame });
            return false;
        };
        hash.add(image.build_id().unwrap_or(base_name(&self.module)));
        hash.add(&offset.to_le_bytes());
        let (names, grown) = image.names(offset);
        let frame = Frame { offset, build_id: image.build_id().map(hex), ..frame };
        frames.extend(with_names(&frame, &names));
        grown
    }
}

/// One frame for each name: the last one is of the code itself, the others were inlined.
fn with_names<'a>(frame: &'a Frame, names: &'a [Named]) -> impl Iterator<Item = Frame> + 'a {
    let outermost = names.len().saturating_sub(1);
    names.iter().enumerate().map(move |(depth, named)| Frame {
        function: named.function.clone(),
        file: named.file.clone(),
        line: named.line,
        inlined: depth < outermost,
        ..frame.clone()
    })
}

/// Of a file, wherever it lies.
fn base_name(module: &str) -> &[u8] {
    module.rsplit('/').next().unwrap_or(module).as_bytes()
}
