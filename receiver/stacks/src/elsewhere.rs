//! Systems other than Linux: there is nothing to look into.

use std::path::PathBuf;

use crate::debuginfod::Options;
use crate::modules::{Module, Modules, ModulesError};
use crate::python::CodeLayout;
use crate::trace::{Frame, Trace};
use crate::unwind::{Caller, Captured, Unwind};

pub(crate) fn modules(pid: u32) -> Result<Modules, ModulesError> {
    Err(ModulesError { pid, reason: "needs Linux".to_owned() })
}

pub(crate) fn reachable_path(_: &Module, _: u32) -> Option<PathBuf> {
    None
}

pub(crate) fn cpp_type(_: &str) -> Option<String> {
    None
}

pub(crate) fn names_methods(_: u32, _: &Modules) -> bool {
    false
}

/// None are ever read.
#[derive(Debug)]
pub(crate) struct Tables;

pub(crate) fn tables(_: u32, _: &Modules, _: &[&str]) -> Option<Tables> {
    None
}

#[expect(clippy::unused_self, reason = "as on Linux")]
impl Tables {
    pub(crate) fn offset(&self, _: &str, _: &str) -> Option<u64> {
        None
    }

    pub(crate) fn address(&self, _: &str, _: &str) -> Option<u64> {
        None
    }

    pub(crate) fn size(&self, _: &str) -> Option<u64> {
        None
    }
}

pub(crate) fn has_javascript(_: u32, _: &Modules) -> bool {
    false
}

pub(crate) fn read_memory(_: u32, _: u64, _: &mut [u8]) -> bool {
    false
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf;

impl Shelf {
    pub(crate) fn with(_: Options) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(crate) struct Stacks;

#[derive(Debug, Clone)]
pub(crate) struct Unwound(u64);

impl Unwound {
    pub(crate) fn callers(&self) -> impl Iterator<Item = Caller> {
        std::iter::once(Caller { address: self.0, sp: None })
    }

    pub(crate) fn identity(&self) -> u64 {
        self.0
    }

    pub(crate) fn trace(&self) -> Trace {
        let frame = Frame { address: self.0, module: "[unknown]".to_owned(), ..Frame::default() };
        Trace {
            frames: vec![frame],
            hash: 0,
            culprit: Some(0),
            incomplete: Some("unwinding needs Linux".to_owned()),
        }
    }
}

impl Stacks {
    pub(crate) fn new(_: u32, _: usize, _: Unwind, _: &Shelf) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn refresh(&mut self, _: &Modules) {}

    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn set_python(&mut self, _: Option<CodeLayout>) {}

    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn is_stale(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn unwind(&mut self, captured: &Captured<'_>) -> Unwound {
        Unwound(captured.ip)
    }

    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn is_go(&self, _: u64) -> bool {
        false
    }

    pub(crate) fn keeps_frame_pointers(&self) -> bool {
        false
    }
}
