//! What a process's own runtime or allocator says of its memory, read from outside: no probe, no symbol of ours, no signal, and
//! nothing but reading.
//!
//! Each reader looks at one source and may be asked again and again; what several readings say together is judged in
//! `mlh-detect`. What is read is the target's memory or files, hostile like all else: bounded and checked.

mod target;

mod blocks;

pub mod census;

mod go;

mod jvm;

mod python;

mod pages;

pub mod coldness;

pub mod walks;

pub mod moving;

use std::time::Duration;

use mlh_stacks::modules::{Module, Modules};

pub use self::go::objects::GoObjects;

/// Of a reading so many kinds are told.
const MAX_CLASSES: usize = 64;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The heaps of glibc's malloc, walked chunk by chunk.
    GlibcCensus,
    /// The Go runtime's own figures and heap profile.
    GoHeap,
    /// The counters that a JVM publishes for its tools.
    JvmCounters,
    /// The objects that CPython's collector knows, by type.
    PythonObjects,
    /// Pages private to the process against those it shares with others of its kind.
    SharedPages,
}

impl Source {
    /// As records say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GlibcCensus => "glibc_census",
            Self::GoHeap => "go_heap",
            Self::JvmCounters => "jvm_counters",
            Self::PythonObjects => "python_objects",
            Self::SharedPages => "shared_pages",
        }
    }
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Bytes in use: what lives as of the last collection where there is one, chunks not freed where there is none.
    pub in_use: Option<u64>,
    /// Bytes that the runtime or allocator holds of the system for it, in use or not.
    pub held: Option<u64>,
    /// Collections so far, where the runtime collects: `in_use` is news only when this has moved.
    pub collections: Option<u64>,
    /// Of a heap with generations, the one that objects begin in.
    pub young: Option<Young>,
    /// What is in use by kind, the most bytes first, a bounded number.
    pub classes: Vec<Class>,
    /// What was not seen, in sentences.
    pub not_seen: Vec<String>,
    /// CPU time that the reading took of this process.
    pub cost: Duration,
}

/// The generation of a heap that objects begin in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Young {
    /// Bytes that objects take in it now, garbage included.
    pub used: u64,
    /// Bytes that they may take.
    pub room: u64,
    /// Collections so far, of this generation or of all.
    pub collections: u64,
    /// Bytes that the older generations held after the newest collection.
    pub old: u64,
}

/// A kind of memory in use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Class {
    /// A type, a size class, a space: `shop::Order`, `blocks of 1,040 bytes`, `metaspace`.
    pub name: String,
    /// Bytes in use.
    pub bytes: u64,
    /// So many objects; 0 where they are not counted.
    pub count: u64,
    /// Who allocated it where the source knows: addresses in the target, innermost first, each a return address.
    pub stack: Vec<u64>,
}

/// Why nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideError {
    /// The process has ended, or runs another program.
    #[error("the process is gone")]
    Gone,
    /// It may not be read: what is missing.
    #[error("{0}")]
    Refused(String),
    /// It is not laid out as expected: what was found.
    #[error("{0}")]
    Unknown(String),
}

/// The readers of all that a process offers, for as long as it runs the same program. Empty where it offers nothing that is
/// known.
#[must_use]
pub fn readers(pid: u32, modules: &Modules) -> Vec<Box<dyn Reader>> {
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
    let go = go::Go::find(pid, modules);
    // a Go program has a heap of glibc's only where it has C code
    if (go.is_none() || modules.modules.iter().any(is_libc))
        && let Ok(census) = census::Census::of(pid)
    {
        readers.push(Box::new(census));
    }
    if let Some(go) = go {
        readers.push(Box::new(go));
    }
    if let Some(jvm) = jvm::Jvm::find(pid, modules) {
        readers.push(Box::new(jvm));
    }
    if let Some(objects) = python::Objects::find(pid, modules) {
        readers.push(Box::new(objects));
    }
    if let Some(pages) = pages::Pages::find(pid) {
        readers.push(Box::new(pages));
    }
    readers
}

/// The reader of a process's shared pages, whatever it shares: of several processes that share them, what is held by all adds up.
#[must_use]
pub fn shared_pages(pid: u32) -> Box<dyn Reader> {
    Box::new(pages::Pages::of(pid))
}

fn is_libc(module: &Module) -> bool {
    module.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libc"))
}

/// Everything here that reads bytes, on these: for fuzzing alone.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    jvm::fuzz(bytes);
    go::fuzz(bytes);
    pages::fuzz(bytes);
    coldness::fuzz(bytes);
}

/// Reads one source of one process.
pub trait Reader: Send {
    /// Which.
    fn source(&self) -> Source;
    /// What it says now.
    ///
    /// # Errors
    /// See [`OutsideError`]; `Unknown` may pass, the others do not.
    fn read(&mut self) -> Result<Reading, OutsideError>;
}
