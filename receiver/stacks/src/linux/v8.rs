//! Functions of JavaScript by name, read from the memory of a process in which V8 runs: nothing has to be turned on for it.
//!
//! Whatever has made its code (the interpreter, one of the compilers), a function keeps a frame pointer, and beside it what it is.
//! [`published`] reads what V8 says of itself, [`layout`] is where things are by that, [`heap`] reads objects, [`text`] texts,
//! [`positions`] which instruction comes from where, [`scripts`] files and their lines, [`function`] names, [`owner`] the class that a
//! method is of, [`inlined`] who is in optimised code. The process's memory is handed to all of them.

mod published;

mod layout;

mod heap;

mod text;

mod positions;

mod scripts;

mod function;

mod owner;

mod inlined;

#[cfg(any(test, fuzzing))]
mod crafted;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use self::function::Function;
use self::heap::{Heap, Maps, Tagged};
use self::inlined::Code;
use self::layout::Layout;
use self::owner::class_of;
use self::published::Published;
use self::scripts::Scripts;
use super::dwarf::Named;
use super::object::Object;
use super::open;
use crate::modules::{Module, Modules};

pub(crate) use self::heap::Read;

/// Bytes of tables and texts that are read for one stack: the text of one large script, and more.
pub(crate) const MOST_A_STACK: usize = 20 << 20;
/// Bytes of what is kept; then everything is forgotten.
const MAX_KEPT: usize = 16 << 20;
/// Bytes of a table of positions.
const MAX_TABLE: usize = 1 << 20;
/// So often it is looked for whose method a function is: it may be called for something else.
const SEARCHES: u8 = 16;
/// Beside its name, a function takes so much; as much takes each place that has been told.
const PER_FUNCTION: usize = 256;

/// What V8 says of itself in the file that holds it.
#[derive(Debug, Clone)]
pub(crate) struct Metadata(Arc<Layout>);

impl Metadata {
    /// `None`: the file holds no V8, or one that says too little.
    pub(crate) fn read(object: &Object) -> Option<Self> {
        Layout::of(&Published::read(object)?).map(|layout| Self(Arc::new(layout)))
    }
}

/// See [`has_javascript`](crate::names::has_javascript).
pub(crate) fn has_javascript(pid: u32, modules: &Modules) -> bool {
    let has_code = |module: &&Module| module.has_code();
    modules.modules.iter().filter(has_code).any(|module| {
        let file = module.reachable_path(pid).and_then(|path| open::regular(&path));
        file.and_then(Object::read).and_then(|object| Metadata::read(&object)).is_some()
    })
}

/// The functions of one process that are known.
pub(crate) struct Names {
    layout: Arc<Layout>,
    maps: Maps,
    scripts: Scripts,
    /// By the address of what is shared.
    functions: HashMap<u64, Known>,
    /// What has been told, by function and place.
    told: HashMap<(u64, Option<u32>), Arc<[Named]>>,
    optimised: HashMap<(u64, Code), Arc<[Named]>>,
    /// Code objects by instructions of theirs; `None`: it was not found.
    code: HashMap<u64, Option<u64>>,
    /// Bytes.
    size: usize,
}

#[derive(Debug)]
struct Known {
    /// What tells that the same function is still at its address.
    head: [Tagged; 2],
    function: Function,
    script: u64,
    /// So often it is still looked for whose method it is.
    searches: u8,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("functions", &self.functions.len()).finish_non_exhaustive()
    }
}

impl Names {
    /// As Node 20 has it.
    #[cfg(fuzzing)]
    pub(crate) fn crafted() -> Option<Self> {
        Layout::of(&Published::of(crafted::PUBLISHED)).map(|layout| Self::new(&Metadata(Arc::new(layout))))
    }

    pub(crate) fn new(metadata: &Metadata) -> Self {
        Self {
            layout: Arc::clone(&metadata.0),
            maps: Maps::default(),
            scripts: Scripts::default(),
            functions: HashMap::new(),
            told: HashMap::new(),
            optimised: HashMap::new(),
            code: HashMap::new(),
            size: 0,
        }
    }

    /// Who executes `inside` with the frame at `frame`, innermost first: a function of JavaScript, behind those that were inlined.
    /// `slot` reads words of the stack; `left`: bytes that may still be read for it, of [`MOST_A_STACK`]. `None`: nobody who could be told for sure.
    pub(crate) fn at(
        &mut self,
        inside: u64,
        frame: u64,
        slot: impl Fn(u64) -> Option<u64>,
        read: &Read<'_>,
        left: &Cell<usize>,
    ) -> Option<Arc<[Named]>> {
        if self.size + self.scripts.size > MAX_KEPT {
            self.forget();
        }
        let (layout, maps) = (Arc::clone(&self.layout), std::mem::take(&mut self.maps));
        let heap = Heap { layout: &layout, maps: &maps, read, left };
        let found = self.find(inside, |offset| slot(frame.checked_add_signed(offset)?).map(Tagged), &heap);
        self.maps = maps;
        found
    }

    fn forget(&mut self) {
        (self.scripts, self.functions, self.size) = (Scripts::default(), HashMap::new(), 0);
        (self.told, self.optimised, self.code) = (HashMap::new(), HashMap::new(), HashMap::new());
        self.maps = Maps::default();
    }

