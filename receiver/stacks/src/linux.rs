//! What Linux alone has: `/proc`, ELF files, and stacks to unwind. In reading order.

mod maps;

mod open;

mod elf;

mod cfi;

mod walk;

mod symbols;

mod unfolding;

mod dwarf;

mod demangle;

mod perf_map;

mod image;

mod shelf;

mod stacks;

pub(crate) use maps::{modules, reachable_path};
pub(crate) use shelf::Shelf;
pub(crate) use stacks::{Stacks, Unwound};
