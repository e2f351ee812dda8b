//! Java in a HotSpot JVM, from outside: what its compiled and interpreted frames are called, and how compiled ones are undone, which
//! keep no frame pointers as a rule.
//!
//! HotSpot tells in [`mod@tables`] where it keeps what, for whoever looks at it from outside: the [`layout`]. By it an address leads
//! through [`heaps`] of code to the piece around it ([`blob`]), from there by its [`mod@scopes`] to [`method`]s, also to those that have been
//! inlined, and on to names ([`descriptor`]) and lines ([`numbers`]). All of them are pure: the process's memory is handed to them
//! ([`target`]). It may say anything: whatever is read is bounded and checked, and nothing is told where it makes no sense.

mod tables;

mod layout;

mod target;

mod heaps;

mod blob;

mod numbers;

mod scopes;

mod descriptor;

mod method;

mod jvm;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use self::blob::{Blob, Kind};
use self::heaps::CodeHeap;
pub(crate) use self::jvm::{Jvm, names_methods, tables, variables};
use self::layout::{Heaps, Layout};
use self::method::Methods;
use self::scopes::scopes;
use self::tables::CLASSES;
pub(crate) use self::tables::{Tables, VARIABLES};
pub(crate) use self::target::Target;
use super::dwarf::Named;
use super::row::Row;

/// Addresses that are remembered; then all are forgotten.
const MAX_ADDRESSES: usize = 16 * 1024;
/// Bytes of what addresses are called; then all are forgotten.
const MAX_NAMED: usize = 16 << 20;
/// Sorts of code that are remembered; there are some 100.
const MAX_KINDS: usize = 1024;
/// Bytes of the name of a sort of code.
const MAX_KIND: usize = 96;

/// In the interpreter's frame, from the frame pointer: the method, bytes below.
const METHOD: u64 = 24;
/// And where in its bytecodes it goes on: words below, until version 8 and since.
const BYTECODE: [u64; 2] = [7, if cfg!(target_arch = "aarch64") { 9 } else { 8 }];

/// See the module.
#[derive(Debug)]
pub(crate) struct Hotspot {
    layout: Layout,
    heaps: Vec<CodeHeap>,
    methods: Methods,
    kinds: HashMap<u64, Kind>,
    /// By address.
    known: HashMap<u64, Known>,
    /// Bytes of the names in it.
    named: usize,
}

/// Of an address.
#[derive(Debug, Clone)]
struct Known {
    blob: Blob,
    kind: Kind,
    /// Of compiled code, once it has been asked for.
    names: Option<Arc<[Named]>>,
}

/// A frame on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// An address in the instruction.
    pub(crate) inside: u64,
    /// It was interrupted there.
    pub(crate) is_innermost: bool,
    /// The frame pointer then.
    pub(crate) frame: Option<u64>,
}

impl Hotspot {
    /// `variables`: where [`VARIABLES`] are in the process. `None` where a version says too little, or it has only begun.
    pub(crate) fn read(variables: &[u64; VARIABLES.len()], target: Target<'_>) -> Option<Self> {
        let layout = Layout::of(&Tables::read(target, variables, &CLASSES)?, target)?;
        let heaps = CodeHeap::all(&layout, target);
        (!heaps.is_empty()).then(|| Self {
            methods: Methods::new(layout.method, layout.excluded),
            layout,
            heaps,
            kinds: HashMap::new(),
            known: HashMap::new(),
            named: 0,
        })
    }

    /// How to undo the frame of the code at an address. `None`: there is no code of the JVM's, or its frame is not known.
    pub(crate) fn row(&mut self, place: Place, target: Target<'_>) -> Option<Row> {
        let known = self.at(place.inside, target)?;
        known.blob.row(&known.kind, place.inside, place.is_innermost)
    }

