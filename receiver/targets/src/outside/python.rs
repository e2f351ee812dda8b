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
use super::{OutsideError, Reader, Reading, Source};
use crate::interpreters::python::{self, Python};

/// Pages that are read of a process in a reading: 256 MiB.
const MAX_BLOCKS: usize = 65_536;

const UNTRACKED: &str =
    "objects that Python's collector does not know: texts, bytes, numbers, what extensions allocate";

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

    fn look(&self, python: &Python) -> Result<Reading, OutsideError> {
        let mut blocks = Blocks::new(self.target.memory, MAX_BLOCKS);
        let interpreter = blocks.word(python.layout.interpreters).ok_or_else(|| self.target.unreadable())?;
        let state = if python.minor == 8 { python.layout.interpreters } else { interpreter };
        let rings = Rings::find(&mut blocks, state).ok_or_else(|| {
            OutsideError::Unknown(
                "Python's collector was not found, or the interpreter is just beginning".to_owned(),
            )
        })?;
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
