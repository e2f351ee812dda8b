//! How the stacks of a process are captured: by the kernel or as copies, and with what Python was running.

use mlh_bpf::alloc::heard::Slot;
use mlh_stacks::modules::Modules;
use mlh_targets::interpreters::python;
use mlh_targets::points::BlindSpot;

use super::Means;

/// What has been chosen for a process.
#[derive(Debug, Default)]
pub(super) struct Capturing {
    /// The kernel follows frame pointers.
    by_kernel: bool,
    python: Interpreter,
}

#[derive(Debug, Default)]
enum Interpreter {
    /// None has been found yet; one may be loaded.
    #[default]
    Unknown,
    /// Its frames are told.
    Told,
    /// They cannot be: why.
    Hidden(String),
}

impl Capturing {
    /// Chooses by what the process maps, before its probes are placed, and again when it has loaded more: one library that
    /// keeps no frame pointers is enough for stacks to be copied.
    pub(super) fn choose(&mut self, means: &mut Means<'_>, slot: Slot, pid: u32, modules: &Modules) {
        let by_kernel = means.listening.lock().space(slot).is_some_and(|space| space.keeps_frame_pointers());
        if by_kernel != self.by_kernel {
            match means.tracer.walk(slot, by_kernel) {
                Ok(()) => self.by_kernel = by_kernel,
                Err(reason) => tracing::debug!(pid, reason, "how stacks are captured could not be changed"),
            }
        }
        if matches!(self.python, Interpreter::Unknown) {
            self.python = find_python(means, slot, pid, modules);
        }
    }

    pub(super) fn blind_spot(&self) -> Option<BlindSpot> {
        let Interpreter::Hidden(reason) = &self.python else { return None };
        Some(BlindSpot { what: "functions and lines of Python".to_owned(), reason: reason.clone() })
    }
}

fn find_python(means: &mut Means<'_>, slot: Slot, pid: u32, modules: &Modules) -> Interpreter {
    let found = match python::find(pid, modules) {
        Ok(Some(found)) => found,
        Ok(None) => return Interpreter::Unknown,
        Err(error) => return Interpreter::Hidden(error.to_string()),
    };
    if let Err(reason) = means.tracer.set_python(slot, &found.layout) {
        return Interpreter::Hidden(reason);
    }
    if let Some(space) = means.listening.lock().space(slot) {
        space.set_python(found.code);
    }
    Interpreter::Told
}