    fn find(
        &mut self,
        inside: u64,
        slot: impl Fn(i64) -> Option<Tagged>,
        heap: &Heap<'_>,
    ) -> Option<Arc<[Named]>> {
        let (layout, kinds) = (heap.layout, &heap.layout.kinds);
        // frames of V8's own have a number there
        heap.object(slot(layout.frame.context)?).filter(|it| kinds.contexts.contains(&it.kind))?;
        let function = heap.object(slot(layout.frame.function)?)?;
        if !kinds.functions.contains(&function.kind) {
            return None;
        }
        let shared = heap.of_kind(heap.field(function.at, layout.function_shared)?, kinds.shared)?;
        self.seek_owner(shared, heap, || class_of(heap, slot(layout.owner?.receiver)?, function));
        let bytecode = slot(layout.frame.bytecode).and_then(|it| heap.of_kind(it, kinds.bytecode));
        let Some(bytecode) = bytecode else {
            return self.optimised(inside, shared, heap).or_else(|| self.one(shared, None, heap));
        };
        // what is compiled without being optimised has something else in the place of the number
        let instruction = slot(layout.frame.offset).and_then(Tagged::number);
        let place = instruction.and_then(|instruction| {
            let behind = layout.bytecode_data.checked_sub(1)?;
            let instruction = u64::try_from(instruction).ok()?.checked_sub(behind)?;
            let table = heap.byte_array(heap.field(bytecode, layout.bytecode_positions)?, MAX_TABLE)?;
            positions::position_at(&table, instruction)?.at
        });
        self.one(shared, place, heap)
    }

    /// A function by what its closures share, at a place in its script, or where it begins.
    fn one(&mut self, shared: u64, place: Option<u32>, heap: &Heap<'_>) -> Option<Arc<[Named]>> {
        self.know(shared, heap)?;
        if let Some(told) = self.told.get(&(shared, place)) {
            return Some(Arc::clone(told));
        }
        let named: Arc<[Named]> = [self.named(shared, place, heap)?].into();
        self.size += PER_FUNCTION + named.iter().map(Named::size).sum::<usize>();
        self.told.insert((shared, place), Arc::clone(&named));
        Some(named)
    }

    /// A function by what its closures share, behind those that were inlined into it.
    fn optimised(&mut self, inside: u64, shared: u64, heap: &Heap<'_>) -> Option<Arc<[Named]>> {
        let layout = heap.layout.code?;
        let read = |at: u64| Code::of(heap, layout, at, inside);
        let code = match self.code.get(&inside).copied() {
            Some(None) => return None,
            Some(Some(at)) => read(at),
            None => None,
        };
        let code = if let Some(code) = code {
            code
        } else {
            let found = Code::around(heap, inside).and_then(read);
            if heap.is_exhausted() {
                return None;
            }
            self.size += size_of::<(u64, Option<u64>)>();
            self.code.insert(inside, found.map(|code| code.at));
            found?
        };
        if let Some(told) = self.optimised.get(&(shared, code)) {
            return Some(Arc::clone(told));
        }
        let functions = code.functions(heap, layout, shared)?;
        let named: Option<Vec<_>> =
            functions.into_iter().map(|(shared, place)| self.named(shared, place, heap)).collect();
        let named: Arc<[Named]> = named?.into();
        self.size += PER_FUNCTION + named.iter().map(Named::size).sum::<usize>();
        self.optimised.insert((shared, code), Arc::clone(&named));
        Some(named)
    }

    fn named(&mut self, shared: u64, place: Option<u32>, heap: &Heap<'_>) -> Option<Named> {
        self.know(shared, heap)?;
        let known = self.functions.get(&shared)?;
        let script = self.scripts.at(known.script, heap)?;
        let line = place.or(known.function.begin).and_then(|place| script.line(place));
        let file = script.file.as_deref().map(str::to_owned);
        Some(Named { function: Some(known.function.name.clone()), file, line })
    }

    /// Sees to it that the function at an address is known. `None`: it is of V8's own, without a script, or none.
    fn know(&mut self, shared: u64, heap: &Heap<'_>) -> Option<()> {
        let layout = heap.layout;
        let head = [heap.field(shared, layout.shared_name)?, heap.field(shared, layout.shared_script)?];
        if self.functions.get(&shared).is_some_and(|known| known.head == head) {
            return Some(());
        }
        let script = heap.of_kind(head[1], layout.kinds.script)?;
        let function = Function::read(heap, head[0])?;
        // what it takes the place of stays counted until everything is forgotten
        self.size += PER_FUNCTION + function.name.len();
        let known = Known { head, function, script, searches: SEARCHES };
        if self.functions.insert(shared, known).is_some() {
            self.forget_told(shared);
        }
        Some(())
    }

    /// Has a function called as a method of its class from now on, when that is found.
    fn seek_owner(
        &mut self,
        shared: u64,
        heap: &Heap<'_>,
        owner: impl Fn() -> Option<Function>,
    ) -> Option<()> {
        self.know(shared, heap)?;
        let known = self.functions.get_mut(&shared)?;
        known.searches = known.searches.checked_sub(1)?;
        let class = owner()?;
        known.searches = 0;
        self.size += class.name.len();
        known.function = known.function.clone().of_class(&class);
        self.forget_told(shared);
        Some(())
    }

    fn forget_told(&mut self, shared: u64) {
        self.told.retain(|(of, _), _| *of != shared);
        // it may be inlined anywhere
        self.optimised.clear();
    }
}

#[cfg(test)]
mod tests;