    /// What a frame is called, innermost first: a method, and before it what was inlined into it. `word`: reads the stack.
    pub(crate) fn names(
        &mut self,
        place: Place,
        word: &dyn Fn(u64) -> Option<u64>,
        target: Target<'_>,
    ) -> Option<Arc<[Named]>> {
        let Known { blob, kind, names } = self.at(place.inside, target)?;
        match kind {
            Kind::Compiled => {
                if let Some(names) = names {
                    return Some(Arc::clone(names));
                }
                let blob = blob.clone();
                let names = self.compiled(&blob, place.inside, target)?;
                self.keep(place.inside, &names);
                Some(names)
            }
            Kind::Interpreter => {
                let name = self.interpreted(place, word, target);
                Some([name.unwrap_or_else(|| made("Interpreter".to_owned()))].into())
            }
            // each version has names of its own for these, and none is the program's
            Kind::Adapter(name) | Kind::Stub(name) => Some([made(format!("Stub:{name}"))].into()),
        }
    }

    fn compiled(&mut self, blob: &Blob, address: u64, target: Target<'_>) -> Option<Arc<[Named]>> {
        let excluded = self.layout.excluded;
        let layout = self.layout.scopes.as_ref();
        let scopes = layout.and_then(|layout| scopes(blob, address, layout, excluded, target));
        let methods = &mut self.methods;
        let inlined = scopes.and_then(|scopes| {
            scopes
                .iter()
                .map(|scope| methods.name(scope.method, scope.code, target))
                .collect::<Option<Vec<_>>>()
        });
        // without them it is still known whose code it is
        inlined.or_else(|| methods.name(blob.method, None, target).map(|name| vec![name])).map(Into::into)
    }

    fn interpreted(
        &mut self,
        place: Place,
        word: &dyn Fn(u64) -> Option<u64>,
        target: Target<'_>,
    ) -> Option<Named> {
        let frame = place.frame?;
        let method = word(frame.checked_sub(METHOD)?)?;
        let [until_8, since] = BYTECODE;
        let words = if matches!(self.layout.heaps, Heaps::One(_)) { until_8 } else { since };
        // it is kept in a register until the method calls another
        let bytecode = frame.checked_sub(words * 8).filter(|_| !place.is_innermost).and_then(word);
        let code = bytecode.and_then(|bytecode| self.methods.index(method, bytecode, target));
        self.methods.name(method, code, target)
    }

    /// The code at an address: what is remembered of it, if that is still there.
    fn at(&mut self, address: u64, target: Target<'_>) -> Option<&Known> {
        let heap = self.heaps.iter().find(|heap| heap.contains(address))?;
        let layout = &self.layout.blob;
        let known = self.known.get(&address).map(|known| &known.blob);
        let is_same =
            known.is_some_and(|blob| Blob::read(blob.address, layout, target).as_ref() == Some(blob));
        if !is_same {
            let blob = Blob::read(heap.blob(address, target)?, layout, target)?;
            blob.code.contains(&address).then_some(())?;
            let kind = self.kind(blob.name, target)?;
            if self.known.len() >= MAX_ADDRESSES || self.named > MAX_NAMED {
                self.known.clear();
                self.named = 0;
            }
            self.known.insert(address, Known { blob, kind, names: None });
        }
        self.known.get(&address)
    }

    fn kind(&mut self, name: u64, target: Target<'_>) -> Option<Kind> {
        if let Some(known) = self.kinds.get(&name) {
            return Some(known.clone());
        }
        let text = target.text(name, MAX_KIND)?;
        (!text.is_empty() && !text.contains(char::is_control)).then_some(())?;
        if self.kinds.len() >= MAX_KINDS {
            self.kinds.clear();
        }
        let kind = Kind::of(&text);
        self.kinds.insert(name, kind.clone());
        Some(kind)
    }

    fn keep(&mut self, address: u64, names: &Arc<[Named]>) {
        if let Some(known) = self.known.get_mut(&address) {
            self.named += names.iter().map(Named::size).sum::<usize>();
            known.names = Some(Arc::clone(names));
        }
    }
}

fn made(name: String) -> Named {
    Named { function: Some(name), ..Named::default() }
}
