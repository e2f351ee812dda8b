//! How the stacks of a process are captured by programs that meet its threads anywhere: what these look up by its pid.

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object};

use crate::error::SweepError;
use crate::object::{Failure, handle, io_error};
use crate::python::{self, PythonLayout};

/// The maps of one object.
#[derive(Debug)]
pub(crate) struct Capturing {
    walking: MapHandle,
    pythons: MapHandle,
}

impl Capturing {
    pub(crate) fn of(object: &Object) -> Result<Self, Failure> {
        Ok(Self { walking: handle(object, "walking")?, pythons: handle(object, "pythons")? })
    }

    /// Whether the kernel follows the process's frame pointers, or copies its stacks.
    pub(crate) fn walk(&self, pid: u32, by_kernel: bool) -> Result<(), SweepError> {
        let key = pid.to_ne_bytes();
        if !by_kernel {
            // one that is not there is gone as it should be
            let _ = self.walking.delete(&key);
            return Ok(());
        }
        let updated = self.walking.update(&key, &[1], MapFlags::ANY);
        updated.map_err(|error| io_error("choosing how to walk", &error))
    }

    /// Where its Python interpreter is; `None`: it is not looked at.
    pub(crate) fn set_python(&self, pid: u32, layout: Option<&PythonLayout>) -> Result<(), SweepError> {
        python::set(&self.pythons, pid, layout)
    }

    /// Nothing is known of it any more.
    pub(crate) fn forget(&self, pid: u32) {
        for map in [&self.walking, &self.pythons] {
            // one that is not there is gone as it should be
            let _ = map.delete(&pid.to_ne_bytes());
        }
    }
}
