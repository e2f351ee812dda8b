//! The objects that CPython's collector knows, by type: containers, and instances of classes. Texts and numbers are none of
//! them.
//!
//! The collector keeps its objects in rings, one a generation, whose heads lie side by side in the interpreter's state. Where is not
//! written down anywhere; but behind the heads stands the address of the first, which nothing else has.

mod objects;

use mlh_stacks::modules::Modules;

use self::objects::{Census, Rings};
use super::blocks::Blocks;
use super::target::Target;
use super::walks::Walked;
use super::{OutsideError, Reader, Reading, Source};
use crate::interpreters::python::{self, Python};

/// Pages that are read of a process in a reading: 256 MiB.
const MAX_BLOCKS: usize = 65_536;

const UNTRACKED: &str =
    "objects that Python's collector does not know: texts, bytes, numbers, what extensions allocate";

const NEITHER: &str = "it has neither the counters of a JVM nor an interpreter of Python";

const UNCOUNTED: &str = "what stands where Python's collector counts is no count";

/// Reads them.
#[derive(Debug)]
pub(super) struct Objects {
    target: Target,
    /// Or why there is none to look into: a sentence.
    python: Result<Python, String>,
}

impl Objects {
    /// `None`: no interpreter is in the process.
    pub(super) fn find(pid: u32, modules: &Modules) -> Option<Self> {
        let python = match python::find(pid, modules) {
            Ok(python) => known(python?),
            Err(why) => Err(format!("of the Python interpreter nothing can be told: {why}")),
        };
        Some(Self { target: Target::of(pid), python })
    }

    fn rings(&self, python: &Python, blocks: &mut Blocks) -> Result<Rings, OutsideError> {
        let interpreter = blocks.word(python.layout.interpreters).ok_or_else(|| self.target.unreadable())?;
        let state = if python.minor == 8 { python.layout.interpreters } else { interpreter };
        Rings::find(blocks, state).ok_or_else(|| {
            OutsideError::Unknown(
                "Python's collector was not found, or the interpreter is just beginning".to_owned(),
            )
        })
    }

    fn look(&self, python: &Python) -> Result<Reading, OutsideError> {
        let mut blocks = Blocks::new(self.target.memory, MAX_BLOCKS);
        let rings = self.rings(python, &mut blocks)?;
        let census = Census::take(&mut blocks, &rings, &python.code);
        let mut not_seen = vec![UNTRACKED.to_owned()];
        not_seen.extend(census.missed.map(str::to_owned));
        Ok(Reading {
            // of a part nobody knows whether it grows
            in_use: census.missed.is_none().then_some(census.bytes),
            classes: census.classes,
            not_seen,
            ..Reading::default()
        })
    }
}

/// Where its collector counts.
#[derive(Debug)]
pub(super) struct Walks {
    target: Target,
    /// The newest interpreter, then the first.
    interpreters: u64,
    rings: Rings,
}

impl Walks {
    /// # Errors
    /// It is not known where, or there is no interpreter.
    pub(super) fn find(pid: u32, modules: &Modules) -> Result<Self, OutsideError> {
        let objects = Objects::find(pid, modules);
        let objects = objects.ok_or_else(|| OutsideError::Unknown(NEITHER.to_owned()))?;
        let python = objects.python.as_ref().map_err(|why| OutsideError::Unknown(why.clone()))?;
        let rings = objects.rings(python, &mut Blocks::new(objects.target.memory, MAX_BLOCKS))?;
        Ok(Self { interpreters: python.layout.interpreters, target: objects.target, rings })
    }

    /// How often it has walked all that it knows.
    ///
    /// # Errors
    /// It cannot be read, or there are several interpreters, each with a collector.
    pub(super) fn read(&self) -> Result<Walked, OutsideError> {
        let mut blocks = Blocks::new(self.target.memory, MAX_BLOCKS);
        let [newest, first] = blocks.words(self.interpreters).ok_or_else(|| self.target.unreadable())?;
        if newest != first {
            return Err(OutsideError::Unknown("several Python interpreters collect in it".to_owned()));
        }
        let (count, under_way) =
            self.rings.collections(&mut blocks).ok_or_else(|| OutsideError::Unknown(UNCOUNTED.to_owned()))?;
        Ok(Walked { count, under_way, old: None })
    }
}

/// In 3.14 the collector has other rings.
fn known(python: Python) -> Result<Python, String> {
    match python.minor {
        8..=13 => Ok(python),
        minor => Err(format!("the collector of CPython 3.{minor} is not known; those of 3.8 to 3.13 are")),
    }
}

impl Reader for Objects {
    fn source(&self) -> Source {
        Source::PythonObjects
    }

    fn read(&mut self) -> Result<Reading, OutsideError> {
        self.target.reading(|| match &self.python {
            Ok(python) => self.look(python),
            Err(why) => Err(OutsideError::Unknown(why.clone())),
        })
    }
}
