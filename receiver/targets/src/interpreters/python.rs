//! CPython, 3.8 to 3.14: which version runs in a process, and where it keeps its threads, frames and code objects.
//!
//! From 3.13 on the interpreter says so itself (`debug_offsets`); of those before there are `tables`, which `symbols` and the
//! interpreter's own version choose from. What was found is tried out on the process: a version that is mistaken for another one leads
//! to a reason, not to nonsense.

mod debug_offsets;

mod symbols;

mod tables;

use std::path::{Path, PathBuf};

use mlh_bpf::python::PythonLayout;
use mlh_stacks::memory::Memory;
use mlh_stacks::modules::{Module, Modules};
use mlh_stacks::python::CodeLayout;

use self::symbols::Symbols;
use crate::os;
use crate::points::elf::Elf;

/// Threads that are looked at to try a layout out.
const MAX_THREADS: usize = 64;

/// The interpreter of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// 3.`minor`.
    pub minor: u8,
    /// The file whose code it is, as the process's maps name it.
    pub module: PathBuf,
    /// What the probes need: where threads and frames are.
    pub layout: PythonLayout,
    /// What the naming of frames needs.
    pub code: CodeLayout,
}

/// Why what Python runs in a process cannot be told, though it has an interpreter. A sentence's end: "it is a build without ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PythonError {
    /// Not one of those that are known.
    #[error("CPython {major}.{minor} is not known; 3.8 to 3.14 are")]
    UnknownVersion {
        /// Of the version.
        major: u8,
        /// Of the version.
        minor: u8,
    },
    /// Of so old a one that nothing tells which it is.
    #[error("CPython before 3.8 is not known; 3.8 to 3.14 are")]
    TooOld,
    /// `--disable-gil`.
    #[error("it is a free-threaded build of CPython, which is not supported")]
    FreeThreaded,
    /// The process's memory, or the interpreter's file.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// What is in memory contradicts the version's layout: a debug build, or a patched one.
    #[error("its memory is not laid out as that of CPython 3.{minor} is: {what}")]
    Strange {
        /// Which it says it is.
        minor: u8,
        /// What is not as it must be.
        what: &'static str,
    },
}

/// Offsets of one version. `interpreters` and `current` in the layout are offsets from the beginning of the runtime's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    layout: PythonLayout,
    /// In a thread: its interpreter.
    thread_interpreter: u64,
    code: CodeLayout,
}

/// Finds the interpreter of a process in what it maps. `None`: there is none.
///
/// # Errors
/// There is one, and why it cannot be looked into.
pub fn find(pid: u32, modules: &Modules) -> Result<Option<Python>, PythonError> {
    let executable = os::executable_path(pid);
    let candidates = modules.modules.iter().filter(|module| {
        module.has_code() && (is_named_so(&module.path) || Some(&module.path) == executable.as_ref())
    });
    for module in candidates {
        if let Some((symbols, bias)) = look_up(module, pid) {
            return within(pid, module, &symbols, bias).map(Some);
        }
    }
    Ok(None)
}

/// What an interpreter says of itself, of the version that it has elsewhere: for fuzzing alone.
#[cfg(fuzzing)]
pub fn read_debug_offsets(bytes: &[u8], number: u64) {
    drop(debug_offsets::read(bytes, number));
}

fn is_named_so(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.windows(6).any(|part| part == b"python")
}

/// The symbols of an interpreter in a file, and what the process adds to the file's addresses. `None`: it holds none.
fn look_up(module: &Module, pid: u32) -> Option<(Symbols, u64)> {
    let file = os::open_regular(&module.reachable_path(pid)?).ok()?;
    let elf = Elf::open(file).ok().filter(|elf| elf.machine.is_here())?;
    let symbols = Symbols::read(&elf)?;
    let part = module.parts.iter().find(|part| part.executable)?;
    Some((symbols, part.start.wrapping_sub(elf.code_address(part.offset)?)))
}

fn within(pid: u32, module: &Module, symbols: &Symbols, bias: u64) -> Result<Python, PythonError> {
    let memory = Memory::of(pid);
    let runtime = symbols.runtime.ok_or(PythonError::TooOld)?.wrapping_add(bias);
    let number = symbols.version.map(|address| memory.word(address.wrapping_add(bias)));
    let (minor, mut version) = match number {
        Some(None) => return Err(PythonError::Unreadable("its memory")),
        Some(Some(number)) => of_number(number, runtime, &memory)?,
        None => {
            let minor = symbols.minor.ok_or(PythonError::TooOld)?;
            (minor, tables::of(minor).ok_or(PythonError::UnknownVersion { major: 3, minor })?)
        }
    };
    version.layout.interpreters = version.layout.interpreters.wrapping_add(runtime);
    version.layout.current = version.layout.current.wrapping_add(runtime);
    try_out(&version, &memory).map_err(|what| PythonError::Strange { minor, what })?;
    Ok(Python { minor, module: module.path.clone(), layout: version.layout, code: version.code })
}

/// From `PY_VERSION_HEX`: major, minor, micro, and the level, a byte each.
fn of_number(number: u64, runtime: u64, memory: &Memory) -> Result<(u8, Version), PythonError> {
    let [.., minor, major] = u32::try_from(number).unwrap_or(0).to_le_bytes();
    let unknown = PythonError::UnknownVersion { major, minor };
    match (major, minor) {
        (3, 8..=12) => tables::of(minor).map(|version| (minor, version)).ok_or(unknown),
        (3, 13..) => {
            let mut bytes = vec![0; debug_offsets::SIZE];
            if !memory.read(runtime, &mut bytes) {
                return Err(PythonError::Unreadable("its memory"));
            }
            debug_offsets::read(&bytes, number).map(|version| (minor, version))
        }
        _ => Err(unknown),
    }
}

/// Whether the process's memory is as the layout says. One that has not made its interpreter yet cannot contradict.
fn try_out(version: &Version, memory: &Memory) -> Result<(), &'static str> {
    let layout = &version.layout;
    let word = |address: u64, offset: u32| memory.word(address.wrapping_add(offset.into()));
    let interpreter = word(layout.interpreters, 0).ok_or("the list of interpreters is not there")?;
    if interpreter == 0 {
        return Ok(());
    }
    let mut thread = word(interpreter, layout.threads).ok_or("an interpreter is not where it should be")?;
    let mut seen = 0;
    while thread != 0 && seen < MAX_THREADS {
        // the list changes meanwhile: the first is there, or the interpreter has just begun
        let of = memory.word(thread.wrapping_add(version.thread_interpreter));
        let next = word(thread, layout.thread_next);
        let known = word(thread, layout.thread_id);
        match (of, next, known) {
            (Some(of), Some(next), Some(_)) if of == interpreter => thread = next,
            _ if seen > 0 => break,
            _ => return Err("a thread does not belong to its interpreter"),
        }
        seen += 1;
    }
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
