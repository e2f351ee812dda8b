//! What is said to the kernel of a process that is under observation.

use std::collections::HashSet;

use libbpf_rs::{MapCore as _, MapFlags};
use zerocopy::IntoBytes as _;

use super::{GENERATION_BITS, Probes};
use crate::alloc::heard::Slot;
use crate::alloc::point::{FrameSize, Wrapper};
use crate::alloc::subject;
use crate::alloc::wire::WrapperKey;
use crate::error::SweepError;
use crate::object::{self, io_error};
use crate::python::{self, PythonLayout};

impl Probes {
    /// Smaller allocations of this process are not tracked, whatever was asked for: its probes do not see all of their frees. Without
    /// effect in debug mode. A program that it runs later is not meant.
    ///
    /// # Errors
    /// It has ended, or the kernel refuses.
    pub fn least(&mut self, slot: Slot, bytes: u64) -> Result<(), SweepError> {
        let pid = self.member(slot)?.pid;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        object::explained(None, || subject::say_least(&self.object, pid, slot, bytes))
    }

    /// Whether the kernel follows the frame pointers of this process's stacks ([`Capture::chain`](crate::capture::Capture)) instead
    /// of copying them. A program that it runs later is not meant.
    ///
    /// # Errors
    /// It has ended, or the kernel refuses.
    pub fn walk(&mut self, slot: Slot, by_kernel: bool) -> Result<(), SweepError> {
        let pid = self.member(slot)?.pid;
        object::explained(None, || subject::say_walks(&self.object, pid, slot, by_kernel))
    }

    /// Where this process's Python interpreter is: from now on its stacks tell what Python was running
    /// ([`Capture::python`](crate::capture::Capture)). A program that it runs later is not meant.
    ///
    /// # Errors
    /// It has ended, or the kernel refuses.
    pub fn set_python(&mut self, slot: Slot, layout: Option<&PythonLayout>) -> Result<(), SweepError> {
        self.member(slot)?;
        python::set(&self.pythons, slot.0, layout)?;
        if layout.is_some() {
            let any = 1_u32.to_ne_bytes();
            self.has_pythons
                .update(&0_u32.to_ne_bytes(), &any, MapFlags::ANY)
                .map_err(|error| io_error("telling that there is an interpreter", &error))?;
        }
        Ok(())
    }

    /// From now on call sites are told apart by their callers, as far as the sizes of the frames are known: a call site's
    /// [`depth`](crate::alloc::heard::CallSite::depth) takes them in. `frames` are in addition to those of before; the table is bounded, and
    /// what does not fit is not told apart.
    ///
    /// # Errors
    /// The process has ended.
    pub fn tell_apart(&mut self, slot: Slot, frames: &[FrameSize]) -> Result<(), SweepError> {
        self.member(slot)?;
        let index = slot.0 >> GENERATION_BITS;
        if let Some(member) = self.members.get_mut(&index) {
            self.frames.enter(slot, frames, &mut member.frames);
        }
        Ok(())
    }

    /// Callers that only pass on: what called them is the call site. Replaces those of before.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wrappers(&mut self, slot: Slot, wrappers: &[Wrapper]) -> Result<(), SweepError> {
        let failed = |error: &dyn std::fmt::Display| io_error("telling who passes on", error);
        let key =
            |wrapper: &Wrapper| WrapperKey { returns_to: wrapper.returns_to, slot: slot.0, reserved: 0 };
        let wanted: HashSet<WrapperKey> = wrappers.iter().map(key).collect();
        let mut before = std::mem::take(&mut self.member(slot)?.wrappers);
        before.retain(|key| !wanted.contains(key));
        for key in &before {
            // one that is not there is gone as it should be
            let _ = self.wrappers.delete(key.as_bytes());
        }
        self.member(slot)?.wrappers = wanted;
        for wrapper in wrappers {
            let distance = wrapper.to_return_address.to_ne_bytes();
            self.wrappers
                .update(key(wrapper).as_bytes(), &distance, MapFlags::ANY)
                .map_err(|error| failed(&error))?;
        }
        if !wrappers.is_empty() {
            let any = 1_u32.to_ne_bytes();
            self.has_wrappers
                .update(&0_u32.to_ne_bytes(), &any, MapFlags::ANY)
                .map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}
