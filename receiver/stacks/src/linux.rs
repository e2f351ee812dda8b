//! What Linux alone has: `/proc`, ELF files, and stacks to unwind. In reading order.

mod maps;

mod open;

mod elf;

mod source;

mod entries;

mod row;

mod cfi;

mod pclntab;

mod go;

mod keeps;

mod undo;

mod registers;

mod calls;

mod prologue;

mod scan;

mod walk;

mod unpacking;

mod pages;

mod object;

mod beside;

mod fetching;

mod symbols;

mod dwarf;

mod demangle;

mod jit;

mod perf_map;

mod variables;

mod kept;

mod hotspot;

mod v8;

mod image;

mod shelf;

mod memory;

mod python;

mod hash;

mod code;

mod unwound;

mod stacks;

#[cfg(fuzzing)]
pub(crate) mod fuzz;

pub(crate) use demangle::cpp_type;
pub(crate) use hotspot::{Tables, names_methods, tables};
pub(crate) use maps::{modules, reachable_path};
pub(crate) use memory::read_memory;
pub(crate) use shelf::Shelf;
pub(crate) use stacks::Stacks;
pub(crate) use unwound::Unwound;
pub(crate) use v8::has_javascript;
