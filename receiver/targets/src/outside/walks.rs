//! How often a collector has walked all that a process keeps: between two walks nobody but the program references what is old.
//!
//! CPython counts the collections of its last generation, a JVM publishes those that are not of the young one alone. Nothing is known
//! of other runtimes, nor of a JVM whose collector walks while the program runs and does not tell when.

use mlh_stacks::modules::Modules;

use super::OutsideError;
use super::jvm::Jvm;
use super::python;

/// As of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// So many walks have begun or, in CPython, ended.
    pub count: u64,
    /// It collects just now, and may be walking.
    pub under_way: bool,
    /// What the old generation holds, garbage included, bytes, where there are generations that objects are moved between.
    pub old: Option<u64>,
}

/// Counts those of one process, for as long as it runs the same program.
#[derive(Debug)]
pub struct Walks(Of);

#[derive(Debug)]
enum Of {
    Jvm(Jvm),
    Python(python::Walks),
}

impl Walks {
    /// Finds out where it tells.
    ///
    /// # Errors
    /// It does not, and why.
    pub fn find(pid: u32, modules: &Modules) -> Result<Self, OutsideError> {
        let new = match Jvm::find(pid, modules) {
            Some(jvm) => Self(Of::Jvm(jvm)),
            None => Self(Of::Python(python::Walks::find(pid, modules)?)),
        };
        new.read().map(|_| new)
    }

    /// What it tells now. No page of anonymous memory is read that the process does not use all the time.
    ///
    /// # Errors
    /// It does not tell any more, or not just now.
    pub fn read(&self) -> Result<Walked, OutsideError> {
        match &self.0 {
            Of::Jvm(jvm) => jvm.walks(),
            Of::Python(walks) => walks.read(),
        }
    }
}
