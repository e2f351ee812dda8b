//! The JVM of one process, if it runs one: read when a stack first leads into code that was made at run time.

use std::sync::Arc;

use super::tables::{Tables, VARIABLES};
use super::target::Target;
use super::{Hotspot, Place};
use crate::linux::dwarf::Named;
use crate::linux::image::Image;
use crate::linux::row::Row;
use crate::linux::shelf::Shelf;
use crate::memory::Memory;
use crate::modules::Modules;

/// The library whose variables lead to the tables.
const LIBRARY: &str = "libjvm.so";

/// Addresses of [`VARIABLES`].
pub(crate) type Variables = [u64; VARIABLES.len()];

/// See [`crate::java::names_methods`].
pub(crate) fn names_methods(pid: u32, modules: &Modules) -> bool {
    let memory = Memory::of(pid);
    let read = |address, to: &mut [u8]| memory.read(address, to);
    find(pid, modules).is_some_and(|variables| Hotspot::read(&variables, Target(&read)).is_some())
}

/// See [`crate::java::Published`].
pub(crate) fn tables(pid: u32, modules: &Modules, classes: &[&str]) -> Option<Tables> {
    let memory = Memory::of(pid);
    let read = |address, to: &mut [u8]| memory.read(address, to);
    Tables::read(Target(&read), &find(pid, modules)?, classes)
}

/// Where the variables of its library are, if it maps it.
fn find(pid: u32, modules: &Modules) -> Option<Variables> {
    modules.modules.iter().find_map(|module| {
        let code = module.parts.iter().find(|part| part.executable)?;
        let name = module.path.to_str().filter(|name| is_library(name))?;
        let image = Shelf::default().open(module, pid)?;
        variables(name, &image, code.start, code.offset)
    })
}

/// Where its variables are in the process, if a module is that library, whose code at an offset is mapped at `start`.
pub(crate) fn variables(module: &str, image: &Image, start: u64, offset: u64) -> Option<Variables> {
    is_library(module).then_some(())?;
    let bias = start.wrapping_sub(image.address_of(offset)?);
    image.variables(VARIABLES).map(|found| found.map(|address| bias.wrapping_add(address)))
}

fn is_library(module: &str) -> bool {
    module.rsplit('/').next() == Some(LIBRARY)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Jvm {
    memory: Memory,
    /// Where its variables are; absent where none is mapped.
    variables: Option<Variables>,
    hotspot: Option<Hotspot>,
    /// It was not there yet, or is of another kind; not asked again before the mappings are.
    is_silent: bool,
}

impl Jvm {
    pub(crate) fn new(pid: u32) -> Self {
        Self { memory: Memory::of(pid), variables: None, hotspot: None, is_silent: false }
    }

    /// Where its variables are now.
    pub(crate) fn refresh(&mut self, variables: Option<Variables>) {
        if self.variables != variables {
            (self.variables, self.hotspot) = (variables, None);
        }
        self.is_silent = false;
    }

    /// See [`Hotspot::row`].
    pub(crate) fn row(&mut self, place: Place) -> Option<Row> {
        self.ask(|hotspot, target| hotspot.row(place, target))
    }

    /// See [`Hotspot::names`].
    pub(crate) fn names(&mut self, place: Place, word: &dyn Fn(u64) -> Option<u64>) -> Option<Arc<[Named]>> {
        self.ask(|hotspot, target| hotspot.names(place, word, target))
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Hotspot, Target<'_>) -> Option<T>) -> Option<T> {
        let variables = self.variables.filter(|_| !self.is_silent)?;
        let memory = self.memory;
        let read = |address, to: &mut [u8]| memory.read(address, to);
        let target = Target(&read);
        if self.hotspot.is_none() {
            self.hotspot = Hotspot::read(&variables, target);
            self.is_silent = self.hotspot.is_none();
        }
        ask(self.hotspot.as_mut()?, target)
    }
}
